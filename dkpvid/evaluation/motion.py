"""What can be said about keypoints on a video without any annotation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from dkpvid.checkpoint import Weights, load_weights
from dkpvid.config import EvalConfig, SmoothingConfig
from dkpvid.devices import choose_device
from dkpvid.errors import DataError
from dkpvid.evaluation.track_metrics import dead_keypoints, foreground, jitter, share_on, swap_rate
from dkpvid.models.detector import HEATMAP_SIZE
from dkpvid.shapes import UInt8
from dkpvid.structures import Frame, Track
from dkpvid.tracking.detect import Detector, detect, keypoint_names
from dkpvid.tracking.smoothing import smooth
from dkpvid.video.inputs import expand_inputs
from dkpvid.video.reader import VideoReader
from dkpvid.video.resize import to_square
from dkpvid.video.sources import Source

NUM_SAMPLES = 64
"""Frames, spread over the video, that the background is told from; of a longer one half of them or more."""
SAMPLE_SIZE = 128
"""Side that they are resized to, in pixels."""


@dataclass(frozen=True)
class VideoMotion:
    """The health of one video's keypoints; None where it cannot be told."""

    video: str
    num_frames: int
    on_foreground: float | None
    """Share of the keypoints within one heatmap cell of what moves, 0..1. Only for a camera that stands
    still."""
    foreground_area: float
    """Share of the picture within that reach, 0..1: what keypoints placed at random would score."""
    jitter_px: float | None
    """Mean jump of a keypoint about its smoothed path from one frame to the next, in pixels."""
    jitter_percent: float | None
    """The same in per cent of the frame's longer side."""
    num_dead: int
    """Keypoints that stay within one heatmap cell."""
    swap_rate: float
    """Share of the steps between frames at which two keypoints seem to change places, 0..1."""


@dataclass(frozen=True)
class MotionScores:
    """One model on one or more videos."""

    model: str
    sha256: str
    videos: tuple[VideoMotion, ...]
    dead_everywhere: tuple[str, ...]
    """Keypoints that move in none of the videos."""


def evaluate_motion(
    config: EvalConfig, on_frame: Callable[[int], None] = lambda done: None
) -> tuple[MotionScores, ...]:
    """Measure every model on a video, or on all videos of a folder.

    Args:
        config: What to measure.
        on_frame: Called with the number of frames seen.

    Raises:
        DataError: no video, or one that cannot be read.
        WeightsError: a model cannot be read.
    """
    models = [load_weights(source) for source in config.weights]
    videos = expand_inputs([str(config.data)], recursive=True)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        on_frame(done)

    return tuple(_evaluate_model(weights, videos, config, count) for weights in models)


def _evaluate_model(
    weights: Weights, videos: list[Source], config: EvalConfig, count: Callable[[], None]
) -> MotionScores:
    detector = Detector(weights, choose_device(config.device))
    measured, dead = [], []
    for video in videos:
        motion, is_dead = _measure(video, detector, config.batch_size, count)
        measured.append(motion)
        dead.append(is_dead)
    names = keypoint_names(detector.num_points)
    everywhere = tuple(names[number] for number in np.flatnonzero(np.all(dead, axis=0)))
    return MotionScores(weights.name, weights.sha256, tuple(measured), everywhere)


def _measure(
    video: Source, detector: Detector, batch_size: int, count: Callable[[], None]
) -> tuple[VideoMotion, ndarray]:
    samples = _Samples()

    def frames(reader: VideoReader) -> Iterator[Frame]:
        for frame in reader:
            samples.add(frame)
            count()
            yield frame

    with VideoReader(video) as reader:
        pieces = list(detect(detector, frames(reader), batch_size=batch_size))
        info = reader.info
    if not pieces:
        raise DataError(f"{video.name}: no frame could be decoded")
    raw, size = Track.concatenate(pieces), np.array([info.width, info.height], dtype=float)
    longer, cell = float(size.max()), size / HEATMAP_SIZE
    smoothed = smooth(raw, SmoothingConfig(), longer)
    jitter_px = jitter(raw.xy, smoothed.xy)
    moving = foreground(np.stack(samples.images) / 255)
    on_foreground, area = share_on(moving, ((raw.xy + 0.5) / size)[samples.positions])
    is_dead = dead_keypoints(smoothed.xy, cell)
    motion = VideoMotion(
        video=video.name,
        num_frames=len(raw),
        on_foreground=_known(on_foreground),
        foreground_area=area,
        jitter_px=_known(jitter_px),
        jitter_percent=_known(100 * jitter_px / longer),
        num_dead=int(is_dead.sum()),
        swap_rate=swap_rate(raw.xy, cell),
    )
    return motion, is_dead


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


class _Samples:
    """Small copies of frames spread evenly over a video whose length is not known beforehand."""

    def __init__(self) -> None:
        self.images: list[UInt8[ndarray, "size size 3"]] = []
        self.positions: list[int] = []
        self._step = 1
        self._num_seen = 0

    def add(self, frame: Frame) -> None:
        """Keep every n-th frame; when there are too many, n doubles."""
        if self._num_seen % self._step == 0:
            if len(self.images) == NUM_SAMPLES:
                self.images, self.positions = self.images[::2], self.positions[::2]
                self._step *= 2
            if self._num_seen % self._step == 0:
                self.images.append(to_square(frame.image, SAMPLE_SIZE))
                self.positions.append(self._num_seen)
        self._num_seen += 1
