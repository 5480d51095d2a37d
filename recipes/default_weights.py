"""The weights that come with the package, from raw clips to `weights/default.safetensors`.

    python -m recipes.default_weights all DATA OUT      every stage below, one after the other

    python -m recipes.default_weights prepare DATA OUT  training set: strips of squares; most have depth
    python -m recipes.default_weights teacher OUT       `dkpvid train --modality depth` on these
    python -m recipes.default_weights student OUT       `dkpvid distill` on them too
    python -m recipes.default_weights baseline OUT      `dkpvid train` alone on all strips, for comparison
    python -m recipes.default_weights publish OUT       half precision, into weights/

`--seed N` trains again; `--with-taichi` (of prepare and student) adds clips whose licence forbids to ship
what is learned from them.

DATA is a folder of real clips laid out as in `training_set.CLIPS` and `weizmann/`; rendered figures are
added. Every step is seeded, and trainings go on where they were stopped. The perceptual network is the file
that DKPVID_PERCEPTUAL_WEIGHTS names. After `prepare` the stages need that file and OUT/set alone (not so
`--with-taichi`), which is pictures, so they can run elsewhere: `--size gpu` makes about 55 MB of them.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from dkpvid.config import DepthConfig
from recipes import training_set

ROOT = Path(__file__).parents[1]
MOBILENET = ("--perceptual", "mobilenet-v1")


@dataclass(frozen=True)
class Setup:
    """How large everything is."""

    preset: str
    side: int
    """Of the networks' input, in pixels."""
    teacher_steps: int
    student_steps: int
    baseline_steps: int
    teacher: tuple[str, ...]
    """Further options of the teacher, and of the baseline, which has the same networks."""
    student: tuple[str, ...]
    """Further options of `dkpvid distill`."""


class Size(StrEnum):
    """Which machine it is for."""

    CPU = "cpu"
    GPU = "gpu"


# Chosen by validation clips, see benchmarks/README.md.
CHOSEN = ("--keypoints", "16")
STUDENT = (*CHOSEN, "--schedule", "cosine", "--crop", "--lambda", "0")
SETUPS = {
    Size.CPU: Setup(
        "cpu", 64, 1000, 2400, 2000, (*CHOSEN, "--precision", "bf16"), (*STUDENT, "--precision", "bf16")
    ),
    # The papers' networks, but for the perceptual one; has never been run.
    Size.GPU: Setup("taichi", 128, 5000, 10_000, 5000, (*CHOSEN, *MOBILENET), (*STUDENT, *MOBILENET)),
}

app = typer.Typer(help=__doc__, rich_markup_mode=None, pretty_exceptions_show_locals=False)

Out = Annotated[Path, typer.Argument(help="Folder for the training set and the runs.")]
Machine = Annotated[Size, typer.Option("--size", help="cpu or gpu.")]
DepthModel = Annotated[str, typer.Option(help="Of `dkpvid depth`, for the tai-chi clips.")]
Seed = Annotated[int, typer.Option(help="Of the training.")]
Taichi = Annotated[bool, typer.Option("--with-taichi", help="Add clips that may not be shipped.")]


@app.command()
def prepare(
    data: Annotated[Path, typer.Argument(help="Folder that holds clips/, asl/, permissive/ and weizmann/.")],
    out: Out,
    size: Machine = Size.CPU,
    num_figures: Annotated[int, typer.Option(help="Rendered videos of 16 frames.")] = 400,
    copies: Annotated[int, typer.Option(help="Of each Weizmann strip, before other rooms.")] = 2,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    with_taichi: Taichi = False,
) -> None:
    """Cut real clips to squares around the person, move people elsewhere, and render figures."""
    train = out / "set" / "train"
    train.mkdir(parents=True, exist_ok=True)
    rooms = training_set.empty_rooms(data)
    rng = np.random.default_rng([seed, 1])
    for name, frames in training_set.real_strips(data, 128, rng):
        training_set.save_strip(train / name, frames)
    rng = np.random.default_rng([seed, 2])
    for name, frames, masks in training_set.weizmann_strips(data):
        training_set.save_strip(train / name, frames[::2], masks[::2])
        for copy in range(copies):
            moved = training_set.moved_elsewhere(frames, masks, rooms, rng)
            training_set.save_strip(train / f"{name}_moved{copy}", *moved)
    for number in range(num_figures):
        path = train / f"figure_{number:03d}"
        if not path.with_suffix(".depth.png").is_file():  # written last
            strip = training_set.figure_strip(SETUPS[size].side, [seed, number], rooms)
            training_set.save_strip(path, *strip)
    if with_taichi:
        folder = out / "taichi" / "train"
        folder.mkdir(parents=True, exist_ok=True)
        for name, frames in training_set.taichi_strips(data, 128):
            training_set.save_strip(folder / name, frames)


@app.command()
def teacher(out: Out, size: Machine = Size.CPU, seed: Seed = 0) -> None:
    """Train on depth maps."""
    setup = SETUPS[size]
    words = ("--modality", "depth", *setup.teacher)
    fit("train", seen(out), run_of(out, "teacher", seed), setup, setup.teacher_steps, seed, words)


@app.command()
def student(
    out: Out,
    size: Machine = Size.CPU,
    seed: Seed = 0,
    with_taichi: Taichi = False,
    depth_model: DepthModel = DepthConfig.model,
) -> None:
    """Train on RGB under the teacher."""
    setup = SETUPS[size]
    words = ("--teacher", str(run_of(out, "teacher", seed)), "--depth-model", depth_model, *setup.student)
    run = run_of(out, "student-taichi" if with_taichi else "student", seed)
    fit("distill", seen(out, with_taichi), run, setup, setup.student_steps, seed, words)


@app.command()
def baseline(out: Out, size: Machine = Size.CPU, seed: Seed = 0) -> None:
    """Train on RGB alone."""
    setup = SETUPS[size]
    run = run_of(out, "baseline", seed)
    fit("train", out / "set", run, setup, setup.baseline_steps, seed, setup.teacher)


@app.command()
def publish(out: Out, seed: Seed = 0) -> None:
    """Write the student's detector as float16 to weights/default.safetensors.

    The edges are the teacher's: a student that paints no pictures (--lambda 0) learns none, and its keypoints
    are the teacher's one by one.
    """
    from dkpvid.checkpoint import load_weights, save_weights

    weights = load_weights(run_of(out, "student", seed))
    edges = load_weights(run_of(out, "teacher", seed)).edge_map
    path = ROOT / "weights" / "default.safetensors"
    save_weights(path, weights.config, weights.detector, edges, half=True)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, sha256 {load_weights(path).sha256}")


@app.command("all")
def run_all(
    data: Annotated[Path, typer.Argument(help="As for `prepare`.")],
    out: Out,
    size: Machine = Size.CPU,
    seed: Seed = 0,
) -> None:
    """Every stage, one after the other."""
    prepare(data, out, size)
    teacher(out, size, seed)
    student(out, size, seed)
    baseline(out, size, seed)
    publish(out, seed)


def run_of(out: Path, role: str, seed: int) -> Path:
    """The run folder of a training."""
    return out / (f"{role}-seed{seed}" if seed else role)


def seen(out: Path, with_taichi: bool = False) -> Path:
    """A folder of links to the strips that teacher and student see: those that bring their own depth.

    Depth guessed by two small networks made students worse.
    """
    strips = sorted((out / "set" / "train").glob("*.jpg"))
    strips = [strip for strip in strips if strip.with_suffix(".depth.png").is_file()]
    if with_taichi:
        strips += sorted((out / "taichi" / "train").glob("*.jpg"))
    folder = out / ("seen-taichi" if with_taichi else "seen") / "train"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {path.name: path for strip in strips for path in (strip, strip.with_suffix(".depth.png"))}
    for link in folder.iterdir():
        if link.name not in wanted or not link.exists():
            link.unlink()
    for name, path in wanted.items():
        if path.is_file() and not (folder / name).exists():
            (folder / name).symlink_to(os.path.relpath(path.resolve(), folder.resolve()))
    return folder.parent


def fit(
    command: str, data: Path, run: Path, setup: Setup, steps: int, seed: int, words: tuple[str, ...]
) -> None:
    """Train, or go on."""
    common = ("--preset", setup.preset, "--steps", str(steps), "--seed", str(seed), "--resume")
    dkpvid(command, str(data), "-o", str(run), *common, *words)


def dkpvid(*words: str) -> None:
    """Run a command of the package."""
    print("dkpvid", *words, file=sys.stderr, flush=True)
    with subprocess.Popen([sys.executable, "-m", "dkpvid", *words]) as process:
        try:
            process.wait()
        except KeyboardInterrupt:
            process.wait()  # it was told as well, and saves; `run` would kill it
            raise
    if process.returncode:
        raise SystemExit(process.returncode)


if __name__ == "__main__":
    app()
