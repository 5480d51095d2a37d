"""The decoder: paints the image back from a few visible patches and the edge map. Training only."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dkpvid.config import ModelConfig
from dkpvid.models.detector import NEGATIVE_SLOPE, double_size, initialize
from dkpvid.shapes import Float


class Decoder(nn.Module):
    """A U-Net over [masked image, edge map].

    The patches give it colour and texture, so the edge map is left to say where the parts are.
    Source: He et al. 2022, AutoLink, section 3.3 and its reference code.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        w = config.decoder_width
        self.image_scale = nn.Parameter(torch.ones(()))
        self.first = nn.Conv2d(4, w, 3, padding=1)
        self.down_blocks = nn.ModuleList(
            DecoderDownBlock(before, after)
            for before, after in [(w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w), (8 * w, 8 * w)]
        )
        self.up_blocks = nn.ModuleList(
            DecoderUpBlock(before, after)
            for before, after in [(8 * w, 8 * w), (16 * w, 4 * w), (8 * w, 2 * w), (4 * w, w)]
        )
        self.last = nn.Conv2d(2 * w, 3, 3, padding=1)
        initialize(self)

    def forward(
        self,
        masked_images: Float[Tensor, "batch 3 size size"],
        edge_map: Float[Tensor, "batch 1 size size"],
    ) -> Float[Tensor, "batch 3 size size"]:
        """Reconstruct RGB in [-1, 1] (not clipped)."""
        x = torch.cat([self.image_scale * masked_images, edge_map], dim=1)
        x = F.leaky_relu(self.first(x), NEGATIVE_SLOPE)
        features = [x]
        for block in self.down_blocks:
            features.append(block(features[-1]))
        x = features.pop()
        for block in self.up_blocks:
            x = torch.cat([block(x), features.pop()], dim=1)
        reconstruction: Tensor = self.last(x)
        return reconstruction


class DecoderBlock(nn.Module):
    """Two convolutions, each with its batch norm; what happens around them differs."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels_out)


class DecoderDownBlock(DecoderBlock):
    """Convolution, batch norm, LeakyReLU, convolution, batch norm, x0.5, LeakyReLU."""

    def forward(self, x: Float[Tensor, "batch channel row column"]) -> Tensor:
        """Features at half the rows and columns."""
        x = F.leaky_relu(self.norm1(self.conv1(x)), NEGATIVE_SLOPE)
        x = F.avg_pool2d(self.norm2(self.conv2(x)), 2)
        return F.leaky_relu(x, NEGATIVE_SLOPE)


class DecoderUpBlock(DecoderBlock):
    """x2, then twice: convolution, batch norm, LeakyReLU."""

    def forward(self, x: Float[Tensor, "batch channel row column"]) -> Tensor:
        """Features at twice the rows and columns."""
        x = F.leaky_relu(self.norm1(self.conv1(double_size(x))), NEGATIVE_SLOPE)
        return F.leaky_relu(self.norm2(self.conv2(x)), NEGATIVE_SLOPE)
