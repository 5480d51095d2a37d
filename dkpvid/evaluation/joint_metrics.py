"""How large the errors of predicted joints are; NaN = not annotated, and does not count."""

import numpy as np
from numpy import ndarray

from dkpvid.shapes import Float, Int

NUM_RESAMPLES = 1000
"""Of the bootstrap."""
STRETCHES = 20
"""That a single video is cut into for the bootstrap."""


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
