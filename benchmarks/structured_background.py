"""Does a depth teacher keep keypoints off a structured background? The distillation paper's question, rendered.

    python benchmarks/structured_background.py OUT --size cpu     two hours, one thread
    python benchmarks/structured_background.py OUT --size gpu     128 x 128, the full networks, 20 000 steps

People with the same clothes in all their clips move in a few fixed rooms full of stripes, bars and furniture;
the camera frames another part of the room in each clip, as the crops of Human3.6M do. Joints and depth are
exact. `dkpvid train` and `dkpvid distill` run on the clips one after the other; OUT/results.md gets the paper's
Table 2 and Fig. 3 for this set. Whatever is finished is kept, so that a killed benchmark goes on.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import figures
import numpy as np
import torch
import typer
from figure_background import draw_background, random_colour
from figure_body import Looks, random_looks
from numpy import ndarray
from PIL import Image
from scipy.ndimage import gaussian_filter

from dkpvid.checkpoint import load_weights
from dkpvid.config import DepthConfig
from dkpvid.coordinates import Region, model_to_pixels
from dkpvid.data import load_frames
from dkpvid.depth import load_depth
from dkpvid.detect import Detector
from dkpvid.devices import choose_device
from dkpvid.metrics import share_on

ROOMS = 4  # Human3.6M has one room and four cameras
SUBJECTS = {"train": 6, "test": 2}  # nobody is in both
WALL, SLOPE = 1.0, 0.19  # of every room, in body heights; see figures.Scene
ROOM_ABOVE, ROOM_BELOW, ROOM_WIDTH = 2.6, 1.4, 4.5  # what there is to frame, around the floor below a person
FPS = 4.0
FOREGROUND_STEP = 0.004  # one level of an 8-bit depth map: a person differs by more


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


class Size(StrEnum):
    """Which machine it is for."""

    CPU = "cpu"
    GPU = "gpu"


SETUPS = {
    Size.CPU: Setup("cpu", 64, 8, 10, 600, 2, "0.1,0.4,1.0", full_grid=False),
    Size.GPU: Setup("human36m", 128, 32, 10, 20_000, 3, "0.1,0.2,0.4,0.6,0.8,1.0", full_grid=True),
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


# --- The data set -------------------------------------------------------------------------------------------


def draw_room(rng: np.random.Generator, body_pixels: int) -> tuple[ndarray, ndarray]:
    """A wide room with a pattern that catches the eye, and bars as wide as limbs before the wall.

    Returns:
        RGB in [0, 1], and z in body heights. z = 0 is on the floor ROOM_ABOVE below the upper edge.
    """
    size = (round((ROOM_ABOVE + ROOM_BELOW) * body_pixels), round(ROOM_WIDTH * body_pixels))
    ground = ROOM_ABOVE * body_pixels
    corner = ground - WALL * SLOPE * body_pixels
    image, depth = draw_background(rng, size, (corner, ground), body_pixels, WALL, rng.random(3))
    row, column = np.mgrid[: size[0], : size[1]] / body_pixels
    # Stripes on the wall: for the eye only, the depth map does not show them.
    along = row if rng.random() < 0.5 else column
    stripes = ((along % rng.uniform(0.2, 0.35) < 0.1) & (depth == depth.min())) * 1.0
    image = image + 0.6 * stripes[..., None] * (random_colour(rng, rng.random(), (0.1, 0.9), (0.1, 1)) - image)
    for left in np.arange(0.2, ROOM_WIDTH, 0.75) + rng.uniform(-0.2, 0.2, 6):
        wide, tall = rng.uniform(0.06, 0.12), rng.uniform(0.6, 1.1)
        bar = (column >= left) & (column < left + wide)
        bar &= (row >= ROOM_ABOVE - 0.12 - tall) & (row < ROOM_ABOVE - 0.12)
        image[bar], depth[bar] = random_colour(rng, rng.random(), (0.2, 0.9), (0.1, 1)), 0.05 - WALL
    return image.clip(0, 1), depth


def make_scene(
    rng: np.random.Generator, looks: Looks, room: tuple[ndarray, ndarray], side: int, seconds: float
) -> figures.Scene:
    """Put a person with random motions into a random part of a room."""
    scene = figures.random_scene(rng, side, side, duration_seconds=seconds)
    body_pixels = room[0].shape[1] / ROOM_WIDTH
    pixel = body_pixels / scene.scale
    wide = side * pixel
    left = rng.uniform(0, room[0].shape[1] - wide)
    top = ROOM_ABOVE * body_pixels - (scene.origin_xy[1] + 0.5) * pixel
    box = (left, top, left + wide, top + wide)
    layers = [*np.moveaxis(room[0], 2, 0), room[1]]
    framed = [
        np.asarray(Image.fromarray(layer.astype(np.float32)).resize((side, side), Image.Resampling.BOX, box))
        for layer in layers
    ]
    background = np.stack(framed[:3], 2)
    return replace(scene, looks=looks, slope=SLOPE, background=background, background_depth=framed[3])


def like_a_network(rng: np.random.Generator, depth: ndarray) -> ndarray:
    """Blur a depth map and add noise that is smooth in space, as the errors of a depth network are."""
    side = len(depth)
    noise = gaussian_filter(rng.normal(size=depth.shape), side / 16, mode="wrap")
    return (gaussian_filter(depth, side / 48) + 0.05 * noise / noise.std()).clip(0, 1).astype(np.float32)


def make_data(folder: Path, setup: Setup, noisy_depth: bool) -> None:
    """Write train/ and test/ with depth/ in each clip, and joints and foreground as annotations_SPLIT.npz.

    Their arrays: `video` (names), `xy` (video x frame x 13 x 2, in pixels), `foreground` (video x frame x
    row x column).
    """
    rooms = [draw_room(np.random.default_rng([1, room]), round(1.5 * setup.side)) for room in range(ROOMS)]
    first = 0
    for split, count in SUBJECTS.items():
        names, joints, masks = [], [], []
        for subject in range(first, first + count):
            looks = random_looks(np.random.default_rng([2, subject]))
            for place in np.ndindex(ROOMS, setup.clips):
                rng = np.random.default_rng([3, subject, *place])
                scene = make_scene(rng, looks, rooms[place[0]], setup.side, setup.frames / FPS)
                clip = list(figures.render_clip(scene, setup.frames, FPS))
                z = scene.background_depth
                far, near = z.min() - 0.2, max(0.8, z.max())  # as figures.render scales it
                empty = (z - far) / (near - far)
                names.append(f"subject{subject}_room{place[0]}_{place[1]:02}")
                joints.append([frame.joints_xy for frame in clip])
                masks.append([abs(frame.depth - empty) > FOREGROUND_STEP for frame in clip])
                if noisy_depth:
                    clip = [replace(frame, depth=like_a_network(rng, frame.depth)) for frame in clip]
                figures.write_clip(folder / split / names[-1], clip, figures.Layout.FOLDERS, 0, depth=True)
        first += count
        np.savez_compressed(
            folder / f"annotations_{split}.npz", video=names, xy=np.array(joints), foreground=np.array(masks)
        )
        typer.echo(f"{split}: {len(names)} clips of {setup.frames} frames")


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


# --- The runs -----------------------------------------------------------------------------------------------


class Benchmark:
    """The runs of one folder and their scores."""

    def __init__(self, out: Path, setup: Setup, device: str, options: list[str]) -> None:
        self.out, self.setup, self.device, self.options = out, setup, device, options
        self.file = out / "scores.jsonl"
        lines = self.file.read_text().splitlines() if self.file.is_file() else []
        self.scores: dict[str, dict[str, Any]] = {row["run"]: row for row in map(json.loads, lines)}

    def do(self, run: Run) -> float:
        """Train and score a run that is not done yet; returns its error."""
        if run.name not in self.scores:
            started = time.perf_counter()
            folder = self.out / "runs" / run.name
            what = {
                "student": ["train"],
                "teacher": ["train", "--modality", "depth"],
                # One teacher for all students, as in the paper: they differ in their own seed alone.
                "distilled": ["distill", "--teacher", str(self.out / "runs" / Run("teacher", 0).name)]
                + ["--layer", run.layer, "--gamma", str(run.gamma)],
            }[run.kind]
            command = [*what, str(self.out / "data"), "-o", str(folder), "--preset", self.setup.preset]
            command += ["--steps", str(self.setup.steps), "--seed", str(run.seed), "--device", self.device]
            command += ["--resume", *self.options]
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
        return float(self.scores[run.name]["error"])

    def cell(self, runs: list[Run], score: str) -> str:
        """Mean and standard deviation of a score over the runs that are done."""
        values = [self.scores[run.name][score] for run in runs if run.name in self.scores]
        if not values:
            return "-"
        spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
        return f"{np.mean(values):.2f}{spread} ({len(values)})"


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
    setup = SETUPS[size]
    setup = replace(
        setup,
        steps=steps or setup.steps,
        seeds=seeds or setup.seeds,
        gammas=gammas or setup.gammas,
    )
    torch.set_num_threads(1) if size is Size.CPU else None
    made = out / "data" / "annotations_test.npz"  # written last
    if not made.is_file():
        made.parent.mkdir(parents=True, exist_ok=True)
        make_data(made.parent, setup, noisy_depth)
