"""A backbone's detector for inference: batch norm folded into the convolutions of network and head."""

import copy
from collections import Counter

from torch import Tensor, fx, nn

from dkpvid.models.backbone import BackboneDetector, merge, to_heatmap_size
from dkpvid.models.fused import FusedNetwork, folded
from dkpvid.shapes import Float


class FusedBackboneDetector(FusedNetwork):
    """Equal to the trained detector in eval mode.

    Args:
        detector: The trained network; it is copied, not changed.
    """

    def __init__(self, detector: BackboneDetector) -> None:
        super().__init__()
        self.image_size = detector.image_size
        self.num_keypoints = detector.num_keypoints
        self.backbone = folded_backbone(detector.backbone)
        self.laterals = nn.ModuleList(folded(conv) for conv in detector.laterals)  # type: ignore[arg-type]
        self.up_blocks = nn.ModuleList(
            nn.Sequential(folded(block[0], block[1]), nn.ReLU(inplace=True))  # type: ignore[index]
            for block in detector.up_blocks
        )
        self.head = folded(detector.head)
        self._settle()

    def logits(self, x: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch point row column"]:
        """The heatmaps before their softmax, of RGB in [-1, 1]."""
        *finer, early = self.backbone(x)
        return to_heatmap_size(self.head(merge(finer, early, self.laterals, self.up_blocks)))


class SameConv2d(nn.Module):
    """A convolution of stride 2 on an even input, padded as TensorFlow does: the odd cell comes last."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        top, left = ((size - 2) // 2 for size in conv.kernel_size)
        bottom, right = ((size - 1) // 2 for size in conv.kernel_size)
        self.padding = (top, left, bottom, right)
        self.conv = nn.Conv2d(conv.in_channels, conv.out_channels, 1, stride=2, groups=conv.groups)
        self.conv.kernel_size = conv.kernel_size
        self.conv.weight, self.conv.bias = conv.weight, conv.bias

    def forward(self, x: Float[Tensor, "batch channel row column"]) -> Tensor:
        """Features at half the rows and columns."""
        top, left, bottom, right = self.padding
        result: Tensor = self.conv(nn.functional.pad(x, (left, right, top, bottom)))
        return result


def folded_backbone(backbone: nn.Module) -> nn.Module:
    """A copy with as few layers as can be; as it is where its course cannot be traced.

    Batch norm is folded into the convolution before it, what does nothing in eval mode is left out, and a
    convolution's padding no longer depends on its input.

    Args:
        backbone: Of timm.
    """
    from timm.layers.conv2d_same import Conv2dSame
    from timm.layers.drop import DropPath
    from timm.layers.norm_act import BatchNormAct2d

    backbone = copy.deepcopy(backbone).cpu().eval()
    try:
        graph = _LayerTracer().trace(backbone)
    except Exception:  # of a foreign network's own code, any
        return backbone
    calls = [node for node in graph.nodes if node.op == "call_module"]
    num_calls = Counter(node.target for node in calls)
    for node in calls:
        layer, source = backbone.get_submodule(node.target), node.args[0]
        if isinstance(layer, nn.BatchNorm2d) and layer.track_running_stats and source in calls:
            conv = backbone.get_submodule(source.target)
            if isinstance(conv, nn.Conv2d) and len(source.users) == num_calls[source.target] == 1:
                backbone.set_submodule(source.target, folded(conv, layer))
                layer = layer.act if isinstance(layer, BatchNormAct2d) else nn.Identity()
                backbone.set_submodule(node.target, layer)
        if isinstance(layer, nn.Identity | nn.Dropout | DropPath):
            node.replace_all_uses_with(source)
            graph.erase_node(node)
    for name, layer in list(backbone.named_modules()):
        # Their inputs' sides are even, since the image's is a multiple of 32.
        if isinstance(layer, Conv2dSame) and layer.stride == (2, 2) and layer.dilation == (1, 1):
            backbone.set_submodule(name, SameConv2d(layer))
    network = fx.GraphModule(backbone, graph)
    network.delete_all_unused_submodules()
    return network


class _LayerTracer(fx.Tracer):
    """Looks into everything but layers: a batch norm of timm's is one, although it holds an activation."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.BatchNorm2d | nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)
