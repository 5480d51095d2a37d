"""A Kalman smoother for keypoints: what the past and the future say about where each one is now.

Model, per keypoint: state (x, y, vx, vy), constant velocity disturbed by white-noise acceleration over the
real time between two frames; a detection is the position plus noise with the covariance that the track gives,
which follows the heatmap's.
So an uncertain detection is interpolated and a certain one followed, with no window to tune.

All lengths are relative to `scale_px`, the size of the tracked region: in a video of twice the resolution
positions, speeds and heatmaps double, and so does the result. Taking the scale from the detections instead
would need all of them before the first could be smoothed.

Source: Rauch, Tung and Striebel 1965 for the result; computed in the equivalent form of Bryson and Frazier
(Bierman 1973, "Fixed interval smoothing with discrete measurements"), which needs no 4 x 4 inverse.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray

from dkpvid.shapes import Bool, Float
from dkpvid.structures import Track

SHORTEST_LAG, LONGEST_LAG = 64, 256
"""Bounds, in frames, of what an estimate has seen of the future, unless the track ends."""

LAG_SECONDS = 2.0
"""What it has seen at strength 1 and within those bounds. A detection's influence fades within tenths of a
second, and a gap of two seconds is not bridged, so this is as good as the whole track."""

NOISE_FLOOR = 1e-3
"""Least standard deviation of a detection, in regions: an eighth of a pixel of a 128-pixel input."""

SPEED_DIFFUSION = 2.0
"""Variance that the velocity gains in a second, (regions / second)^2 / second. A limb that swings by 0.1
regions at 1 Hz accelerates by a = 2.8 regions / second^2 rms and keeps that up for T = 0.1 to 0.2 s: a white
noise of 2 a^2 T = 1.6 to 3. In `benchmarks/smoothing.py` the error is flat from 1 to 2; 2 is quicker."""

INITIAL_SPEED = 1.0
"""Standard deviation of the velocity at a keypoint's first detection, regions / second."""

OUTLIER_DISTANCE = 4.0
"""Detections further than this many standard deviations from the prediction are down-weighted: three in ten
thousand if all is Gaussian."""

LOST_STD = 0.2
"""An estimate with a larger standard deviation, in regions, does not say where the keypoint is: it is NaN."""

RESTART_STD = 1.0
"""When the prediction is less certain than this, in regions, the next detection starts the keypoint anew.
It lies above `LOST_STD` because a gap between two detections is bridged better than it is predicted."""


@dataclass(frozen=True, eq=False)
class _Filtered:
    """A block after the forward pass, with what the backward pass needs."""

    track: Track
    state: Float[ndarray, "frame keypoint 4"]
    """Given the detections up to and including each frame."""
    covariance: Float[ndarray, "frame keypoint 4 4"]
    transition: Float[ndarray, "frame keypoint 4 4"]
    """From the filtered state of the frame before to this frame's; zero where the keypoint starts anew."""
    score: Float[ndarray, "frame keypoint 4"]
    """Gradient of the frame's log-likelihood by the filtered state of the frame before."""
    information: Float[ndarray, "frame keypoint 4 4"]
    """What this frame's detection alone says about that state (inverse covariance)."""


def lag(strength: float, fps: float | None) -> int:
    """Least number of later frames that an estimate has seen.

    Args:
        strength: See `KalmanSmoother`.
        fps: Frames per second, roughly; None when nobody knows.

    >>> lag(1.0, 30.0), lag(1.0, 60.0), lag(4.0, 60.0), lag(1.0, None)
    (64, 120, 256, 256)
    """
    if fps is None:
        return LONGEST_LAG
    return round(min(max(LAG_SECONDS * max(1.0, strength) * fps, SHORTEST_LAG), LONGEST_LAG))


class KalmanSmoother:
    """Fixed-lag smoother: blocks of `lag` frames, each smoothed when the next one has been filtered.

    A missing detection (NaN position or covariance) is bridged, with a covariance that grows with the time
    to the detections around it. Where it exceeds `LOST_STD` (in and after long gaps, and always before the
    first detection) position and covariance are NaN.

    A detection at d > `OUTLIER_DISTANCE` standard deviations from the prediction has its noise covariance
    multiplied by (d / OUTLIER_DISTANCE)^2: the further off, the less it pulls. So one frame with left and
    right swapped leaves hardly a trace, and a jump that lasts is followed after three or four frames.

    Args:
        strength: Multiplies the time over which is averaged: the process noise is divided by strength^4.
            The posterior covariance believes in that process noise: it falls as 1 / strength, the true error
            does not.
        scale_px: Longer side of the tracked region in pixels.
        lag: Frames in a block.
    """

    def __init__(self, strength: float, scale_px: float, lag: int = LONGEST_LAG) -> None:
        self._scale = scale_px
        self._lag = lag
        self._diffusion = SPEED_DIFFUSION * scale_px**2 / strength**4
        # A stiffer model lags behind real motion by strength^2 more: that must not look like outliers.
        self._gate = (OUTLIER_DISTANCE * max(1.0, strength**2)) ** 2
        self._pending: list[Track] = []
        self._filtered: _Filtered | None = None
        self._time: float | None = None
        self._state = np.zeros((0, 4))
        self._covariance = np.zeros((0, 4, 4))

    def push(self, track: Track) -> Track | None:
        """Take the next frames; return those that are now final."""
        self._pending.append(track)
        if sum(map(len, self._pending)) < self._lag:
            return None
        pending = Track.concatenate(self._pending)
        done: list[Track] = []
        # Blocks are counted from the first frame, so the result does not depend on how frames were chunked.
        while len(pending) >= self._lag:
            block, pending = self._forward(pending[: self._lag]), pending[self._lag :]
            if self._filtered is not None:
                done.append(self._backward([self._filtered, block])[0])
            self._filtered = block
        self._pending = [pending]
        return Track.concatenate(done) if done else None

    def finish(self) -> Track | None:
        """Return the remaining frames, None when there are none."""
        blocks = [self._filtered] if self._filtered is not None else []
        if any(map(len, self._pending)):
            blocks.append(self._forward(Track.concatenate(self._pending)))
        self._pending, self._filtered = [], None
        return Track.concatenate(self._backward(blocks)) if blocks else None

    def _forward(self, track: Track) -> _Filtered:
        """Filter one block, starting from the state after the block before."""
        frames, keypoints = len(track), track.num_keypoints
        if self._time is None:
            self._time = float(track.time_seconds[0])
            self._state = np.zeros((keypoints, 4))
            # Any variance above the restart limit: the first detection replaces it.
            unknown = 4 * (RESTART_STD * self._scale) ** 2
            self._covariance = np.tile(np.eye(4) * unknown, (keypoints, 1, 1))
        state, covariance = self._state.copy(), self._covariance.copy()
        steps = np.maximum(np.diff(track.time_seconds, prepend=self._time), 0.0)
        process_noise = self._diffusion * _integrated_acceleration(steps)
        noise, is_observed = self._measurement_noise(track)
        xy = np.where(is_observed[..., None], track.xy, 0.0)

        states = np.empty((frames, keypoints, 4))
        covariances = np.empty((frames, keypoints, 4, 4))
        gains = np.empty((frames, keypoints, 4, 2))
        weights = np.empty((frames, keypoints, 2, 2))
        weighted = np.empty((frames, keypoints, 2, 1))
        is_start = np.zeros((frames, keypoints), bool)
        for t in range(frames):
            # 1. Predict: position += step * velocity.
            step = steps[t]
            state[:, :2] += step * state[:, 2:]
            covariance[:, :2] += step * covariance[:, 2:]
            covariance[:, :, :2] += step * covariance[:, :, 2:]
            covariance += process_noise[t]
            variance = covariance[:, 0, 0] + covariance[:, 1, 1]
            is_start[t] = is_observed[t] & (variance > 2 * (RESTART_STD * self._scale) ** 2)
            use = (is_observed[t] & ~is_start[t])[:, None, None]

            # 2. Weigh the detection by the inverse covariance of its distance from the prediction.
            difference = (xy[t] - state[:, :2])[..., None]
            weight = _inverse(covariance[:, :2, :2] + noise[t]) * use
            weighted[t] = weight @ difference
            distance = (difference * weighted[t]).sum((1, 2)) / self._gate
            if (distance > 1).any():
                inflated = noise[t] * np.maximum(distance, 1)[:, None, None]
                weight = _inverse(covariance[:, :2, :2] + inflated) * use
                weighted[t] = weight @ difference

            # 3. Update; symmetric again after rounding.
            gain = covariance[:, :, :2] @ weight
            state += (covariance[:, :, :2] @ weighted[t])[..., 0]
            covariance = covariance - gain @ covariance[:, :2]
            covariance = 0.5 * (covariance + covariance.transpose(0, 2, 1))
            if is_start[t].any():
                self._start(state, covariance, is_start[t], xy[t], noise[t])
            states[t], covariances[t], gains[t], weights[t] = state, covariance, gain, weight

        self._time = float(track.time_seconds[-1])
        self._state, self._covariance = state, covariance

        # Rows of F = [[I, step], [0, I]] that give the position; the transition is (I - gain H) F.
        move = np.tile(np.eye(4), (frames, 1, 1, 1))
        move[:, 0, 0, 2] = move[:, 0, 1, 3] = steps
        position = move[:, :, :2]
        # Nothing is known about a keypoint's past from its detections after a fresh start.
        linked = ~is_start[..., None, None]
        return _Filtered(
            track=track,
            state=states,
            covariance=covariances,
            transition=(move - gains @ position) * linked,
            score=((position.swapaxes(-1, -2) @ weighted) * linked)[..., 0],
            information=(position.swapaxes(-1, -2) @ weights @ position) * linked,
        )

    def _measurement_noise(
        self, track: Track
    ) -> tuple[Float[ndarray, "frame keypoint 2 2"], Bool[ndarray, "frame keypoint"]]:
        """Noise covariance of each detection in square pixels, and whether there is one at all."""
        is_observed = np.isfinite(track.xy).all(-1) & np.isfinite(track.covariance).all(-1)
        noise = np.where(is_observed[..., None], track.covariance, 0.0)[..., [0, 1, 1, 2]]
        floor = np.eye(2) * (NOISE_FLOOR * self._scale) ** 2
        return noise.reshape(*is_observed.shape, 2, 2) + floor, is_observed

    def _start(
        self,
        state: Float[ndarray, "keypoint 4"],
        covariance: Float[ndarray, "keypoint 4 4"],
        is_start: Bool[ndarray, " keypoint"],
        xy: Float[ndarray, "keypoint 2"],
        noise: Float[ndarray, "keypoint 2 2"],
    ) -> None:
        """Put keypoints, in place, where they are detected: at rest, give or take `INITIAL_SPEED`."""
        state[is_start, :2], state[is_start, 2:] = xy[is_start], 0.0
        covariance[is_start] = np.eye(4) * (INITIAL_SPEED * self._scale) ** 2
        covariance[is_start, :2, :2] = noise[is_start]

    def _backward(self, blocks: list[_Filtered]) -> list[Track]:
        """Add what the future says, from the last block's end backwards; as if nothing came after it."""
        last = blocks[-1]
        score, information = np.zeros_like(last.state[0]), np.zeros_like(last.covariance[0])
        smoothed = []
        for block in reversed(blocks):
            scores, informations = np.empty_like(block.state), np.empty_like(block.covariance)
            for t in reversed(range(len(block.state))):
                scores[t], informations[t] = score, information
                back = block.transition[t].swapaxes(-1, -2)
                score = (back @ score[..., None])[..., 0] + block.score[t]
                information = back @ information @ block.transition[t] + block.information[t]
            smoothed.append(self._combine(block, scores, informations))
        return smoothed[::-1]

    def _combine(
        self,
        block: _Filtered,
        scores: Float[ndarray, "frame keypoint 4"],
        informations: Float[ndarray, "frame keypoint 4 4"],
    ) -> Track:
        """The block's smoothed track from the filtered states and the future's score and information."""
        rows = block.covariance[..., :2, :]
        xy = block.state[..., :2] + (rows @ scores[..., None])[..., 0]
        posterior = rows[..., :2] - rows @ informations @ rows.swapaxes(-1, -2)
        covariance = np.stack((posterior[..., 0, 0], posterior[..., 0, 1], posterior[..., 1, 1]), axis=-1)
        is_lost = (covariance[..., 0] + covariance[..., 2] > 2 * (LOST_STD * self._scale) ** 2)[..., None]
        track = block.track
        return replace(
            track,
            xy=np.where(is_lost, np.nan, xy).astype(track.xy.dtype, copy=False),
            covariance=np.where(is_lost, np.nan, covariance).astype(track.covariance.dtype, copy=False),
            raw_xy=track.xy,
        )


def _integrated_acceleration(steps: Float[ndarray, " frame"]) -> Float[ndarray, "frame 4 4"]:
    """Covariance that white acceleration of density 1 adds to (x, y, vx, vy) over each time step."""
    blocks = np.array([[steps**3 / 3, steps**2 / 2], [steps**2 / 2, steps]])
    covariance: ndarray = np.einsum("ijt,kl->tikjl", blocks, np.eye(2)).reshape(len(steps), 4, 4)
    return covariance


def _inverse(matrices: Float[ndarray, "keypoint 2 2"]) -> Float[ndarray, "keypoint 2 2"]:
    """Inverse of symmetric, positive definite 2 x 2 matrices: adjugate over determinant."""
    inverse = matrices[:, ::-1, ::-1].copy()
    inverse[:, 0, 1] *= -1
    inverse[:, 1, 0] *= -1
    determinant = matrices[:, 0, 0] * matrices[:, 1, 1] - matrices[:, 0, 1] ** 2
    inverse /= determinant[:, None, None]
    return inverse
