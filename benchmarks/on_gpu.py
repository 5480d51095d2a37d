"""What needs a GPU, in one call, for a machine that is at hand for minutes only.

    python -m benchmarks.on_gpu WORK RESULTS [JOB...] [--seconds 570]

Jobs run one after the other, in the order of the list below if none are named. Each one's output goes to
RESULTS/JOB.part.txt as it comes, which becomes JOB.txt when it is done; a training's weights are put beside
it. When the time is up the job at work is asked to stop, which saves a training. The same call again, with
both folders as they were left, goes on: what is done is not done again.

No network and no video library are needed there. WORK holds `set/train/` and `backgrounds.npy`, made
elsewhere by `python -m recipes.default_weights render ASSETS WORK`; the trainings need the extra `lite0`.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

STOPPING_SECONDS = 20
WEIGHTS = "model.safetensors"
NEEDS = {"student": "joints", "joints": "teacher"}
JOBS: dict[str, tuple[str, ...]] = {
    "depth_maps": ("benchmarks.depth_maps", "--device", "cuda"),
    "inference": (
        "benchmarks.inference",
        *(f"WORK/set/train/{number:05d}.jpg" for number in range(20)),
        *("--device", "cuda"),
    ),
    "training_step": ("benchmarks.training_step", "--device", "cuda", "--size", "paper"),
    "teacher": ("recipes.default_weights", "teacher", "WORK", "--device", "cuda"),
    **{
        job: ("recipes.default_weights", job, "WORK", "--device", "cuda", "--workers", "14")
        for job in ("joints", "student")
    },
}


def main(
    work: Annotated[Path, typer.Argument(help="Training set and run folders.")],
    results: Annotated[Path, typer.Argument(help="Where to put what is to be kept.")],
    jobs: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(JOBS)}; all if none.")] = None,
    seconds: Annotated[float, typer.Option(help="For all of them together.")] = 570,
) -> None:
    """Run the jobs; exits with 1 when one failed or was stopped."""
    end = monotonic() + seconds
    results.mkdir(parents=True, exist_ok=True)
    names = jobs or list(JOBS)
    for job in names:
        done, at_work = results / f"{job}.txt", results / f"{job}.part.txt"
        if done.is_file() or monotonic() >= end:
            continue
        if job in NEEDS and not (results / f"{NEEDS[job]}.txt").is_file():
            print(f"{job}: needs {NEEDS[job]}, which is not done", flush=True)
            continue
        words = [word.replace("WORK", str(work)) for word in JOBS[job]]
        status = run(words, at_work, end - monotonic())
        print(f"{job}: {f'exit status {status}' if status else 'done'}", flush=True)
        if not status:
            at_work.rename(done)
        if (work / job / WEIGHTS).is_file():
            shutil.copy(work / job / WEIGHTS, results / f"{job}.safetensors")
    if not all((results / f"{job}.txt").is_file() for job in names):
        raise typer.Exit(1)


def run(words: list[str], log: Path, seconds: float) -> int:
    """A script, with its output to a file; asked to stop when its time is up."""
    with log.open("a") as file:
        script = [sys.executable, "-m", *words]
        process = subprocess.Popen(script, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)
        try:
            return process.wait(STOPPING_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()


if __name__ == "__main__":
    typer.run(main)
