"""MiDaS 3.1: a dense prediction transformer with a SwinV2 backbone; one picture in, its nearness out."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dkpvid.shapes import Float
from dkpvid.untrusted.loading import load_exactly, read_tensors


@dataclass(frozen=True)
class DptVariant:
    """One of the published sizes."""

    backbone: str
    """Its name in timm."""
    input_size: int
    """Side of the square picture it was trained on, in pixels."""


DPT_VARIANTS = {
    "dpt-swin2-large-384": DptVariant("swinv2_large_window12to24_192to384", 384),
    "dpt-swin2-base-384": DptVariant("swinv2_base_window12to24_192to384", 384),
    "dpt-swin2-tiny-256": DptVariant("swinv2_tiny_window16_256", 256),
}


class DptSwinV2(nn.Module):
    """Relative inverse depth (near = large, 0 or more, without unit) of square pictures.

    Args:
        backbone: Gives four feature maps [batch row column channel], fine to coarse, each half the size of
            the one before.
        channels: Of those maps.
        width: Channels of the decoder.

    Source: Birkl et al. 2023, arXiv 2307.14460; the decoder is that of Ranftl et al. 2021, arXiv 2103.13413.
    """

    def __init__(self, backbone: nn.Module, channels: Sequence[int], width: int = 256) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = nn.ModuleList(nn.Conv2d(count, width, 3, padding=1, bias=False) for count in channels)
        self.fusion = nn.ModuleList(_Fusion(width, has_skip=level > 0) for level in range(len(channels)))
        self.head = nn.Sequential(
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(width // 2, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 1),
            nn.ReLU(),
        )

    def forward(self, images: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch size size"]:
        """Nearness of RGB pictures in [-1, 1]."""
        features = [
            conv(feature.permute(0, 3, 1, 2))
            for conv, feature in zip(self.neck, self.backbone(images), strict=True)
        ]
        skips = features[::-1]  # coarse to fine
        x = self.fusion[0](skips[0], None, skips[1].shape[2:])
        for level, block in enumerate(self.fusion[1:], start=1):
            height, width = skips[level].shape[2:]
            is_last = level == len(skips) - 1
            x = block(x, skips[level], (2 * height, 2 * width) if is_last else skips[level + 1].shape[2:])
        # bfloat16 has eight bits: a smooth slope would come out as a staircase.
        with torch.autocast(x.device.type, enabled=False):
            nearness: Tensor = self.head(x.float())
        return nearness.squeeze(1)


class _Fusion(nn.Module):
    """Adds the skip features to the coarser ones, and enlarges the sum."""

    def __init__(self, width: int, has_skip: bool) -> None:
        super().__init__()
        self.unit1 = _ResidualUnit(width) if has_skip else None
        self.unit2 = _ResidualUnit(width)
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, skip: Tensor | None, size: tuple[int, int]) -> Tensor:
        if self.unit1 is not None and skip is not None:
            x = x + self.unit1(skip)
        # The original enlarges first; a 1 x 1 convolution gives the same before it, at a quarter of the cost.
        x = self.project(self.unit2(x))
        return F.interpolate(x, size, mode="bilinear", align_corners=True)


class _ResidualUnit(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.conv2(F.relu(self.conv1(F.relu(x))))
        return x + change


def build_dpt(variant: DptVariant) -> DptSwinV2:
    """The network of a published size, with random weights."""
    backbone: Any = timm.create_model(variant.backbone, features_only=True)
    return DptSwinV2(backbone, backbone.feature_info.channels())


def load_dpt(network: DptSwinV2, path: Path, name: str) -> None:
    """Fill the network from a published file: MiDaS's own `.pt`, or the safetensors of `transformers`.

    Args:
        network: Of the size that the file was made for.
        path: The file; the names in it tell which of the two kinds it is.
        name: What the network is called, for error messages.

    Raises:
        WeightsError: the file is missing, damaged, of another network, or not complete.
    """
    load_exactly(network, rename_tensors(read_tensors(path)), path, name)


# What published files hold beside the weights that are used: tables that follow from the architecture, the
# classifier that the backbone was trained with, and the unit that has no skip features to work on.
_UNUSED = re.compile(
    r"attn_mask$|relative_position_index$|relative_coords_table$"
    r"|^pretrained\.model\.(head|norm)\."
    r"|^scratch\.refinenet4\.resConfUnit1\.|^neck\.fusion_stage\.layers\.0\.residual_layer1\."
)


def _next_stage(match: re.Match[str]) -> str:
    # timm keeps each down-sampling at the start of the next stage, published files at the end of the last.
    return f"backbone.layers_{int(match[1]) + 1}.downsample"


# Patterns of published names and what they become, applied in this order.
_RENAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    # MiDaS
    (r"^pretrained\.model\.layers\.(\d)\.downsample", _next_stage),
    (r"^pretrained\.model\.layers\.", "backbone.layers_"),
    (r"^pretrained\.model\.", "backbone."),
    (r"^scratch\.layer(\d)_rn", lambda match: f"neck.{int(match[1]) - 1}"),
    # Counted from fine to coarse; ours run from coarse to fine.
    (r"^scratch\.refinenet(\d)", lambda match: f"fusion.{4 - int(match[1])}"),
    (r"\.resConfUnit", ".unit"),
    (r"\.out_conv\.", ".project."),
    (r"^scratch\.output_conv\.", "head."),
    # transformers
    (r"^backbone\.embeddings\.patch_embeddings\.projection\.", "backbone.patch_embed.proj."),
    (r"^backbone\.embeddings\.norm\.", "backbone.patch_embed.norm."),
    (r"^backbone\.encoder\.layers\.(\d)\.downsample", _next_stage),
    (r"^backbone\.encoder\.layers\.", "backbone.layers_"),
    (r"\.attention\.self\.query\.bias", ".attn.q_bias"),
    (r"\.attention\.self\.value\.bias", ".attn.v_bias"),
    (r"\.attention\.self\.continuous_position_bias_mlp\.", ".attn.cpb_mlp."),
    (r"\.attention\.self\.", ".attn."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"^neck\.convs\.", "neck."),
    (r"^neck\.fusion_stage\.layers\.", "fusion."),
    (r"\.residual_layer", ".unit"),
    (r"\.convolution", ".conv"),
    (r"\.projection\.", ".project."),
    (r"^head\.head\.", "head."),
)


def rename_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of either kind of published file our names; unknown names stay as they are."""
    renamed = {}
    for name, value in tensors.items():
        if not _UNUSED.search(name):
            for pattern, replacement in _RENAMES:
                name = re.sub(pattern, replacement, name)
            renamed[name] = value
    # transformers keeps queries, keys and values apart; timm computes the three in one go.
    for name in [name for name in renamed if name.endswith(".attn.query.weight")]:
        parts = [name.replace("query", part) for part in ("query", "key", "value")]
        if all(part in renamed for part in parts):
            renamed[name.replace("query", "qkv")] = torch.cat([renamed.pop(part) for part in parts])
    return renamed
