"""The keypoint detector: an image in, heatmaps and their expected positions out."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dkpvid.config import ModelConfig
from dkpvid.shapes import Float

HEATMAP_SIZE = 32
NEGATIVE_SLOPE = 0.2


class JointDetections(NamedTuple):
    """What the detector finds of the joints that it was taught by name; see `Detections`."""

    keypoints: Float[Tensor, "batch joint 2"]
    heatmaps: Float[Tensor, "batch joint row column"]
    logits: Float[Tensor, "batch joint row column"]


class Detections(NamedTuple):
    """What the detector finds in a batch of images."""

    keypoints: Float[Tensor, "batch keypoint 2"]
    """(x, y) in model space, [-1, 1]."""
    heatmaps: Float[Tensor, "batch keypoint row column"]
    """Where each keypoint may be: sums to 1 over the cells."""
    logits: Float[Tensor, "batch keypoint row column"]
    """The heatmaps before their softmax: the detector's `output` embedding."""
    middle: Float[Tensor, "batch channel row column"]
    """Features after the last up block: the `middle` embedding."""
    early: Float[Tensor, "batch channel coarse_row coarse_column"]
    """Features after the last down block: the `early` embedding."""
    joints: JointDetections | None = None
    """None where the network was taught none."""


class KeypointDetector(nn.Module):
    """Residual down blocks, two up blocks, and a soft-argmax over 32 x 32 cells.

    Source: He et al. 2022, AutoLink (arXiv 2205.10636), section 3.1 and its reference code. An input of
    128 pixels takes four down blocks, one of 64 pixels three: both end in the same 32 x 32 heatmaps.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.image_size = config.image_size
        self.num_keypoints = config.num_keypoints
        num_down = 4 if config.image_size == 128 else 3
        widths = [config.detector_width * 2**level for level in range(num_down)]
        self.down_blocks = nn.ModuleList(
            DownBlock(before, after) for before, after in zip([3, *widths], widths, strict=False)
        )
        self.up_blocks = nn.ModuleList([UpBlock(widths[-1], widths[-2]), UpBlock(widths[-2], widths[-3])])
        self.head = nn.Conv2d(widths[-3], config.num_keypoints + len(config.joints), 3, padding=1)
        initialize(self)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Detections:
        """Find the keypoints.

        Args:
            images: RGB in [-1, 1], any size; resized to the square input.
        """
        early = resize(images, self.image_size)
        for block in self.down_blocks:
            early = block(early)
        middle = early
        for block in self.up_blocks:
            middle = block(middle)
        return read_heatmaps(self.head(middle), self.num_keypoints, middle, early)


class DownBlock(nn.Module):
    """Halve the size: LeakyReLU(branch + skip), each starting with a convolution and a x0.5 resize."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.skip_conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.skip_norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Float[Tensor, "batch channel row column"]) -> Tensor:
        """Features at half the rows and columns."""
        # Both branches start from the same input, so their first convolutions are run as one.
        weight = torch.cat([self.conv1.weight, self.skip_conv.weight])
        bias = torch.cat([self.conv1.bias, self.skip_conv.bias])  # type: ignore[list-item]
        branch, skip = half_size_conv(x, weight, bias).chunk(2, dim=1)
        branch = F.leaky_relu(self.norm1(branch), NEGATIVE_SLOPE)
        return F.leaky_relu(self.norm2(self.conv2(branch)) + self.skip_norm(skip), NEGATIVE_SLOPE)


class UpBlock(nn.Module):
    """Double the size: bilinear, convolution, batch norm, LeakyReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Float[Tensor, "batch channel row column"]) -> Tensor:
        """Features at twice the rows and columns."""
        return F.leaky_relu(self.norm(self.conv(double_size(x))), NEGATIVE_SLOPE)


def read_heatmaps(
    logits: Float[Tensor, "batch point row column"],
    num_keypoints: int,
    middle: Float[Tensor, "batch channel fine_row fine_column"],
    early: Float[Tensor, "batch coarse_channel coarse_row coarse_column"],
) -> Detections:
    """The places that heatmaps before their softmax stand for.

    Args:
        logits: Those of the keypoints, then those of the joints; of any precision.
        num_keypoints: How many are keypoints.
        middle: See `Detections`.
        early: See `Detections`.
    """
    # The soft-argmax is a sum over 1024 cells: in half precision it would be off by pixels.
    logits = logits.float()
    heatmaps = logits.flatten(2).softmax(dim=2).view_as(logits)
    places = soft_argmax(heatmaps)
    joints = None
    if logits.shape[1] > num_keypoints:
        joints = JointDetections(*(part[:, num_keypoints:] for part in (places, heatmaps, logits)))
        places, heatmaps, logits = (part[:, :num_keypoints] for part in (places, heatmaps, logits))
    return Detections(places, heatmaps, logits, middle, early, joints)


def initialize(network: nn.Module) -> None:
    """Start all convolutions for LeakyReLU (He et al. 2015), with biases of zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=NEGATIVE_SLOPE)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def half_size_conv(
    x: Float[Tensor, "batch channel row column"],
    weight: Float[Tensor, "out channel 3 3"],
    bias: Float[Tensor, " out"],
) -> Float[Tensor, "batch out half_row half_column"]:
    """A 3 x 3 convolution followed by a bilinear x0.5 resize, at a quarter of the multiplications.

    Without aligned corners the x0.5 resize is the mean of 2 x 2 neighbours, and a mean and a convolution
    commute. So the mean is taken first, and the convolution works out every second row and column only. The
    zeros around the image count in the mean, since the convolution would have seen them.
    """
    return F.conv2d(F.avg_pool2d(x, 2, stride=1, padding=1), weight, bias, stride=2)


def double_size(x: Float[Tensor, "batch channel row column"]) -> Tensor:
    """Bilinear x2."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def resize(images: Float[Tensor, "batch 3 height width"], size: int) -> Float[Tensor, "batch 3 size size"]:
    """Resize to a square, bilinearly, keeping pixel edges in place; not antialiased, as in the reference."""
    if images.shape[2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False)


def soft_argmax(
    heatmaps: Float[Tensor, "batch keypoint row column"],
) -> Float[Tensor, "batch keypoint 2"]:
    """The expected (x, y) of each heatmap; cells lie at linspace(-1, 1, cells).

    Source: He et al. 2022, AutoLink, eq. 1.
    """
    rows, columns = (torch.linspace(-1, 1, cells, device=heatmaps.device) for cells in heatmaps.shape[2:])
    # Not written with @, which mixed precision would round to a quarter of a pixel.
    x = (heatmaps.sum(dim=2) * columns).sum(dim=2)
    y = (heatmaps.sum(dim=3) * rows).sum(dim=2)
    return torch.stack([x, y], dim=2)


def heatmap_covariance(
    heatmaps: Float[Tensor, "batch keypoint row column"], keypoints: Float[Tensor, "batch keypoint 2"]
) -> Float[Tensor, "batch keypoint 3"]:
    """(xx, xy, yy) of each heatmap about its expected position, in squared model units."""
    rows, columns = (torch.linspace(-1, 1, cells, device=heatmaps.device) for cells in heatmaps.shape[2:])
    x = columns - keypoints[:, :, :1]
    y = rows - keypoints[:, :, 1:]
    xx = (heatmaps.sum(dim=2) * x.square()).sum(dim=2)
    yy = (heatmaps.sum(dim=3) * y.square()).sum(dim=2)
    xy = torch.einsum("bkrc,bkr,bkc->bk", heatmaps, y, x)
    return torch.stack([xx, xy, yy], dim=2)
