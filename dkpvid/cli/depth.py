"""`dkpvid depth`."""

from pathlib import Path
from typing import Annotated

import typer

from dkpvid.cli.progress import ProgressReport
from dkpvid.cli.shared import reported_errors
from dkpvid.config import IMAGE_SIZES, DepthConfig, ModelConfig, TrainConfig
from dkpvid.errors import UsageError, printable
from dkpvid.files import cache_folder


def depth(
    data: Annotated[Path, typer.Argument(help="Folder of videos, or of train/ and test/ with videos.")],
    depth_model: Annotated[
        str,
        typer.Option(help="dpt-swin2-large-384, -base-384, -tiny-256, hf:OWNER/REPO or local:FOLDER."),
    ] = DepthConfig.model,
    depth_weights: Annotated[
        Path | None,
        typer.Option(help="Weights file of a dpt-swin2 model.", show_default="downloaded on first use"),
    ] = DepthConfig.weights,
    size: Annotated[
        int, typer.Option(help="Side of the maps: that of the network's input.")
    ] = ModelConfig.image_size,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = TrainConfig.device,
    batch_size: Annotated[int, typer.Option(help="Frames per forward pass.")] = DepthConfig.batch_size,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Make the depth maps of a data set's training videos, ahead of the training that needs them.

    They are kept in the cache. A run that was stopped goes on at the next video. Videos that bring their own
    depth maps keep those: a folder depth/ in a folder of frames, or x.depth.png beside a strip x.png.
    """
    with reported_errors():
        if size not in (allowed := sorted({side for sides in IMAGE_SIZES.values() for side in sides})):
            raise UsageError(f"size must be one of {', '.join(map(str, allowed))}, got {size}")
        config = DepthConfig(model=depth_model, weights=depth_weights, batch_size=batch_size)
        from dkpvid.depth.maps import load_depth
        from dkpvid.devices import choose_device
        from dkpvid.training.data import load_frames  # torch loads here, not for --help

        chosen_device = choose_device(device)
        with ProgressReport("reading videos", "videos", None, quiet) as reading:
            frames = load_frames(data, size, on_video=lambda done, total: reading.update(done, total=total))
        for line in frames.remarks:
            typer.echo(f"warning: {printable(line)}", err=True)
        with ProgressReport("making depth maps", "frames", len(frames), quiet) as making:
            load_depth(frames, config, chosen_device, on_frame=lambda done, total: making.update(done))
    if not quiet:
        typer.echo(
            f"{len(frames)} depth maps of {len(frames.videos)} videos are in {cache_folder() / 'depth'}",
            err=True,
        )
