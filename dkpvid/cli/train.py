"""`dkpvid train`."""

from typing import Annotated

import typer

from dkpvid.cli import training as opt
from dkpvid.cli.shared import reported_errors
from dkpvid.config import TrainConfig


def train(
    output: opt.Output,
    data: opt.Data = None,
    from_config: opt.FromConfig = None,
    modality: Annotated[
        str | None,
        typer.Option(help="rgb, or depth: the teacher of a distillation.", show_default=TrainConfig.modality),
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
    """Learn keypoints from a folder of videos, without labels.

    The run folder gets model.safetensors (for `dkpvid track --weights`), a checkpoint, metrics.jsonl and
    previews. Ctrl-C saves first; --resume goes on exactly where the run was stopped or killed.
    """
    options = locals()  # as given: nothing else is known here yet
    with reported_errors():
        config = opt.config_from(TrainConfig, options)
        from dkpvid.jobs.train import train as run  # torch loads here, not for --help

        opt.run_training(run, config, resume=resume, overwrite=overwrite, quiet=quiet)
