"""The detector for inference: the trained network's output, from fewer and cheaper operations."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dkpvid.models.detector import (
    NEGATIVE_SLOPE,
    DownBlock,
    KeypointDetector,
    double_size,
    heatmap_covariance,
    soft_argmax,
)
from dkpvid.shapes import Float, UInt8


class FusedNetwork(nn.Module):
    """Bytes in, points and their covariance out: the keypoints, then the joints that were taught by name."""

    image_size: int
    num_keypoints: int
    head: nn.Conv2d

    def forward(
        self, images: UInt8[Tensor, "batch size size 3"]
    ) -> tuple[Float[Tensor, "batch point 2"], Float[Tensor, "batch point 3"]]:
        """Points in model space, and their heatmaps' (xx, xy, yy) covariance in squared model units.

        Args:
            images: RGB, of the network's size.
        """
        pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
        logits = self.logits(pixels.to(self.head.weight.dtype)).float()
        heatmaps = logits.flatten(2).softmax(dim=2).view_as(logits)
        points = soft_argmax(heatmaps)
        return points, heatmap_covariance(heatmaps, points)

    def logits(self, x: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch point row column"]:
        """The heatmaps before their softmax, of RGB in [-1, 1]."""
        raise NotImplementedError

    def _settle(self) -> None:
        """Make all ready for inference, at the end of a constructor."""
        self.requires_grad_(False)
        self.eval()
        self.to(memory_format=torch.channels_last)


class FusedDetector(FusedNetwork):
    """Equal to the trained detector in eval mode.

    Batch norm is folded into the convolution before it, branch and skip of a down block start as one
    convolution, and that one runs at stride 2 on averaged input; see `FusedDownBlock`.

    Args:
        detector: The trained network; it is copied, not changed.
    """

    def __init__(self, detector: KeypointDetector) -> None:
        super().__init__()
        self.image_size = detector.image_size
        self.num_keypoints = detector.num_keypoints
        self.down_blocks = nn.ModuleList(FusedDownBlock(block) for block in detector.down_blocks)  # type: ignore[arg-type]
        self.up_convs = nn.ModuleList(folded(block.conv, block.norm) for block in detector.up_blocks)  # type: ignore[arg-type]
        self.head = folded(detector.head)
        self._settle()

    def logits(self, x: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch point row column"]:
        """The heatmaps before their softmax, of RGB in [-1, 1]."""
        for block in self.down_blocks:
            x = block(x)
        for conv in self.up_convs:
            x = F.leaky_relu_(conv(double_size(x)), NEGATIVE_SLOPE)
        logits: Tensor = self.head(x)
        return logits


class FusedDownBlock(nn.Module):
    """A down block in two convolutions.

    A convolution and the mean over 2 x 2 neighbours commute. So the mean is taken first, once for branch
    and skip, and the convolution computes only every second row and column: a quarter of the products of
    convolution and resize, and 9/16 of those of one 4 x 4 convolution. Zeros around the image count in the
    mean, since the convolution would have seen them.
    """

    def __init__(self, block: DownBlock) -> None:
        super().__init__()
        branch, skip = folded(block.conv1, block.norm1), folded(block.skip_conv, block.skip_norm)
        self.first = nn.Conv2d(branch.in_channels, 2 * branch.out_channels, 3, stride=2)
        for name in ("weight", "bias"):
            self.first.get_parameter(name).data = torch.cat(
                [branch.get_parameter(name), skip.get_parameter(name)]
            )
        self.second = folded(block.conv2, block.norm2)

    def forward(self, x: Float[Tensor, "batch channel row column"]) -> Tensor:
        """Features at half the rows and columns."""
        branch, skip = self.first(F.avg_pool2d(x, 2, stride=1, padding=1)).chunk(2, dim=1)
        branch = self.second(F.leaky_relu(branch, NEGATIVE_SLOPE))
        return F.leaky_relu_(branch + skip, NEGATIVE_SLOPE)


@torch.no_grad()
def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None) -> nn.Conv2d:
    """A copy of a convolution that does the work of the batch norm after it, as in eval mode, too."""
    # The copy is made whole and keeps stride, groups and whatever else a subclass has.
    result = copy.deepcopy(conv).cpu()
    if result.bias is None:
        result.bias = nn.Parameter(torch.zeros(conv.out_channels))
    if norm is not None:
        mean, variance = norm.running_mean.cpu().double(), norm.running_var.cpu().double()  # type: ignore[union-attr]
        scale = norm.weight.cpu().double() / torch.sqrt(variance + norm.eps)
        weight, bias = result.weight.double(), result.bias.double()
        result.weight.copy_(weight * scale.view(-1, 1, 1, 1))
        result.bias.copy_((bias - mean) * scale + norm.bias.cpu().double())
    return result
