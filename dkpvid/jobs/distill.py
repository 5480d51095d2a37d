"""`distill`: fit AutoLink to RGB frames under a frozen teacher that sees their depth maps."""

import torch
from torch import Tensor

from dkpvid.checkpoint import load_weights
from dkpvid.config import DistillConfig, ModelConfig
from dkpvid.depth.maps import load_depth
from dkpvid.errors import UsageError
from dkpvid.models.autolink import AutoLink
from dkpvid.models.detector import Detections
from dkpvid.training.data import FramePairs
from dkpvid.training.fitting import SILENT, Callbacks, Network, fit, load_perceptual_net, read_frames
from dkpvid.training.losses import distillation_loss, perceptual_loss
from dkpvid.training.parallel import start_processes


def distill(
    config: DistillConfig,
    callbacks: Callbacks = SILENT,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> int:
    """Fit the student: paint the picture back, and agree with what the teacher sees in the depth map.

    Source: Anand et al., Depth-Guided Self-Supervised Human Keypoint Detection via Cross-Modal
    Distillation, eqs. 4 and 5.

    Args:
        config: What to train, on what, under which teacher, and where to.
        callbacks: What to tell and ask on the way.
        resume: Go on from the run folder's checkpoint; the result is that of an uninterrupted run.
        overwrite: Replace a run that is already there.

    Returns:
        The number of steps done so far; see `dkpvid.training.fitting.fit` for what can go wrong.

    Raises:
        UsageError: teacher and student cannot be compared at the chosen layer.
    """
    processes = start_processes(config)
    if processes.rank:
        callbacks = Callbacks(should_stop=callbacks.should_stop)
    weights = load_weights(config.teacher)
    check_comparable(weights.config, config.model, config.layer)
    # In eval mode and without gradients: the teacher does not move.
    teacher = weights.detector.to(processes.device).requires_grad_(False)
    perceptual_net = None
    if config.perceptual_weight:
        perceptual_net = processes.in_turn(
            lambda: load_perceptual_net(config.perceptual, config.perceptual_weights)
        ).to(processes.device)

    def read() -> FramePairs:
        images = read_frames(config, callbacks)
        depth = load_depth(images, config.depth, processes.device, on_frame=callbacks.on_depth)
        return FramePairs(images, depth)

    def losses(network: Network, batch: Tensor) -> dict[str, Tensor]:
        # Image and depth map are channels of one array, so they were moved together.
        images, depth = rgb_of(batch), batch[:, 3:].expand(-1, 3, -1, -1)
        with torch.no_grad():
            wanted = embedding(teacher(depth), config.layer)
        if perceptual_net is None and isinstance(network, AutoLink):
            # Nothing need be painted, which is most of the work.
            agreement = distillation_loss(embedding(network.detector(images), config.layer), wanted)
            return {"loss": config.gamma * agreement, "distillation": agreement}
        result = network(images, config.mask_ratio)
        agreement = distillation_loss(embedding(result.detections, config.layer), wanted)
        if perceptual_net is None:
            # Wrapped for several processes, the network would miss the gradients of what is not used.
            unused = 0 * result.images.mean()
            return {"loss": config.gamma * agreement + unused, "distillation": agreement}
        perceptual = perceptual_loss(perceptual_net, result.images, images)
        total = config.perceptual_weight * perceptual + config.gamma * agreement
        return {"loss": total, "perceptual": perceptual, "distillation": agreement}

    frames = processes.in_turn(read)
    return fit(config, processes, frames, losses, rgb_of, callbacks, resume=resume, overwrite=overwrite)


def rgb_of(batch: Tensor) -> Tensor:
    """The first three channels."""
    return batch[:, :3]


def embedding(detections: Detections, layer: str) -> Tensor:
    """What is compared between teacher and student: output (the logits), middle or early features."""
    return {"output": detections.logits, "middle": detections.middle, "early": detections.early}[layer]


def check_comparable(teacher: ModelConfig, student: ModelConfig, layer: str) -> None:
    """Refuse a pair whose embeddings differ in shape.

    Raises:
        UsageError: they do.
    """
    names = ["num_keypoints"]
    if layer != "output":
        width = "detector_width" if student.backbone == "autolink" else "head_width"
        names += ["backbone", "image_size", width]
    for name in names:
        theirs, ours = getattr(teacher, name), getattr(student, name)
        if theirs != ours:
            words = name.removeprefix("num_").replace("_", " ")
            raise UsageError(
                f"the teacher has {words} {theirs}, the student {ours}; for --layer {layer} they must agree"
            )
