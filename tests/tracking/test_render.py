"""The annotated MP4: the same in one pass and in two, of the frames that were tracked, with joint names."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from dkpvid.checkpoint import load_weights
from dkpvid.config import SmoothingConfig, TrackConfig
from dkpvid.drawing import DrawStyle
from dkpvid.errors import VideoError
from dkpvid.formats.base import TrackSink
from dkpvid.formats.schema import TrackHeader
from dkpvid.jobs.track import TrackedVideo, Tracker, track_video
from dkpvid.structures import VideoInfo
from dkpvid.tracking.joints import JointMap
from dkpvid.tracking.render import MOST_KEPT_BYTES, AnnotatedVideo, fits_in_memory, redraw
from dkpvid.video.reader import VideoReader
from dkpvid.video.writer import VideoWriter, read_comment
from tests.video.clips import HEIGHT, WIDTH, ffprobe_times

CONFIG = TrackConfig(device="cpu", batch_size=5)


def drawn_at_once(
    clip: Path, tracker: Tracker, path: Path, style: DrawStyle, crf: int = 20
) -> tuple[TrackedVideo, AnnotatedVideo]:
    drawings = []

    def make_sinks(header: TrackHeader) -> Sequence[TrackSink]:
        drawings.append(AnnotatedVideo(path, header, style, crf=crf, comment="mark"))
        return drawings

    tracked = track_video(clip, tracker, make_sinks)
    return tracked, drawings[0]


def frames_of(path: Path) -> list[ndarray]:
    with VideoReader(path) as reader:
        return [frame.image for frame in reader]


@pytest.mark.parametrize("method", ["none", "kalman", "savgol"])
def test_one_pass_and_two_give_the_same(tiny_weights: Path, clip: Path, tmp_path: Path, method: str) -> None:
    style = DrawStyle(trail=True, trail_seconds=0.3)
    config = replace(CONFIG, smoothing=SmoothingConfig(method), start_seconds=0.2)  # type: ignore[arg-type]
    tracker = Tracker(load_weights(tiny_weights), config)
    # Lossless, since x264 does not always make the same of the same.
    tracked, drawing = drawn_at_once(clip, tracker, tmp_path / "one.mp4", style, crf=0)
    assert drawing.error is None
    with tracker.open(clip) as reader:
        again = AnnotatedVideo(tmp_path / "two.mp4", tracked.header, style, crf=0)
        redraw(reader, tracked.track, again)
    assert len(tracked.track) == 19
    for one, two in zip(frames_of(tmp_path / "one.mp4"), frames_of(tmp_path / "two.mp4"), strict=True):
        np.testing.assert_array_equal(one, two)
    times = ffprobe_times(tmp_path / "one.mp4")
    np.testing.assert_allclose(times, np.arange(19) / 25, rtol=0, atol=1e-3)
    assert read_comment(tmp_path / "one.mp4") == "mark"
    assert read_comment(tmp_path / "two.mp4") == ""


@pytest.mark.parametrize("num_frames", [1, 9])
def test_drawing_can_be_stopped(tiny_weights: Path, clip: Path, tmp_path: Path, num_frames: int) -> None:
    tracker = Tracker(load_weights(tiny_weights), CONFIG)
    tracked = track_video(clip, tracker, lambda header: [])
    path, drawn, asked = tmp_path / "out.mp4", [], iter(range(1000))
    with tracker.open(clip) as reader:
        redraw(
            reader,
            tracked.track,
            AnnotatedVideo(path, tracked.header, DrawStyle()),
            on_frame=drawn.append,
            should_stop=lambda: next(asked) >= num_frames,
        )
    assert drawn == list(range(1, num_frames + 1))
    assert len(ffprobe_times(path)) == num_frames


def test_a_drawing_that_cannot_be_written_leaves_the_rest_alone(
    tiny_weights: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise VideoError("out.mp4: cannot be written (No space left on device)")

    monkeypatch.setattr(VideoWriter, "write", fail)
    tracker = Tracker(load_weights(tiny_weights), CONFIG)
    tracked, drawing = drawn_at_once(clip, tracker, tmp_path / "out.mp4", DrawStyle())
    assert len(tracked.track) == 24
    assert "No space left" in str(drawing.error)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4"]
    with tracker.open(clip) as reader, pytest.raises(VideoError, match="No space left"):
        redraw(reader, tracked.track, AnnotatedVideo(tmp_path / "out.mp4", tracked.header, DrawStyle()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4"]


def test_joints_are_drawn_with_their_names(tiny_weights: Path, clip: Path, tmp_path: Path) -> None:
    weights = load_weights(tiny_weights)
    count = weights.config.num_keypoints
    # Joints that stay in one place, whatever the keypoints do.
    fixed = JointMap(
        ("nose",), weights.sha256, np.zeros((1, 2, count, 2)), np.array([[0.5, 0.5]]), np.zeros((1, 3)), 0.1
    )
    nothing = DrawStyle(points=False, skeleton=False)
    pictures = []
    for joints in (None, fixed):
        path = tmp_path / f"{joints is None}.mp4"
        drawn_at_once(clip, Tracker(weights, CONFIG, joints), path, nothing, crf=1)
        pictures.append(frames_of(path)[0].astype(int))
    change = np.abs(pictures[0] - pictures[1]).max(axis=2)
    middle = (slice(HEIGHT // 2 - 3, HEIGHT // 2 + 3), slice(WIDTH // 2 - 3, WIDTH // 2 + 3))
    assert change[middle].max() > 100
    # The label is to the right of the point.
    assert change[:, WIDTH // 2 + 6 : WIDTH // 2 + 30].max() > 100 and change[:, : WIDTH // 2 - 8].max() < 40


def test_what_fits_in_memory(clip: Path) -> None:
    with VideoReader(clip) as reader:
        info: VideoInfo = reader.info
    limit = int(MOST_KEPT_BYTES / (WIDTH * HEIGHT * 1.5))
    assert fits_in_memory(info, limit)
    assert not fits_in_memory(info, limit + 1)
