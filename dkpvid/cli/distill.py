"""`dkpvid distill`."""

from pathlib import Path
from typing import Annotated

import typer

from dkpvid.cli import training as opt
from dkpvid.cli.shared import reported_errors
from dkpvid.config import DistillConfig


def distill(
    output: opt.Output,
    data: opt.Data = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="Run folder of a network trained with --modality depth.", show_default=False),
    ] = None,
    from_config: opt.FromConfig = None,
    layer: Annotated[
        str | None,
        typer.Option(
            help="Where the two are compared: output, middle or early.", show_default=DistillConfig.layer
        ),
    ] = None,
    gamma: Annotated[
        float | None,
        typer.Option(help="Weight of the agreement with the teacher.", show_default=str(DistillConfig.gamma)),
    ] = None,
    perceptual_weight: Annotated[
        float | None,
        typer.Option(
            "--lambda",
            help="Weight of the perceptual loss.",
            show_default=str(DistillConfig.perceptual_weight),
        ),
    ] = None,
    preset: opt.Preset = None,
    keypoints: opt.Keypoints = None,
    backbone: opt.Backbone = None,
    backbone_weights: opt.BackboneWeights = None,
    freeze_stages: opt.FreezeStages = None,
    image_size: opt.ImageSize = None,
    detector_width: opt.DetectorWidth = None,
    head_width: opt.HeadWidth = None,
    decoder_width: opt.DecoderWidth = None,
    edge_variance: opt.EdgeVariance = None,
    steps: opt.Steps = None,
    batch_size: opt.BatchSize = None,
    learning_rate: opt.LearningRate = None,
    schedule: opt.Schedule = None,
    weight_decay: opt.WeightDecay = None,
    mask_ratio: opt.MaskRatio = None,
    flip: opt.Flip = None,
    crop: opt.Crop = None,
    perceptual: opt.Perceptual = None,
    perceptual_weights: opt.PerceptualWeights = None,
    depth_model: opt.DepthModel = None,
    depth_weights: opt.DepthWeights = None,
    seed: opt.Seed = None,
    deterministic: opt.Deterministic = None,
    device: opt.Device = None,
    devices: opt.Devices = None,
    nodes: opt.Nodes = None,
    strategy: opt.Strategy = None,
    precision: opt.Precision = None,
    workers: opt.Workers = None,
    decoder: opt.Decoder = None,
    log_every: opt.LogEvery = None,
    checkpoint_every: opt.CheckpointEvery = None,
    keep: opt.Keep = None,
    preview_every: opt.PreviewEvery = None,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    quiet: opt.Quiet = False,
) -> None:
    """Learn keypoints from RGB under a teacher that saw depth maps, so that they leave the background.

    Depth maps come from `depth/` beside the frames, or are made by --depth-model and kept in the cache. The
    run folder is that of `dkpvid train`; tracking with it needs neither depth nor teacher.
    """
    options = locals()  # as given: nothing else is known here yet
    with reported_errors():
        config = opt.config_from(DistillConfig, options)
        from dkpvid.jobs.distill import distill as run  # torch loads here, not for --help

        opt.run_training(run, config, resume=resume, overwrite=overwrite, quiet=quiet)
