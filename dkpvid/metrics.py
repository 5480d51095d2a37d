"""Scores as functions of arrays: the papers' protocols, errors of predicted joints, health of a track.

In all of them NaN = not annotated, or not observed, and does not count.
"""

import numpy as np
from numpy import ndarray
from scipy.ndimage import maximum_filter

from dkpvid.shapes import Bool, Float, Int

HUMAN36M_PAIRS = (
    # (20, 29) would be the mirror pair, but the reference code has 28 here, next to (21, 28). Kept, as the
    # published numbers were made with it.
    *((1, 6), (2, 7), (3, 8), (4, 9), (5, 10), (17, 25), (18, 26), (19, 27), (20, 28)),
    *((21, 28), (22, 30), (23, 31)),
)
"""Left and right landmarks of Human3.6M's 32, as the reference code swaps them."""
MAX_SWAPPING_ROUNDS = 1000
"""Far more than any set needs: fitting and swapping in turn is not proven to end."""
DEEPFASHION_RADIUS_PX = 6.0
"""Of PCK@6px, in 256 x 256 images."""
NUM_RESAMPLES = 1000
"""Of the bootstrap."""
STRETCHES = 20
"""That a single video is cut into for the bootstrap."""

# --- The papers' protocols ----------------------------------------------------------------------------------


def human36m_error(
    detected: Float[ndarray, "row keypoint 2"],
    annotated: Float[ndarray, "row 32 2"],
    is_test: Bool[ndarray, " row"],
) -> float:
    """Mean distance of the predicted landmarks, in per cent of the image's side; left may be right.

    Source: He et al. 2022, AutoLink, section 4, and its reference code, after Zhang et al. 2018.

    Args:
        detected: In model space, [-1, 1].
        annotated: In shares of the image's side, 0..1.
        is_test: Which rows are scored; the map is fitted on the others.
    """
    x, y = _features(detected), annotated.astype(float)
    # 1. Fit on the training rows, turn those round that fit better mirrored, and again until few turn.
    train_x, train_y = x[~is_test], y[~is_test]
    distance = np.zeros(len(train_y))
    for _ in range(MAX_SWAPPING_ROUNDS):
        predicted = _predict(
            train_x, _least_squares(train_x, train_y.reshape(len(train_y), -1), penalty=1e-9)
        )
        train_y, distance, num_swapped = _swap_where_closer(predicted, train_y)
        if not num_swapped:
            break
    # 2. Drop the outliers and fit once more.
    is_near = distance < distance.mean() + 3 * distance.std(ddof=1)
    train_x, train_y = train_x[is_near], train_y[is_near]
    predicted = _predict(x[is_test], _least_squares(train_x, train_y.reshape(len(train_y), -1), penalty=1e-9))
    # 3. The test rows may turn round too, against the fixed map.
    test_y, num_swapped = y[is_test], 1
    while num_swapped:
        test_y, distance, num_swapped = _swap_where_closer(predicted, test_y)
    return float(100 * distance.mean())


def deepfashion_pck(
    detected: Float[ndarray, "row keypoint 2"],
    annotated: Float[ndarray, "row joint 2"],
    is_test: Bool[ndarray, " row"],
) -> float:
    """Share of the predicted landmarks within 6 pixels of the annotated ones, 0..1.

    Source: reference code of AutoLink, after Lorenz et al. 2019.

    Args:
        detected: In model space, [-1, 1].
        annotated: In pixels of 256 x 256 images.
        is_test: Which rows are scored; the map is fitted on the others.
    """
    x, y = 255 * _features(detected), annotated.reshape(len(annotated), -1)
    predicted = _predict(x[is_test], _least_squares(x[~is_test], y[~is_test], penalty=1e-3))
    distance = np.linalg.norm(predicted - annotated[is_test], axis=2)
    return float((distance < DEEPFASHION_RADIUS_PX).mean())


def taichi_error(
    detected: Float[ndarray, "row keypoint 2"],
    annotated: Float[ndarray, "row joint 2"],
    is_test: Bool[ndarray, " row"],
) -> float:
    """Sum over all coordinates of all landmarks of their mean absolute error, in pixels.

    Source: reference code of AutoLink, after Siarohin et al. 2021, "Motion-supervised co-part segmentation".

    Args:
        detected: In model space, [-1, 1].
        annotated: In pixels of 256 x 256 images; NaN = missing. Each coordinate is fitted and scored on the
            rows that have it; one without any such row adds nothing.
        is_test: Which rows are scored; the map is fitted on the others.
    """
    x = np.column_stack([255 * _features(detected), np.ones(len(detected))])
    total = 0.0
    for label in annotated.reshape(len(annotated), -1).T:
        train, test = ~is_test & ~np.isnan(label), is_test & ~np.isnan(label)
        if train.any() and test.any():
            beta = _least_squares(x[train], label[train], penalty=1.0)
            total += np.abs(x[test] @ beta - label[test]).mean()
    return float(total)


def _features(detected: Float[ndarray, "row keypoint 2"]) -> Float[ndarray, "row feature"]:
    """The protocols' own scaling: 0..1 between the outermost pixel centres."""
    return detected.reshape(len(detected), -1).astype(float) * 0.5 + 0.5


def _least_squares(x: ndarray, y: ndarray, penalty: float) -> ndarray:
    """Solve by the normal equations, with the penalty only where they are singular.

    The reference code stops there for Human3.6M, and adds 1e-3 (DeepFashion) or 1 (Taichi) for the others.
    """
    normal = x.T @ x
    if np.linalg.matrix_rank(normal, hermitian=True) < len(normal):
        normal += penalty * np.eye(len(normal))
    beta: ndarray = np.linalg.solve(normal, x.T @ y)
    return beta


def _predict(x: ndarray, beta: ndarray) -> Float[ndarray, "row joint 2"]:
    predicted: ndarray = (x @ beta).reshape(len(x), -1, 2)
    return predicted


def _swap_where_closer(
    predicted: Float[ndarray, "row 32 2"], annotated: Float[ndarray, "row 32 2"]
) -> tuple[Float[ndarray, "row 32 2"], Float[ndarray, " row"], int]:
    """Exchange left and right where that is closer.

    Returns:
        The annotation, each row's mean distance before the exchange, and how many rows were exchanged: none
        when it would be 10 or fewer.
    """
    order = list(range(annotated.shape[1]))
    for a, b in HUMAN36M_PAIRS:
        order[a], order[b] = b, a
    swapped = annotated[:, order]
    distance = np.linalg.norm(predicted - annotated, axis=2).mean(axis=1)
    is_closer = np.linalg.norm(predicted - swapped, axis=2).mean(axis=1) < distance
    if is_closer.sum() <= 10:
        return annotated, distance, 0
    return np.where(is_closer[:, None, None], swapped, annotated), distance, int(is_closer.sum())


# --- Errors of predicted joints -----------------------------------------------------------------------------


def pck(errors: Float[ndarray, "row joint"], thresholds: Float[ndarray, " threshold"]) -> list[float]:
    """Percentage of correct keypoints: the share of errors, 0..1, below each threshold of the same unit.

    Without any known error it is 0.

    >>> pck(np.array([[1.0, 3.0], [np.nan, 8.0]]), np.array([2.0, 10.0]))
    [0.3333333333333333, 1.0]
    """
    known = errors[~np.isnan(errors)]
    return [float((known < threshold).sum() / max(len(known), 1)) for threshold in thresholds]


def bootstrap_interval(
    errors: Float[ndarray, "row joint"], groups: Int[ndarray, " row"], seed: int
) -> tuple[float, float]:
    """95 % interval of the mean error, were other videos annotated.

    Whole groups are drawn, as the frames of one video resemble each other; where there is only one, stretches
    of its rows: a twentieth each.

    Args:
        errors: NaN does not count.
        groups: Number of each row's video.
        seed: Same seed, same interval.
    """
    if len(np.unique(groups)) == 1:
        groups = np.arange(len(errors)) * min(len(errors), STRETCHES) // len(errors)
    labels, number = np.unique(groups, return_inverse=True)
    sums = np.bincount(number, np.nansum(errors, axis=1))
    counts = np.bincount(number, (~np.isnan(errors)).sum(axis=1))
    drawn = np.random.default_rng(seed).multinomial(
        len(labels), np.full(len(labels), 1 / len(labels)), NUM_RESAMPLES
    )
    # A draw of nothing but unannotated rows says nothing.
    weight = drawn @ counts
    means = (drawn @ sums)[weight > 0] / weight[weight > 0]
    low, high = np.percentile(means, [2.5, 97.5]) if len(means) else (np.nan, np.nan)
    return float(low), float(high)


# --- The health of a track, without annotation --------------------------------------------------------------


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
