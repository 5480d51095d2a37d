"""Train on real, unlabelled clips with the real commands, and score against joints that were never seen.

    python -m benchmarks.real_clips DATA OUT --sets weizmann,taichi,mouse [--depth-model local:FOLDER]

For people: the student alone, and the student under a depth teacher; joints by another network.
For the mouse: the student alone, on a recording other than the annotated one; joints by hand. The package's
own weights and two baselines (mean pose, a detector with random weights) stand beside them. Whatever is
finished is kept, so that a killed benchmark goes on. The table is printed and goes to OUT/results.md.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer


@dataclass(frozen=True)
class RealSet:
    """Unlabelled clips, and annotations to score on; paths below the data folder."""

    clips: str
    annotations: str
    pattern: str
    """Which of the annotation files belong to the set."""
    videos: str
    """Where the annotated frames are."""
    has_depth: bool


SETS = {
    "weizmann": RealSet(
        "human/weizmann", "annotated/pseudo_pose", "0000*.npz", "human/weizmann/test", has_depth=True
    ),
    "taichi": RealSet(
        "human/taichi", "annotated/pseudo_pose", "taichi_*.npz", "human/taichi", has_depth=True
    ),
    "mouse": RealSet(
        "annotated/dlc_openfield/videos", "annotated/dlc_openfield/labeled-data", "", "", has_depth=False
    ),
}


def main(
    data: Annotated[Path, typer.Argument(help="Folder that holds human/ and annotated/.")],
    out: Annotated[Path, typer.Argument(help="Folder for runs and results.")],
    sets: Annotated[str, typer.Option(help=f"Of {', '.join(SETS)}; with commas.")] = ",".join(SETS),
    steps: Annotated[int, typer.Option(help="Training steps of each run.")] = 600,
    preset: Annotated[str, typer.Option(help="Of `dkpvid train`.")] = "cpu",
    precision: Annotated[str, typer.Option(help="Of `dkpvid train`.")] = "bf16",
    depth_model: Annotated[str, typer.Option(help="Of `dkpvid depth`.")] = "dpt-swin2-large-384",
) -> None:
    """Train, score, and print one table."""
    out.mkdir(parents=True, exist_ok=True)
    common = ["--preset", preset, "--steps", str(steps), "--precision", precision, "--resume", "--quiet"]
    rows = [
        "| set | model | error | 95 % | untrained | mean pose | places |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in sets.split(","):
        chosen = SETS[name]
        clips, folder = str(data / chosen.clips), out / name
        runs: dict[str, Path | None] = {"weights of the package": None, "student alone": folder / "student"}
        dkpvid("train", clips, "-o", str(folder / "student"), *common)
        if chosen.has_depth:
            depth = ["--depth-model", depth_model]
            teacher = str(folder / "teacher")
            dkpvid("train", clips, "-o", teacher, "--modality", "depth", *depth, *common)
            dkpvid("distill", clips, "--teacher", teacher, "-o", str(folder / "distilled"), *depth, *common)
            runs["student under the depth teacher"] = folder / "distilled"
        for title, run in runs.items():
            rows.append(f"| {name} | {title} | {score(data, chosen, folder, run)} |")
    table = "\n".join(rows) + "\n"
    (out / "results.md").write_text(table)
    print(table)


def score(data: Path, chosen: RealSet, folder: Path, run: Path | None) -> str:
    """The table's cells for one model; errors in per cent of the body's size, held out by clip."""
    annotations = data / chosen.annotations
    if chosen.pattern:
        # The set's own annotation files only.
        copies = folder / "annotations"
        copies.mkdir(parents=True, exist_ok=True)
        for file in annotations.glob(chosen.pattern):
            shutil.copy(file, copies / file.name)
        annotations = copies
    options = ["--weights", str(run)] if run else []
    options += ["--videos", str(data / chosen.videos)] if chosen.videos else []
    plots = folder / "plots" / (run.name if run else "package")
    printed = dkpvid("eval", str(annotations), "--json", "--quiet", "--plots", str(plots), *options)
    result: dict[str, Any] = json.loads(printed)["runs"][0]
    keypoints, untrained, mean = (result[name]["total"] for name in ("keypoints", "untrained", "mean_pose"))
    low, high = keypoints["interval_percent"]
    return (
        f"{keypoints['error_percent']:.1f} % | {low:.1f} to {high:.1f} | {untrained['error_percent']:.1f} % "
        f"| {mean['error_percent']:.1f} % | {keypoints['count']}"
    )


def dkpvid(*words: str) -> str:
    """Run a command of the package; its output."""
    print("dkpvid", *words, file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "dkpvid", *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    typer.run(main)
