"""Filters over time that take the detector's noise out of a track, as frames arrive, in bounded memory."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy import ndarray

from dkpvid.config import SmoothingConfig
from dkpvid.coordinates import Region
from dkpvid.shapes import Float
from dkpvid.structures import Track
from dkpvid.tracking.kalman import KalmanSmoother, lag

SAVGOL_HALF_WINDOW = 4
"""Frames on either side of the one that is estimated, at strength 1."""
SAVGOL_DEGREE = 2
MEDIAN_HALF_WINDOW = 2
"""Frames on either side of the one that is estimated, at strength 1."""
ONE_EURO_CUTOFF = 3.0
"""Cutoff frequency in Hz of a resting keypoint at strength 1."""
ONE_EURO_SPEED_GAIN = 10.0
"""What a speed of one region per second adds to that cutoff, in Hz at strength 1."""
ONE_EURO_SPEED_CUTOFF = 1.0
"""Cutoff frequency in Hz of the filter on the speed itself."""


@runtime_checkable
class Smoother(Protocol):
    """A filter that takes a track part by part, in order, and gives it back smoothed, in order.

    The parts given back need not be those taken; joined, they do not depend on how the track was cut.
    """

    def push(self, track: Track) -> Track | None:
        """Take the next frames; return those that are now final, None when there are none."""

    def finish(self) -> Track | None:
        """Return the remaining frames, None when there are none. Nothing can be pushed afterwards."""


def smooth(track: Track, config: SmoothingConfig, scale_px: float) -> Track:
    """Smooth a whole track.

    Args:
        track: Detections; NaN = not observed. Only kalman fills gaps; the other filters keep and ignore NaN.
        config: Method and strength; see `make_smoother`.
        scale_px: Longer side of the tracked region in pixels.

    Returns:
        A new track: `xy` smoothed, `raw_xy` the detections. `covariance` is the estimate's after kalman, else
        unchanged.

    Raises:
        ValueError: scale_px is not positive.
    """
    smoother = make_smoother(config, scale_px)
    parts = [part for part in (smoother.push(track), smoother.finish()) if part is not None]
    return Track.concatenate(parts) if parts else replace(track, raw_xy=track.xy)


def make_smoother(config: SmoothingConfig, scale_px: float, fps: float | None = None) -> Smoother:
    """Make a filter for tracks that arrive part by part.

    | method   | what strength s does                                | frames kept back |
    |----------|-----------------------------------------------------|------------------|
    | kalman   | averaging time x s (process noise / s^4)            | see `kept_back`  |
    | one-euro | cutoff frequencies / s                              | 0                |
    | savgol   | window of 2 round(4 s) + 1 frames, degree 2         | round(4 s)       |
    | median   | window of 2 round(2 s) + 1 frames                   | round(2 s)       |
    | none     | nothing                                             | 0                |

    Windows are always odd. A window of one frame (small s) changes nothing.

    Args:
        config: Method and strength.
        scale_px: Longer side of the tracked region in pixels; kalman and one-euro measure speeds by it.
        fps: Frames per second, roughly, by which kalman chooses how far it looks ahead; None looks furthest.

    Raises:
        ValueError: scale_px is not positive.
    """
    if not scale_px > 0:
        raise ValueError(f"scale_px must be above 0, got {scale_px}")
    strength = config.strength
    match config.method:
        case "kalman":
            return KalmanSmoother(strength, scale_px, lag(strength, fps))
        case "one-euro":
            return _OneEuro(strength, scale_px)
        case "savgol":
            return _Windowed(round(SAVGOL_HALF_WINDOW * strength), _local_polynomial)
        case "median":
            return _Windowed(round(MEDIAN_HALF_WINDOW * strength), _median)
        case "none":
            return _Unsmoothed()


def kept_back(config: SmoothingConfig, fps: float | None = None) -> int:
    """Most frames that a smoother holds when it is given one at a time; see `make_smoother`."""
    match config.method:
        case "kalman":
            return 2 * lag(config.strength, fps) - 1
        case "savgol":
            return 2 * round(SAVGOL_HALF_WINDOW * config.strength)
        case "median":
            return 2 * round(MEDIAN_HALF_WINDOW * config.strength)
        case _:
            return 0


def region_scale(first: Track, area: Region) -> float:
    """What a smoother measures lengths by: the region's longer side, in its first frame when it moves.

    It is fixed, as a length of the subject is: a window that grows with an outstretched arm makes nobody
    faster.
    """
    size = [area.width, area.height] if first.region is None else first.region[0, 2:]
    return float(max(size))


class _Unsmoothed:
    """Gives back what it takes."""

    def push(self, track: Track) -> Track | None:
        return replace(track, raw_xy=track.xy)

    def finish(self) -> Track | None:
        return None


class _OneEuro:
    """Causal low-pass filter whose cutoff frequency rises with speed: calm at rest, quick in motion.

    A missing detection stays missing and leaves the state alone; the next one sees the whole time step. At a
    repeated time (step 0) the estimate stays where it was.

    Source: Casiez, Roussel and Vogel 2012, "1 Euro Filter". Here the speed is that of the point (not of each
    coordinate, so the result does not depend on the axes) in regions per second (not pixels).
    """

    def __init__(self, strength: float, scale_px: float) -> None:
        self._strength = strength
        self._scale = scale_px
        self._time = np.zeros(0)
        self._xy = np.zeros((0, 2))
        self._velocity = np.zeros((0, 2))

    def push(self, track: Track) -> Track | None:
        if not len(self._xy):
            self._time = np.zeros(track.num_keypoints)
            self._xy = np.full((track.num_keypoints, 2), np.nan)
            self._velocity = np.zeros((track.num_keypoints, 2))
        xy = np.empty_like(track.xy)
        for t, time in enumerate(track.time_seconds):
            xy[t] = self._step(float(time), track.xy[t])
        return replace(track, xy=xy, raw_xy=track.xy)

    def finish(self) -> Track | None:
        return None

    def _step(self, time: float, xy: Float[ndarray, "keypoint 2"]) -> Float[ndarray, "keypoint 2"]:
        is_observed = ~np.isnan(xy).any(-1)
        is_first = is_observed & np.isnan(self._xy).any(-1)
        self._xy[is_first], self._time[is_first] = xy[is_first], time

        step = np.where(is_observed, np.maximum(time - self._time, 0.0), 0.0)[:, None]
        change = np.where(is_observed[:, None], xy - self._xy, 0.0)
        velocity = change / np.where(step > 0, step, 1.0)
        self._velocity += _smoothing_factor(ONE_EURO_SPEED_CUTOFF, step) * (velocity - self._velocity)
        speed = np.sqrt((self._velocity**2).sum(-1, keepdims=True)) / self._scale
        cutoff = (ONE_EURO_CUTOFF + ONE_EURO_SPEED_GAIN * speed) / self._strength
        self._xy += _smoothing_factor(cutoff, step) * change
        self._time[is_observed] = time
        return np.where(is_observed[:, None], self._xy, np.nan)


def _smoothing_factor(
    cutoff: Float[ndarray, "keypoint 1"] | float, step: Float[ndarray, "keypoint 1"]
) -> Float[ndarray, "keypoint 1"]:
    """Weight of the newest value in a first-order low-pass filter; cutoff in Hz, step in seconds."""
    turn = 2 * np.pi * cutoff * step
    return turn / (1 + turn)


class _Windowed:
    """Estimates each frame from those around it.

    At the ends of the track the window keeps its size and stops moving; a track shorter than the window is
    one window. Frames are done one at a time: array sums round differently with the array's length.

    Args:
        half: Frames on either side.
        estimate: Function of a window's times and positions, and of the place in it that is asked for.
    """

    def __init__(
        self,
        half: int,
        estimate: Callable[
            [Float[ndarray, " window"], Float[ndarray, "window keypoint 2"], int],
            Float[ndarray, "keypoint 2"],
        ],
    ) -> None:
        self._half = half
        self._estimate = estimate
        self._kept: Track | None = None
        self._num_done = 0

    def push(self, track: Track) -> Track | None:
        track = track if self._kept is None else Track.concatenate([self._kept, track])
        outside = max(0, len(track) - (2 * self._half + 1))
        # Until the first window is full, even its first half may change.
        is_full = len(track) > 2 * self._half
        done = self._smooth(track, len(track) - self._half) if is_full else None
        self._kept = track[outside:]
        self._num_done -= outside
        return done

    def finish(self) -> Track | None:
        return None if self._kept is None else self._smooth(self._kept, len(self._kept))

    def _smooth(self, track: Track, stop: int) -> Track | None:
        """Smooth from the first frame that is not done to before `stop`."""
        frames = slice(self._num_done, stop)
        self._num_done = stop
        part = track[frames]
        if not len(part):
            return None
        last_start = max(0, len(track) - (2 * self._half + 1))
        xy = np.empty_like(part.xy)
        for row, t in enumerate(range(frames.start, stop)):
            start = min(max(t - self._half, 0), last_start)
            window = slice(start, start + 2 * self._half + 1)
            estimate = self._estimate(track.time_seconds[window], track.xy[window], t - start)
            xy[row] = np.where(np.isnan(track.xy[t]), np.nan, estimate)
        return replace(part, xy=xy, raw_xy=part.xy)


def _local_polynomial(
    time_seconds: Float[ndarray, " window"], xy: Float[ndarray, "window keypoint 2"], at: int
) -> Float[ndarray, "keypoint 2"]:
    """Value at one frame of the polynomial that fits the window's detections best in their real times.

    On even times this is `scipy.signal.savgol_filter`, with its `mode="interp"` at the ends. NaN has no
    weight; with too few distinct times the degree falls, down to the mean.

    Source: Savitzky and Golay 1964; by orthogonal polynomials, where a missing degree is a vanishing norm.
    """
    is_observed = ~np.isnan(xy).any(-1)
    values = np.where(is_observed[..., None], xy, 0.0)
    offset = time_seconds - time_seconds[at]
    offset = offset / (np.abs(offset).max() or 1.0)
    basis: list[tuple[Float[ndarray, "window keypoint"], Float[ndarray, " keypoint"]]] = []
    estimate: ndarray = np.zeros_like(values[0])
    for degree in range(SAVGOL_DEGREE + 1):
        polynomial = np.repeat((offset**degree)[:, None], xy.shape[1], axis=1)
        for lower, norm in basis:
            polynomial = polynomial - lower * ((is_observed * polynomial * lower).sum(0) / norm)
        norm = (is_observed * polynomial**2).sum(0)
        norm = np.where(norm > 1e-12, norm, np.inf)
        basis.append((polynomial, norm))
        estimate += (polynomial[at] / norm)[:, None] * (polynomial[..., None] * values).sum(0)
    return estimate


def _median(
    time_seconds: Float[ndarray, " window"], xy: Float[ndarray, "window keypoint 2"], at: int
) -> Float[ndarray, "keypoint 2"]:
    """Median of each coordinate over the part of the window that is symmetric around one frame.

    One-sided windows would lag behind motion. NaN is left out; the median of none is NaN.
    """
    reach = min(at, len(xy) - 1 - at)
    ordered = np.sort(xy[at - reach : at + reach + 1], axis=0)  # NaN last
    last = np.maximum((~np.isnan(ordered)).sum(0, keepdims=True) - 1, 0)
    low, high = (np.take_along_axis(ordered, middle, axis=0)[0] for middle in (last // 2, last - last // 2))
    median: ndarray = 0.5 * (low + high)
    return median
