"""Random crops of rendered people, normalised to the body, with everything that is known about them."""

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from torch import Generator, Tensor
from torch.nn import functional as F

from dkpvid.shapes import Bool, Float, Int, UInt8
from recipes.people.training.appearance import hide_parts, vary_colours
from recipes.people.training.strips import RenderedStrips

MIRRORED = torch.tensor([0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15])
"""COCO's 17 joints as a mirror shows them: left and right exchanged."""


class Seen(IntEnum):
    """What a picture tells of a joint."""

    OUTSIDE = 0
    """It lies outside the crop, or there is nobody."""
    HIDDEN = 1
    VISIBLE = 2
    UNKNOWN = 3
    """It lies where the rendered picture had ended: nothing can be said."""


@dataclass(frozen=True)
class CropConfig:
    """How people are framed; the shares are of the crops."""

    size: int = 96
    """Side of a crop, in pixels."""
    whole: float = 0.8
    """Of people who are shown whole."""
    wide: float = 0.1
    """With much room around the person."""
    empty: float = 0.06
    """Without a person."""
    composite: float = 0.35
    """With the person before another background."""


class Crops(NamedTuple):
    """A batch."""

    images: Float[Tensor, "batch 3 size size"]
    """RGB in [-1, 1]."""
    joints: Float[Tensor, "batch joint 2"]
    """(x, y) in model space."""
    seen: Int[Tensor, "batch joint"]
    """Of `Seen`."""
    depth: Float[Tensor, "batch 1 size size"]
    """Inverse depth, 0..1; not that of the picture where `is_composite`."""
    silhouette: Float[Tensor, "batch 1 size size"]
    is_composite: Bool[Tensor, " batch"]
    """The background is another's, or the person is not there."""


def random_crops(
    strips: RenderedStrips,
    backgrounds: UInt8[ndarray, "place 3 side side"],
    count: int,
    config: CropConfig,
    rng: Generator,
) -> Crops:
    """Draw frames, frame their people anew and change how they look."""
    rows = _draw_rows(strips, count, config, rng)
    around, is_flipped = _draw_windows(strips.joints[rows], strips.side, count, config, rng)
    layers = np.concatenate(
        [strips.pictures[rows], strips.depth[rows, None], 255 * strips.silhouettes[rows, None]], axis=1
    )
    grid = F.affine_grid(_to_grid(around, strips.side), [count, 5, config.size, config.size], False)
    moved = F.grid_sample(
        torch.from_numpy(layers).float() / 255, grid, padding_mode="border", align_corners=False
    )
    was_drawn = (grid.abs() <= 1).all(dim=3)[:, None]
    images, depth, silhouette = moved[:, :3], moved[:, 3:4], moved[:, 4:] * was_drawn
    joints, seen = _move_joints(strips, rows, around, is_flipped, config.size)

    places = _draw_backgrounds(backgrounds, count, config.size, rng)
    is_wide = around.linear.abs().sum(dim=(1, 2)) > 3 * _extent(strips.joints[rows])
    share = torch.where(is_wide, max(config.composite, 0.7), config.composite)
    is_composite = torch.rand(count, generator=rng) < share
    light = torch.exp(
        0.12 * torch.randn(count, 3, 1, 1, generator=rng) + 0.2 * torch.randn(count, 1, 1, 1, generator=rng)
    )
    pasted = images * light * silhouette + places * (1 - silhouette)
    images = torch.where(is_composite[:, None, None, None], pasted, images)
    is_empty = torch.rand(count, generator=rng) < config.empty
    images = torch.where(is_empty[:, None, None, None], places, images)
    silhouette = silhouette * ~is_empty[:, None, None, None]
    seen = torch.where(is_empty[:, None], Seen.OUTSIDE, seen)

    images = vary_colours(images, silhouette, rng)
    images, is_hidden = hide_parts(images, joints, backgrounds, rng)
    seen = torch.where(is_hidden & (seen == Seen.VISIBLE), Seen.HIDDEN, seen)
    return Crops(images * 2 - 1, joints, seen, depth, silhouette, is_composite | is_empty)


class _Windows(NamedTuple):
    """Where crops lie in their frames: pixel = linear @ (u, v) + centre, for u, v in [-1, 1] at the edges."""

    linear: Float[Tensor, "batch 2 2"]
    centre: Float[Tensor, "batch 2"]


def _draw_rows(strips: RenderedStrips, count: int, config: CropConfig, rng: Generator) -> ndarray:
    anybody = torch.randint(strips.count, (count,), generator=rng)
    if not len(strips.whole):
        return anybody.numpy()
    whole = torch.from_numpy(strips.whole)[torch.randint(len(strips.whole), (count,), generator=rng)]
    is_whole = torch.rand(count, generator=rng) < config.whole
    rows: ndarray = torch.where(is_whole, whole, anybody).numpy()
    return rows


def _extent(joints: Float[ndarray, "batch joint 2"]) -> Float[Tensor, " batch"]:
    """The longer side of the box around the joints, in pixels."""
    return torch.from_numpy(np.ptp(joints, axis=1).max(axis=1))


def _draw_windows(
    joints: Float[ndarray, "batch joint 2"], side: int, count: int, config: CropConfig, rng: Generator
) -> tuple[_Windows, Bool[Tensor, " batch"]]:
    """Squares about the body, or about what the frame shows of it; moved, turned, stretched and mirrored."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=rng) * (high - low) + low

    points = torch.from_numpy(joints)
    low, high = points.amin(dim=1), points.amax(dim=1)
    is_cut = torch.rand(count, generator=rng) < 0.5
    low = torch.where(is_cut[:, None], low.clamp(0, side - 1), low)
    high = torch.where(is_cut[:, None], high.clamp(0, side - 1), high)
    body = (high - low).amax(dim=1).clamp(min=16)
    is_wide = torch.rand(count, generator=rng) < config.wide
    scale = torch.where(
        is_wide,
        torch.exp(uniform(math.log(1.5), math.log(3.6))),
        torch.exp(uniform(math.log(1.08), math.log(1.75))),
    )
    room = (scale - 1).clamp(min=0.1) / scale / 2
    reach = torch.where(is_wide, 0.9 * room, (room + 0.08).clamp(max=0.17))
    centre = (low + high) / 2 + uniform(-1, 1, 2) * (body * scale * reach)[:, None]
    angle = 0.15 * torch.randn(count, generator=rng)
    stretch = torch.exp(0.05 * torch.randn(count, generator=rng))
    is_flipped = torch.rand(count, generator=rng) < 0.5
    sign = torch.where(is_flipped, -1.0, 1.0)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    across = torch.stack([cosine, sine], dim=1) * (stretch * sign)[:, None]
    down = torch.stack([-sine, cosine], dim=1) / stretch[:, None]
    linear = torch.stack([across, down], dim=2) * (body * scale / 2)[:, None, None]
    return _Windows(linear, centre), is_flipped


def _to_grid(windows: _Windows, side: int) -> Float[Tensor, "batch 2 3"]:
    """What `affine_grid` takes: frames go from -1 to 1 between their edges, half a pixel out."""
    shift = (windows.centre + 0.5) * 2 / side - 1
    return torch.cat([windows.linear * 2 / side, shift[:, :, None]], dim=2)


def _move_joints(
    strips: RenderedStrips, rows: ndarray, windows: _Windows, is_flipped: Bool[Tensor, " batch"], size: int
) -> tuple[Float[Tensor, "batch joint 2"], Int[Tensor, "batch joint"]]:
    """Joints in model space, and what is seen of them."""
    pixels = torch.from_numpy(strips.joints[rows])
    offset = pixels - windows.centre[:, None]
    units = torch.einsum("bij,bkj->bki", torch.linalg.inv(windows.linear), offset)
    joints = ((units + 1) * size / 2 - 0.5) / (size - 1) * 2 - 1
    visible = torch.from_numpy(strips.visible[rows])
    seen = torch.where(visible, Seen.VISIBLE, Seen.HIDDEN)
    was_cut = ((pixels < -2) | (pixels > strips.side + 1)).any(dim=2)
    seen = torch.where(was_cut & ~visible, Seen.UNKNOWN, seen)
    seen = torch.where((units.abs() < 0.98).all(dim=2), seen, Seen.OUTSIDE)
    flip = is_flipped[:, None]
    return torch.where(flip[..., None], joints[:, MIRRORED], joints), torch.where(
        flip, seen[:, MIRRORED], seen
    )


def _draw_backgrounds(
    backgrounds: UInt8[ndarray, "place 3 side side"], count: int, size: int, rng: Generator
) -> Float[Tensor, "batch 3 size size"]:
    """Pieces of empty places, RGB in 0..1, mirrored by chance."""
    rows = torch.randint(len(backgrounds), (count,), generator=rng).numpy()
    zoom = torch.rand(count, generator=rng) * 0.55 + 0.45
    sign = torch.where(torch.rand(count, generator=rng) < 0.5, -1.0, 1.0)
    shift = (torch.rand(count, 2, generator=rng) * 2 - 1) * (1 - zoom)[:, None]
    linear = torch.diag_embed(torch.stack([zoom * sign, zoom], dim=1))
    grid = F.affine_grid(torch.cat([linear, shift[:, :, None]], dim=2), [count, 3, size, size], False)
    pieces = torch.from_numpy(backgrounds[rows]).float() / 255
    return F.grid_sample(pieces, grid, padding_mode="border", align_corners=False)
