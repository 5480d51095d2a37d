"""Does a depth teacher keep keypoints off a structured background? The distillation paper, on rendered clips.

    python -m benchmarks.structured_background OUT --size cpu     an hour, one thread
    python -m benchmarks.structured_background OUT --size gpu     128 x 128, the full networks, 20 000 steps

People with the same clothes in all their clips move in a few fixed rooms full of stripes, bars and furniture;
the camera frames another part of the room in each clip, as the crops of Human3.6M do. Joints and depth are
exact. `dkpvid train` and `dkpvid distill` run on the clips one after the other; OUT/results.md gets the
paper's Table 2 and Fig. 3 for this set. Whatever is finished is kept: a killed benchmark goes on.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy import ndarray

from dkpvid.checkpoint import load_weights
from dkpvid.config import DepthConfig
from dkpvid.coordinates import Region, model_to_pixels
from dkpvid.depth.maps import load_depth
from dkpvid.devices import choose_device
from dkpvid.evaluation.track_metrics import share_on
from dkpvid.tracking.detect import Detector
from dkpvid.training.data import load_frames
from recipes.structured_rooms import SUBJECTS, make_data


@dataclass(frozen=True)
class Setup:
    """How large the benchmark is."""

    preset: str
    side: int
    clips: int
    """Of each person in each room."""
    frames: int
    """Of each clip."""
    steps: int
    seeds: int
    gammas: str
    full_grid: bool
    """Whether every layer gets every gamma; otherwise middle and early only get the best one of output."""
    options: tuple[str, ...] = ()
    """Further ones of `dkpvid train` and `dkpvid distill`."""


class Size(StrEnum):
    """Which machine it is for."""

    CPU = "cpu"
    GPU = "gpu"


SETUPS = {
    Size.CPU: Setup("cpu", 64, 8, 10, 600, 2, "0.1,0.4,1.0", False, ("--batch-size", "8")),
    Size.GPU: Setup("human36m", 128, 32, 10, 20_000, 3, "0.1,0.2,0.4,0.6,0.8,1.0", True),
}


@dataclass(frozen=True)
class Run:
    """One training: a student alone, a teacher, or a student under a teacher."""

    kind: str
    """student, teacher or distilled."""
    seed: int
    layer: str = ""
    gamma: float = 0.0

    @property
    def name(self) -> str:
        """Of its folder."""
        detail = f"-{self.layer}-{self.gamma:g}" if self.kind == "distilled" else ""
        return f"{self.kind}{detail}-seed{self.seed}"


# --- Scores -------------------------------------------------------------------------------------------------


def detect_split(folder: Path, split: str, weights: Path, modality: str, device: str) -> ndarray:
    """Keypoints of all frames of a split, in [-1, 1]; a teacher looks at the depth maps."""
    loaded, where = load_weights(weights), choose_device(device)
    frames = load_frames(folder, loaded.config.image_size, split)
    if modality == "depth":
        frames = load_depth(frames, DepthConfig(), where)
    detector = Detector(loaded, where)
    found = []
    for start in range(0, len(frames), 32):
        batch = frames.read(np.arange(start, min(start + 32, len(frames))))
        found.append(detector(np.broadcast_to(batch, (*batch.shape[:3], 3)).copy())[0])
    return np.concatenate(found)


def score(folder: Path, keypoints: dict[str, ndarray], side: int) -> dict[str, float]:
    """Normalised L2 of the joints and share of the keypoints on the figure, both in per cent.

    The map from keypoints to joints is fitted as for Human3.6M: least squares without an intercept, both in
    [0, 1]. There is no exchange of left and right: the joints are known, and people mostly face the viewer.

    Args:
        folder: The data set.
        keypoints: By split, one row a frame, in [-1, 1].
        side: Of the frames, in pixels.
    """
    truth = {split: np.load(folder / f"annotations_{split}.npz") for split in SUBJECTS}
    joints = {split: (truth[split]["xy"].reshape(-1, 26) + 0.5) / side for split in SUBJECTS}
    x = {split: found.reshape(len(found), -1) * 0.5 + 0.5 for split, found in keypoints.items()}
    beta = np.linalg.lstsq(x["train"], joints["train"], rcond=1e-9)[0]
    missed = (x["test"] @ beta - joints["test"]).reshape(-1, 13, 2)
    shares = (model_to_pixels(keypoints["test"], Region(0, 0, side, side), side) + 0.5) / side
    hits, chance = share_on(truth["test"]["foreground"].reshape(-1, side, side), shares)
    error = np.linalg.norm(missed, axis=2).mean()
    return {"error": float(100 * error), "on_figure": 100 * hits, "chance": 100 * chance}


def mean_pose_error(folder: Path, side: int) -> float:
    """What one gets without looking: every joint at its mean place in the training clips."""
    train, test = (np.load(folder / f"annotations_{split}.npz")["xy"] for split in SUBJECTS)
    return float(100 * np.linalg.norm(test - train.mean((0, 1)), axis=3).mean() / side)


# --- The runs -----------------------------------------------------------------------------------------------


class Benchmark:
    """The runs of one folder and their scores."""

    def __init__(self, out: Path, setup: Setup, device: str, options: list[str]) -> None:
        self.out, self.setup, self.device, self.options = out, setup, device, options
        self.file = out / "scores.jsonl"
        lines = self.file.read_text().splitlines() if self.file.is_file() else []
        self.scores: dict[str, dict[str, Any]] = {row["run"]: row for row in map(json.loads, lines)}

    def do(self, run: Run) -> None:
        """Train and score a run that is not done yet."""
        if run.name not in self.scores:
            started = time.perf_counter()
            folder = self.out / "runs" / run.name
            teacher = str(self.out / "runs" / Run("teacher", 0).name)
            what = {
                "student": ["train"],
                "teacher": ["train", "--modality", "depth"],
                # One teacher for all students, as in the paper: they differ in their own seed alone.
                "distilled": [
                    "distill",
                    "--layer",
                    run.layer,
                    "--gamma",
                    str(run.gamma),
                    "--teacher",
                    teacher,
                ],
            }[run.kind]
            command = [*what, str(self.out / "data"), "-o", str(folder), "--preset", self.setup.preset]
            command += ["--steps", str(self.setup.steps), "--seed", str(run.seed), "--device", self.device]
            command += ["--resume", *self.setup.options, *self.options]
            typer.echo("dkpvid " + " ".join(command))
            subprocess.run([sys.executable, "-m", "dkpvid", *command, "--quiet"], check=True)
            trained = time.perf_counter() - started
            modality = "depth" if run.kind == "teacher" else "rgb"
            keypoints = {
                split: detect_split(self.out / "data", split, folder, modality, self.device)
                for split in SUBJECTS
            }
            row = {"run": run.name, **score(self.out / "data", keypoints, self.setup.side)}
            row |= {"steps": self.setup.steps, "seconds": round(trained)}
            self.scores[run.name] = row
            with self.file.open("a") as file:
                file.write(json.dumps(row) + "\n")
            typer.echo(json.dumps(row))

    def cell(self, runs: list[Run], score: str) -> str:
        """Mean and standard deviation of a score over the runs that are done."""
        values = [self.scores[run.name][score] for run in runs if run.name in self.scores]
        if not values:
            return "-"
        spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
        return f"{np.mean(values):.2f}{spread} ({len(values)})"

    @property
    def gammas(self) -> list[float]:
        """Those to try."""
        return [float(gamma) for gamma in self.setup.gammas.split(",")]

    def plan(self) -> Iterator[Run]:
        """All runs. What says most comes first, so that a benchmark that is cut short has said something."""
        yield Run("teacher", 0)
        yield Run("student", 0)
        for gamma in self.gammas:
            yield Run("distilled", 0, "output", gamma)
        best = self.best_gamma()
        for seed in range(1, self.setup.seeds):
            yield Run("distilled", seed, "output", best)
            yield Run("student", seed)
        for layer in ("middle", "early"):
            for gamma in self.gammas if self.setup.full_grid else [best]:
                yield Run("distilled", 0, layer, gamma)
        for seed in range(1, self.setup.seeds):
            yield Run("teacher", seed)

    def best_gamma(self) -> float:
        """The one with the lowest error of the first seed, of those that are done."""
        errors = {gamma: self.scores.get(Run("distilled", 0, "output", gamma).name) for gamma in self.gammas}
        done = {gamma: row["error"] for gamma, row in errors.items() if row}
        return min(done, key=done.__getitem__) if done else self.gammas[0]

    def tables(self) -> str:
        """Table 2 and Fig. 3 of the paper, as far as the runs are done."""
        mean_pose = mean_pose_error(self.out / "data", self.setup.side)
        chance = next(iter(self.scores.values()))["chance"]
        lines = [
            "Mean ± standard deviation (number of seeds). Normalised L2: per cent of the image's side, lower",
            "is better. Keypoints on the figure: per cent, higher is better.",
            "",
            "| trained with | sees | normalised L2 | keypoints on the figure |",
            "|---|---|---|---|",
        ]
        gammas, seeds, best = self.gammas, range(self.setup.seeds), self.best_gamma()
        for words, sees, runs in [
            ("student only", "RGB", [Run("student", seed) for seed in seeds]),
            ("depth teacher only", "depth", [Run("teacher", seed) for seed in seeds]),
            (
                f"both: distilled, output, gamma {best:g}",
                "RGB",
                [Run("distilled", seed, "output", best) for seed in seeds],
            ),
        ]:
            lines.append(
                f"| {words} | {sees} | {self.cell(runs, 'error')} | {self.cell(runs, 'on_figure')} |"
            )
        lines.append(f"| nothing: mean pose; chance | - | {mean_pose:.2f} | {chance:.2f} |")
        of_gammas = " | ".join(f"gamma {gamma:g}" for gamma in gammas)
        for score, words in [("error", "Normalised L2"), ("on_figure", "Keypoints on the figure")]:
            lines += ["", f"| {words}: layer | {of_gammas} |", "|---|" + "---|" * len(gammas)]
            for layer in ("output", "middle", "early"):
                cells = []
                for gamma in gammas:
                    runs = [Run("distilled", seed, layer, gamma) for seed in seeds]
                    cells.append(self.cell(runs, score))
                lines.append(f"| {layer} | " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"


def main(
    out: Annotated[Path, typer.Argument(help="Folder for the clips, the runs and the results.")],
    size: Annotated[Size, typer.Option(help="cpu or gpu.")] = Size.CPU,
    steps: Annotated[int | None, typer.Option(help="Of every training.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Of student, teacher and the best distillation.")] = None,
    gammas: Annotated[str | None, typer.Option(help="Weights of the agreement, with commas.")] = None,
    noisy_depth: Annotated[bool, typer.Option(help="Depth with blur and noise, as from a network.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    options: Annotated[list[str] | None, typer.Argument(help="After --: further options of dkpvid.")] = None,
) -> None:
    """Make the clips, train, score, and write OUT/results.md."""
    given = {"steps": steps, "seeds": seeds, "gammas": gammas}
    setup = replace(SETUPS[size], **{name: value for name, value in given.items() if value is not None})
    made = out / "data" / "annotations_test.npz"  # written last
    if not made.is_file():
        made.parent.mkdir(parents=True, exist_ok=True)
        make_data(made.parent, setup.side, setup.clips, setup.frames, noisy_depth)
    benchmark = Benchmark(out, setup, device, options or [])
    for run in benchmark.plan():
        benchmark.do(run)
        (out / "results.md").write_text(benchmark.tables())
    typer.echo(benchmark.tables())


if __name__ == "__main__":
    typer.run(main)
