"""The fused detector as an ONNX graph."""

import numpy as np
from onnx import TensorProto
from torch import nn

from dkpvid.models.detector import HEATMAP_SIZE, NEGATIVE_SLOPE
from dkpvid.models.fused import FusedDetector, FusedDownBlock, FusedNetwork
from dkpvid.models.fused_backbone import FusedBackboneDetector
from dkpvid.models.onnx_backbone import backbone_logits
from dkpvid.models.onnx_graph import OnnxGraph, array, floats, integers


class DetectorGraph(OnnxGraph):
    """A graph from images to points and their heatmaps' covariance: keypoints, then joints that have names.

    Args:
        network: What it computes, to rounding.

    Raises:
        UsageError: the network's backbone has a layer that cannot be written as ONNX.
    """

    def __init__(self, network: FusedNetwork) -> None:
        super().__init__(network.image_size)
        self.num_keypoints = network.num_keypoints
        self.num_points = network.head.out_channels
        x = self.op("Cast", "images", to=TensorProto.FLOAT)
        x = self.op("Transpose", x, perm=[0, 3, 1, 2])
        x = self.op("Sub", self.op("Div", x, floats(127.5)), floats(1.0))
        if isinstance(network, FusedDetector):
            logits = self._autolink_logits(network, x)
        else:
            assert isinstance(network, FusedBackboneDetector)
            logits = backbone_logits(self, network, x)
        logits = self.op("Reshape", logits, integers(0, 0, -1))
        shape = integers(0, 0, HEATMAP_SIZE, HEATMAP_SIZE)
        heatmaps = self.op("Reshape", self.op("Softmax", logits, axis=2), shape)
        self.points, self.covariance = self._moments(heatmaps)

    def some(self, value: str, first: int, end: int) -> str:
        """The points from `first` up to `end` of a value [batch, point, ...]."""
        if (first, end) == (0, self.num_points):
            return value
        return self.op("Slice", value, integers(first), integers(end), integers(1))

    def _autolink_logits(self, network: FusedDetector, x: str) -> str:
        for block in network.down_blocks:
            assert isinstance(block, FusedDownBlock)
            x = self.op("AveragePool", x, kernel_shape=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
            # ONNX Runtime prefers two convolutions, which it fuses with what follows, to splitting one.
            weights, biases = block.first.weight.chunk(2), block.first.bias.chunk(2)  # type: ignore[union-attr]
            branch, skip = (
                self.op("Conv", x, array(weight), array(bias), strides=[2, 2])
                for weight, bias in zip(weights, biases, strict=True)
            )
            branch = self.convolution(self._leaky_relu(branch), block.second)
            x = self._leaky_relu(self.op("Add", branch, skip))
        for conv in network.up_convs:
            assert isinstance(conv, nn.Conv2d)
            # The empty name stands for the region of interest, which this mode has not.
            x = self.op("Resize", x, "", floats(1.0, 1.0, 2.0, 2.0), mode="linear")
            x = self._leaky_relu(self.convolution(x, conv))
        return self.convolution(x, network.head)

    def _leaky_relu(self, x: str) -> str:
        return self.op("LeakyRelu", x, alpha=NEGATIVE_SLOPE)

    def _moments(self, heatmaps: str) -> tuple[str, str]:
        """Expected (x, y), [batch, point, 2], and (xx, xy, yy) about it, [batch, point, 3]."""
        cells = np.linspace(-1, 1, HEATMAP_SIZE, dtype=np.float32)

        def total(value: str, axis: int, keepdims: int = 0) -> str:
            return self.op("ReduceSum", value, integers(axis), keepdims=keepdims)

        # Column and row sums, [batch, point, cell]; means and variances, [batch, point, 1].
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
