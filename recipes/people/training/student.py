"""The RGB student: keypoints as the depth teacher sees them, and joints by name as the renderer knows them.

    python -m recipes.people.training.student STRIPS... --backgrounds FILE --out RUN [--teacher WEIGHTS]

Can be stopped at any time and goes on where it was (`RUN/state.pt`). Without a teacher it learns the joints
alone, which is a good start: `--start RUN/state.pt` of such a run.
"""

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from dkpvid.checkpoint import load_weights, save_weights
from dkpvid.config import ModelConfig
from dkpvid.files import write_then_rename
from dkpvid.models.backbone import BackboneDetector
from dkpvid.models.detector import Detections
from dkpvid.models.edge_map import EdgeMap
from dkpvid.models.imagenet import LITE0, load_imagenet
from dkpvid.models.networks import Detector
from dkpvid.shapes import Float
from dkpvid.training.losses import distillation_loss
from recipes.people.training.crops import CropConfig, Crops, random_crops
from recipes.people.training.losses import dense_loss, joint_losses
from recipes.people.training.strips import RenderedStrips

JOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)
TEACHER_SIZE = 64
WARM_UP = 200


@dataclass(frozen=True)
class Schedule:
    """A constant learning rate that falls evenly to zero in the last steps.

    The rate falls late so that a run can be continued from a point before the fall.
    """

    steps: int
    falling: int
    learning_rate: float
    batch_size: int = 32

    def rate(self, step: int) -> float:
        """Of a step, counted from 0."""
        return self.learning_rate * min(1.0, (step + 1) / WARM_UP, (self.steps - step) / self.falling)


class CropBatches(Dataset[Crops]):
    """The batch of each step, which depends on the seed and the step alone, whoever makes it."""

    def __init__(
        self, strips: RenderedStrips, backgrounds: np.ndarray, config: CropConfig, batch_size: int, seed: int
    ) -> None:
        self._draw_from = strips, backgrounds, batch_size, config
        self._seed = seed

    def __getitem__(self, step: int) -> Crops:
        rng = torch.Generator().manual_seed(self._seed * 1_000_003 + step)
        return random_crops(*self._draw_from, rng)


class Student(nn.Module):
    """The detector, and beside it silhouette and depth, which only training needs."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.detector = BackboneDetector(config)
        self.dense = nn.Conv2d(config.head_width, 2, 3, padding=1)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> tuple[Detections, Tensor]:
        """What the detector finds, and the logits of silhouette and depth."""
        found = self.detector(images)
        return found, self.dense(found.middle)


def fit(
    student: Student,
    teacher: Detector | None,
    strips: RenderedStrips,
    backgrounds: np.ndarray,
    schedule: Schedule,
    run: Path,
    *,
    seed: int = 0,
    save_every: int = 500,
    workers: int = 0,
    device: str = "cpu",
) -> None:
    """Train until the schedule ends, or go on where a run was stopped; weights are averaged over time.

    Ctrl-C saves the state first.

    Args:
        student: What to train.
        teacher: Frozen, on the same device; None learns joints alone.
        strips: Rendered people; those that come while it trains are taken up, if there are no workers.
        backgrounds: Empty places, RGB bytes [place, 3, side, side].
        schedule: How long, and at which rate.
        run: Folder of the state, which is read if it is there.
        seed: Of the crops.
        save_every: Steps between two states.
        workers: Processes that make crops; 0 = this one.
        device: Where to train.
    """
    student.to(device)
    average = copy.deepcopy(student).requires_grad_(False)
    optimizer = torch.optim.AdamW(student.parameters(), lr=schedule.learning_rate, weight_decay=1e-2)
    first = _resume(run, student, average, optimizer)
    student.to(memory_format=torch.channels_last).train()
    batches = CropBatches(strips, backgrounds, CropConfig(), schedule.batch_size, seed)
    steps = range(first, schedule.steps)
    loader = DataLoader(batches, batch_size=None, sampler=steps, num_workers=workers)
    started = time.perf_counter()
    done = first
    try:
        for step, crops in zip(steps, loader, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step)
            crops = Crops(*(part.to(device) for part in crops))
            losses = compute_losses(student, teacher, crops)
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(losses.values())).sum().backward()
            nn.utils.clip_grad_norm_(student.parameters(), 5.0)
            optimizer.step()
            _follow(average, student, 0.99)
            done = step + 1
            if done % 100 == 0 or done == schedule.steps:
                rate = schedule.batch_size * (done - first) / (time.perf_counter() - started)
                parts = " ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items())
                print(
                    f"{done}/{schedule.steps} {parts} ({strips.count} frames, {rate:.1f} a second)",
                    flush=True,
                )
                strips.read_new(limit=40)
            if done % save_every == 0 or done == schedule.steps:
                _save(run, done, student, average, optimizer)
    except KeyboardInterrupt:
        _save(run, done, student, average, optimizer)
        raise


def compute_losses(student: Student, teacher: Detector | None, crops: Crops) -> dict[str, Tensor]:
    """The weighted losses of a batch, by name."""
    found, dense = student(crops.images)
    assert found.joints is not None
    heatmap, place, absence = joint_losses(found.joints.logits, crops.joints, crops.seen)
    losses = {"heatmap": heatmap, "place": place, "absence": 0.1 * absence, "dense": dense_loss(dense, crops)}
    # Before another background, the depth map shows another scene than the picture.
    rows = torch.nonzero(~crops.is_composite)[:, 0]
    if teacher is not None and len(rows):
        with torch.no_grad():
            wanted = teacher(as_depth_picture(crops.depth[rows]))
        losses["distillation"] = distillation_loss(found.logits[rows], wanted.logits)
        # The cosine is blind to scale, which sets how sharp a heatmap and how certain a keypoint is.
        log_heatmaps = found.logits[rows].flatten(2).log_softmax(dim=2)
        divergence = F.kl_div(log_heatmaps, wanted.heatmaps.flatten(2), reduction="none")
        losses["sharpness"] = 0.5 * divergence.sum(dim=2).mean()
    return losses


def as_depth_picture(depth: Tensor) -> Tensor:
    """Depth maps as the teacher sees them: each from its farthest to its nearest, grey in [-1, 1]."""
    small = F.interpolate(depth, (TEACHER_SIZE, TEACHER_SIZE), mode="bilinear", antialias=True)
    low, high = small.amin(dim=(2, 3), keepdim=True), small.amax(dim=(2, 3), keepdim=True)
    return ((small - low) / (high - low).clamp(min=1e-3) * 2 - 1).expand(-1, 3, -1, -1)


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, memory: float) -> None:
    """Move the averaged weights a little towards the present ones."""
    for kept, now in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(now, 1 - memory)
        else:
            kept.copy_(now)


def _save(run: Path, done: int, student: Student, average: Student, optimizer: torch.optim.Optimizer) -> None:
    state: dict[str, Any] = {"done": done, "optimizer": optimizer.state_dict()}
    state |= {"student": student.state_dict(), "average": average.state_dict()}
    with write_then_rename(run / "state.pt") as temporary:
        torch.save(state, temporary)


def _resume(run: Path, student: Student, average: Student, optimizer: torch.optim.Optimizer) -> int:
    """Fill all from the run's state, if it has one; the number of steps done."""
    path = run / "state.pt"
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True, map_location="cpu")
    student.load_state_dict(state["student"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["done"])


def start_from(student: Student, path: Path) -> None:
    """Take over the averaged weights of another run; heatmaps that it does not have start as they are.

    Its joints are ours; its keypoints may be fewer.
    """
    tensors = torch.load(path, weights_only=True, map_location="cpu")["average"]
    own = student.state_dict()
    for name, value in tensors.items():
        if name.startswith("detector.head."):
            own[name][-len(value) :] = value
        else:
            own[name] = value
    student.load_state_dict(own)


def main(
    folders: Annotated[list[Path], typer.Argument(help="Folders of rendered strips.")],
    backgrounds: Annotated[Path, typer.Option(help="Of recipes.people.training.backgrounds.")],
    out: Annotated[Path, typer.Option(help="Run folder.")],
    teacher: Annotated[Path | None, typer.Option(help="Weights of the depth teacher.")] = None,
    start: Annotated[Path | None, typer.Option(help="state.pt of another run to start from.")] = None,
    steps: Annotated[int, typer.Option(min=1)] = 30_000,
    falling: Annotated[int, typer.Option(min=1, help="Last steps, in which the rate falls.")] = 12_000,
    learning_rate: Annotated[float, typer.Option(min=0)] = 1e-3,
    capacity: Annotated[int, typer.Option(help="Frames to hold in memory.")] = 60_000,
    seed: int = 0,
    device: str = "cpu",
    workers: Annotated[int, typer.Option(min=0, help="Processes that make crops; 0 = this one.")] = 0,
) -> None:
    """Train the student, and write RUN/model.safetensors."""
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    seen = load_weights(teacher) if teacher else None
    count = seen.config.num_keypoints if seen else 16
    config = ModelConfig(
        backbone=LITE0,
        num_keypoints=count,
        joints=JOINTS,
        image_size=96,
        edge_variance=seen.config.edge_variance if seen else 2e-3,
    )
    student = Student(config)
    load_imagenet(student.detector.backbone, LITE0, None)
    if start:
        start_from(student, start)
    strips = RenderedStrips(folders, capacity)
    frozen = seen.detector.requires_grad_(False).to(device) if seen else None
    schedule = Schedule(steps, falling, learning_rate)
    places = np.load(backgrounds)
    fit(student, frozen, strips, places, schedule, out, seed=seed, workers=workers, device=device)
    state = torch.load(out / "state.pt", weights_only=True, map_location="cpu")
    student.cpu().load_state_dict(state["average"])
    # The keypoints are the teacher's one by one, and so are the edges between them.
    edges = seen.edge_map if seen else EdgeMap(config)
    save_weights(out / "model.safetensors", config, student.detector.eval(), edges, half=True)


if __name__ == "__main__":
    typer.run(main)
