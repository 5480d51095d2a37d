"""Score weights on people that they were not trained on, each seen in a square around the person.

    python -m benchmarks.held_out DATA OUT test [RUN...] [--whole]     RUN: a run folder or weights file

The squares are those from which the joints were read (by another network), as a user frames a person with
`--roi auto`; or whole frames. They are scored as `dkpvid eval` does. Beside the error stands the share of
keypoints on the person's mask, and the difference to the first model with its interval.
"""

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy import ndarray
from PIL import Image

from dkpvid.checkpoint import Weights, load_weights
from dkpvid.config import EvalConfig
from dkpvid.coordinates import Region, model_to_pixels
from dkpvid.devices import choose_device
from dkpvid.evaluation.annotations import Annotations, ImageSource
from dkpvid.evaluation.joint_metrics import bootstrap_interval
from dkpvid.evaluation.labels import read_annotations
from dkpvid.evaluation.pictures import read_rows
from dkpvid.evaluation.regression import regress, regress_to_mean
from dkpvid.evaluation.track_metrics import share_on
from dkpvid.jobs.evaluate import detect_rows, found_by_name, random_weights
from dkpvid.tracking.detect import Detector
from dkpvid.video.folders import look_into
from dkpvid.video.reader import VideoReader

SIDE = 128
OTHERS = {
    "validation": ("bodypose3d_cam0", "juggle"),
    "test": ("davis_tennis", "parkour", "single_person_demo"),
}
PEOPLE = {"validation": (0, 3), "test": (1, 4, 7)}
"""Weizmann's nine people, by whom its clips are told apart: clip n shows person n // 8."""


def clips_of(annotations: Path, split: str) -> list[Path]:
    """The annotation files of a split; all tai-chi clips are for the test."""
    chosen = []
    for file in sorted(annotations.glob("*.pose.npz")):
        stem = file.name.removesuffix(".pose.npz")
        if stem.isdigit():
            is_chosen = int(stem) // 8 in PEOPLE[split]
        else:
            is_chosen = stem in OTHERS[split] or (split == "test" and stem.startswith("taichi_"))
        if is_chosen:
            chosen.append(file)
    return chosen


def take_clips(data: Path, out: Path, split: str, whole: bool = False) -> Path:
    """Put the annotated clips of a split into a folder, as squares around the person or as they are."""
    folder = out / (f"{split}-whole" if whole else split)
    folder.mkdir(parents=True, exist_ok=True)
    videos = {path.stem: path for path in (data / "human").rglob("*.*")}
    for file in clips_of(data / "annotated" / "pseudo_pose", split):
        if (folder / file.name).is_file():  # written last
            continue
        if whole:
            shutil.copy(file, folder)
        else:
            crop_clip(file, videos[file.name.removesuffix(".pose.npz")], folder)
    return folder


def crop_clip(file: Path, video: Path, out: Path) -> None:
    """Write a clip's annotated frames as a strip of squares, with joints and masks moved along."""
    with np.load(file, allow_pickle=False) as content:
        arrays = dict(content)
    rows = range(len(arrays["frames"]))
    sources = tuple(ImageSource(video, int(frame)) for frame in arrays["frames"])
    squares: list[Any] = [None] * len(rows)
    masks: list[Any] = [None] * len(rows)
    for row, image in read_rows(sources):
        box = arrays["crop"][row]
        squares[row] = cut(image, box)
        masks[row] = cut(np.repeat(255 * arrays["mask"][row][..., None], 3, axis=2), box)[..., 0] > 127
    scale = SIDE / arrays["crop"][:, 2]
    xy = (arrays["keypoints"][..., :2] - arrays["crop"][:, None, :2]) * scale[:, None, None]
    stem = file.name.removesuffix(".pose.npz")
    Image.fromarray(np.concatenate(squares, axis=1)).save(out / f"{stem}.png")
    np.savez_compressed(
        out / f"{stem}.pose.npz",
        keypoints=np.concatenate([xy, arrays["keypoints"][..., 2:]], axis=2),
        names=arrays["names"],
        frames=np.arange(len(rows)),
        flip_dist=arrays["flip_dist"] * scale[:, None],
        mask=np.stack(masks),
    )


def cut(image: ndarray, box: ndarray) -> ndarray:
    """A square (x, y, side) of an image, which goes on beyond its edges as they are, at SIDE pixels."""
    x, y, side = (round(float(value)) for value in box)
    height, width = image.shape[:2]
    around = [(max(0, -y), max(0, y + side - height)), (max(0, -x), max(0, x + side - width)), (0, 0)]
    padded = np.pad(image, around, mode="edge")
    x, y = max(0, x), max(0, y)
    square = Image.fromarray(padded[y : y + side, x : x + side])
    return np.asarray(
        square.resize((SIDE, SIDE), Image.Resampling.BOX if side > SIDE else Image.Resampling.BILINEAR)
    )


def on_person(folder: Path, weights: Weights) -> dict[str, tuple[float, float]]:
    """Of each clip, the share of keypoints within a heatmap cell of the person, and that of random places."""
    detector = Detector(weights, choose_device("auto"))
    shares = {}
    for strip in look_into(folder).videos:
        frames = np.stack([frame.image for frame in VideoReader(strip)])
        side = detector.image_size
        small = np.stack(
            [np.asarray(Image.fromarray(f).resize((side, side), Image.Resampling.BOX)) for f in frames]
        )
        keypoints, _ = detector(small)
        places = (model_to_pixels(keypoints, Region(0, 0, side, side), side) + 0.5) / side
        with np.load(strip.with_suffix(".pose.npz")) as content:
            hits, chance = share_on(content["mask"], places)
        shares[strip.stem] = (100 * hits, 100 * chance)
    return shares


def relative_errors(annotations: Annotations, predicted: ndarray) -> ndarray:
    """[row, joint]: distances in per cent of the body's size; NaN where there is no annotation."""
    return 100 * np.linalg.norm(predicted - annotations.xy, axis=2) / annotations.body_size[:, None]


def per_clip(annotations: Annotations, errors: ndarray) -> dict[str, float]:
    """Mean error of each clip."""
    return {
        name: float(np.nanmean(errors[annotations.groups == number]))
        for number, name in enumerate(annotations.group_names)
    }


def difference(errors: ndarray, first: ndarray, annotations: Annotations) -> str:
    """Mean difference with its 95 % interval; both are of the same joints, so much of the chance cancels."""
    if errors is first:
        return ""
    low, high = bootstrap_interval(errors - first, annotations.groups, seed=0)
    return f"{np.nanmean(errors - first):+.2f} ({low:+.2f} to {high:+.2f})"


def main(
    data: Annotated[Path, typer.Argument(help="Folder that holds human/ and annotated/.")],
    out: Annotated[Path, typer.Argument(help="Folder for the crops and the results.")],
    split: Annotated[str, typer.Argument(help="validation or test.")],
    runs: Annotated[list[str] | None, typer.Argument(help="Weights; none = the package's.")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Whole frames, as filmed.")] = False,
) -> None:
    """Print one row a model, with its joints by name if it has any, and random weights and the mean pose."""
    folder = take_clips(data, out, split, whole)
    annotations = read_annotations(folder, data / "human" if whole else None)
    models = [load_weights(run) for run in runs or [None]]
    models.append(random_weights(models[0], 0))
    config = EvalConfig(folder, "regression")
    found = detect_rows(annotations, models, config, lambda done, total: None)
    how = {"folds": config.folds, "seed": config.seed}
    predicted = {
        f"{weights.name} {weights.sha256[:8]}": regress(places.shares, annotations, places.size, **how)
        for weights, places in zip(models, found, strict=True)
    }
    for weights, places in zip(models[:-1], found, strict=False):
        if (named := found_by_name(weights.config.joints, places, annotations)) is not None:
            predicted[f"{weights.name} {weights.sha256[:8]}, joints by name"] = named
    predicted["mean pose"] = regress_to_mean(annotations, found[0].size, **how)
    shares = [np.mean(list(on_person(folder, weights).values()), axis=0) for weights in models if not whole]
    print("| model | error | median | within 10 % | 95 % | minus the first | on the person | chance |")
    print("|---" * 8 + "|")
    first = None
    for number, (name, joints) in enumerate(predicted.items()):
        errors = relative_errors(annotations, joints)
        first = errors if first is None else first
        low, high = bootstrap_interval(errors, annotations.groups, seed=0)
        hits = [f"{share:.0f}" for share in shares[number]] if number < len(shares) else ["", ""]
        gap = difference(errors, first, annotations)
        within = 100 * np.mean(errors[~np.isnan(errors)] < 10)
        summary = f"{np.nanmean(errors):.1f} | {np.nanmedian(errors):.1f} | {within:.0f}"
        print(f"| {name} | {summary} | {low:.1f} to {high:.1f} | {gap} | {' | '.join(hits)} |")
        with (out / f"{folder.name}.jsonl").open("a") as file:
            file.write(json.dumps({"model": name, "clips": per_clip(annotations, errors)}) + "\n")


if __name__ == "__main__":
    typer.run(main)
