"""`train`: fit AutoLink to the frames of a folder of videos, or to their depth maps (the teacher)."""

from collections.abc import Callable

from torch import Tensor

from dkpvid.config import TrainConfig
from dkpvid.data import load_frames
from dkpvid.depth import load_depth
from dkpvid.devices import choose_device
from dkpvid.fitting import fit, load_perceptual_net
from dkpvid.losses import perceptual_loss
from dkpvid.models.autolink import AutoLink


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_video: Callable[[int, int], None] = lambda done, total: None,
    on_remark: Callable[[str], None] = lambda remark: None,
    on_depth: Callable[[int, int], None] = lambda done, total: None,
    on_step: Callable[[int, float | None], None] = lambda step, loss: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Fit AutoLink without labels: see how well the keypoints alone let a picture be painted back.

    Args:
        config: What to train, on what, and where to.
        resume: Go on from the run folder's checkpoint; the result is that of an uninterrupted run.
        overwrite: Replace a run that is already there.
        on_video: Called while videos are read, with (done, in all).
        on_remark: Called with a line for each video that could not be read as asked.
        on_depth: Called while depth maps are made, with (frames done, in all).
        on_step: Called after every step, with (steps done, latest known loss).
        should_stop: Asked after every step.

    Returns:
        The number of steps done so far; see `dkpvid.fitting.fit` for what can go wrong.
    """
    device = choose_device(config.device)
    perceptual_net = load_perceptual_net(config.perceptual, config.perceptual_weights).to(device)
    frames = load_frames(
        config.data,
        config.model.image_size,
        workers=config.workers,
        decoder=config.decoder,
        on_video=on_video,
    )
    for remark in frames.remarks:
        on_remark(remark)
    if config.modality == "depth":
        frames = load_depth(frames, config.depth, device, on_frame=on_depth)

    def losses(model: AutoLink, batch: Tensor) -> dict[str, Tensor]:
        images = as_rgb(batch)
        return {"loss": perceptual_loss(perceptual_net, model(images, config.mask_ratio).images, images)}

    return fit(
        config,
        frames,
        losses,
        as_rgb,
        resume=resume,
        overwrite=overwrite,
        on_step=on_step,
        should_stop=should_stop,
    )


def as_rgb(batch: Tensor) -> Tensor:
    """Depth maps as grey pictures; RGB stays."""
    return batch.expand(-1, 3, -1, -1)
