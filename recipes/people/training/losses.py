"""What the student and the teacher are trained on beyond the package's own losses."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from dkpvid.models.detector import HEATMAP_SIZE, soft_argmax
from dkpvid.shapes import Float, Int
from recipes.people.training.crops import Crops, Seen

HIDDEN_WEIGHT = 0.6
"""Of a joint that is hidden, where one that is seen counts 1."""
TARGET_SPREAD = 1.0
"""Standard deviation of the heatmap that is asked for, in cells."""


class JointLosses(NamedTuple):
    """Means over the joints of a batch."""

    heatmap: Float[Tensor, ""]
    """Cross entropy to a small Gaussian, in nats."""
    place: Float[Tensor, ""]
    """|dx| + |dy| of the soft-argmax, in model units."""
    absence: Float[Tensor, ""]
    """How far the heatmaps of joints that are not there are from saying so: from being even, in nats."""


def joint_losses(
    logits: Float[Tensor, "batch joint row column"],
    joints: Float[Tensor, "batch joint 2"],
    seen: Int[Tensor, "batch joint"],
) -> JointLosses:
    """How well heatmaps show joints whose places are known."""
    log_heatmaps = logits.flatten(2).log_softmax(dim=2)
    cells = torch.arange(HEATMAP_SIZE, device=joints.device)
    offset = (cells - (joints[..., None] + 1) / 2 * (HEATMAP_SIZE - 1)) / TARGET_SPREAD
    across, down = torch.exp(-offset.square() / 2).unbind(dim=2)
    target = (down[..., :, None] * across[..., None, :]).flatten(2)
    target = target / target.sum(dim=2, keepdim=True).clamp(min=1e-6)
    heatmaps = log_heatmaps.exp().unflatten(2, (HEATMAP_SIZE, HEATMAP_SIZE))
    weight = (seen == Seen.VISIBLE) + HIDDEN_WEIGHT * (seen == Seen.HIDDEN)
    total = weight.sum().clamp(min=1)
    cross_entropy = -(target * log_heatmaps).sum(dim=2)
    distance = (soft_argmax(heatmaps) - joints).abs().sum(dim=2)
    unevenness = -log_heatmaps.mean(dim=2) - math.log(HEATMAP_SIZE**2)
    return JointLosses(
        (weight * cross_entropy).sum() / total,
        (weight * distance).sum() / total,
        ((seen == Seen.OUTSIDE) * unevenness).mean(),
    )


def dense_loss(predicted: Float[Tensor, "batch 2 row column"], crops: Crops) -> Float[Tensor, ""]:
    """Silhouette (cross entropy) and depth (mean absolute difference), which every pixel of a picture tells.

    Args:
        predicted: Both as logits.
        crops: Their depth counts where the picture is as it was rendered.
    """
    shape = predicted.shape[2:]
    silhouette = F.interpolate(crops.silhouette, shape, mode="area")
    depth = F.interpolate(crops.depth, shape, mode="area")
    is_rendered = ~crops.is_composite[:, None, None, None]
    difference = (predicted[:, 1:].sigmoid() - depth).abs() * is_rendered
    return 0.3 * F.binary_cross_entropy_with_logits(predicted[:, :1], silhouette) + 0.5 * difference.mean()
