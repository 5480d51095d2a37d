"""A fused backbone as part of an ONNX graph: the layers that convolutional networks are made of."""

import operator
from collections.abc import Callable

import numpy as np
from torch import fx, nn

from dkpvid.errors import UsageError
from dkpvid.models.detector import HEATMAP_SIZE
from dkpvid.models.fused_backbone import FusedBackboneDetector, SameConv2d
from dkpvid.models.onnx_graph import OnnxGraph, floats

Layer = Callable[[OnnxGraph, str], str]

_PLAIN: dict[type[nn.Module], Layer] = {
    nn.ReLU: lambda graph, x: graph.op("Relu", x),
    nn.ReLU6: lambda graph, x: graph.op("Clip", x, np.array(0, np.float32), np.array(6, np.float32)),
    nn.SiLU: lambda graph, x: graph.op("Mul", x, graph.op("Sigmoid", x)),
    nn.Sigmoid: lambda graph, x: graph.op("Sigmoid", x),
    nn.Hardswish: lambda graph, x: graph.op("HardSwish", x),
    nn.Hardsigmoid: lambda graph, x: graph.op("HardSigmoid", x, alpha=1 / 6, beta=0.5),
}
_OF_TWO = {operator.add: "Add", operator.iadd: "Add", operator.mul: "Mul"}


def backbone_logits(graph: OnnxGraph, network: FusedBackboneDetector, x: str) -> str:
    """Add all of a detector but its soft-argmax.

    Args:
        graph: Grows.
        network: What to add.
        x: RGB in [-1, 1], [batch, 3, size, size].

    Returns:
        The heatmaps before their softmax, [batch, point, 32, 32].

    Raises:
        UsageError: the backbone has a layer that is not known here.
    """
    *finer, coarsest = _features(graph, network.backbone, x)
    laterals = [lateral for lateral in network.laterals if isinstance(lateral, nn.Conv2d)]
    merged = graph.convolution(coarsest, laterals.pop())
    side = network.image_size // 32
    for features, block in zip(reversed(finer), network.up_blocks, strict=True):
        assert isinstance(block, nn.Sequential) and isinstance(block[0], nn.Conv2d)
        side *= 2
        # A factor is faster than a size.
        enlarged = graph.op("Resize", merged, "", floats(1.0, 1.0, 2.0, 2.0), mode="linear")
        added = graph.op("Add", enlarged, graph.convolution(features, laterals.pop()))
        merged = graph.op("Relu", graph.convolution(added, block[0]))
    logits = graph.convolution(merged, network.head)
    if side == HEATMAP_SIZE:
        return logits
    return graph.op("Resize", logits, "", floats(1.0, 1.0, *[HEATMAP_SIZE / side] * 2), mode="linear")


def _features(graph: OnnxGraph, backbone: nn.Module, x: str) -> list[str]:
    """What a traced backbone gives, from fine to coarse."""
    if not isinstance(backbone, fx.GraphModule):
        raise _unknown(backbone)
    values: dict[fx.Node, str] = {}
    for node in backbone.graph.nodes:
        sources = [values[source] for source in node.all_input_nodes]
        if node.op == "placeholder":
            values[node] = x
        elif node.op == "call_module":
            values[node] = _layer(graph, backbone.get_submodule(node.target), *sources)
        elif node.op == "call_function" and node.target in _OF_TWO and len(sources) == 2:
            values[node] = graph.op(_OF_TWO[node.target], *sources)
        elif node.op == "call_method" and node.target == "mean" and node.args[1:] == ((2, 3),):
            values[node] = graph.op("ReduceMean", *sources, axes=[2, 3], keepdims=int(node.kwargs["keepdim"]))
        elif node.op == "output":
            return [values[level] for level in node.args[0]]
        else:
            raise _unknown(node.target)
    raise AssertionError("a graph ends in its output")


def _layer(graph: OnnxGraph, layer: nn.Module, x: str) -> str:
    if isinstance(layer, SameConv2d):
        return graph.convolution(x, layer.conv, layer.padding)
    if type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
        return graph.convolution(x, layer)
    if isinstance(layer, nn.MaxPool2d) and layer.dilation == 1 and not layer.ceil_mode:
        kernel, strides, pads = (
            [size] * 2 if isinstance(size, int) else list(size)
            for size in (layer.kernel_size, layer.stride, layer.padding)
        )
        return graph.op("MaxPool", x, kernel_shape=kernel, strides=strides, pads=pads * 2)
    if (plain := _PLAIN.get(type(layer))) is None:
        raise _unknown(layer)
    return plain(graph, x)


def _unknown(what: object) -> UsageError:
    name = type(what).__name__ if isinstance(what, nn.Module) else getattr(what, "__name__", what)
    return UsageError(
        f"this backbone's {name} cannot be written as ONNX; use --runtime torch, or train with a plain "
        "convolutional backbone such as timm:tf_efficientnet_lite0"
    )
