"""Random changes of how crops look: colours, light, blur, low resolution, noise, and things in front."""

import math

import torch
from numpy import ndarray
from torch import Generator, Tensor
from torch.nn import functional as F

from dkpvid.shapes import Bool, Float, UInt8

BLURRED = 0.18
SHRUNKEN = 0.22
"""Shares of the crops."""


def vary_colours(
    images: Float[Tensor, "batch 3 size size"], silhouette: Float[Tensor, "batch 1 size size"], rng: Generator
) -> Float[Tensor, "batch 3 size size"]:
    """Other clothes and skin, light, lens and noise.

    Args:
        images: RGB in 0..1.
        silhouette: Where the person is, whose colours are mixed apart from the rest's by chance.
        rng: Draws.
    """
    count = len(images)

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=rng)

    is_dyed = (torch.rand(count, 1, 1, 1, generator=rng) < 0.4) * silhouette
    mix = torch.eye(3) + 0.15 * normal(3, 3)
    dyed = torch.einsum("bij,bjhw->bihw", mix, images - 0.35) + 0.35
    images = images * (1 - is_dyed) + dyed * is_dyed
    images = images.clamp(1e-3, 1) ** torch.exp(0.25 * normal(1, 1, 1))
    grey = images.mean(dim=1, keepdim=True)
    saturation = torch.exp(0.3 * normal(1, 1, 1))
    is_grey = torch.rand(count, 1, 1, 1, generator=rng) < 0.06
    images = grey + (images - grey) * torch.where(is_grey, 0.0, saturation)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * torch.exp(0.22 * normal(1, 1, 1)) + mean
    images = images + 0.08 * normal(1, 1, 1) + 0.04 * normal(3, 1, 1)
    images = _lose_detail(images, rng)
    is_noisy = torch.rand(count, 1, 1, 1, generator=rng) < 0.5
    strength = 0.035 * torch.rand(count, 1, 1, 1, generator=rng) * is_noisy
    return (images + strength * normal(*images.shape[1:])).clamp(0, 1)


def _lose_detail(images: Float[Tensor, "batch 3 size size"], rng: Generator) -> Tensor:
    """Blur some, and show some as they look after having been small."""
    size = images.shape[2]
    chance = torch.rand(len(images), generator=rng)
    is_blurred = chance < BLURRED
    padded = F.pad(images[is_blurred], (1, 1, 1, 1), mode="replicate")
    images[is_blurred] = F.avg_pool2d(padded, 3, stride=1)
    for row in torch.nonzero((chance >= BLURRED) & (chance < BLURRED + SHRUNKEN))[:, 0].tolist():
        small = int(size / (1.5 + 1.5 * torch.rand((), generator=rng)))
        shrunken = F.interpolate(images[row : row + 1], (small, small), mode="area")
        images[row : row + 1] = F.interpolate(shrunken, (size, size), mode="bilinear", align_corners=False)
    return images


def hide_parts(
    images: Float[Tensor, "batch 3 size size"],
    joints: Float[Tensor, "batch joint 2"],
    backgrounds: UInt8[ndarray, "place 3 side side"],
    rng: Generator,
    share: float = 0.35,
) -> tuple[Float[Tensor, "batch 3 size size"], Bool[Tensor, "batch joint"]]:
    """Put one or two rectangles, plain or cut from a background, before some of the crops.

    Args:
        images: RGB in 0..1; changed in place.
        joints: (x, y) in model space.
        backgrounds: RGB bytes, at least as large as the crops.
        rng: Draws.
        share: Of the crops.

    Returns:
        The images, and which joints lie behind a rectangle.
    """
    size = images.shape[2]
    is_hidden = torch.zeros(joints.shape[:2], dtype=torch.bool)
    pixels = (joints + 1) / 2 * (size - 1)
    for row in torch.nonzero(torch.rand(len(images), generator=rng) < share)[:, 0].tolist():
        for _ in range(int(torch.randint(1, 3, (), generator=rng))):
            spread = math.log(0.06) + torch.rand(2, generator=rng) * math.log(0.4 / 0.06)
            sides = (torch.exp(spread) * size).clamp(min=3).int()
            corner = (torch.rand(2, generator=rng) * size).int() - sides // 2
            left, top = corner.clamp(min=0).tolist()
            right, bottom = (corner + sides).clamp(max=size).tolist()
            if right <= left or bottom <= top:
                continue
            if torch.rand((), generator=rng) < 0.5:
                images[row, :, top:bottom, left:right] = torch.rand(3, 1, 1, generator=rng)
            else:
                place = backgrounds[int(torch.randint(len(backgrounds), (), generator=rng))]
                piece = torch.from_numpy(place[:, : bottom - top, : right - left]).float() / 255
                images[row, :, top:bottom, left:right] = piece
            x, y = pixels[row].T
            is_hidden[row] |= (x >= left) & (x < right) & (y >= top) & (y < bottom)
    return images, is_hidden
