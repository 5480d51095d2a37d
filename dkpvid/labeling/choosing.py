"""Which frames to label: those that differ most, the uncertain ones first, never two neighbours."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from scipy.cluster.vq import kmeans2

from dkpvid.shapes import Bool, Float, Int

SMALLEST_GAP = 2
"""From one chosen frame of a video to the next, at least, in frames: no two are neighbours."""
APPEARANCE_DIMENSIONS = 8
"""Directions in which pictures differ most that are looked at; the others are noise."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Frames to choose from; the arrays share their first axis."""

    video: Int[ndarray, " frame"]
    """Number of each frame's video."""
    index: Int[ndarray, " frame"]
    """Position among its video's decoded frames, from 0."""
    features: Float[ndarray, "frame feature"]
    """What tells frames apart; distances between rows mean something, see `combined`."""
    doubt: Float[ndarray, " frame"]
    """How uncertain a frame is; only the order matters."""
    notes: tuple[str, ...]
    """How uncertain, in words."""

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Choice:
    """One chosen frame."""

    row: int
    """Among the candidates."""
    reason: str
    """Why, for the person who labels it."""


def combined(
    places: Float[ndarray, "frame point 2"], pictures: Float[ndarray, "frame value"] | None
) -> Float[ndarray, "frame feature"]:
    """Features of which keypoints and appearance make up one half each.

    Args:
        places: In shares of the frame; NaN = not found, taken for average.
        pictures: Small pictures, flat; None = the places are all that counts.
    """
    blocks = [_of_unit_variance(places.reshape(len(places), -1))]
    if pictures is not None:
        centred = pictures - pictures.mean(axis=0)
        directions = np.linalg.svd(centred, full_matrices=False)[2][:APPEARANCE_DIMENSIONS]
        blocks.append(_of_unit_variance(centred @ directions.T))
    return np.concatenate(blocks, axis=1)


def _of_unit_variance(values: Float[ndarray, "frame value"]) -> Float[ndarray, "frame value"]:
    """Centred, with 0 for NaN, and scaled as one block: columns that vary little stay less important."""
    known = np.isfinite(values)
    mean = np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, values - mean, 0.0)
    scale = np.sqrt(centred.var(axis=0).sum())
    scaled: ndarray = centred / scale if scale > 1e-9 else 0 * centred
    return scaled


def choose_frames(candidates: Candidates, count: int, taken: Sequence[tuple[int, int]] = ()) -> list[Choice]:
    """Choose frames by k-means: from every group of frames that are alike, one that is typical and uncertain.

    Args:
        candidates: All of them.
        count: How many to choose.
        taken: (video, frame) that are labelled already; neither they nor their neighbours are chosen.

    Returns:
        The most uncertain first; fewer than `count` where that many without neighbours do not exist.
    """
    if not len(candidates) or count < 1:
        return []
    groups = _groups(candidates.features, count)
    gaps = [gap := _preferred_gap(candidates, count)]
    while (gap := gap // 2) >= SMALLEST_GAP:
        gaps.append(gap)
    chosen: list[int] = []
    # A group without a frame that is far enough from others gets one that is nearer, but no neighbour.
    for gap in gaps:
        chosen = _one_of_each(candidates, groups, count, gap, chosen, taken)
    for gap in gaps:
        chosen = _fill_up(candidates, count, gap, chosen, taken)
    chosen.sort(key=lambda row: -candidates.doubt[row])
    alike = np.bincount(groups)[groups] - 1
    return [Choice(row, f"{_likeness(int(alike[row]))}; {candidates.notes[row]}") for row in chosen]


def _groups(features: Float[ndarray, "frame feature"], count: int) -> Int[ndarray, " frame"]:
    """The number of the group that each frame belongs to, by k-means."""
    with warnings.catch_warnings():
        # An empty group costs nothing: the frame that it would have given is filled up.
        warnings.filterwarnings("ignore", "One of the clusters is empty", UserWarning)
        labels: ndarray = kmeans2(features, features[_starts(features, count)], iter=30, minit="matrix")[1]
    return labels


def _starts(features: Float[ndarray, "frame feature"], count: int) -> list[int]:
    """Rows to start k-means from, at random, but rather far from each other.

    Of several that are drawn, the one that leaves frames nearest to a start is kept.

    Source: Arthur & Vassilvitskii 2007, k-means++: the advantages of careful seeding.
    """
    rng = np.random.default_rng(0)
    trials = 2 + int(np.log(count))
    rows = [int(rng.integers(len(features)))]
    nearest = ((features - features[rows[0]]) ** 2).sum(axis=1)
    while len(rows) < count and nearest.max() > 1e-12:
        drawn = rng.choice(len(features), trials, p=nearest / nearest.sum())
        after = [np.minimum(nearest, ((features - features[row]) ** 2).sum(axis=1)) for row in drawn]
        best = int(np.argmin([distances.sum() for distances in after]))
        rows.append(int(drawn[best]))
        nearest = after[best]
    return rows


def _preferred_gap(candidates: Candidates, count: int) -> int:
    """Half of what would lie between frames that are spread evenly."""
    lengths = [np.ptp(candidates.index[candidates.video == video]) + 1 for video in set(candidates.video)]
    return max(SMALLEST_GAP, int(sum(lengths)) // (2 * count))


def _places(candidates: Candidates, rows: Sequence[int]) -> list[tuple[int, int]]:
    return [(int(candidates.video[row]), int(candidates.index[row])) for row in rows]


def _far_from(candidates: Candidates, places: Sequence[tuple[int, int]], gap: int) -> Bool[ndarray, " frame"]:
    is_free = np.ones(len(candidates), dtype=bool)
    for video, index in places:
        is_free &= (candidates.video != video) | (abs(candidates.index - index) >= gap)
    return is_free


def _one_of_each(
    candidates: Candidates,
    groups: Int[ndarray, " frame"],
    count: int,
    gap: int,
    chosen: list[int],
    taken: Sequence[tuple[int, int]],
) -> list[int]:
    """Of each group that has none yet, the most uncertain of the half that lies nearest to its middle."""
    chosen = list(chosen)
    is_free = _far_from(candidates, [*taken, *_places(candidates, chosen)], gap)
    done = {int(groups[row]) for row in chosen}
    by_doubt = sorted(set(groups.tolist()) - done, key=lambda group: -candidates.doubt[groups == group].max())
    for group in by_doubt:
        members = np.flatnonzero(groups == group)
        free = members[is_free[members]]
        if not len(free) or len(chosen) >= count:
            continue
        middle = candidates.features[members].mean(axis=0)
        distance = np.linalg.norm(candidates.features[free] - middle, axis=1)
        typical = free[distance <= np.median(distance)]
        row = int(typical[candidates.doubt[typical].argmax()])
        chosen.append(row)
        is_free = is_free & _far_from(candidates, _places(candidates, [row]), gap)
    return chosen


def _fill_up(
    candidates: Candidates, count: int, gap: int, chosen: list[int], taken: Sequence[tuple[int, int]]
) -> list[int]:
    """Where groups had no free frame left, take what differs most from all that is chosen."""
    chosen = list(chosen)
    while len(chosen) < count:
        free = np.flatnonzero(_far_from(candidates, [*taken, *_places(candidates, chosen)], gap))
        if not len(free):
            break
        near = candidates.features[chosen] if chosen else candidates.features.mean(axis=0, keepdims=True)
        apart = np.linalg.norm(candidates.features[free, None] - near[None], axis=2).min(axis=1)
        chosen.append(int(free[apart.argmax()]))
    return chosen


def _likeness(alike: int) -> str:
    return f"{alike} other frames are like it" if alike > 1 else "hardly any other frame is like it"
