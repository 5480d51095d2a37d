"""The weights that come with the package, from packed assets to `weights/default.safetensors`.

    python -m recipes.default_weights all ASSETS OUT       every stage below, one after the other

    python -m recipes.default_weights render ASSETS OUT    strips of dressed people, and empty places
    python -m recipes.default_weights teacher OUT          keypoints of their depth maps, without a label
    python -m recipes.default_weights joints OUT           a student of the joints that the renderer knows
    python -m recipes.default_weights student OUT          the same student, under the teacher too
    python -m recipes.default_weights publish OUT          into weights/

All that is drawn is seeded, and every stage goes on where it was stopped; rendering may go on while a student
is trained. `--quick` makes everything tiny, to see that it works.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).parents[1]
TRAINING = "recipes.people.training"


@dataclass(frozen=True)
class Setup:
    """How long everything takes."""

    strips: int
    """Of 8 frames."""
    backgrounds: int
    teacher_steps: int
    joint_steps: int
    student_steps: int


FULL = Setup(strips=9000, backgrounds=3000, teacher_steps=4000, joint_steps=24_000, student_steps=8000)
QUICK = Setup(strips=2, backgrounds=4, teacher_steps=2, joint_steps=2, student_steps=2)

app = typer.Typer(help=__doc__, rich_markup_mode=None, pretty_exceptions_show_locals=False)

Assets = Annotated[Path, typer.Argument(help="Folder of the packed assets of `recipes.people`.")]
Out = Annotated[Path, typer.Argument(help="Folder for the strips and the runs.")]
Quick = Annotated[bool, typer.Option("--quick", help="Everything tiny.")]
Device = Annotated[str, typer.Option(help="cpu, or cuda.")]
Workers = Annotated[int, typer.Option(help="Processes that make crops; 0 = the training's own.")]


@app.command()
def render(assets: Assets, out: Out, quick: Quick = False) -> None:
    """Render people, and places without them."""
    setup = QUICK if quick else FULL
    run("recipes.people.render", setup.strips, out / "set", "--assets", assets)
    if not (out / "backgrounds.npy").is_file():
        run(f"{TRAINING}.backgrounds", setup.backgrounds, out / "backgrounds.npy", "--assets", assets)


@app.command()
def teacher(out: Out, quick: Quick = False, device: Device = "cpu") -> None:
    """Train on depth maps."""
    steps = (QUICK if quick else FULL).teacher_steps
    run(f"{TRAINING}.teacher", strips_of(out), "--out", out / "teacher", "--steps", steps, "--device", device)


@app.command()
def joints(out: Out, quick: Quick = False, device: Device = "cpu", workers: Workers = 0) -> None:
    """Train on RGB: joints, silhouettes and depth."""
    words = ("--out", out / "joints", "--steps", (QUICK if quick else FULL).joint_steps)
    run_student(out, device, workers, *words)


@app.command()
def student(out: Out, quick: Quick = False, device: Device = "cpu", workers: Workers = 0) -> None:
    """Go on with them under the teacher: `out` needs `teacher` and `joints`."""
    steps = (QUICK if quick else FULL).student_steps
    words = ("--out", out / "student", "--steps", steps, "--falling", max(steps * 7 // 10, 1))
    words += ("--learning-rate", 4e-4, "--teacher", out / "teacher", "--start", out / "joints" / "state.pt")
    run_student(out, device, workers, *words)


@app.command()
def publish(out: Out) -> None:
    """Copy the student's weights (float16) to weights/default.safetensors."""
    from dkpvid.checkpoint import load_weights

    path = ROOT / "weights" / "default.safetensors"
    shutil.copy(out / "student" / "model.safetensors", path)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, sha256 {load_weights(path).sha256}")


@app.command("all")
def run_all(assets: Assets, out: Out, quick: Quick = False) -> None:
    """All stages but the publication, if `--quick`; all of them otherwise."""
    render(assets, out, quick)
    teacher(out, quick)
    joints(out, quick)
    student(out, quick)
    if not quick:
        publish(out)


def strips_of(out: Path) -> Path:
    """Where the rendered strips are."""
    return out / "set" / "train"


def run_student(out: Path, device: str, workers: int, *words: object) -> None:
    """One of the two runs of the student."""
    backgrounds = out / "backgrounds.npy"
    words = (strips_of(out), "--backgrounds", backgrounds, *words, "--device", device, "--workers", workers)
    run(f"{TRAINING}.student", *words)


def run(module: str, *words: object) -> None:
    """Run a module of the recipes in a process of its own; its failure is ours."""
    with subprocess.Popen([sys.executable, "-m", module, *map(str, words)], cwd=ROOT) as process:
        try:
            process.wait()
        except KeyboardInterrupt:
            process.wait()  # it was told as well, and saves; `subprocess.run` would kill it
            raise
    if process.returncode:
        raise typer.Exit(process.returncode)


if __name__ == "__main__":
    app()
