"""Frames in, keypoints with their uncertainty out: batching, resizing, device, and back to pixels."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from dkpvid.checkpoint import Weights
from dkpvid.coordinates import Region, model_to_pixels, pixels_per_unit
from dkpvid.devices import autocast
from dkpvid.shapes import Float, UInt8
from dkpvid.structures import Frame, Track
from dkpvid.video.resize import frame_to_square

NOISE_PER_SPREAD = 0.35
"""Standard error of a keypoint over the standard deviation of its heatmap, measured on the package's own
weights by `benchmarks/calibration.py`: a learned blob is wider than its mean is uncertain."""

CONFIDENCE_RADIUS = 0.05
"""Confidence is the chance that the keypoint lies within this share of the region's mean side."""


def keypoint_names(count: int) -> tuple[str, ...]:
    """What keypoints are called that nobody named: kp0, kp1, ..."""
    return tuple(f"kp{number}" for number in range(count))


class Detector:
    """A trained model on a device, ready for frames.

    Args:
        weights: The model.
        device: Where to run it.
        precision: 32, bf16 or auto; see `dkpvid.devices.autocast`.
    """

    def __init__(self, weights: Weights, device: torch.device, precision: str = "32") -> None:
        self.image_size = weights.config.image_size
        self.num_keypoints = weights.config.num_keypoints
        self.device = device
        self.precision = precision
        self.network = weights.detector.to(device)
        self.network.to(memory_format=torch.channels_last)

    def __call__(
        self, images: UInt8[ndarray, "batch size size 3"]
    ) -> tuple[Float[ndarray, "batch keypoint 2"], Float[ndarray, "batch keypoint 3"]]:
        """Keypoints in model space, and their heatmaps' (xx, xy, yy) covariance in squared model units."""
        with torch.inference_mode(), autocast(self.device, self.precision):
            pixels = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
            found = self.network(pixels.float() / 127.5 - 1)
            covariance = heatmap_covariance(found.heatmaps, found.keypoints)
        return found.keypoints.double().cpu().numpy(), covariance.double().cpu().numpy()


def detect(
    detector: Detector,
    frames: Iterable[Frame],
    *,
    region: Region | None = None,
    batch_size: int = 32,
    stride: int = 1,
    min_confidence: float = 0.0,
) -> Iterator[Track]:
    """Find the keypoints in every frame, a batch at a time, holding one batch of frames.

    Args:
        detector: The model.
        frames: Upright frames; each gives one row of the result.
        region: The part of the frame to look at; None = all of it.
        batch_size: Frames per forward pass.
        stride: Look at every n-th frame only; the rows between are NaN, for the smoother to fill.
        min_confidence: Keypoints below it count as not observed (NaN).

    Yields:
        One unsmoothed track a batch, in pixels of the frame.
    """
    remaining = iter(frames)
    while batch := list(islice(remaining, batch_size)):
        track = _detect_batch(detector, batch, region, stride, min_confidence)
        batch.clear()  # or it would be held until the next one has been read
        yield track


def _detect_batch(
    detector: Detector, batch: list[Frame], region: Region | None, stride: int, min_confidence: float
) -> Track:
    width, height = batch[0].size
    area = Region(0, 0, width, height) if region is None else region
    looked_at = [row for row, frame in enumerate(batch) if frame.index % stride == 0]
    xy = np.full((len(batch), detector.num_keypoints, 2), np.nan)
    covariance = np.full((len(batch), detector.num_keypoints, 3), np.nan)
    if looked_at:
        squares = [frame_to_square(batch[row], detector.image_size, region) for row in looked_at]
        keypoints, spread = detector(np.stack(squares))
        scale_x, scale_y = pixels_per_unit(area, detector.image_size)
        xy[looked_at] = model_to_pixels(keypoints, area, detector.image_size)
        scales = np.array([scale_x**2, scale_x * scale_y, scale_y**2])
        covariance[looked_at] = NOISE_PER_SPREAD**2 * spread * scales
    confidence = confidence_from_covariance(covariance, area)
    xy[confidence < min_confidence] = np.nan
    return Track(
        index=np.array([frame.index for frame in batch]),
        time_seconds=np.array([frame.time_seconds for frame in batch]),
        xy=xy,
        confidence=confidence,
        covariance=covariance,
        flags=tuple(frame.flags for frame in batch) if any(frame.flags for frame in batch) else (),
    )


def heatmap_covariance(
    heatmaps: Float[Tensor, "batch keypoint row column"], keypoints: Float[Tensor, "batch keypoint 2"]
) -> Float[Tensor, "batch keypoint 3"]:
    """(xx, xy, yy) of each heatmap about its expected position, in squared model units."""
    rows, columns = (torch.linspace(-1, 1, cells, device=heatmaps.device) for cells in heatmaps.shape[2:])
    x = columns - keypoints[:, :, :1]
    y = rows - keypoints[:, :, 1:]
    xx = (heatmaps.sum(dim=2) * x.square()).sum(dim=2)
    yy = (heatmaps.sum(dim=3) * y.square()).sum(dim=2)
    xy = torch.einsum("bkrc,bkr,bkc->bk", heatmaps, y, x)
    return torch.stack([xx, xy, yy], dim=2)


def confidence_from_covariance(
    covariance: Float[ndarray, "frame keypoint 3"], region: Region
) -> Float[ndarray, "frame keypoint"]:
    """The chance that a keypoint lies within 5 % of the region's side of where it was found, in 0..1.

    A round Gaussian with the covariance's mean variance s^2 has 1 - exp(-r^2 / 2 s^2) of its mass within r.

    Args:
        covariance: (xx, xy, yy) of the keypoints' error, in square pixels; NaN gives 0.
        region: What the detector looked at; r is 5 % of the geometric mean of its sides.

    >>> confidence_from_covariance(np.array([[[25.0, 0.0, 25.0]]]), Region(0, 0, 100, 100))
    array([[0.39346934]])
    """
    radius_squared = CONFIDENCE_RADIUS**2 * region.width * region.height
    variance = (covariance[..., 0] + covariance[..., 2]) / 2
    confidence = 1 - np.exp(-radius_squared / (2 * np.maximum(variance, 1e-12)))
    return np.asarray(np.nan_to_num(confidence, nan=0.0))
