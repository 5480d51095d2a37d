"""Compare the filters on synthetic motion with known truth: `python -m benchmarks.smoothing`.

Error (against the truth), jitter (standard deviation of the error's second difference, px / frame^2; a filter
that only follows the truth has none) and lag (frames by which the output trails the truth, by least squares)
for each filter and strength, then each filter's error at the strength where its jitter equals the default
Kalman smoother's (any filter can trade error for calm), and the least error it reaches at all. One-Euro sees
no future; it is there because it needs none.
"""

from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from typing import get_args

import numpy as np
from numpy import ndarray

from dkpvid.config import SmoothingConfig, SmoothingMethod
from dkpvid.shapes import Float
from dkpvid.structures import Track
from dkpvid.tracking.smoothing import smooth

REGION_PX = 256.0
STRENGTHS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)


@dataclass(frozen=True)
class Scene:
    """What the synthetic detector is like. Standard deviations are in regions."""

    uncertain_share: float = 0.05
    """Share of detections whose heatmap (and error) is six times as wide."""
    spread_per_frame: float = 0.3
    """Standard deviation of the log of a heatmap's width from frame to frame."""
    missing_share: float = 0.02
    error_per_spread: float = 0.2
    """Standard deviation of a detection's error over its heatmap's."""


SCENES = {
    "noise differs by frame and keypoint, 5 % very uncertain": Scene(),
    "noise differs by keypoint only": Scene(uncertain_share=0.0, spread_per_frame=0.0),
}


def moving_keypoints(
    rng: np.random.Generator, time_seconds: Float[ndarray, " frame"], num_keypoints: int
) -> Float[ndarray, "frame keypoint 2"]:
    """Periodic limb motion (0.02 to 0.15 regions, 0.5 to 2 Hz), slow drift and fast bursts, px."""
    shape = (num_keypoints, 2)
    t = time_seconds[:, None, None]
    xy: ndarray = rng.uniform(0.2, 0.8, shape) + 0.05 * np.sin(2 * np.pi * 0.1 * t + rng.uniform(0, 6, shape))
    frequency = rng.uniform(0.5, 2.0, (num_keypoints, 1))
    # Amplitudes at high frequency stay small: limbs do not swing by 0.15 regions at 2 Hz on both axes.
    amplitude = rng.uniform(0.02, 0.15, shape) / np.maximum(frequency, 0.7)
    xy = xy + amplitude * np.sin(2 * np.pi * frequency * t + rng.uniform(0, 6, shape))
    xy = xy + 0.15 * amplitude * np.sin(4 * np.pi * frequency * t + rng.uniform(0, 6, shape))
    for k in range(num_keypoints):
        for _ in range(rng.poisson(0.15 * time_seconds[-1])):
            start, duration = rng.uniform(0, time_seconds[-1]), rng.uniform(0.15, 0.35)
            s = np.clip((time_seconds - start) / duration, 0, 1)
            minimum_jerk = s**3 * (10 - 15 * s + 6 * s**2)
            xy[:, k] += minimum_jerk[:, None] * rng.uniform(-0.15, 0.15, 2)
    xy *= REGION_PX
    return xy


def detections(
    seed: int, scene: Scene, num_frames: int = 300, num_keypoints: int = 16
) -> tuple[Track, Float[ndarray, "frame keypoint 2"]]:
    """A noisy track and its truth; odd seeds have uneven frame times."""
    rng = np.random.default_rng(seed)
    steps = 1 / 30 * (rng.uniform(0.5, 1.5, num_frames) if seed % 2 else np.ones(num_frames))
    time_seconds = np.cumsum(steps)
    truth = moving_keypoints(rng, time_seconds, num_keypoints)

    shape = (num_frames, num_keypoints)
    spread = (
        REGION_PX
        * rng.uniform(0.02, 0.05, num_keypoints)
        * np.exp(rng.normal(0, 1, shape) * scene.spread_per_frame)
    )
    spread = spread * np.where(rng.random(shape) < scene.uncertain_share, 6.0, 1.0)
    # A blob up to twice as long as wide, turned by any angle.
    elongation, angle = rng.uniform(1, 2, shape), rng.uniform(0, np.pi, shape)
    long, short = spread * np.sqrt(elongation), spread / np.sqrt(elongation)
    cos, sin = np.cos(angle), np.sin(angle)
    covariance = np.stack(
        [
            (long * cos) ** 2 + (short * sin) ** 2,
            (long**2 - short**2) * cos * sin,
            (long * sin) ** 2 + (short * cos) ** 2,
        ],
        axis=-1,
    )
    covariance *= scene.error_per_spread**2
    # Heatmaps do not know their error exactly either.
    along, across = rng.normal(size=(2, *shape)) * scene.error_per_spread * np.exp(rng.normal(0, 0.2, shape))
    along, across = along * long, across * short
    xy = truth + np.stack([along * cos - across * sin, along * sin + across * cos], axis=-1)
    xy[rng.random(shape) < scene.missing_share] = np.nan
    track = Track(np.arange(num_frames), time_seconds, xy, np.ones(shape), covariance)
    return track, truth


def measure(
    method: SmoothingMethod, strength: float, scenes: list[tuple[Track, Float[ndarray, "frame keypoint 2"]]]
) -> tuple[float, float, float]:
    """Error (RMS, px), jitter (px / frame^2) and lag (frames) over the frames that have a detection."""
    config = SmoothingConfig(method, strength)
    errors, shakes, velocities = [], [], []
    for track, truth in scenes:
        error = smooth(track, config, REGION_PX).xy - truth
        error[np.isnan(track.xy)] = np.nan
        errors.append(error.ravel())
        shakes.append(np.diff(error, 2, axis=0).ravel())
        velocities.append(np.gradient(truth, axis=0).ravel())
    error, velocity = np.concatenate(errors), np.concatenate(velocities)
    seen = ~np.isnan(error)
    rms = float(np.sqrt(np.mean(error[seen] ** 2)))
    # Trailing by d frames gives the error -d * velocity.
    lag = -float((error[seen] * velocity[seen]).sum() / (velocity[seen] ** 2).sum())
    return rms, float(np.nanstd(np.concatenate(shakes))), lag


def error_at_jitter(curve: list[tuple[float, float, float]], jitter: float) -> float | None:
    """Least error where the polyline through (jitter, error) meets a jitter; None where it never does."""
    found = []
    for (error_a, jitter_a, _), (error_b, jitter_b, _) in pairwise(curve):
        if min(jitter_a, jitter_b) <= jitter <= max(jitter_a, jitter_b) and jitter_a != jitter_b:
            share = (jitter - jitter_a) / (jitter_b - jitter_a)
            found.append(error_a + share * (error_b - error_a))
    return min(found, default=None)


def main(num_seeds: int = 20) -> None:
    """Print the tables."""
    methods = [method for method in get_args(SmoothingMethod) if method != "none"]
    for name, scene in SCENES.items():
        scenes = [detections(seed, scene) for seed in range(num_seeds)]
        print(f"\n## {name}\n\n{num_seeds} tracks of 300 frames, 16 keypoints, region {REGION_PX:.0f} px\n")
        print("| filter | strength | error px | jitter px/frame^2 | lag frames |\n|---|---|---|---|---|")
        error, jitter, lag = measure("none", 1.0, scenes)
        print(f"| none | | {error:.3f} | {jitter:.3f} | {lag:+.3f} |")
        curves = {}
        for method in methods:
            curves[method] = [measure(method, strength, scenes) for strength in STRENGTHS]
            for strength, (error, jitter, lag) in zip(STRENGTHS, curves[method], strict=True):
                print(f"| {method} | {strength:g} | {error:.3f} | {jitter:.3f} | {lag:+.3f} |")
        target = curves["kalman"][STRENGTHS.index(1.0)][1]
        print(
            f"\n| filter | error px at jitter {target:.3f} | least error px at any strength | jitter there |"
        )
        print("|---|---|---|---|")
        for method in methods:
            matched = error_at_jitter(curves[method], target)
            least, shake, _ = min(curves[method])
            cell = "never this calm" if matched is None else f"{matched:.3f}"
            print(f"| {method} | {cell} | {least:.3f} | {shake:.3f} |")

    track, _ = detections(0, Scene(), num_frames=2000)
    print("\n| filter | microseconds a frame |\n|---|---|")
    for method in methods:
        start = perf_counter()
        smooth(track, SmoothingConfig(method), REGION_PX)
        print(f"| {method} | {(perf_counter() - start) / len(track) * 1e6:.0f} |")


if __name__ == "__main__":
    main()
