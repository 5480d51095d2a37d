"""Cuts: where everything changes at once."""

import numpy as np

from dkpvid.structures import Frame
from dkpvid.tracking.cuts import CutFinder
from tests.tracking.painted import painted


def cuts(frames: list[Frame]) -> list[int]:
    finder = CutFinder()
    return [frame.index for frame in frames if finder.is_cut(frame)]


def test_a_new_scene_is_a_cut_and_a_walk_is_none(rng: np.random.Generator) -> None:
    frames = [painted([(60 + 6 * t, 140, 90)], t) for t in range(20)]
    other = rng.integers(0, 255, (9, 16, 3), dtype=np.uint8).repeat(30, 0).repeat(30, 1)
    frames += [Frame(other, 20 + t, (20 + t) / 25) for t in range(5)]
    assert cuts(frames) == [20]


def test_a_restless_picture_is_no_row_of_cuts(rng: np.random.Generator) -> None:
    noise = [np.full((90, 160, 3), level, np.uint8) for level in rng.integers(100, 140, 30)]
    assert len(cuts([Frame(image, t, t / 25) for t, image in enumerate(noise)])) <= 2
