"""Frames in, keypoints with their uncertainty out: batching, resizing, device, and back to pixels."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray

from dkpvid.ahead import ahead
from dkpvid.checkpoint import Weights
from dkpvid.coordinates import Region, Regions, model_to_pixels, origin_and_size, pixels_per_unit
from dkpvid.shapes import Float, UInt8
from dkpvid.structures import Frame, Track
from dkpvid.tracking.runtimes import make_runtime
from dkpvid.video.resize import frame_to_square

NOISE_PER_SPREAD = 0.2
"""Standard error of a keypoint over the standard deviation of its heatmap, measured on the package's own
weights by `benchmarks/calibration.py`: a learned blob is wider than its mean is uncertain."""

CONFIDENCE_RADIUS = 0.05
"""Confidence is the chance that the keypoint lies within this share of the region's mean side."""


FRAMES_AHEAD = 64
"""Frames that are decoded and shrunk while the network is busy."""


def keypoint_names(count: int) -> tuple[str, ...]:
    """What keypoints are called that nobody named: kp0, kp1, ..."""
    return tuple(f"kp{number}" for number in range(count))


class Detector:
    """A trained model on a device, ready for frames.

    Args:
        weights: The model.
        device: Where to run it.
        precision: 32, bf16 or auto; see `dkpvid.devices.inference_dtype`.
        runtime: torch, onnx or auto; see `dkpvid.tracking.runtimes.make_runtime`.
        with_joints: Also find the joints that the model was taught by name, if any, after its keypoints.

    Raises:
        UsageError: the runtime is not installed, or cannot run there.
    """

    def __init__(
        self,
        weights: Weights,
        device: torch.device,
        precision: str = "32",
        runtime: str = "torch",
        *,
        with_joints: bool = False,
    ) -> None:
        self.image_size = weights.config.image_size
        self.num_points = weights.config.num_keypoints + (len(weights.config.joints) if with_joints else 0)
        self.runtime = make_runtime(weights.detector, device, precision, runtime)

    def __call__(
        self, images: UInt8[ndarray, "batch size size 3"]
    ) -> tuple[Float[ndarray, "batch point 2"], Float[ndarray, "batch point 3"]]:
        """Points in model space, and their heatmaps' (xx, xy, yy) covariance in squared model units."""
        points, covariance = (part[:, : self.num_points] for part in self.runtime(images))
        return points.astype(np.float64), covariance.astype(np.float64)


class _View(NamedTuple):
    """As much of a frame as is kept until its batch is full."""

    frame_index: int
    time_seconds: float
    flags: tuple[str, ...]
    area: Region
    is_placed: bool
    """True when the frame brought its own region."""
    square: UInt8[ndarray, "size size 3"] | None
    """What the network sees; None when this frame is passed over."""


def detect(
    detector: Detector,
    frames: Iterable[Frame],
    *,
    region: Region | None = None,
    batch_size: int = 32,
    stride: int = 1,
    min_confidence: float = 0.0,
) -> Generator[Track, None, None]:
    """Find the keypoints in every frame, a batch at a time; frames are decoded and shrunk in another thread.

    Args:
        detector: The model.
        frames: Upright frames; each gives one row of the result. Used by that thread alone until the result
            is exhausted or closed.
        region: The part of the frame to look at, where a frame brings none of its own; None = all of it.
        batch_size: Frames per forward pass.
        stride: Look at every n-th frame only; the rows between are NaN, for the smoother to fill.
        min_confidence: Keypoints below it count as not observed (NaN).

    Yields:
        One unsmoothed track a batch, in pixels of the frame.
    """

    def views() -> Iterator[_View]:
        for frame in frames:
            area = frame.region or region
            is_looked_at = frame.index % stride == 0
            square = frame_to_square(frame, detector.image_size, area) if is_looked_at else None
            area = area or Region(0, 0, *frame.size)
            yield _View(frame.index, frame.time_seconds, frame.flags, area, frame.region is not None, square)

    with closing(ahead(views(), FRAMES_AHEAD)) as remaining:
        while batch := list(islice(remaining, batch_size)):
            yield _detect_batch(detector, batch, min_confidence)


def _detect_batch(detector: Detector, batch: list[_View], min_confidence: float) -> Track:
    rows = np.array([[view.area.x, view.area.y, view.area.width, view.area.height] for view in batch])
    looked_at = [row for row, view in enumerate(batch) if view.square is not None]
    xy = np.full((len(batch), detector.num_points, 2), np.nan)
    covariance = np.full((len(batch), detector.num_points, 3), np.nan)
    if looked_at:
        keypoints, spread = detector(np.stack([view.square for view in batch if view.square is not None]))
        scale = pixels_per_unit(rows[looked_at], detector.image_size)
        xy[looked_at] = model_to_pixels(keypoints, rows[looked_at], detector.image_size)
        scales = scale[..., [0, 0, 1]] * scale[..., [0, 1, 1]]
        covariance[looked_at] = NOISE_PER_SPREAD**2 * spread * scales
    confidence = confidence_from_covariance(covariance, rows)
    xy[confidence < min_confidence] = np.nan
    return Track(
        index=np.array([view.frame_index for view in batch]),
        time_seconds=np.array([view.time_seconds for view in batch]),
        xy=xy,
        confidence=confidence,
        covariance=covariance,
        region=rows if any(view.is_placed for view in batch) else None,
        flags=tuple(view.flags for view in batch) if any(view.flags for view in batch) else (),
    )


def confidence_from_covariance(
    covariance: Float[ndarray, "frame keypoint 3"], region: Regions
) -> Float[ndarray, "frame keypoint"]:
    """The chance that a keypoint lies within 5 % of the region's side of where it was found, in 0..1.

    A round Gaussian with the covariance's mean variance s^2 has 1 - exp(-r^2 / 2 s^2) of its mass within r.

    Args:
        covariance: (xx, xy, yy) of the keypoints' error, in square pixels; NaN gives 0.
        region: What the detector looked at, once or in each frame; r is 5 % of the geometric mean of its
            sides.

    >>> confidence_from_covariance(np.array([[[25.0, 0.0, 25.0]]]), Region(0, 0, 100, 100))
    array([[0.39346934]])
    """
    radius_squared = CONFIDENCE_RADIUS**2 * origin_and_size(region)[1].prod(axis=-1)
    variance = (covariance[..., 0] + covariance[..., 2]) / 2
    confidence = 1 - np.exp(-radius_squared / (2 * np.maximum(variance, 1e-12)))
    return np.asarray(np.nan_to_num(confidence, nan=0.0))


def rate_filled(track: Track, region: Regions) -> Track:
    """Where the smoother bridged a missing detection, its covariance tells how far that is to be trusted."""
    if track.raw_xy is None:
        return track
    is_filled = np.isnan(track.raw_xy).any(axis=2) & np.isfinite(track.xy).all(axis=2)
    filled_confidence = confidence_from_covariance(track.covariance, region)
    return replace(track, confidence=np.where(is_filled, filled_confidence, track.confidence))
