"""`train`: fit AutoLink to the frames of a folder of videos, or to their depth maps (the teacher)."""

from torch import Tensor

from dkpvid.config import TrainConfig
from dkpvid.depth import load_depth
from dkpvid.devices import choose_device
from dkpvid.fitting import SILENT, Callbacks, fit, load_perceptual_net, read_frames
from dkpvid.losses import perceptual_loss
from dkpvid.models.autolink import AutoLink


def train(
    config: TrainConfig,
    callbacks: Callbacks = SILENT,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> int:
    """Fit AutoLink without labels: see how well the keypoints alone let a picture be painted back.

    Args:
        config: What to train, on what, and where to.
        callbacks: What to tell and ask on the way.
        resume: Go on from the run folder's checkpoint; the result is that of an uninterrupted run.
        overwrite: Replace a run that is already there.

    Returns:
        The number of steps done so far; see `dkpvid.fitting.fit` for what can go wrong.
    """
    device = choose_device(config.device)
    perceptual_net = load_perceptual_net(config.perceptual, config.perceptual_weights).to(device)
    frames = read_frames(config, callbacks)
    if config.modality == "depth":
        frames = load_depth(frames, config.depth, device, on_frame=callbacks.on_depth)

    def losses(model: AutoLink, batch: Tensor) -> dict[str, Tensor]:
        images = as_rgb(batch)
        return {"loss": perceptual_loss(perceptual_net, model(images, config.mask_ratio).images, images)}

    return fit(config, frames, losses, as_rgb, callbacks, resume=resume, overwrite=overwrite)


def as_rgb(batch: Tensor) -> Tensor:
    """Depth maps as grey pictures; RGB stays."""
    return batch.expand(-1, 3, -1, -1)
