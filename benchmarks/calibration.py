"""How far off is a keypoint when its heatmap is this wide? The constant behind covariance and confidence.

    python -m benchmarks.calibration [VIDEO...] [--weights RUN]

Nobody knows the true place of a keypoint that was learned without labels, but it should stick to the
picture: when the region that the model sees is moved by some pixels, the keypoint must stay where it was in
the frame. What it moves by, over the square root of two, is the error of one detection. Compared with the
spread of the heatmaps, on rendered figures that were not trained on or on given videos, it makes
`dkpvid.tracking.detect.NOISE_PER_SPREAD`.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated

import numpy as np
import torch
import typer
from numpy import ndarray

from dkpvid.checkpoint import load_weights
from dkpvid.coordinates import Region, model_to_pixels, pixels_per_unit
from dkpvid.tracking.detect import CONFIDENCE_RADIUS, NOISE_PER_SPREAD, Detector, confidence_from_covariance
from dkpvid.video.reader import VideoReader
from dkpvid.video.resize import to_square
from recipes import figures

MARGIN = 0.06  # how far the region moves, as a share of its side
UNSEEN_SEED = 10_000  # far from the seeds of training scenes


def main(
    videos: Annotated[list[str] | None, typer.Argument(help="Videos; none = rendered figures.")] = None,
    weights: Annotated[str | None, typer.Option(help="Model; none = the package's.")] = None,
    scenes: Annotated[int, typer.Option(help="Rendered scenes.")] = 40,
) -> None:
    """Print error over spread by quantile of the spread, and how honest the confidence is."""
    detector = Detector(load_weights(weights), torch.device("cpu"))
    frames = video_frames(videos) if videos else rendered_frames(scenes)
    rng = np.random.default_rng(0)
    spreads, errors, confidences = [], [], []
    for image in frames:
        height, width = image.shape[:2]
        margin_x, margin_y = round(width * MARGIN), round(height * MARGIN)
        size = (width - 2 * margin_x, height - 2 * margin_y)
        corners = rng.integers(0, (2 * margin_x + 1, 2 * margin_y + 1), (2, 2))
        regions = [Region(int(x), int(y), *size) for x, y in corners]
        squares = np.stack([to_square(image, detector.image_size, region) for region in regions])
        keypoints, covariance = detector(squares)
        side = np.sqrt(size[0] * size[1])
        xy = [model_to_pixels(k, r, detector.image_size) for k, r in zip(keypoints, regions, strict=True)]
        # Per axis and in shares of the region's side, so that frames of all sizes count alike.
        scale = pixels_per_unit(regions[0], detector.image_size) / side
        variance = (covariance[..., [0, 2]] * scale**2).mean(axis=(0, 2))
        spreads.append(np.sqrt(variance))
        errors.append((xy[0] - xy[1]) / np.sqrt(2) / side)
        isotropic = np.stack([variance, 0 * variance, variance], axis=-1)[None] * NOISE_PER_SPREAD**2
        confidences.append(confidence_from_covariance(isotropic * 100**2, Region(0, 0, 100, 100))[0])
    report(np.concatenate(spreads), np.concatenate(errors), np.concatenate(confidences))


def report(spread: ndarray, error: ndarray, confidence: ndarray) -> None:
    """Print both tables; spread and error are in shares of the region's side."""
    print(
        f"{len(spread)} detections, error per axis over spread, by quantile of the spread (% of the region)"
    )
    print("| spread | rms error | ratio | median error | ratio |")
    print("|---|---|---|---|---|")
    distance = np.abs(error)
    edges = np.quantile(spread, np.linspace(0, 1, 7))
    for low, high in pairwise(edges):
        chosen = (spread >= low) & (spread <= high)
        middle, rms = np.median(spread[chosen]), np.sqrt((error[chosen] ** 2).mean())
        # The median of |x| of a Gaussian is 0.6745 of its standard deviation.
        typical = np.median(distance[chosen]) / 0.6745
        print(
            f"| {100 * middle:.2f} | {100 * rms:.2f} | {rms / middle:.3f} "
            f"| {100 * typical:.2f} | {typical / middle:.3f} |"
        )
    ratio = np.sqrt((error**2).mean(axis=1) / spread**2)
    print(
        f"\nroot mean square ratio {np.sqrt((ratio**2).mean()):.3f}, median-based {np.median(ratio):.3f}; ",
        end="",
    )
    print(f"NOISE_PER_SPREAD is {NOISE_PER_SPREAD}\n")
    print(f"confidence against the share of detections within {CONFIDENCE_RADIUS:.0%} of the region's side")
    print("| confidence | detections | within |")
    print("|---|---|---|")
    is_close = np.hypot(*error.T) < CONFIDENCE_RADIUS
    for low, high in [(0, 0.5), (0.5, 0.8), (0.8, 0.9), (0.9, 0.95), (0.95, 0.99), (0.99, 1.01)]:
        chosen = (confidence >= low) & (confidence < high)
        if chosen.any():
            print(f"| {low} to {min(high, 1)} | {chosen.sum()} | {is_close[chosen].mean():.3f} |")


def rendered_frames(scenes: int) -> Iterator[ndarray]:
    """Frames of figures that no training set has."""
    for number in range(scenes):
        scene = figures.random_scene(
            np.random.default_rng(UNSEEN_SEED + number), 320, 180 if number % 2 else 320, duration_seconds=2.0
        )
        for rendering in figures.render_clip(scene, num_frames=10, fps=5.0):
            yield rendering.image


def video_frames(videos: list[str]) -> Iterator[ndarray]:
    """Every fourth frame."""
    for video in videos:
        with VideoReader(video) as reader:
            yield from (frame.image for frame in reader if frame.index % 4 == 0)


if __name__ == "__main__":
    typer.run(main)
