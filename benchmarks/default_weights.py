"""The weights that come with the package, from raw clips to `weights/default.safetensors`.

    python benchmarks/default_weights.py all DATA OUT      every stage below, one after the other

    python benchmarks/default_weights.py prepare DATA OUT  training set: strips of squares, some with depth
    python benchmarks/default_weights.py depth OUT         `dkpvid depth` for the others
    python benchmarks/default_weights.py teacher OUT       `dkpvid train --modality depth`
    python benchmarks/default_weights.py student OUT       `dkpvid distill`
    python benchmarks/default_weights.py baseline OUT      `dkpvid train` alone, for comparison
    python benchmarks/default_weights.py publish OUT       half precision, into weights/

DATA is a folder of real clips laid out as in `training_set.CLIPS` and `weizmann/`; rendered figures are
added. Every step is seeded, and trainings go on where they were stopped. After `prepare`, OUT holds nothing
but pictures, so the rest can run elsewhere.
"""

import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import training_set
import typer

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Setup:
    """How large everything is."""

    preset: str
    side: int
    """Of the networks' input, in pixels."""
    teacher_steps: int
    student: tuple[tuple[int, str], ...]
    """(steps, learning rate) of the student's stages, each going on from the one before."""
    baseline_steps: int
    options: tuple[str, ...]
    """Further ones of `dkpvid train` and `dkpvid distill`."""
    distillation: tuple[str, ...]
    """Further ones of `dkpvid distill`."""
    needs_known_depth: bool
    """Whether the student is spared the clips whose depth is a network's guess."""


class Size(StrEnum):
    """Which machine it is for."""

    CPU = "cpu"
    GPU = "gpu"


SETUPS = {
    # Stopped by the clock. Depth guessed by two small networks made the student worse, so it is left out.
    Size.CPU: Setup(
        "cpu",
        64,
        953,
        ((1200, "5e-4"), (1500, "1e-4")),
        534,
        ("--precision", "bf16"),
        ("--lambda", "0"),
        True,
    ),
    # The paper's networks; meant to take half an hour a stage on one GPU, but never run.
    Size.GPU: Setup("taichi", 128, 2500, ((2500, "1e-4"),), 2500, (), (), False),
}

app = typer.Typer(help=__doc__, rich_markup_mode=None, pretty_exceptions_show_locals=False)

Out = Annotated[Path, typer.Argument(help="Folder for the training set and the runs.")]
Machine = Annotated[Size, typer.Option("--size", help="cpu or gpu.")]
DepthModel = Annotated[str, typer.Option(help="Of `dkpvid depth`, for clips whose depth is not known.")]
MIDAS = "dpt-swin2-large-384"


@app.command()
def prepare(
    data: Annotated[Path, typer.Argument(help="Folder that holds clips/, asl/, permissive/ and weizmann/.")],
    out: Out,
    size: Machine = Size.CPU,
    num_figures: Annotated[int, typer.Option(help="Rendered videos of 16 frames.")] = 400,
    copies: Annotated[int, typer.Option(help="Of each Weizmann strip, before other rooms.")] = 2,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
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


@app.command()
def depth(out: Out, size: Machine = Size.CPU, depth_model: DepthModel = MIDAS) -> None:
    """Make the depth maps that `prepare` could not know."""
    dkpvid("depth", str(out / "set"), "--size", str(SETUPS[size].side), "--depth-model", depth_model)


@app.command()
def teacher(out: Out, size: Machine = Size.CPU, depth_model: DepthModel = MIDAS) -> None:
    """Train on depth maps."""
    setup = SETUPS[size]
    seen = ("--modality", "depth", "--depth-model", depth_model)
    fit("train", out / "set", out / "teacher", setup, setup.teacher_steps, *seen)


@app.command()
def student(out: Out, size: Machine = Size.CPU, depth_model: DepthModel = MIDAS) -> None:
    """Train on RGB under the teacher."""
    setup = SETUPS[size]
    folder = known_depth(out) if setup.needs_known_depth else out / "set"
    under = ("--teacher", str(out / "teacher"), "--depth-model", depth_model, *setup.distillation)
    for steps, rate in setup.student:
        fit("distill", folder, out / "student", setup, steps, "--learning-rate", rate, *under)


@app.command()
def baseline(out: Out, size: Machine = Size.CPU) -> None:
    """Train on RGB alone."""
    fit("train", out / "set", out / "baseline", SETUPS[size], SETUPS[size].baseline_steps)


@app.command()
def publish(out: Out) -> None:
    """Write the student's detector as float16 to weights/default.safetensors.

    The edges are the teacher's: a student that paints no pictures (--lambda 0) learns none, and its keypoints
    are the teacher's one by one.
    """
    from dkpvid.checkpoint import load_weights, save_weights

    weights, edges = load_weights(out / "student"), load_weights(out / "teacher").edge_map
    path = ROOT / "weights" / "default.safetensors"
    save_weights(path, weights.config, weights.detector, edges, half=True)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, sha256 {load_weights(path).sha256}")


@app.command("all")
def run_all(
    data: Annotated[Path, typer.Argument(help="As for `prepare`.")],
    out: Out,
    size: Machine = Size.CPU,
    depth_model: DepthModel = MIDAS,
) -> None:
    """Every stage, one after the other."""
    prepare(data, out, size)
    depth(out, size, depth_model)
    teacher(out, size, depth_model)
    student(out, size, depth_model)
    baseline(out, size)
    publish(out)


def known_depth(out: Path) -> Path:
    """A folder of links to the strips that bring their own depth."""
    folder = out / "known"
    (folder / "train").mkdir(parents=True, exist_ok=True)
    for depth_maps in sorted((out / "set" / "train").glob("*.depth.png")):
        for path in (depth_maps, depth_maps.with_name(depth_maps.name.replace(".depth.png", ".jpg"))):
            link = folder / "train" / path.name
            if not link.is_symlink():
                link.symlink_to(path.resolve())
    return folder


def fit(command: str, data: Path, run: Path, setup: Setup, steps: int, *words: str) -> None:
    """Train, or go on."""
    common = ("--preset", setup.preset, "--steps", str(steps), "--resume", *setup.options)
    dkpvid(command, str(data), "-o", str(run), *common, *words)


def dkpvid(*words: str) -> None:
    """Run a command of the package."""
    print("dkpvid", *words, flush=True)
    subprocess.run([sys.executable, "-m", "dkpvid", *words], check=True)


if __name__ == "__main__":
    app()
