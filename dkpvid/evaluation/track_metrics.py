"""The health of a track, without annotation; NaN = not observed, and does not count."""

import numpy as np
from numpy import ndarray
from scipy.ndimage import maximum_filter

from dkpvid.shapes import Bool, Float


def jitter(
    raw_xy: Float[ndarray, "frame keypoint 2"], smooth_xy: Float[ndarray, "frame keypoint 2"]
) -> float:
    """How far a keypoint jumps about its smoothed path from one frame to the next, on average, in pixels.

    NaN when no keypoint is observed in two frames in a row.
    """
    jumps = np.linalg.norm(np.diff(raw_xy - smooth_xy, axis=0), axis=2)
    known = jumps[~np.isnan(jumps)]
    return float(known.mean()) if len(known) else float("nan")


def dead_keypoints(
    xy: Float[ndarray, "frame keypoint 2"], cell: Float[ndarray, "2"]
) -> Bool[ndarray, " keypoint"]:
    """Which keypoints never leave a spot as small as one cell of the heatmap; never observed counts too.

    Args:
        xy: In pixels, smoothed: a single jump is no motion.
        cell: Width and height of a cell, in pixels.
    """
    low, high = np.nanmin(xy, axis=0, initial=np.inf), np.nanmax(xy, axis=0, initial=-np.inf)
    dead: ndarray = (high - low < cell).all(axis=1)
    return dead


def swap_rate(xy: Float[ndarray, "frame keypoint 2"], cell: Float[ndarray, "2"]) -> float:
    """Share of the steps between frames at which two keypoints seem to change places, 0..1.

    They do when each is at least twice as near to where the other was as to where itself was, and both have
    moved by more than a cell: what a left hand and a right hand do that are mistaken for each other.

    Args:
        xy: In pixels, not smoothed.
        cell: Width and height of a heatmap cell, in pixels.
    """
    if len(xy) < 2:
        return 0.0
    scaled = xy / cell
    step = scaled[1:, :, None] - scaled[:-1, None, :]
    moved = np.linalg.norm(step, axis=3)
    own = np.diagonal(moved, axis1=1, axis2=2)
    # near[t, i, j]: i is now nearer to where j was.
    near = (2 * moved < own[:, :, None]) & (own[:, :, None] > 1)
    return float((near & near.transpose(0, 2, 1)).any(axis=(1, 2)).mean())


def foreground(
    images: Float[ndarray, "frame row column 3"],
) -> Bool[ndarray, "frame row column"]:
    """Where something moves: pixels unlike the median of all frames.

    A pixel belongs to the foreground when a colour differs from the median over time by more than 0.1, and by
    more than four times its own usual (median) difference there, so that noise and rustling leaves stay out.
    Meant for a camera that stands still; a subject that never moves is background.

    Args:
        images: RGB in 0..1, spread over the whole video.
    """
    background = np.median(images, axis=0)
    difference = np.abs(images - background).max(axis=3)
    moving: ndarray = difference > np.maximum(0.1, 4 * np.median(difference, axis=0))
    return moving


def share_on(
    mask: Bool[ndarray, "frame row column"], xy: Float[ndarray, "frame keypoint 2"]
) -> tuple[float, float]:
    """Share of the keypoints that lie on a mask, or within one heatmap cell (1/32 of a side) of it, 0..1.

    Args:
        mask: True where it is.
        xy: In shares of the frame's sides, 0..1. NaN does not count; NaN alone gives NaN.

    Returns:
        That share, and the share of the picture that is on the mask or as near: what chance would give.
    """
    height, width = mask.shape[1:]
    near = maximum_filter(mask, (1, 2 * -(-height // 32) + 1, 2 * -(-width // 32) + 1), mode="constant")
    known = ~np.isnan(xy).any(axis=2)
    pixel = np.where(known[..., None], xy * [width, height], 0.0)
    column, row = np.moveaxis(np.clip(pixel, 0, [width - 1, height - 1]).astype(int), 2, 0)
    hits = near[np.arange(len(mask))[:, None], row, column][known]
    return float(hits.mean()) if len(hits) else float("nan"), float(near.mean())
