"""What made the default weights better, and what did not: one short training for each idea.

    python -m benchmarks.ablation DATA OUT [--also RUN] after `recipes.default_weights prepare DATA/human OUT`

Teachers that differ in their networks; students under them that differ in what is done to their frames. Ideas
that lost live only here. Scored on clips held back for choosing (`held_out.py`, validation) and on rendered
people that nobody was trained on, half of them before rooms that training figures stand before too; a teacher
on the figures' exact depth. Errors are in per cent of the body's length. DKPVID_PERCEPTUAL_WEIGHTS names the
perceptual network's file. Runs are kept below OUT/ablation and not made again: remove what a change concerns.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy import ndarray
from PIL import Image
from torch import Tensor

from benchmarks.held_out import SIDE, on_person, relative_errors, take_clips
from dkpvid.checkpoint import Weights, load_weights
from dkpvid.cli.training import config_from
from dkpvid.config import DepthConfig, DistillConfig, EvalConfig
from dkpvid.depth.maps import load_depth
from dkpvid.evaluation.labels import read_annotations
from dkpvid.evaluation.regression import regress
from dkpvid.jobs.evaluate import detect_rows
from dkpvid.models.autolink import AutoLink
from dkpvid.training.data import FramePairs, load_frames
from dkpvid.training.fitting import Network, fit
from dkpvid.training.losses import distillation_loss
from dkpvid.training.parallel import start_processes
from recipes import figures, training_set
from recipes.default_weights import dkpvid, seen

UNSEEN_SEED = 77_000  # far from the seeds of training scenes
TEACHERS = {
    f"{keypoints} keypoints, edge variance {variance}": (keypoints, variance)
    for keypoints, variance in (
        ("16", "2e-3"),
        ("16", "5e-4"),
        ("16", "5e-3"),
        ("10", "2e-3"),
        ("24", "2e-3"),
    )
}
USUAL = "16 keypoints, edge variance 2e-3"
WIDER_EDGES = "16 keypoints, edge variance 5e-3"


@dataclass(frozen=True)
class Student:
    """One training under one teacher."""

    teacher: str = USUAL
    steps: int = 800
    schedule: str = "cosine"
    crop: bool = True
    seed: int = 0
    change: Callable[[Tensor, Tensor], Tensor] = lambda images, depth: images
    """Makes of RGB and nearness [batch, channel, size, size], in [-1, 1], the RGB that the student sees."""
    calmness: float = 0.0
    """Weight of the keypoints' acceleration over three neighbouring frames; 0 draws frames one by one."""


def other_colours(images: Tensor, depth: Tensor) -> Tensor:
    """Channels stronger, weaker, brighter, in another order; some grey, some negative."""
    count = len(images)
    order = torch.stack([torch.randperm(3) for _ in range(count)])
    images = images.gather(1, order.view(count, 3, 1, 1).expand_as(images))
    images = torch.where(torch.rand(count, 1, 1, 1) < 0.15, -images, images)
    images = torch.where(torch.rand(count, 1, 1, 1) < 0.2, images.mean(1, keepdim=True), images)
    gain = torch.exp(0.3 * (2 * torch.rand(count, 3, 1, 1) - 1))
    return (images * gain + 0.15 * (2 * torch.rand(count, 3, 1, 1) - 1)).clamp(-1, 1)


def other_background(images: Tensor, depth: Tensor) -> Tensor:
    """What is near, before another picture of the batch; every second time."""
    nearness = (depth + 1) / 2
    middle = (nearness.mean((1, 2, 3), keepdim=True) + nearness.amax((1, 2, 3), keepdim=True)) / 2
    is_near = torch.sigmoid(30 * (nearness - middle))
    mixed = is_near * images + (1 - is_near) * images[torch.randperm(len(images))]
    return torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, mixed, images)


STUDENTS = {
    "constant learning rate, no crops": Student(schedule="constant", crop=False),
    "cosine, no crops": Student(crop=False),
    "cosine, crops": Student(),
    "the same, another seed": Student(seed=1),
    "the same, other colours": Student(change=other_colours),
    "the same, other backgrounds by the depth mask": Student(change=other_background),
    "the same, calm over three neighbouring frames": Student(calmness=0.3),
    **{f"the same, teacher with {name}": Student(teacher=name) for name in TEACHERS if name != USUAL},
    "the same, 2400 steps": Student(steps=2400),
    f"the same, 2400 steps, teacher with {WIDER_EDGES}": Student(teacher=WIDER_EDGES, steps=2400),
}


@dataclass(frozen=True, eq=False)
class Triples:
    """Frames with their neighbours as further channels, so that whatever moves one moves all three."""

    pairs: FramePairs

    @property
    def digest(self) -> str:
        """Tells whether two sources hold the same frames."""
        return f"{self.pairs.digest}-triples"

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, indices: ndarray) -> ndarray:
        """uint8 [batch // 3, size, size, 12]."""
        ends = np.cumsum([len(part) for part in self.pairs.images.parts])
        middle = indices[: len(indices) // 3]
        clip = np.searchsorted(ends, middle, side="right")
        starts = np.concatenate([[0], ends])[clip]
        middle = middle.clip(starts + 1, ends[clip] - 2)
        return np.concatenate([self.pairs.read(middle + step) for step in (-1, 0, 1)], axis=3)


def train_student(student: Student, folder: Path, teacher: Path, run: Path) -> None:
    """As `dkpvid distill --lambda 0`, with what the package does not offer."""
    weights = load_weights(teacher)
    options = {
        "data": folder,
        "output": run,
        "teacher": teacher,
        "preset": "cpu",
        "keypoints": weights.config.num_keypoints,
        "edge_variance": weights.config.edge_variance,
        "steps": student.steps,
        "perceptual_weight": 0.0,
        "device": "cpu",
        "schedule": student.schedule,
        "crop": student.crop,
        "seed": student.seed,
        "precision": "bf16",
    }
    config = config_from(DistillConfig, options)
    processes = start_processes(config)
    images = load_frames(folder, weights.config.image_size)
    depth = load_depth(images, DepthConfig(), processes.device)
    pairs = FramePairs(images, depth)
    see = weights.detector.requires_grad_(False)

    def losses(network: Network, batch: Tensor) -> dict[str, Tensor]:
        assert isinstance(network, AutoLink)
        frames = torch.cat(batch.split(4, dim=1))
        changed = student.change(frames[:, :3], frames[:, 3:])
        with torch.no_grad():
            wanted = see(frames[:, 3:].expand(-1, 3, -1, -1)).logits
        found = network.detector(changed.contiguous(memory_format=torch.channels_last))
        loss = distillation_loss(found.logits, wanted)
        if student.calmness:
            before, now, after = found.keypoints.float().chunk(3)
            loss = loss + student.calmness * (before - 2 * now + after).norm(dim=-1).mean()
        return {"loss": loss}

    source = Triples(pairs) if student.calmness else pairs
    fit(config, processes, source, losses, lambda batch: batch[:, :3], resume=True)


def take_figures(data: Path, out: Path) -> tuple[Path, Path]:
    """Unseen rendered figures with their joints: as RGB, and as exact depth."""
    folders = out / "figures-rgb", out / "figures-depth"
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    rooms = training_set.empty_rooms(data / "human")
    for number in range(80):
        if (folders[1] / f"{number:03d}.pose.npz").is_file():  # written last
            continue
        rng = np.random.default_rng([UNSEEN_SEED, number])
        scene = figures.random_scene(rng, SIDE, SIDE, duration_seconds=2.6, height_share=(0.7, 0.95))
        if number % 2:
            room = training_set.piece_of_room(rooms, rng, (SIDE, SIDE))
            scene = replace(scene, background=room / 255)
        clip = list(figures.render_clip(scene, num_frames=6, fps=2.4))
        xy = np.stack([frame.joints_xy for frame in clip]) + 0.5  # (0, 0) is the corner in such files
        pictures = [frame.image for frame in clip], [np.uint8(255 * frame.depth + 0.5) for frame in clip]
        for folder, frames in zip(folders, pictures, strict=True):
            Image.fromarray(np.concatenate(frames, axis=1)).save(folder / f"{number:03d}.png")
            np.savez(
                folder / f"{number:03d}.pose.npz",
                keypoints=np.concatenate([xy, np.ones_like(xy[..., :1])], axis=2),
                names=np.array(figures.JOINTS),
                frames=np.arange(len(clip)),
            )
    return folders


def error_of(folder: Path, weights: Weights) -> float:
    """Mean error of the joints, each clip's predicted by a map that was fitted on others."""
    annotations = read_annotations(folder)
    config = EvalConfig(folder, "regression")
    (found,) = detect_rows(annotations, [weights], config, lambda done, total: None)
    predicted = regress(found.shares, annotations, found.size, folds=config.folds, seed=config.seed)
    return float(np.nanmean(relative_errors(annotations, predicted)))


def main(
    data: Annotated[Path, typer.Argument(help="Folder that holds human/ and annotated/.")],
    out: Annotated[Path, typer.Argument(help="Where `recipes.default_weights prepare` wrote its set.")],
    also: Annotated[list[Path] | None, typer.Option(help="Further students to score: run folders.")] = None,
) -> None:
    """Print a row for each teacher and each student."""
    folder, runs = seen(out), out / "ablation"
    validation = take_clips(data, out, "validation")
    rgb, exact = take_figures(data, out)
    print("| teacher | figures, seen as exact depth |\n|---|---|", flush=True)
    for name, (keypoints, variance) in TEACHERS.items():
        words = ("--preset", "cpu", "--steps", "1000", "--precision", "bf16", "--device", "cpu", "--resume")
        words = (*words, "--modality", "depth", "--keypoints", keypoints, "--edge-variance", variance)
        dkpvid("train", str(folder), "-o", str(runs / file_name(name)), *words, "--quiet")
        print(f"| {name} | {error_of(exact, load_weights(runs / file_name(name))):.1f} |", flush=True)
    print("| student | validation | on the person, % | figures |\n" + "|---" * 4 + "|", flush=True)
    further = ((str(run), run) for run in also or [])
    for name, run in chain(trained_students(folder, runs), further):
        weights = load_weights(run)
        hits = np.mean(list(on_person(validation, weights).values()), axis=0)[0]
        errors = error_of(validation, weights), error_of(rgb, weights)
        print(f"| {name} | {errors[0]:.1f} | {hits:.0f} | {errors[1]:.1f} |", flush=True)


def trained_students(folder: Path, runs: Path) -> Iterator[tuple[str, Path]]:
    """Train one after the other: names and run folders."""
    for name, student in STUDENTS.items():
        run = runs / f"student_{file_name(name)}"
        train_student(student, folder, runs / file_name(student.teacher), run)
        yield name, run


def file_name(name: str) -> str:
    """Of a run folder."""
    return "".join(letter if letter.isalnum() else "_" for letter in name).strip("_")


if __name__ == "__main__":
    typer.run(main)
