"""`dkpvid distill`."""

from pathlib import Path
from typing import Annotated

import typer

from dkpvid.cli import training as opt
from dkpvid.cli.shared import reported_errors
from dkpvid.config import DepthConfig, DistillConfig, TrainConfig


def distill(
    context: typer.Context,
    output: opt.Output,
    data: opt.Data = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="Run folder of a network trained with --modality depth.", show_default=False),
    ] = None,
    from_config: opt.FromConfig = None,
    layer: Annotated[
        str, typer.Option(help="Where the two are compared: output, middle or early.")
    ] = DistillConfig.layer,
    gamma: Annotated[
        float | None,
        typer.Option(help="Weight of the agreement with the teacher.", show_default=str(DistillConfig.gamma)),
    ] = None,
    perceptual_weight: Annotated[
        float, typer.Option("--lambda", help="Weight of the perceptual loss.")
    ] = DistillConfig.perceptual_weight,
    preset: opt.Preset = None,
    keypoints: opt.Keypoints = None,
    image_size: opt.ImageSize = None,
    detector_width: opt.DetectorWidth = None,
    decoder_width: opt.DecoderWidth = None,
    edge_variance: opt.EdgeVariance = None,
    steps: opt.Steps = None,
    batch_size: opt.BatchSize = None,
    learning_rate: opt.LearningRate = None,
    weight_decay: opt.WeightDecay = None,
    mask_ratio: opt.MaskRatio = None,
    flip: opt.Flip = None,
    perceptual: opt.Perceptual = None,
    perceptual_weights: opt.PerceptualWeights = None,
    depth_model: opt.DepthModel = DepthConfig.model,
    depth_weights: opt.DepthWeights = None,
    seed: opt.Seed = TrainConfig.seed,
    deterministic: opt.Deterministic = False,
    device: opt.Device = TrainConfig.device,
    devices: opt.Devices = None,
    nodes: opt.Nodes = None,
    strategy: opt.Strategy = TrainConfig.strategy,
    precision: opt.Precision = TrainConfig.precision,
    workers: opt.Workers = None,
    decoder: opt.Decoder = TrainConfig.decoder,
    log_every: opt.LogEvery = TrainConfig.log_every,
    checkpoint_every: opt.CheckpointEvery = TrainConfig.checkpoint_every,
    keep: opt.Keep = TrainConfig.keep,
    preview_every: opt.PreviewEvery = TrainConfig.preview_every,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    quiet: opt.Quiet = False,
) -> None:
    """Learn keypoints from RGB under a teacher that saw depth maps, so that they leave the background.

    Depth maps come from `depth/` beside the frames, or are made by --depth-model and kept in the cache. The
    run folder is that of `dkpvid train`; tracking with it needs neither depth nor teacher.
    """
    with reported_errors():
        config = opt.config_from(DistillConfig, context)
        from dkpvid.distill import distill as run  # torch loads here, not for --help

        opt.run_training(run, config, resume=resume, overwrite=overwrite, quiet=quiet)
