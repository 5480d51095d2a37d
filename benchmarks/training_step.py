"""Seconds, memory and FLOPs of a training step beside the reference's: `python -m benchmarks.training_step`.

Ours is `dkpvid train` on depth maps (the teacher) and `dkpvid distill` (the student) as a user runs them,
from the frame cache to the optimizer; the reference is `reference_autolink.py`, in eager PyTorch, on images
that are on the device already. Same networks, batch and loss; frames and perceptual weights are random. Each
runs in a process of its own, in turns. On a CPU, time is the process's, not that of the clock on the wall:
other work on the machine then counts for less. Memory is what the steps add to the process at their peak.
FLOPs are PyTorch's count; the peak is that of a large matrix product in the same precision and process.

    --size cpu       the `cpu` preset: 64 px, 10 keypoints, batch 16, MobileNet v1 for both
    --size paper     128 px, 16 keypoints, batch 64 (CPU: 8), VGG16
    --device cuda    with the time of 20 000 steps; on a GPU nothing of this has been run yet
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import reference_autolink as reference
from dkpvid.checkpoint import save_weights
from dkpvid.config import PRESETS, DistillConfig, ModelConfig, TrainConfig
from dkpvid.devices import autocast
from dkpvid.jobs.distill import distill
from dkpvid.jobs.train import train
from dkpvid.models.detector import KeypointDetector
from dkpvid.models.edge_map import EdgeMap, draw_edge_map
from dkpvid.models.perceptual import MobileNetV1Features, Vgg16Features
from dkpvid.training.fitting import Callbacks

WARM_UP = 2


@dataclass(frozen=True)
class Case:
    """What to measure."""

    size: Literal["cpu", "paper"]
    role: Literal["teacher", "student", "edge map"]
    precision: str
    device: str
    batch_size: int
    steps: int
    is_ours: bool = True
    is_counted: bool = False
    """FLOPs instead of seconds."""


@dataclass(frozen=True)
class Cost:
    """Of one step, in one process."""

    seconds: list[float]
    peak_bytes: int
    """What the steps add to the process; on CUDA, to its tensors."""
    flops: int
    product_flops: float
    """Of a large matrix product, per second."""


def measure(case: Case) -> Cost:
    """All steps of a case, in this process. The last step is left out, since it may save."""
    is_cuda = case.device == "cuda"
    clock = time.perf_counter if is_cuda else time.process_time
    counter = FlopCounterMode(display=False)
    times: list[float] = []
    flops: list[int] = []

    def on_step(step: int, loss: float | None = None) -> None:
        if is_cuda and step in (WARM_UP, case.steps - 1):
            torch.cuda.synchronize()
        times.append(clock())
        flops.append(counter.get_total_flops())

    product_flops = flops_of_product(case, clock)
    if is_cuda:
        torch.cuda.reset_peak_memory_stats()
    before = peak_memory(case)
    run = draw_edges if case.role == "edge map" else our_steps if case.is_ours else reference_steps
    with counter if case.is_counted else nullcontext():
        run(case, on_step)
    seconds = np.diff(times[WARM_UP - 1 : -1])
    if is_cuda:  # it is behind, so that only the whole stretch counts
        seconds = seconds.mean(keepdims=True)
    return Cost(seconds.tolist(), peak_memory(case) - before, flops[1] - flops[0], product_flops)


def peak_memory(case: Case) -> int:
    """Bytes of the process so far; on CUDA those of its tensors."""
    if case.device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def flops_of_product(case: Case, clock: Callable[[], float]) -> float:
    """The best of several."""
    side = 8192 if case.device == "cuda" else 1024
    dtype = torch.bfloat16 if case.precision == "bf16" else torch.float32
    a = torch.randn(side, side, device=case.device, dtype=dtype)
    seconds = []
    for _ in range(20):
        start = clock()
        a @ a
        if case.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(clock() - start)
    return float(2 * side**3 / min(seconds))


def settings_of(case: Case) -> dict[str, Any]:
    """The settings of `train`, but for the folders."""
    preset = "cpu" if case.size == "cpu" else "human36m"
    settings = PRESETS[preset] | {"batch_size": case.batch_size, "steps": case.steps}
    names = {field.name for field in fields(ModelConfig)} & settings.keys()
    model = ModelConfig(**{name: settings.pop(name) for name in names})
    rare = dict.fromkeys(("log_every", "checkpoint_every", "preview_every"), 10**9)
    return settings | rare | {"model": model, "device": case.device, "precision": case.precision}


def our_steps(case: Case, on_step: Callable[[int, float | None], None]) -> None:
    """`train` or `distill` on noise."""
    settings = settings_of(case)
    gamma = settings.pop("gamma")
    model, size = settings["model"], settings["model"].image_size
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["DKPVID_CACHE"] = str(folder / "cache")
        (folder / "data").mkdir()
        noise = np.random.default_rng(0).integers(0, 256, (size, 2 * case.batch_size * size, 3), np.uint8)
        Image.fromarray(noise).save(folder / "data" / "noise.png")
        Image.fromarray(noise[..., 0]).save(folder / "data" / "noise.depth.png")
        weights = folder / "perceptual.safetensors"
        save_file(perceptual_net(case).state_dict(), weights)
        save_weights(folder / "teacher.safetensors", model, KeypointDetector(model), EdgeMap(model))
        settings |= {"data": folder / "data", "run": folder / "run", "perceptual_weights": weights}
        callbacks = Callbacks(on_step=on_step)
        if case.role == "teacher":
            train(TrainConfig(**settings, modality="depth"), callbacks)
        else:
            distill(DistillConfig(**settings, gamma=gamma, teacher=folder / "teacher.safetensors"), callbacks)


def perceptual_net(case: Case) -> Vgg16Features | MobileNetV1Features:
    """With random weights."""
    return MobileNetV1Features() if case.size == "cpu" else Vgg16Features()


class MobileNetLoss(nn.Module):
    """What `reference.VggLoss` would be with MobileNet v1, which the reference lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.network = MobileNetV1Features().requires_grad_(False)

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """How different two pictures in [-1, 1] look."""
        pairs = zip(self.network(reconstruction), self.network(target), self.network.scales, strict=True)
        return torch.stack([F.l1_loss(x, y) / scale for x, y, scale in pairs]).sum()


def reference_steps(case: Case, on_step: Callable[[int, float | None], None]) -> None:
    """The reference's step for a teacher; for a student with a frozen detector beside it."""
    settings = settings_of(case)
    model, device = settings["model"], torch.device(case.device)
    network = reference.AutoLink(
        model.num_keypoints, model.edge_variance, model.image_size, model.detector_width, model.decoder_width
    ).to(device)
    loss = (MobileNetLoss() if case.size == "cpu" else reference.VggLoss()).to(device)
    optimizer = reference.make_optimizer(network)
    images = torch.rand(case.batch_size, 3, model.image_size, model.image_size, device=device) * 2 - 1
    if case.role == "student":
        loss = WithTeacher(loss, network, settings["gamma"], images).to(device)
    for step in range(1, case.steps + 1):
        with autocast(device, case.precision):
            reference.training_step(network, optimizer, loss, images)
        on_step(step, None)


class WithTeacher(nn.Module):
    """Adds the distillation loss to a perceptual loss.

    Args:
        loss: The perceptual loss.
        student: Its detector's logits are noted on the way.
        gamma: Weight of the agreement.
        depth: What the teacher sees.
    """

    def __init__(self, loss: nn.Module, student: reference.AutoLink, gamma: float, depth: Tensor) -> None:
        super().__init__()
        self.loss, self.gamma, self.depth = loss, gamma, depth
        detector = student.encoder.detector
        width = detector.conv[0].net[0].out_channels
        self.teacher = reference.Detector(detector.conv[-1].out_channels, detector.image_size, width).conv
        self.teacher.requires_grad_(False).eval()
        detector.conv.register_forward_hook(lambda layer, images, logits: setattr(self, "logits", logits))

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """The sum of both losses."""
        wanted = self.teacher(self.depth)
        agreement = F.cosine_similarity(self.logits.flatten(1), wanted.flatten(1), dim=1).mean()
        loss: Tensor = self.loss(reconstruction, target) - self.gamma * agreement
        return loss


def draw_edges(case: Case, on_step: Callable[[int, float | None], None]) -> None:
    """Forward and backward pass of the edge map alone."""
    model = settings_of(case)["model"]
    size, num_pairs = model.image_size, model.num_keypoints * (model.num_keypoints - 1) // 2
    torch.manual_seed(0)
    keypoints = torch.rand(case.batch_size, model.num_keypoints, 2, device=case.device) * 1.6 - 0.8
    keypoints.requires_grad_()
    weights = torch.rand(num_pairs, device=case.device).requires_grad_()
    pull = torch.randn(case.batch_size, 1, size, size, device=case.device)
    for step in range(1, case.steps + 1):
        if case.is_ours:
            picture = draw_edge_map(keypoints, weights, model.edge_variance, size)
        else:
            edges = reference.draw_edges(keypoints, model.edge_variance, size) * weights.view(1, -1, 1, 1)
            picture = edges.max(dim=1, keepdim=True).values
        picture.backward(pull)
        on_step(step, None)


def in_a_process(case: Case) -> Cost:
    """Measure where no other case has left its memory."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measure, case).result()


def compare(case: Case, rounds: int) -> None:
    """Print one row of each table for ours and the reference."""
    costs: dict[bool, list[Cost]] = {True: [], False: []}
    for _ in range(rounds):
        for is_ours, known in costs.items():
            known.append(in_a_process(replace(case, is_ours=is_ours)))
    cells = []
    for is_ours, known in costs.items():
        seconds = median(second for cost in known for second in cost.seconds)
        row = [f"{seconds:.3g} s", f"{max(cost.peak_bytes for cost in known) / 1e9:.2f} GB"]
        if case.role != "edge map":
            flops = in_a_process(replace(case, is_ours=is_ours, is_counted=True, steps=3)).flops
            share = flops / seconds / max(cost.product_flops for cost in known)
            row += [f"{flops / 1e9:.0f} GFLOP", f"{flops / seconds / 1e9:.0f} GFLOP/s ({share:.0%} of peak)"]
        if case.device == "cuda" and case.role != "edge map":
            row.append(f"{seconds * 20_000 / 60:.1f} min for 20 000 steps")
        cells.append((seconds, ", ".join(row)))
    (ours, our_cell), (theirs, their_cell) = cells
    title = f"{case.size}, {case.role}, {case.precision}, batch {case.batch_size}"
    print(f"| {title} | {their_cell} | {our_cell} | {theirs / ours:.2f} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=["cpu", "paper"], default="cpu")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precisions", nargs="+", default=["32", "bf16"])
    parser.add_argument("--roles", nargs="+", default=["edge map", "teacher", "student"])
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--steps", type=int, help="default: 200 on CUDA, else 12, or 5 for --size paper")
    parser.add_argument("--rounds", type=int, default=2, help="processes for each")
    args = parser.parse_args()
    batch_size = args.batch_size or (16 if args.size == "cpu" else 64 if args.device == "cuda" else 8)
    steps = args.steps or (200 if args.device == "cuda" else 12 if args.size == "cpu" else 5)
    print(f"torch {torch.__version__}, {args.device}, {torch.get_num_threads()} threads")
    print("| | reference | ours | ratio |\n|---|---|---|---|")
    for role in args.roles:
        # The edge map is drawn in float32 whatever the precision around it.
        for precision in args.precisions if role != "edge map" else ["32"]:
            compare(Case(args.size, role, precision, args.device, batch_size, steps), args.rounds)


if __name__ == "__main__":
    main()
