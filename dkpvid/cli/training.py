"""What `train` and `distill` share: their options, how these become settings, and the run itself."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from dkpvid.cli.progress import ProgressReport
from dkpvid.cli.shared import EXIT_INTERRUPTED, interrupt_request
from dkpvid.config import PRESETS, DepthConfig, ModelConfig, TrainConfig
from dkpvid.config_json import Config, combined, from_dict
from dkpvid.errors import UsageError, printable
from dkpvid.files import parse_json

_SETTING_OF = {
    "output": "run",
    "keypoints": "num_keypoints",
    "depth_model": "depth.model",
    "depth_weights": "depth.weights",
}
_NO_SETTINGS = ("from_config", "preset", "resume", "overwrite", "quiet")


def default_of(kind: type, name: str) -> str:
    """The default of a settings field for the help; presets may change it, so it is not the option's own."""
    return str(next(field.default for field in fields(kind) if field.name == name))


def _of_model(name: str, text: str) -> Any:
    return typer.Option(help=text, show_default=default_of(ModelConfig, name))


def _of_run(name: str, text: str) -> Any:
    return typer.Option(help=text, show_default=default_of(TrainConfig, name))


Data = Annotated[
    Path | None,
    typer.Argument(help="Folder of videos, or of train/ and test/ with videos.", show_default=False),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")]
Preset = Annotated[str | None, typer.Option(help=f"Start from settings for {', '.join(PRESETS)}.")]
Keypoints = Annotated[int | None, _of_model("num_keypoints", "Keypoints to learn.")]
Backbone = Annotated[
    str | None,
    _of_model("backbone", "Network of the detector: autolink, or timm:NAME, which knows ImageNet."),
]
BackboneWeights = Annotated[
    Path | None,
    typer.Option(help="File to start a timm backbone from.", show_default="dkpvid\\[lite0], else downloaded"),
]
FreezeStages = Annotated[
    int | None, _of_run("freeze_stages", "timm: leave the stem and so many of 4 stages as they are.")
]
ImageSize = Annotated[
    int | None,
    _of_model("image_size", "Side of the network's input: 64 or 128; timm: 64, 96, ... 256."),
]
DetectorWidth = Annotated[int | None, _of_model("detector_width", "Channels of the autolink detector.")]
HeadWidth = Annotated[int | None, _of_model("head_width", "Channels of the head on a timm backbone.")]
DecoderWidth = Annotated[
    int | None, _of_model("decoder_width", "Channels of the decoder; tracking does not notice.")
]
EdgeVariance = Annotated[float | None, _of_model("edge_variance", "Squared width of the edges.")]
Steps = Annotated[int | None, _of_run("steps", "Training steps.")]
BatchSize = Annotated[int | None, _of_run("batch_size", "Frames per step.")]
LearningRate = Annotated[float | None, _of_run("learning_rate", "Of AdamW.")]
Schedule = Annotated[
    str | None, _of_run("schedule", "Of the learning rate: constant, or cosine (falls towards 0).")
]
WeightDecay = Annotated[float | None, _of_run("weight_decay", "Of AdamW.")]
MaskRatio = Annotated[float | None, _of_run("mask_ratio", "Share of the image hidden from the decoder.")]
Flip = Annotated[
    bool | None, typer.Option("--flip/--no-flip", help="Mirror half of the frames.", show_default="flip")
]
Crop = Annotated[
    bool | None,
    typer.Option(
        "--crop/--no-crop", help="Move and zoom each frame a little at random.", show_default="no-crop"
    ),
]
Perceptual = Annotated[str | None, _of_run("perceptual", "Network of the loss: vgg16 or mobilenet-v1.")]
PerceptualWeights = Annotated[
    Path | None,
    typer.Option(help="Its weights file; else DKPVID_PERCEPTUAL_WEIGHTS, else downloaded (vgg16)."),
]
DepthModel = Annotated[
    str | None,
    typer.Option(
        help="dpt-swin2-large-384, -base-384, -tiny-256, hf:OWNER/REPO or local:FOLDER.",
        show_default=DepthConfig.model,
    ),
]
DepthWeights = Annotated[
    Path | None, typer.Option(help="Its weights file.", show_default="downloaded on first use")
]
Seed = Annotated[int | None, _of_run("seed", "Same seed, same result.")]
Device = Annotated[str | None, _of_run("device", "auto, cpu, cuda, cuda:N or mps.")]
_AS_STARTED = "as started by torchrun or srun, else 1"
Devices = Annotated[int | None, typer.Option(help="Processes on each node.", show_default=_AS_STARTED)]
Nodes = Annotated[int | None, typer.Option(help="Machines.", show_default=_AS_STARTED)]
Strategy = Annotated[str | None, _of_run("strategy", "auto (ddp for several processes) or ddp.")]
Precision = Annotated[str | None, _of_run("precision", "auto (bf16 where the device has it), 32 or bf16.")]
Workers = Annotated[int | None, typer.Option(help="Videos decoded at the same time.", show_default="cores")]
Decoder = Annotated[str | None, _of_run("decoder", "pyav, or decord where the two agree.")]
LogEvery = Annotated[int | None, _of_run("log_every", "Steps between lines of metrics.jsonl.")]
CheckpointEvery = Annotated[int | None, _of_run("checkpoint_every", "Steps between checkpoints.")]
Keep = Annotated[
    int | None, _of_run("keep", "Checkpoints to keep; an older one stands in for a damaged one.")
]
PreviewEvery = Annotated[int | None, _of_run("preview_every", "Steps between previews.")]
Deterministic = Annotated[
    bool | None,
    typer.Option(
        "--deterministic/--no-deterministic",
        help="The same bits on every run on CUDA too; slower.",
        show_default="no-deterministic",
    ),
]
FromConfig = Annotated[
    Path | None, typer.Option(help="config.json of a run to repeat; other options override it.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in the folder.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def config_from(kind: type[Config], options: Mapping[str, Any]) -> Config:
    """The settings: their defaults, changed by --from-config, --preset, and the options that were given.

    Args:
        kind: TrainConfig, or DistillConfig.
        options: Of the command, called as settings but for those in `_SETTING_OF`; None = not given.

    Raises:
        UsageError: the stored settings cannot be used, there is no such preset, or a value is not allowed.
    """
    given = {name: value for name, value in options.items() if value is not None}
    values = _stored(kind, given.get("from_config"))
    changes = {
        _SETTING_OF.get(name, name): value for name, value in given.items() if name not in _NO_SETTINGS
    }
    for name in ("data", "teacher"):
        if name in {field.name for field in fields(kind)} and name not in {**values, **changes}:  # type: ignore[arg-type]
            word = "DATA, the folder of videos," if name == "data" else "--teacher"
            raise UsageError(f"{word} is missing; give it, or --from-config CONFIG.JSON")
    return combined(kind, values, given.get("preset"), changes)


def _stored(kind: type[Config], path: Path | None) -> dict[str, Any]:
    """The settings in the config.json of a run."""
    if path is None:
        return {}
    try:
        values = parse_json(path.read_text())
        if not isinstance(values, dict):
            raise ValueError("expected settings by their names")
        from_dict(kind, values)
    except (OSError, ValueError, TypeError, UsageError) as error:
        raise UsageError(f"{path} holds no settings of this command: {error}") from None
    return values


def run_training(
    run: Callable[..., int], config: TrainConfig, *, resume: bool, overwrite: bool, quiet: bool
) -> None:
    """Train with progress on stderr; Ctrl-C and SIGTERM end the step, save, and exit with 130.

    Args:
        run: `dkpvid.jobs.train.train` or `dkpvid.jobs.distill.distill`.
        config: Their settings.
        resume: Go on with the run in the folder.
        overwrite: Replace the run in the folder.
        quiet: No progress.
    """
    from dkpvid.training.fitting import Callbacks  # torch loads here, not for --help
    from dkpvid.training.parallel import is_first_process

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
