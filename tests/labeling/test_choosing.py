"""Which frames are chosen: different ones, no neighbours, uncertain ones first."""

import numpy as np
import pytest
from numpy import ndarray

from dkpvid.labeling.choosing import Candidates, choose_frames, combined


def make_candidates(
    features: ndarray, doubt: ndarray | None = None, video: ndarray | None = None
) -> Candidates:
    count = len(features)
    return Candidates(
        video=np.zeros(count, dtype=np.int64) if video is None else video,
        index=np.arange(count),
        features=features,
        doubt=np.zeros(count) if doubt is None else doubt,
        notes=tuple(f"note {row}" for row in range(count)),
    )


def rows(candidates: Candidates, count: int, taken: tuple[tuple[int, int], ...] = ()) -> list[int]:
    return [choice.row for choice in choose_frames(candidates, count, taken)]


def test_one_frame_of_each_pose_is_chosen(rng: np.random.Generator) -> None:
    poses = np.repeat(rng.normal(0, 5, (4, 6)), [60, 5, 30, 5], axis=0)
    candidates = make_candidates(poses + rng.normal(0, 0.05, (100, 6)))
    chosen = rows(candidates, 4)
    # However rare a pose is.
    assert sorted(np.searchsorted([60, 65, 95], chosen, side="right")) == [0, 1, 2, 3]


def test_the_uncertain_frame_of_a_pose_is_chosen_and_comes_first(rng: np.random.Generator) -> None:
    poses = np.repeat([[0.0, 0.0], [9.0, 9.0]], 40, axis=0)
    doubt = np.full(80, 0.1)
    doubt[[17, 61]] = 0.5, 0.9
    candidates = make_candidates(poses, doubt)
    assert rows(candidates, 2) == [61, 17]
    assert [choice.reason for choice in choose_frames(candidates, 2)] == [
        f"39 other frames are like it; note {row}" for row in (61, 17)
    ]


def test_an_uncertain_frame_that_is_like_no_pose_is_left_out() -> None:
    features = np.zeros((41, 1))
    features[:20, 0] = np.linspace(-0.1, 0.1, 20)
    features[20] = 1.0
    features[21:, 0] = 9.0
    doubt = np.full(41, 0.1)
    doubt[20] = 1.0
    assert 20 not in rows(make_candidates(features, doubt), 2)


@pytest.mark.parametrize("count", [2, 5, 12, 20])
def test_neighbours_are_never_chosen(rng: np.random.Generator, count: int) -> None:
    candidates = make_candidates(np.cumsum(rng.normal(0, 1, (60, 3)), axis=0), rng.random(60))
    chosen = rows(candidates, count)
    assert len(chosen) == len(set(chosen)) == count
    assert np.diff(sorted(chosen)).min() >= 2


def test_a_short_video_has_few_frames_that_are_no_neighbours(rng: np.random.Generator) -> None:
    candidates = make_candidates(rng.normal(0, 1, (9, 3)))
    chosen = sorted(rows(candidates, 20))
    assert 3 <= len(chosen) <= 5 and np.diff(chosen).min() >= 2


def test_videos_are_no_neighbours_of_each_other(rng: np.random.Generator) -> None:
    video = np.array([0, 1, 2])
    candidates = make_candidates(rng.normal(0, 1, (3, 2)), video=video)
    assert sorted(rows(candidates, 3)) == [0, 1, 2]


def test_what_is_labelled_already_is_kept_away_from(rng: np.random.Generator) -> None:
    candidates = make_candidates(rng.normal(0, 1, (60, 3)))
    first = rows(candidates, 6)
    second = rows(candidates, 6, tuple((0, row) for row in first))
    assert len(second) == 6
    assert np.diff(sorted([*first, *second])).min() >= 2


def test_frames_that_are_all_the_same_can_be_chosen_from() -> None:
    assert len(rows(make_candidates(np.zeros((50, 4))), 5)) == 5
    assert rows(make_candidates(np.zeros((0, 4))), 5) == []
    assert rows(make_candidates(np.zeros((50, 4))), 0) == []


def test_the_choice_is_the_same_every_time(rng: np.random.Generator) -> None:
    candidates = make_candidates(rng.normal(0, 1, (200, 5)), rng.random(200))
    assert rows(candidates, 15) == rows(candidates, 15)


def test_places_and_appearance_count_equally(rng: np.random.Generator) -> None:
    places, pictures = rng.random((40, 5, 2)), 255 * rng.random((40, 48))
    places[3, 1] = np.nan
    features = combined(places, pictures)
    assert features.shape == (40, 10 + 8)
    np.testing.assert_allclose([features[:, :10].var(axis=0).sum(), features[:, 10:].var(axis=0).sum()], 1)
    np.testing.assert_array_equal(features[3, 2:4], 0)
    # Pictures that never change say nothing.
    np.testing.assert_array_equal(combined(places, np.ones((40, 48)))[:, 10:], 0)
    np.testing.assert_array_equal(combined(places, None), features[:, :10])
