"""ONNX graphs node by node: nothing is traced, and no file is needed."""

from typing import Any

import numpy as np
import onnx
from numpy import ndarray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

# Opset 17 (2022) has all that is needed, and most programs that read ONNX know it.
OPSET, IR_VERSION = 17, 8


class OnnxGraph:
    """A graph that grows, from `images`, uint8 [batch, size, size, 3] RGB.

    Args:
        image_size: Side of the images in pixels.
    """

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def op(self, kind: str, *inputs: str | ndarray, **attributes: Any) -> str:
        """Add a node of one output, whose name is returned; arrays become constants."""
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        output = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def convolution(self, x: str, conv: nn.Conv2d, padding: tuple[int, ...] | None = None) -> str:
        """Add a convolution with its bias.

        Args:
            x: Its input.
            conv: Of zeros as padding.
            padding: Rows above, columns left, rows below, columns right; None = the layer's own.
        """
        return self.op(
            "Conv",
            x,
            array(conv.weight),
            array(conv.bias),
            strides=conv.stride,
            pads=padding or 2 * tuple(map(int, conv.padding)),
            dilations=conv.dilation,
            group=conv.groups,
        )

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


def floats(*values: float) -> ndarray:
    """A constant of the graph."""
    return np.array(values, np.float32)


def integers(*values: int) -> ndarray:
    """Axes or a shape, for the graph."""
    return np.array(values, np.int64)


def array(tensor: Tensor | None) -> ndarray:
    """A weight as float32 numpy."""
    assert tensor is not None
    values: ndarray = tensor.detach().float().cpu().numpy()
    return values
