"""`train`: fit AutoLink to the frames of a folder of videos, or to their depth maps (the teacher)."""

from torch import Tensor

from dkpvid.config import TrainConfig
from dkpvid.depth.maps import load_depth
from dkpvid.training.data import FrameSet
from dkpvid.training.fitting import SILENT, Callbacks, Network, fit, load_perceptual_net, read_frames
from dkpvid.training.losses import perceptual_loss
from dkpvid.training.parallel import start_processes


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
        The number of steps done so far; see `dkpvid.training.fitting.fit` for what can go wrong.
    """
    processes = start_processes(config)
    if processes.rank:
        callbacks = Callbacks(should_stop=callbacks.should_stop)
    perceptual_net = processes.in_turn(
        lambda: load_perceptual_net(config.perceptual, config.perceptual_weights)
    )
    perceptual_net.to(processes.device)

    def read() -> FrameSet:
        frames = read_frames(config, callbacks)
        if config.modality == "rgb":
            return frames
        return load_depth(frames, config.depth, processes.device, on_frame=callbacks.on_depth)

    def losses(network: Network, batch: Tensor) -> dict[str, Tensor]:
        images = as_rgb(batch)
        return {"loss": perceptual_loss(perceptual_net, network(images, config.mask_ratio).images, images)}

    frames = processes.in_turn(read)
    return fit(config, processes, frames, losses, as_rgb, callbacks, resume=resume, overwrite=overwrite)


def as_rgb(batch: Tensor) -> Tensor:
    """Depth maps as grey pictures; RGB stays."""
    return batch.expand(-1, 3, -1, -1)
