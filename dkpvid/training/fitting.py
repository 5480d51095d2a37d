"""The training loop that `train` and `distill` share."""

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from dkpvid.ahead import ahead
from dkpvid.config import TrainConfig
from dkpvid.devices import autocast, precision_remarks
from dkpvid.downloads import VGG16, fetch
from dkpvid.errors import TrainingError, UsageError
from dkpvid.models.autolink import AutoLink, Reconstruction
from dkpvid.models.backbone import BackboneDetector
from dkpvid.models.imagenet import load_imagenet
from dkpvid.models.networks import Detector
from dkpvid.models.perceptual import MobileNetV1Features, Vgg16Features
from dkpvid.shapes import Float, Int, UInt8
from dkpvid.training.augment import augment
from dkpvid.training.data import FrameSet, batches, load_frames
from dkpvid.training.parallel import Processes
from dkpvid.training.runs import Run

PREVIEW_IMAGES = 8

Network = Callable[[Tensor, float], Reconstruction]
"""`AutoLink` as the loop calls it: itself, or wrapped for several processes."""


@runtime_checkable
class FrameSource(Protocol):
    """Training frames that are read at random."""

    @property
    def digest(self) -> str:
        """Tells whether two sources hold the same frames."""

    def __len__(self) -> int: ...

    def read(self, indices: ndarray) -> ndarray:
        """uint8 [batch, size, size, channel]: RGB, a depth map, or RGB and a depth map."""


@dataclass(frozen=True)
class Callbacks:
    """What a run tells whoever started it, and what it asks them."""

    on_video: Callable[[int, int], None] = lambda done, total: None
    """Called while videos are read, with (done, in all)."""
    on_remark: Callable[[str], None] = lambda remark: None
    """Called with a line for each video that could not be read as asked, and for each damaged checkpoint."""
    on_depth: Callable[[int, int], None] = lambda done, total: None
    """Called while depth maps are made, with (frames done, in all)."""
    on_step: Callable[[int, float | None], None] = lambda step, loss: None
    """Called after every step, with (steps done, latest known loss)."""
    should_stop: Callable[[], bool] = lambda: False
    """Asked after every step."""


SILENT = Callbacks()


def fit(
    config: TrainConfig,
    processes: Processes,
    frames: FrameSource,
    compute_losses: Callable[[Network, Tensor], dict[str, Tensor]],
    network_input: Callable[[Tensor], Tensor],
    callbacks: Callbacks = SILENT,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> int:
    """Train until `config.steps`, or until asked to stop; either way the run folder can be resumed.

    Args:
        config: What to train and where to.
        processes: Those that train together; each calls this function.
        frames: What to train on.
        compute_losses: From the model and a batch [batch, channel, size, size] in [-1, 1], the losses by
            name; the one called "loss" is minimised, the others are logged beside it.
        network_input: The RGB part of a batch that the model sees, for previews.
        callbacks: Of them, `on_remark`, `on_step` and `should_stop`.
        resume: Go on from the run folder's checkpoint; the result is that of an uninterrupted run.
        overwrite: Replace a run that is already there.

    Returns:
        The number of steps done so far.

    Raises:
        UsageError: the run folder holds another run.
        TrainingError: the loss or a weight is no longer a number, or the run folder cannot be written; the
            last good state is kept.
    """
    device = processes.device
    run = processes.first(Run, config, resume, overwrite)
    torch.manual_seed(config.seed)
    model = AutoLink(config.model).to(device)
    model.to(memory_format=torch.channels_last)
    processes.synchronise(model)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    first_step = processes.first(run.load, model, optimizer)
    prepare_backbone(model.detector, config, processes, is_new=first_step == 0)
    processes.first(run.record_environment, first_step, frames.digest, str(device), processes.count)
    for remark in [*precision_remarks(device, config.precision), *run.remarks]:
        callbacks.on_remark(remark)
    network = processes.setup(model, optimizer)
    some_frames = torch.from_numpy(frames.read(spread(len(frames), PREVIEW_IMAGES)))
    preview = network_input(to_images(some_frames.to(device)))
    order = batches(len(frames), config.batch_size, config.seed, first_step)
    upcoming = read_ahead(frames, map(processes.part, order), device)
    latest_loss: float | None = None
    started = time.perf_counter()
    model.train()
    for step in range(first_step + 1, config.steps + 1):
        processes.seed(config.seed, step)
        batch = augment(to_images(next(upcoming)), flip=config.flip, crop=config.crop)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        with autocast(device, config.precision):
            losses = compute_losses(network, batch)
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()

        is_stopping = processes.any(callbacks.should_stop())
        is_last = is_stopping or step == config.steps
        if step % config.log_every == 0 or step % config.checkpoint_every == 0 or is_last:
            values = processes.mean(losses)  # the only wait for the device
            latest_loss = values["loss"]
            if not np.isfinite(latest_loss):
                raise TrainingError(f"the loss is {latest_loss} at step {step}; {run.advice}")
            if step % config.log_every == 0:
                rate = (step - first_step) / (time.perf_counter() - started)
                processes.first(run.log, step, {**values, "steps_per_second": round(rate, 3)})
        if step % config.preview_every == 0 or step == config.steps:
            picture = reconstruct(model, preview, config.mask_ratio)
            processes.first(run.save_preview, step, preview, picture)
        if step % config.checkpoint_every == 0 or is_last:
            processes.first(run.save, step, model, optimizer)
        callbacks.on_step(step, latest_loss)
        if is_stopping:
            return step
    return config.steps


def prepare_backbone(detector: Detector, config: TrainConfig, processes: Processes, *, is_new: bool) -> None:
    """Give a new run's backbone of timm what it knows from ImageNet, and freeze its early stages.

    Raises:
        WeightsError: the first process cannot have or read the weights.
    """
    if not isinstance(detector, BackboneDetector):
        return
    if is_new:
        processes.first(load_imagenet, detector.backbone, config.model.backbone, config.backbone_weights)
    detector.freeze(config.freeze_stages)


def learning_rate(config: TrainConfig, step: int) -> float:
    """That of a step, counted from 1. It depends on nothing else, so a resumed run goes on alike."""
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * (1 + math.cos(math.pi * (step - 1) / config.steps)) / 2


def read_frames(config: TrainConfig, callbacks: Callbacks) -> FrameSet:
    """The frames of the data that a run is about; see `dkpvid.training.data.load_frames`."""
    frames = load_frames(
        config.data,
        config.model.image_size,
        workers=config.workers,
        decoder=config.decoder,
        on_video=callbacks.on_video,
    )
    for remark in frames.remarks:
        callbacks.on_remark(remark)
    return frames


def read_ahead(
    frames: FrameSource, order: Iterator[ndarray], device: torch.device
) -> Iterator[UInt8[Tensor, "batch size size channel"]]:
    """Batches on the device, each read in the background while the one before it is worked on.

    Args:
        frames: Where to read.
        order: The frames' numbers, batch by batch, without end.
        device: Where to put them.
    """

    def read(numbers: ndarray) -> Tensor:
        pixels = torch.from_numpy(frames.read(numbers))
        # Only from pinned memory does a copy run beside the network.
        return pixels.pin_memory() if device.type == "cuda" else pixels

    for pixels in ahead(map(read, order), limit=1):
        yield pixels.to(device, non_blocking=True)


def load_perceptual_net(name: str, weights: Path | None) -> Vgg16Features | MobileNetV1Features:
    """A frozen network to compare pictures with; see `TrainConfig.perceptual`.

    Args:
        name: vgg16 or mobilenet-v1.
        weights: Its file; None takes DKPVID_PERCEPTUAL_WEIGHTS, or for vgg16 downloads it on first use.
    """
    if weights is None and (path := os.environ.get("DKPVID_PERCEPTUAL_WEIGHTS")):
        weights = Path(path)
    if weights is not None and not weights.is_file():
        raise UsageError(f"no perceptual network at {weights}; --perceptual-weights takes a weights file")
    network: Vgg16Features | MobileNetV1Features
    if name == "vgg16":
        network = Vgg16Features()
        network.load(weights or fetch(VGG16))
    elif weights is None:
        raise UsageError(
            "mobilenet-v1 needs its weights file: give --perceptual-weights PATH, "
            "or set DKPVID_PERCEPTUAL_WEIGHTS"
        )
    else:
        network = MobileNetV1Features()
        network.load(weights)
    network.requires_grad_(False)
    return network.eval()


def to_images(
    pixels: UInt8[Tensor, "batch size size channel"],
) -> Float[Tensor, "batch channel size size"]:
    """Bytes to the networks' range, [-1, 1]."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def spread(count: int, wanted: int) -> Int[ndarray, " wanted"]:
    """Evenly spread positions below `count`."""
    return np.linspace(0, count - 1, wanted).astype(np.int64)


@torch.no_grad()
def reconstruct(
    model: AutoLink, images: Float[Tensor, "batch 3 size size"], mask_ratio: float
) -> Reconstruction:
    """What the model makes of some images, without touching its training or the random state."""
    model.eval()
    # Left to itself, it would open every GPU of the machine.
    with torch.random.fork_rng([images.device] if images.is_cuda else []):
        torch.manual_seed(0)
        result: Reconstruction = model(images, mask_ratio)
    model.train()
    return result
