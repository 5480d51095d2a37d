"""What `train` and `distill` share: their options, how these become settings, and the run itself."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from dkpvid.cli.shared import EXIT_INTERRUPTED, interrupt_request
from dkpvid.config import PRESETS, ModelConfig, TrainConfig
from dkpvid.errors import UsageError, printable
from dkpvid.progress import ProgressReport


def default_of(kind: type, name: str) -> str:
    """The default of a settings field for the help; presets may change it, so it is not the option's own."""
    return str(next(field.default for field in fields(kind) if field.name == name))


def _of_model(name: str, text: str) -> Any:
    return typer.Option(help=text, show_default=default_of(ModelConfig, name))


def _of_run(name: str, text: str) -> Any:
    return typer.Option(help=text, show_default=default_of(TrainConfig, name))


Data = Annotated[Path, typer.Argument(help="Folder of videos, or of train/ and test/ with videos.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")]
Preset = Annotated[str | None, typer.Option(help=f"Start from settings for {', '.join(PRESETS)}.")]
Keypoints = Annotated[int | None, _of_model("num_keypoints", "Keypoints to learn.")]
ImageSize = Annotated[int | None, _of_model("image_size", "Side of the network's input: 64 or 128.")]
DetectorWidth = Annotated[int | None, _of_model("detector_width", "Channels of the detector.")]
DecoderWidth = Annotated[
    int | None, _of_model("decoder_width", "Channels of the decoder; tracking does not notice.")
]
EdgeVariance = Annotated[float | None, _of_model("edge_variance", "Squared width of the edges.")]
Steps = Annotated[int | None, _of_run("steps", "Training steps.")]
BatchSize = Annotated[int | None, _of_run("batch_size", "Frames per step.")]
LearningRate = Annotated[float | None, _of_run("learning_rate", "Of AdamW.")]
WeightDecay = Annotated[float | None, _of_run("weight_decay", "Of AdamW.")]
MaskRatio = Annotated[float | None, _of_run("mask_ratio", "Share of the image hidden from the decoder.")]
Flip = Annotated[
    bool | None, typer.Option("--flip/--no-flip", help="Mirror half of the frames.", show_default="flip")
]
Perceptual = Annotated[str | None, _of_run("perceptual", "Network of the loss: vgg16 or mobilenet-v1.")]
PerceptualWeights = Annotated[
    Path | None,
    typer.Option(help="Its weights file; else DKPVID_PERCEPTUAL_WEIGHTS, else downloaded (vgg16)."),
]
DepthModel = Annotated[
    str,
    typer.Option(help="dpt-swin2-large-384, -base-384, -tiny-256, hf:OWNER/REPO or local:FOLDER."),
]
DepthWeights = Annotated[
    Path | None, typer.Option(help="Its weights file.", show_default="downloaded on first use")
]
Seed = Annotated[int, typer.Option(help="Same seed, same result.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
_AS_STARTED = "as started by torchrun or srun, else 1"
Devices = Annotated[int | None, typer.Option(help="Processes on each node.", show_default=_AS_STARTED)]
Nodes = Annotated[int | None, typer.Option(help="Machines.", show_default=_AS_STARTED)]
Strategy = Annotated[str, typer.Option(help="auto (ddp for several processes) or ddp.")]
Precision = Annotated[str, typer.Option(help="auto (bf16 on CUDA), 32 or bf16.")]
Workers = Annotated[int | None, typer.Option(help="Videos decoded at the same time.", show_default="cores")]
Decoder = Annotated[str, typer.Option(help="pyav, or decord where the two agree.")]
LogEvery = Annotated[int, typer.Option(help="Steps between lines of metrics.jsonl.")]
CheckpointEvery = Annotated[int, typer.Option(help="Steps between checkpoints.")]
PreviewEvery = Annotated[int, typer.Option(help="Steps between previews.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in the folder.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def settings_from(preset: str | None, options: Mapping[str, Any]) -> tuple[ModelConfig, dict[str, Any]]:
    """The preset's settings, changed by the options that were given: those of the model, and the others.

    Args:
        preset: One of `dkpvid.config.PRESETS`.
        options: Settings by their names; None = not given.

    Raises:
        UsageError: there is no such preset, or a value is not allowed.
    """
    if preset is not None and preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}; choose one of {', '.join(PRESETS)}")
    settings = dict(PRESETS[preset]) if preset else {}
    settings |= {name: value for name, value in options.items() if value is not None}
    of_model = {field.name for field in fields(ModelConfig)} & set(settings)
    model = ModelConfig(**{name: settings.pop(name) for name in of_model})
    return model, settings


def run_training(
    run: Callable[..., int], config: TrainConfig, *, resume: bool, overwrite: bool, quiet: bool
) -> None:
    """Train with progress on stderr; Ctrl-C and SIGTERM end the step, save, and exit with 130.

    Args:
        run: `dkpvid.train.train` or `dkpvid.distill.distill`.
        config: Their settings.
        resume: Go on with the run in the folder.
        overwrite: Replace the run in the folder.
        quiet: No progress.
    """
    from dkpvid.fitting import Callbacks  # torch loads here, not for --help
    from dkpvid.parallel import is_first_process

    reading = ProgressReport("reading videos", "videos", None, quiet)
    seeing = ProgressReport("making depth maps", "frames", None, quiet)
    learning = ProgressReport(f"training {config.run}", "steps", config.steps, quiet)
    with interrupt_request() as stop, reading, seeing, learning:
        callbacks = Callbacks(
            on_video=lambda count, total: reading.update(count, total=total),
            on_remark=lambda remark: typer.echo(f"warning: {printable(remark)}", err=True),
            on_depth=lambda count, total: seeing.update(count, total=total),
            on_step=lambda step, loss: learning.update(step, "" if loss is None else f"loss {loss:.4f}"),
            should_stop=lambda: bool(stop),
        )
        done = run(config, callbacks, resume=resume, overwrite=overwrite)
    if done < config.steps:
        if is_first_process():
            typer.echo(f"stopped after {done} of {config.steps} steps; go on with --resume", err=True)
        raise typer.Exit(EXIT_INTERRUPTED)
    if not quiet and is_first_process():
        typer.echo(f"{config.steps} steps done: {config.run}", err=True)
