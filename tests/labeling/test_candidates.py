"""Which frames may be chosen, and what is in doubt about them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dkpvid.checkpoint import load_weights
from dkpvid.labeling.candidates import Sighting, candidates_of, candidates_to_correct, jumps, look_through
from dkpvid.structures import Track
from dkpvid.tracking.detect import Detector
from dkpvid.video.sources import find_source
from tests.labeling.making import dots_video


def make_joints(num_frames: int = 60) -> Track:
    """Two joints on straight paths, of equal confidence."""
    time = np.arange(num_frames) / 25
    xy = np.stack(
        [np.stack([20 + 40 * time, 30 + 0 * time], 1), np.stack([50 + 0 * time, 90 - 20 * time], 1)], 1
    )
    shape = (num_frames, 2)
    return Track(np.arange(num_frames), time, xy, np.full(shape, 0.8), np.ones((*shape, 3)))


def sighting_of(joints: Track) -> Sighting:
    return Sighting("x.mp4", 160, 96, replace(joints, joints=joints), ("nose", "tail"))


def test_a_jump_is_measured_from_the_frames_around() -> None:
    joints = make_joints()
    np.testing.assert_allclose(jumps(joints), 0, atol=1e-9)
    joints.xy[30, 1] += [0, 12]
    expected = np.zeros((60, 2))
    expected[29:32, 1] = 6, 12, 6
    np.testing.assert_allclose(jumps(joints), expected, atol=1e-9)
    joints.xy[30, 1] = np.nan
    assert np.isfinite(jumps(joints)).all()
    assert (jumps(make_joints(2)) == 0).all()


def test_doubtful_joints_are_offered_and_named() -> None:
    joints = make_joints()
    joints.xy[30, 1] += [0, 12]
    joints.confidence[11, 0] = 0.1
    found = candidates_to_correct(sighting_of(joints), 2)
    # The most doubtful third, and no fewer than ten.
    assert len(found) == 20 and {11, 29, 30, 31} <= set(found.index.tolist())
    notes = dict(zip(found.index.tolist(), found.notes, strict=True))
    assert notes[30] == "tail jumps by 12 px"
    assert notes[11] == "nose has confidence 0.10 only"
    # What is labelled already is in doubt no more, nor are its neighbours.
    found = candidates_to_correct(sighting_of(joints), 2, taken=[30])
    assert not {29, 30, 31} & set(found.index.tolist()) and len(found) >= 10


def test_long_videos_are_looked_at_here_and_there(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = find_source(dots_video(tmp_path / "dots.mp4", 24, 96, 64))
    detector = Detector(load_weights(tiny_weights), torch.device("cpu"))
    told: list[tuple[int, int | None]] = []
    sighting = look_through(video, detector, batch_size=7, on_frame=lambda *progress: told.append(progress))
    assert told == [(7, 24), (14, 24), (21, 24), (24, 24)]
    assert sighting.track.index.tolist() == list(range(24))
    monkeypatch.setattr("dkpvid.labeling.candidates.MOST_CANDIDATES", 20)
    monkeypatch.setattr("dkpvid.labeling.candidates._FEWEST_OF_A_VIDEO", 2)
    second = look_through(video, detector, num_videos=2)
    assert second.track.index.tolist() == list(range(0, 24, 3))
    np.testing.assert_allclose(second.track.xy, sighting.track.xy[::3], atol=1e-3)
    together = candidates_of([sighting, second])
    assert together.video.tolist() == [0] * 24 + [1] * 8
    assert together.index.tolist() == [*range(24), *range(0, 24, 3)]
    np.testing.assert_allclose(together.features[24:], together.features[:24:3], atol=1e-3)
    assert all(note.startswith("mean confidence 0.") for note in together.notes)
