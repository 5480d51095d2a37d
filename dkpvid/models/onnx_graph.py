"""The fused detector as an ONNX graph, node by node: nothing is traced, and no file is needed."""

from typing import Any

import numpy as np
import onnx
from numpy import ndarray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from dkpvid.models.detector import HEATMAP_SIZE, NEGATIVE_SLOPE
from dkpvid.models.fused import FusedDetector, FusedDownBlock

# Opset 17 (2022) has all that is needed, and most programs that read ONNX know it.
OPSET, IR_VERSION = 17, 8


class DetectorGraph:
    """A graph from `images`, uint8 [batch, size, size, 3] RGB, to keypoints and their heatmaps' covariance.

    Args:
        network: What it computes, to rounding.
    """

    def __init__(self, network: FusedDetector) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self.image_size = network.image_size
        self.num_keypoints = network.head.out_channels
        heatmaps = self._heatmaps(network)
        self.keypoints, self.covariance = self._moments(heatmaps)

    def op(self, kind: str, *inputs: str | ndarray, **attributes: Any) -> str:
        """Add a node of one output, whose name is returned; arrays become constants."""
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        output = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def add_output(self, name: str, value: str, *axes: int | str) -> None:
        """Give a value a name of the model's interface, and its shape after the batch."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *axes]))

    def model(self) -> onnx.ModelProto:
        """The finished model."""
        shape: list[str | int | None] = ["batch", self.image_size, self.image_size, 3]
        images = helper.make_tensor_value_info("images", TensorProto.UINT8, shape)
        graph = helper.make_graph(self._nodes, "dkpvid", [images], self._outputs, self._constants)
        return helper.make_model(
            graph,
            producer_name="dkpvid",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )

    def _constant(self, value: ndarray) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _heatmaps(self, network: FusedDetector) -> str:
        x = self.op("Cast", "images", to=TensorProto.FLOAT)
        x = self.op("Transpose", x, perm=[0, 3, 1, 2])
        x = self.op("Sub", self.op("Div", x, floats(127.5)), floats(1.0))
        for block in network.down_blocks:
            assert isinstance(block, FusedDownBlock)
            x = self.op("AveragePool", x, kernel_shape=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
            # ONNX Runtime prefers two convolutions, which it fuses with what follows, to splitting one.
            weights, biases = block.first.weight.chunk(2), block.first.bias.chunk(2)  # type: ignore[union-attr]
            branch, skip = (
                self.op("Conv", x, array(weight), array(bias), strides=[2, 2])
                for weight, bias in zip(weights, biases, strict=True)
            )
            branch = self._conv(self._leaky_relu(branch), block.second)
            x = self._leaky_relu(self.op("Add", branch, skip))
        for conv in network.up_convs:
            assert isinstance(conv, nn.Conv2d)
            # The empty name stands for the region of interest, which this mode has not.
            x = self.op("Resize", x, "", floats(1.0, 1.0, 2.0, 2.0), mode="linear")
            x = self._leaky_relu(self._conv(x, conv))
        logits = self.op("Reshape", self._conv(x, network.head), integers(0, 0, -1))
        shape = integers(0, 0, HEATMAP_SIZE, HEATMAP_SIZE)
        return self.op("Reshape", self.op("Softmax", logits, axis=2), shape)

    def _conv(self, x: str, conv: nn.Conv2d) -> str:
        assert conv.bias is not None
        return self.op("Conv", x, array(conv.weight), array(conv.bias), pads=[1, 1, 1, 1])

    def _leaky_relu(self, x: str) -> str:
        return self.op("LeakyRelu", x, alpha=NEGATIVE_SLOPE)

    def _moments(self, heatmaps: str) -> tuple[str, str]:
        """Expected (x, y), [batch, keypoint, 2], and (xx, xy, yy) about it, [batch, keypoint, 3]."""
        cells = np.linspace(-1, 1, HEATMAP_SIZE, dtype=np.float32)

        def total(value: str, axis: int, keepdims: int = 0) -> str:
            return self.op("ReduceSum", value, integers(axis), keepdims=keepdims)

        # Column and row sums, [batch, keypoint, cell]; means and variances, [batch, keypoint, 1].
        along_x, along_y = total(heatmaps, 2), total(heatmaps, 3)
        mean_x, mean_y = (total(self.op("Mul", sums, cells), 2, keepdims=1) for sums in (along_x, along_y))
        from_x, from_y = (self.op("Sub", cells, mean) for mean in (mean_x, mean_y))
        xx, yy = (
            total(self.op("Mul", sums, self.op("Mul", offset, offset)), 2, keepdims=1)
            for sums, offset in ((along_x, from_x), (along_y, from_y))
        )
        pull_x = total(self.op("Mul", heatmaps, self.op("Unsqueeze", from_x, integers(2))), 3)
        xy = total(self.op("Mul", pull_x, from_y), 2, keepdims=1)
        return self.op("Concat", mean_x, mean_y, axis=2), self.op("Concat", xx, xy, yy, axis=2)


def floats(*values: float) -> ndarray:
    """A constant of the graph."""
    return np.array(values, np.float32)


def integers(*values: int) -> ndarray:
    """Axes or a shape, for the graph."""
    return np.array(values, np.int64)


def array(tensor: Tensor) -> ndarray:
    """A weight as float32 numpy."""
    values: ndarray = tensor.detach().float().cpu().numpy()
    return values
