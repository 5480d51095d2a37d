"""`dkpvid train`."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from dkpvid.cli.shared import EXIT_INTERRUPTED, interrupt_request, reported_errors
from dkpvid.config import PRESETS, ModelConfig, TrainConfig
from dkpvid.errors import UsageError
from dkpvid.progress import ProgressReport


def from_config(kind: type, name: str) -> str:
    """The default of a settings field for the help; presets may change it, so it is not the option's own."""
    return str(next(field.default for field in fields(kind) if field.name == name))


def train(
    data: Annotated[Path, typer.Argument(help="Folder of videos, or of train/ and test/ with videos.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")],
    preset: Annotated[str | None, typer.Option(help=f"Start from settings for {', '.join(PRESETS)}.")] = None,
    keypoints: Annotated[
        int | None,
        typer.Option(help="Keypoints to learn.", show_default=from_config(ModelConfig, "num_keypoints")),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side of the network's input: 64 or 128.",
            show_default=from_config(ModelConfig, "image_size"),
        ),
    ] = None,
    detector_width: Annotated[
        int | None,
        typer.Option(
            help="Channels of the detector.", show_default=from_config(ModelConfig, "detector_width")
        ),
    ] = None,
    decoder_width: Annotated[
        int | None,
        typer.Option(
            help="Channels of the decoder; tracking does not notice.",
            show_default=from_config(ModelConfig, "decoder_width"),
        ),
    ] = None,
    edge_variance: Annotated[
        float | None,
        typer.Option(
            help="Squared width of the edges.", show_default=from_config(ModelConfig, "edge_variance")
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Training steps.", show_default=from_config(TrainConfig, "steps"))
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Frames per step.", show_default=from_config(TrainConfig, "batch_size"))
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Of AdamW.", show_default=from_config(TrainConfig, "learning_rate")),
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="Of AdamW.", show_default=from_config(TrainConfig, "weight_decay"))
    ] = None,
    mask_ratio: Annotated[
        float | None,
        typer.Option(
            help="Share of the image hidden from the decoder.",
            show_default=from_config(TrainConfig, "mask_ratio"),
        ),
    ] = None,
    flip: Annotated[
        bool | None, typer.Option("--flip/--no-flip", help="Mirror half of the frames.", show_default="flip")
    ] = None,
    perceptual: Annotated[
        str | None,
        typer.Option(
            help="Network of the loss: vgg16 or mobilenet-v1.",
            show_default=from_config(TrainConfig, "perceptual"),
        ),
    ] = None,
    perceptual_weights: Annotated[
        Path | None,
        typer.Option(help="Its weights file; else DKPVID_PERCEPTUAL_WEIGHTS, else downloaded (vgg16)."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same result.")] = TrainConfig.seed,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = TrainConfig.device,
    precision: Annotated[str, typer.Option(help="auto (bf16 on CUDA), 32 or bf16.")] = TrainConfig.precision,
    workers: Annotated[
        int | None, typer.Option(help="Videos decoded at the same time.", show_default="cores")
    ] = None,
    log_every: Annotated[
        int, typer.Option(help="Steps between lines of metrics.jsonl.")
    ] = TrainConfig.log_every,
    checkpoint_every: Annotated[
        int, typer.Option(help="Steps between checkpoints.")
    ] = TrainConfig.checkpoint_every,
    preview_every: Annotated[int, typer.Option(help="Steps between previews.")] = TrainConfig.preview_every,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the folder.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Learn keypoints from a folder of videos, without labels.

    The run folder gets model.safetensors (for `dkpvid track --weights`), a checkpoint, metrics.jsonl and
    previews. Ctrl-C saves first; --resume goes on exactly where the run was stopped or killed.
    """
    with reported_errors():
        if preset is not None and preset not in PRESETS:
            raise UsageError(f"unknown preset {preset!r}; choose one of {', '.join(PRESETS)}")
        chosen: dict[str, Any] = {
            "num_keypoints": keypoints,
            "image_size": image_size,
            "detector_width": detector_width,
            "decoder_width": decoder_width,
            "edge_variance": edge_variance,
            "steps": steps,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "mask_ratio": mask_ratio,
            "flip": flip,
            "perceptual": perceptual,
        }
        settings = dict(PRESETS[preset]) if preset else {}
        settings |= {name: value for name, value in chosen.items() if value is not None}
        of_model = {field.name for field in fields(ModelConfig)}
        config = TrainConfig(
            data=data,
            run=output,
            model=ModelConfig(**{name: value for name, value in settings.items() if name in of_model}),
            perceptual_weights=perceptual_weights,
            seed=seed,
            device=device,
            precision=precision,
            workers=workers,
            log_every=log_every,
            checkpoint_every=checkpoint_every,
            preview_every=preview_every,
            **{name: value for name, value in settings.items() if name not in of_model},
        )
        from dkpvid.train import train as run  # torch loads here, not for --help

        reading = ProgressReport("reading videos", "videos", None, quiet)
        learning = ProgressReport(f"training {output}", "steps", config.steps, quiet)
        with interrupt_request() as stop, reading, learning:
            done = run(
                config,
                resume=resume,
                overwrite=overwrite,
                on_video=lambda count, total: reading.update(count, f"of {total}"),
                on_step=lambda step, loss: learning.update(step, "" if loss is None else f"loss {loss:.4f}"),
                should_stop=lambda: bool(stop),
            )
    if done < config.steps:
        typer.echo(f"stopped after {done} of {config.steps} steps; go on with --resume", err=True)
        raise typer.Exit(EXIT_INTERRUPTED)
    if not quiet:
        typer.echo(f"{config.steps} steps done: {output}", err=True)
