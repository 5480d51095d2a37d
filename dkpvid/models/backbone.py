"""The keypoint detector on a network of timm's, which may know photographs from ImageNet before it starts."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from dkpvid.config import ModelConfig
from dkpvid.errors import UsageError
from dkpvid.models.detector import HEATMAP_SIZE, Detections, read_heatmaps, resize
from dkpvid.shapes import Float

STRIDES = (4, 8, 16, 32)


class BackboneDetector(nn.Module):
    """Features of a backbone at strides 4 to 32, merged from coarse to fine, and a heatmap for each point.

    Source: Lin et al. 2017, Feature Pyramid Networks (arXiv 1612.03144), with batch norm and ReLU after each
    merge, and the soft-argmax of AutoLink.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.image_size = config.image_size
        self.num_keypoints = config.num_keypoints
        self.backbone = create_backbone(config.backbone)
        width = config.head_width
        channels = self.backbone.feature_info.channels()
        self.laterals = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.up_blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            for _ in STRIDES[1:]
        )
        self.head = nn.Conv2d(width, config.num_keypoints + len(config.joints), 3, padding=1)
        self._frozen: list[nn.Module] = []

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Detections:
        """Find the keypoints.

        Args:
            images: RGB in [-1, 1], any size; resized to the square input.
        """
        *finer, early = self.backbone(resize(images, self.image_size))
        middle = merge(finer, early, self.laterals, self.up_blocks)
        return read_heatmaps(to_heatmap_size(self.head(middle)), self.num_keypoints, middle, early)

    def freeze(self, num_stages: int) -> None:
        """Leave the stem and the first stages as they are: no gradient, and batch norm in eval mode.

        Args:
            num_stages: How many of the four, which end in the features at strides 4, 8, 16 and 32; 0 = none.
        """
        if num_stages == 0:
            return
        named = dict(self.backbone.named_modules())
        # timm writes a stage's name with underscores where it cuts a network up.
        stage = self.backbone.feature_info.module_name()[num_stages - 1].replace(".", "_")
        inside = [i for i, name in enumerate(named) if f"{name.replace('.', '_')}_".startswith(f"{stage}_")]
        self._frozen = list(named.values())[: max(inside) + 1]
        for module in self._frozen:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> "BackboneDetector":
        """As every module's, but what is frozen stays in eval mode."""
        super().train(mode)
        for module in self._frozen:
            module.training = False  # not eval(), which would reach the stages that follow
        return self


def merge(
    finer: list[Tensor], coarsest: Tensor, laterals: nn.ModuleList, up_blocks: nn.ModuleList
) -> Float[Tensor, "batch channel row column"]:
    """Features of all levels at the finest one's size.

    Args:
        finer: [batch, channel, row, column], from fine to coarse.
        coarsest: What comes after them.
        laterals: Brings each level to the same number of channels.
        up_blocks: What follows each merge, from coarse to fine.
    """
    merged: Tensor = laterals[-1](coarsest)
    for level, block in zip(range(len(finer) - 1, -1, -1), up_blocks, strict=True):
        enlarged = F.interpolate(merged, finer[level].shape[2:], mode="bilinear", align_corners=False)
        merged = block(enlarged + laterals[level](finer[level]))
    return merged


def to_heatmap_size(
    logits: Float[Tensor, "batch point row column"],
) -> Float[Tensor, "batch point heatmap_row heatmap_column"]:
    """Resize to 32 x 32, bilinearly, keeping cell edges in place."""
    if logits.shape[2:] == (HEATMAP_SIZE, HEATMAP_SIZE):
        return logits
    return F.interpolate(logits.float(), (HEATMAP_SIZE, HEATMAP_SIZE), mode="bilinear", align_corners=False)


def create_backbone(backbone: str, tensors: dict[str, Tensor] | None = None) -> Any:
    """A network of timm's that gives a list of features, from fine to coarse.

    Args:
        backbone: `ModelConfig.backbone`: timm:NAME.
        tensors: Of the whole network with its classifier; None leaves random numbers.

    Raises:
        UsageError: timm has no such network, or it does not give features at these strides.
        RuntimeError: the tensors are not those of this network.
    """
    import timm  # takes seconds, and most runs need none of it

    name = backbone.removeprefix("timm:")
    if not timm.is_model(name.partition(".")[0]):
        raise UsageError(
            f"timm {timm.__version__} has no network {name!r}; timm.list_models() names them all"
        )
    # Most networks have features at stride 2 in front, some have not.
    for indices in ((1, 2, 3, 4), (0, 1, 2, 3)):
        try:
            network: Any = timm.create_model(
                name,
                features_only=True,
                out_indices=indices,
                pretrained=tensors is not None,
                pretrained_cfg_overlay=None if tensors is None else {"state_dict": tensors},
            )
        except (IndexError, AssertionError):
            continue
        if tuple(network.feature_info.reduction()) == STRIDES:
            return network
    raise UsageError(f"{name} gives no features at strides 4, 8, 16 and 32; choose a convolutional network")
