"""The values that travel: what they refuse, and cutting and joining them."""

from dataclasses import FrozenInstanceError, replace
from itertools import pairwise

import jaxtyping
import numpy as np
import pytest

from dkpvid.structures import Track
from tests.formats.test_schema import make_track

ARRAYS = ("index", "time_seconds", "xy", "confidence", "covariance", "raw_xy")


def assert_equal(actual: Track, expected: Track) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name), err_msg=name)
    assert actual.flags == expected.flags


@pytest.mark.parametrize("name", [name for name in ARRAYS if name != "time_seconds"])
def test_arrays_of_different_lengths_are_refused(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    track = make_track(rng)
    # The check of annotations, which only tests have, would come first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=rf"{name} must be \(5,.*got \(4,"):
        replace(track, **{name: getattr(track, name)[:4]})


def test_flags_are_for_every_frame_or_none(rng: np.random.Generator) -> None:
    track = make_track(rng)
    assert replace(track, flags=()).flags == ()
    with pytest.raises(ValueError, match=r"one entry a frame \(5\), got 2"):
        replace(track, flags=((), ()))


def test_a_track_cannot_be_changed(rng: np.random.Generator) -> None:
    with pytest.raises(FrozenInstanceError):
        make_track(rng).flags = ()  # type: ignore[misc]


def test_a_part_has_the_same_frames(rng: np.random.Generator) -> None:
    track = make_track(rng)
    part = track[1:4]
    assert (len(part), part.num_keypoints) == (3, 3)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(part, name), getattr(track, name)[1:4], err_msg=name)
    assert part.flags == track.flags[1:4]
    assert replace(track, raw_xy=None)[1:4].raw_xy is None


@pytest.mark.parametrize("cuts", [(), (2,), (0, 1, 1, 5), (1, 2, 3, 4)])
def test_parts_join_to_the_whole(rng: np.random.Generator, cuts: tuple[int, ...]) -> None:
    track = make_track(rng)
    bounds = (0, *cuts, 5)
    parts = [track[start:stop] for start, stop in pairwise(bounds)]
    assert_equal(Track.concatenate(parts), track)


def test_parts_without_remarks_join_with_those_that_have_some(rng: np.random.Generator) -> None:
    track = make_track(rng)
    joined = Track.concatenate([replace(track[:2], flags=()), track[2:]])
    assert joined.flags == ((), (), ("time_estimated",), (), ())
    assert Track.concatenate([replace(track, flags=())] * 2).flags == ()


def test_a_part_without_detections_leaves_the_whole_without(rng: np.random.Generator) -> None:
    track = make_track(rng)
    assert Track.concatenate([replace(track[:2], raw_xy=None), track[2:]]).raw_xy is None


def test_nothing_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="at least one part"):
        Track.concatenate([])
