"""What needs a GPU, in one call, for a machine that is at hand for minutes only.

    python benchmarks/on_gpu.py WORK RESULTS [JOB...] [--seconds 570]

Jobs run one after the other, in the order of the list below if none are named. Each one's output goes to
RESULTS/JOB.txt as it comes, and a training's weights and losses are copied beside it. When the time is up the
job at work is asked to stop, which saves a training; the same call with the same WORK goes on with it.

No network and no video library are needed there. WORK holds `set/`, made elsewhere by `default_weights.py
prepare DATA WORK --size gpu`; DKPVID_PERCEPTUAL_WEIGHTS names the perceptual network's file.
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

HERE = Path(__file__).parent
STOPPING_SECONDS = 20
JOBS: dict[str, tuple[str, ...]] = {
    "depth_maps": ("depth_maps.py", "--device", "cuda"),
    "inference": ("inference.py", "WORK/set/train/figure_000.jpg", "--device", "cuda"),
    "training_step": ("training_step.py", "--device", "cuda", "--size", "paper"),
    "teacher": ("default_weights.py", "teacher", "WORK", "--size", "gpu"),
    "student": ("default_weights.py", "student", "WORK", "--size", "gpu"),
    "baseline": ("default_weights.py", "baseline", "WORK", "--size", "gpu"),
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
    statuses = {}
    for job in jobs or JOBS:
        if monotonic() < end:
            words = [word.replace("WORK", str(work)) for word in JOBS[job]]
            statuses[job] = run(words, results / f"{job}.txt", end - monotonic())
            print(f"{job}: {'done' if statuses[job] == 0 else f'exit status {statuses[job]}'}", flush=True)
            for file in ("model.safetensors", "metrics.jsonl"):
                if (work / job / file).is_file():
                    shutil.copy(work / job / file, results / f"{job}-{file}")
    if any(statuses.values()) or len(statuses) < len(jobs or JOBS):
        raise typer.Exit(1)


def run(words: list[str], log: Path, seconds: float) -> int:
    """A script of this folder, with its output to a file; asked to stop when its time is up."""
    with log.open("w") as file:
        script = [sys.executable, str(HERE / words[0]), *words[1:]]
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
