"""Does a window that follows the subject find it, and are keypoints better for it?

    python -m benchmarks.windows [DATA] [--scenes 24] [--shake 6] [--weights RUN]

Rendered people of a fifth to a third of a 1280 x 720 frame, each doing one thing, with exact joints; with
DATA (the data folder) also real clips, with another network's joints and masks. For each clip: share of the
body inside the window (joints; mask pixels of real clips), share of frames with at least 95 % of it, and the
window's side over the body's. Then the joints are predicted from the keypoints by a linear map fitted on
other clips, in shares of what the model saw: mean error in per cent of the body's longer side, for the whole
frame, for the window, for a window placed by the true joints, and for the mean pose in each.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy import ndarray

from dkpvid.checkpoint import load_weights
from dkpvid.coordinates import Region
from dkpvid.structures import Frame, Track
from dkpvid.tracking.detect import Detector, detect
from dkpvid.tracking.joints import fit_joints, from_shares, split_folds, to_shares
from dkpvid.tracking.looks import BODY_SHARE, square
from dkpvid.tracking.windows import follow
from dkpvid.video.reader import VideoReader
from recipes import figures

FPS = 25
FOLDS = 4
UNSEEN_SEED = 20_000  # far from the seeds of training scenes


@dataclass
class Clip:
    """A clip with what is known about it."""

    name: str
    frames: list[Frame]
    rows: ndarray
    """Positions of the annotated frames."""
    joints: ndarray
    """[row, joint, 2] in pixels; NaN = not annotated."""
    body: list[ndarray]
    """Per row the places that belong to the body, [place, 2] in pixels."""


def rendered(scenes: int, frames: int, shake: float) -> Iterator[Clip]:
    """Each motion in turn; a shaken camera moves by whole pixels, `shake` of standard deviation."""
    for number in range(scenes):
        motion = sorted(figures.MOTIONS)[number % len(figures.MOTIONS)]
        rng = np.random.default_rng(UNSEEN_SEED + number)
        margin = int(np.ceil(4 * shake))
        scene = figures.random_scene(
            rng, 1280, 720, duration_seconds=frames / FPS, motions=[motion], height_share=(0.2, 0.33)
        )
        pictures, joints = [], []
        for index, drawn in enumerate(figures.render_clip(scene, frames, FPS)):
            dx, dy = np.rint(shake * rng.normal(size=2)).clip(-margin, margin).astype(int)
            padded = np.pad(drawn.image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
            image = padded[margin + dy : margin + dy + 720, margin + dx : margin + dx + 1280]
            noisy = image + rng.normal(0, 2, image.shape[:2])[..., None]
            pictures.append(Frame(noisy.clip(0, 255).astype(np.uint8), index, index / FPS))
            joints.append(drawn.joints_xy - [dx, dy])
        xy = np.array(joints, dtype=float)
        yield Clip(motion, pictures, np.arange(frames), xy, list(xy))


def real(data: Path) -> Iterator[Clip]:
    """The clips of single people that are larger than the person, with joints and masks."""
    for video in sorted((data / "human" / "clips").iterdir()):
        annotated = data / "annotated" / "pseudo_pose" / f"{video.stem}.pose.npz"
        if not annotated.is_file():
            continue
        with VideoReader(str(video)) as reader:
            frames = list(reader)
        with np.load(annotated) as file:
            arrays = {name: file[name] for name in ("keypoints", "frames", "flip_dist", "mask")}
        seen = arrays["mask"].any(axis=(1, 2))
        body = []
        scale = frames[0].size[0] / arrays["mask"].shape[2]
        for mask in arrays["mask"][seen]:
            rows, columns = np.nonzero(mask)
            body.append((np.stack([columns, rows], axis=1) + 0.5) * scale - 0.5)
        keypoints = arrays["keypoints"][seen].astype(float)
        height = np.array([longer_side(places) for places in body])[:, None]
        is_good = (keypoints[..., 2] >= 0.3) & (arrays["flip_dist"][seen] < 0.05 * height)
        # The annotation has (0, 0) in the corner of a pixel, not in its centre.
        xy = np.where(is_good[..., None], keypoints[..., :2] - 0.5, np.nan)
        yield Clip(video.stem, frames, arrays["frames"][seen], xy, body)


def longer_side(places: ndarray) -> float:
    """Of the box around places, in pixels."""
    return float(np.nanmax(np.nanmax(places, axis=0) - np.nanmin(places, axis=0)))


def true_windows(clip: Clip) -> ndarray:
    """Per row the square window about the body, as it would be if its place were known: [row, 4]."""
    width, height = clip.frames[0].size
    squares = [
        square((places.min(axis=0) + places.max(axis=0)) / 2, longer_side(places) / BODY_SHARE, width, height)
        for places in clip.body
    ]
    return np.array([[region.x, region.y, region.width, region.height] for region in squares])


def coverage(clip: Clip, windows: ndarray) -> tuple[ndarray, ndarray]:
    """Per row the share of the body inside the window, and the window's side over the body's."""
    inside = [
        ((places > [x - 0.5, y - 0.5]) & (places < [x + width - 0.5, y + height - 0.5])).all(axis=1).mean()
        for places, (x, y, width, height) in zip(clip.body, windows, strict=True)
    ]
    sides = [
        max(width, height) / longer_side(places)
        for places, (_, _, width, height) in zip(clip.body, windows, strict=True)
    ]
    return np.array(inside), np.array(sides)


def held_out_errors(keypoints: ndarray, joints: ndarray, regions: ndarray, groups: ndarray) -> ndarray:
    """Distance of the predicted joints in pixels, [row, joint], by maps fitted on other clips."""
    shares, wanted = to_shares(keypoints, regions), to_shares(joints, regions)
    names = tuple(str(number) for number in range(joints.shape[1]))
    predicted = np.full_like(joints, np.nan)
    for test in split_folds(groups, FOLDS, seed=0):
        fitted = fit_joints(
            shares[~test], wanted[~test], groups[~test], names=names, model_sha256="0" * 64, seed=0
        )
        predicted[test] = from_shares(fitted.predict(shares[test]), regions[test])
    return np.linalg.norm(predicted - joints, axis=2)


def look(detector: Detector, frames: Iterable[Frame]) -> Track:
    """Detect in all frames, each in its own region, without smoothing."""
    return Track.concatenate(list(detect(detector, frames)))


def in_regions(clip: Clip, regions: ndarray) -> list[Frame]:
    """The annotated frames, with regions to look at."""
    return [
        replace(clip.frames[row], region=Region(*map(int, region)))
        for row, region in zip(clip.rows, regions, strict=True)
    ]


def measure(title: str, clips: Iterator[Clip], detector: Detector) -> None:
    """Print both tables for one kind of clips."""
    names = ("whole frame", "window", "window by the truth")
    print(
        f"\n### {title}\n\n| clip | body inside, % | frames with 95 %, % | window / body, median (10-90 %) |"
    )
    print("|---|---|---|---|")
    keypoints: dict[str, list[ndarray]] = {name: [] for name in names}
    regions: dict[str, list[ndarray]] = {name: [] for name in names}
    joints, heights, groups, insides, ratios = [], [], [], [], []
    for number, clip in enumerate(clips):
        width, height = clip.frames[0].size
        found = look(detector, follow(clip.frames))
        truth = true_windows(clip)
        where = {
            "whole frame": np.tile([0, 0, width, height], (len(clip.rows), 1)),
            "window": found.region[clip.rows],
            "window by the truth": truth,
        }
        xy = {
            "whole frame": look(detector, clip.frames).xy[clip.rows],
            "window": found.xy[clip.rows],
            "window by the truth": look(detector, in_regions(clip, truth)).xy,
        }
        for name in names:
            keypoints[name].append(xy[name])
            regions[name].append(where[name])
        joints.append(clip.joints)
        heights.append([longer_side(places) for places in clip.body])
        groups.append(np.full(len(clip.rows), number))
        inside, ratio = coverage(clip, where["window"])
        insides.append(inside)
        ratios.append(ratio)
        print_row(clip.name, inside, ratio)
    print_row("all", np.concatenate(insides), np.concatenate(ratios))

    xy, height, group = np.concatenate(joints), np.concatenate(heights)[:, None], np.concatenate(groups)
    print("\n| the model sees | joints' error, % of the body | mean pose in it |\n|---|---|---|")
    for name in names:
        places, where = np.concatenate(keypoints[name]), np.concatenate(regions[name])
        error = 100 * held_out_errors(places, xy, where, group) / height
        # Keypoints that never move tell a linear map nothing: it answers with the mean pose.
        still = from_shares(np.full_like(places, 0.5), where)
        pose = 100 * held_out_errors(still, xy, where, group) / height
        print(f"| {name} | {np.nanmean(error):.1f} | {np.nanmean(pose):.1f} |")


def print_row(name: str, inside: ndarray, ratio: ndarray) -> None:
    """One clip, or all."""
    low, middle, high = np.quantile(ratio, [0.1, 0.5, 0.9])
    print(
        f"| {name} | {100 * inside.mean():.1f} | {100 * (inside >= 0.95).mean():.0f} "
        f"| {middle:.2f} ({low:.2f}-{high:.2f}) |",
        flush=True,
    )


def main(
    data: Annotated[Path | None, typer.Argument(help="The data folder; none = rendered clips only.")] = None,
    scenes: Annotated[int, typer.Option(help="Rendered clips.")] = 24,
    frames: Annotated[int, typer.Option(help="Frames of each.")] = 50,
    shake: Annotated[float, typer.Option(help="Pixels that the camera shakes by, in a second set.")] = 6.0,
    weights: Annotated[str | None, typer.Option(help="Model; none = the package's.")] = None,
) -> None:
    """Print the tables."""
    detector = Detector(load_weights(weights), torch.device("cpu"))
    measure("Rendered, camera at rest", rendered(scenes, frames, 0.0), detector)
    if shake:
        measure(f"Rendered, camera shaken by {shake:g} px", rendered(scenes, frames, shake), detector)
    if data:
        measure("Real clips", real(data), detector)


if __name__ == "__main__":
    typer.run(main)
