"""Score weights on people that they were not trained on, each seen in a square around the person.

    python benchmarks/held_out.py DATA OUT test [RUN...]     RUN: a run folder or weights file

The squares are those from which the joints were read (by another network), as a user frames a person with
`--roi`; `dkpvid eval` then scores them. Beside the error stands the share of keypoints on the person's mask.
"""

import contextlib
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy import ndarray
from PIL import Image
from training_set import WEIZMANN_TEST, WEIZMANN_VALIDATION

from dkpvid.annotations import ImageSource
from dkpvid.checkpoint import Weights, load_weights
from dkpvid.config import EvalConfig
from dkpvid.coordinates import Region, model_to_pixels
from dkpvid.detect import Detector
from dkpvid.devices import choose_device
from dkpvid.evaluate import evaluate_regression, random_weights, read_rows
from dkpvid.metrics import share_on
from dkpvid.video.reader import VideoReader, find_videos

SIDE = 128
OTHERS = {
    "validation": ("bodypose3d_cam0", "juggle"),
    "test": ("davis_tennis", "parkour", "single_person_demo"),
}
PEOPLE = {"validation": WEIZMANN_VALIDATION, "test": WEIZMANN_TEST}


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
    for strip in find_videos(folder):
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


def per_clip(score: Any) -> dict[str, float]:
    """Error of each clip in per cent of the body's size, from `dkpvid.evaluate`'s held-out predictions."""
    annotations = score.annotations
    distance = np.linalg.norm(score.predicted - annotations.xy, axis=2) / annotations.body_size[:, None]
    return {
        name: float(100 * np.nanmean(distance[annotations.groups == number]))
        for number, name in enumerate(annotations.group_names)
    }


def main(
    data: Annotated[Path, typer.Argument(help="Folder that holds human/ and annotated/.")],
    out: Annotated[Path, typer.Argument(help="Folder for the crops and the results.")],
    split: Annotated[str, typer.Argument(help="validation or test.")],
    runs: Annotated[list[str] | None, typer.Argument(help="Weights; none = the package's.")] = None,
    clips: Annotated[str, typer.Option(help="Only clips whose name starts so.")] = "",
) -> None:
    """Print one row a model; all numbers go to OUT/SPLIT.jsonl."""
    folder = out / (f"{split}-{clips}" if clips else split)
    if not folder.is_dir():
        folder.mkdir(parents=True)
        videos = {path.stem: path for path in (data / "human").rglob("*.*")}
        for file in clips_of(data / "annotated" / "pseudo_pose", split):
            if file.name.startswith(clips):
                crop_clip(file, videos[file.name.removesuffix(".pose.npz")], folder)
    print("| model | error | 95 % | untrained | mean pose | on the person | untrained | chance |")
    print("|---|---|---|---|---|---|---|---|")
    for run in runs or [None]:
        score = evaluate_regression(EvalConfig(folder, "regression", (run,)))[0]
        weights = load_weights(run)
        hits = on_person(folder, weights)
        random_hits = on_person(folder, random_weights(weights, 0))
        total = score.keypoints.total
        low, high = total.interval_percent or (np.nan, np.nan)
        mean_hits, chance = np.mean(list(hits.values()), axis=0)
        random_mean = np.mean(list(random_hits.values()), axis=0)[0]
        print(
            f"| {weights.name} | {total.error_percent:.1f} | {low:.1f} to {high:.1f} "
            f"| {score.untrained.total.error_percent:.1f} | {score.mean_pose.total.error_percent:.1f} "
            f"| {mean_hits:.0f} | {random_mean:.0f} | {chance:.0f} |",
            flush=True,
        )
        line = {
            "run": str(run),
            "sha256": weights.sha256,
            "error": total.error_percent,
            "interval": total.interval_percent,
            "clips": per_clip(score),
            "on_person": hits,
        }
        with (out / f"{folder.name}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        typer.run(main)
