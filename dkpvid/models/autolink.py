"""AutoLink: detector, mask, edge map and decoder, wired for training."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dkpvid.config import ModelConfig
from dkpvid.models.decoder import Decoder
from dkpvid.models.detector import Detections
from dkpvid.models.edge_map import EdgeMap
from dkpvid.models.networks import make_detector
from dkpvid.shapes import Float

MASK_GRID = 16


class Reconstruction(NamedTuple):
    """One training pass over a batch."""

    images: Float[Tensor, "batch 3 size size"]
    """The decoder's picture, RGB in [-1, 1] (not clipped)."""
    detections: Detections
    edge_map: Float[Tensor, "batch 1 size size"]
    masked_images: Float[Tensor, "batch 3 size size"]


class AutoLink(nn.Module):
    """Teacher (on depth maps) and student (on RGB) are both this network.

    Source: He et al. 2022, AutoLink: Self-supervised Learning of Human Skeletons and Object Outlines by
    Linking Keypoints, NeurIPS (arXiv 2205.10636), fig. 2.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.detector = make_detector(config)
        self.edge_map = EdgeMap(config)
        self.decoder = Decoder(config)

    def forward(self, images: Float[Tensor, "batch 3 size size"], mask_ratio: float) -> Reconstruction:
        """Detect, draw, hide most of the image, paint it back.

        Args:
            images: RGB in [-1, 1] at the training size.
            mask_ratio: Chance of each cell of a 16 x 16 grid to be hidden.
        """
        detections: Detections = self.detector(images)
        edge_map = self.edge_map(detections.keypoints, images.shape[-1])
        masked_images = images * random_mask(images, mask_ratio)
        return Reconstruction(self.decoder(masked_images, edge_map), detections, edge_map, masked_images)


def random_mask(
    images: Float[Tensor, "batch 3 size size"], mask_ratio: float
) -> Float[Tensor, "batch 1 size size"]:
    """1 where the image stays visible; each cell of a 16 x 16 grid is hidden with chance `mask_ratio`."""
    keep = torch.rand(len(images), 1, MASK_GRID, MASK_GRID, device=images.device) >= mask_ratio
    return F.interpolate(keep.to(images.dtype), images.shape[2:], mode="nearest")
