"""Random changes of training frames. What moves a picture moves its depth map alike."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dkpvid.shapes import Float

CROP_ZOOM = 0.2
"""A crop's side is exp(-CROP_ZOOM) to exp(CROP_ZOOM) of the frame's."""
CROP_STRETCH = 0.07
"""Its height is up to exp(CROP_STRETCH) times its width, or the reverse."""
CROP_SHIFT = 0.05
"""It is moved by up to so much of the frame's side, each way."""


def augment(
    images: Float[Tensor, "batch channel size size"], *, flip: bool, crop: bool
) -> Float[Tensor, "batch channel size size"]:
    """Change each image at random, in the ways that are asked for."""
    if flip:
        images = random_flip(images)
    return random_crop(images) if crop else images


def random_flip(
    images: Float[Tensor, "batch channel size size"],
) -> Float[Tensor, "batch channel size size"]:
    """Mirror each image left to right with chance one half, all of its channels alike."""
    is_flipped = torch.rand(len(images), 1, 1, 1).to(images.device) < 0.5
    return torch.where(is_flipped, images.flip(3), images)


def random_crop(
    images: Float[Tensor, "batch channel size size"],
) -> Float[Tensor, "batch channel size size"]:
    """See a little more or less of each image, from a little beside: moved, zoomed and stretched at random.

    A network thus meets a subject at more places and sizes than its clips show. Beyond an image its edge goes
    on. All channels are treated alike.
    """
    zoom, stretch, right, down = (2 * torch.rand(4, len(images)) - 1).to(images.device)
    side = torch.exp(CROP_ZOOM * zoom)
    crops = torch.zeros(len(images), 2, 3, device=images.device)
    crops[:, 0, 0] = side
    crops[:, 1, 1] = side * torch.exp(CROP_STRETCH * stretch)
    # An image is 2 wide here.
    crops[:, 0, 2] = 2 * CROP_SHIFT * right
    crops[:, 1, 2] = 2 * CROP_SHIFT * down
    grid = F.affine_grid(crops, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
