"""Settings and their defaults, once. The command line reads the defaults from here; runs store them.

The string under a field is its help text on the command line.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dkpvid.coordinates import Region
from dkpvid.errors import UsageError

MAX_FPS = 1_000_000.0
"""Frames per second of the fastest cameras."""

SmoothingMethod = Literal["kalman", "one-euro", "savgol", "median", "none"]

IMAGE_SIZES = {"autolink": (64, 128), "timm": (64, 96, 128, 160, 192, 224, 256)}
"""Sides of the square input that each kind of backbone takes, in pixels."""


@dataclass(frozen=True)
class ModelConfig:
    """What the networks look like; stored with every weights file, which can so be rebuilt."""

    num_keypoints: int = 16
    joints: tuple[str, ...] = ()
    """Names of further heatmaps, after those of the keypoints: joints that the network was taught by name."""
    backbone: str = "autolink"
    """The detector's network: autolink, the paper's own; or timm:NAME, one of timm's that gives features at
    strides 4, 8, 16 and 32, under a small head."""
    image_size: int = 128
    """Side of the square image that the networks see, in pixels; see `IMAGE_SIZES`."""
    detector_width: int = 64
    """autolink only: channels after the first down block; each further block doubles them."""
    head_width: int = 64
    """timm only: channels of the head."""
    decoder_width: int = 64
    """Channels after the decoder's first convolution. Training only: tracking does not notice."""
    edge_variance: float = 5e-5
    """Squared width of a drawn edge, in model units (the frame is 2 wide)."""
    edge_weight_lr: float = 512.0
    """Learning-rate factor of the edge weights."""

    def __post_init__(self) -> None:
        ranges = {"num_keypoints": (2, 256), "detector_width": (4, 512), "head_width": (4, 512)}
        ranges["decoder_width"] = (4, 512)
        for name in ("image_size", *ranges):
            if type(getattr(self, name)) is not int:
                words = name.replace("_", " ")
                raise UsageError(f"{words} must be a whole number, got {getattr(self, name)!r}")
        # Nothing but the name of a network: timm also takes addresses to download from.
        if not re.fullmatch(r"autolink|timm:\w+(\.\w+)?", self.backbone, re.ASCII):
            raise UsageError(f"unknown backbone {self.backbone!r}; give autolink or timm:NAME")
        kind = self.backbone.partition(":")[0]
        if self.image_size not in IMAGE_SIZES[kind]:
            sizes = " or ".join(", ".join(map(str, IMAGE_SIZES[kind])).rsplit(", ", 1))
            raise UsageError(f"image size must be {sizes} for {kind}, got {self.image_size}")
        for name, (low, high) in ranges.items():
            if not low <= (value := getattr(self, name)) <= high:
                raise UsageError(f"{name.replace('_', ' ')} must be {low} to {high}, got {value}")
        plain = {name for name in self.joints if re.fullmatch(r"\w[\w .-]{0,63}", name)}
        if len(plain) != len(self.joints) or len(plain) > 256:
            raise UsageError(
                "joints must be at most 256 different names of letters, digits, spaces, '.' and '-', got "
                f"{', '.join(map(repr, self.joints))}"
            )
        if not 0 < self.edge_variance < 1:
            raise UsageError(f"edge variance must be between 0 and 1, got {self.edge_variance}")
        if not 0 < self.edge_weight_lr < float("inf"):
            raise UsageError(f"the edge weights' learning rate must be above 0, got {self.edge_weight_lr}")


@dataclass(frozen=True)
class SmoothingConfig:
    """How detections are filtered over time."""

    method: SmoothingMethod = "kalman"
    """kalman (weighs each detection by its heatmap's covariance), one-euro, savgol, median or none."""
    strength: float = 1.0
    """1 = the default amount; 2 is smoother, 0.5 follows closer."""

    def __post_init__(self) -> None:
        allowed = ("kalman", "one-euro", "savgol", "median", "none")
        if self.method not in allowed:
            raise UsageError(f"unknown smoothing {self.method!r}; choose one of {', '.join(allowed)}")
        if not 0 < self.strength <= 1000:
            raise UsageError(f"smoothing strength must be above 0 and at most 1000, got {self.strength}")


@dataclass(frozen=True)
class DepthConfig:
    """Where depth maps come from, for videos that do not bring their own."""

    model: str = "dpt-swin2-large-384"
    """dpt-swin2-large-384, -base-384 or -tiny-256 (MiDaS 3.1), hf:OWNER/REPO or local:FOLDER."""
    weights: Path | None = None
    """A file for MiDaS; None downloads it on first use."""
    batch_size: int = 16

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"batch size must be at least 1, got {self.batch_size}")


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The defaults are the papers'."""

    data: Path
    run: Path
    model: ModelConfig = field(default_factory=ModelConfig)
    steps: int = 20_000
    batch_size: int = 64
    learning_rate: float = 1e-4
    schedule: str = "constant"
    """Of the learning rate: constant (as in the papers), or cosine (falls towards 0 until the last step)."""
    weight_decay: float = 1e-3
    mask_ratio: float = 0.8
    flip: bool = True
    crop: bool = False
    """Move, zoom and stretch each frame a little at random; see `dkpvid.training.augment`."""
    perceptual: str = "vgg16"
    """vgg16 or mobilenet-v1."""
    perceptual_weights: Path | None = None
    backbone_weights: Path | None = None
    """Where a timm backbone starts from; None = its ImageNet weights, installed or downloaded."""
    freeze_stages: int = 0
    """Of a timm backbone: the stem and so many of its four stages stay as they are."""
    seed: int = 0
    deterministic: bool = False
    """Only algorithms that give the same bits on every run; on the CPU they all do."""
    device: str = "auto"
    precision: str = "auto"
    """auto (bf16 where the device computes in it), 32 or bf16."""
    workers: int | None = None
    decoder: str = "pyav"
    """pyav, or decord for the files on which it agrees with PyAV."""
    modality: str = "rgb"
    """What the network sees: rgb, or depth (the teacher of a distillation)."""
    depth: DepthConfig = field(default_factory=DepthConfig)
    log_every: int = 50
    checkpoint_every: int = 500
    preview_every: int = 500
    keep: int = 2
    """Checkpoints that stay in the run folder, the newest included."""
    devices: int | None = None
    """Processes on each node; None = as many as torchrun or srun started, or one."""
    nodes: int | None = None
    """Machines; None = as many as torchrun or srun started processes on, or one."""
    strategy: str = "auto"
    """auto (ddp for several processes) or ddp."""

    def __post_init__(self) -> None:
        counts = "steps batch_size log_every checkpoint_every preview_every keep devices nodes"
        for name in counts.split():
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name.replace('_', ' ')} must be at least 1, got {value}")
        if self.batch_size == 1:
            raise UsageError("batch size must be at least 2: batch norm cannot learn from one image")
        if not 0 <= self.mask_ratio <= 1:
            raise UsageError(f"mask ratio must be 0 to 1, got {self.mask_ratio}")
        if not 0 <= self.freeze_stages <= 4:
            raise UsageError(f"freeze stages must be 0 to 4, got {self.freeze_stages}")
        if self.model.backbone == "autolink" and (self.freeze_stages or self.backbone_weights):
            raise UsageError("the autolink backbone starts from nothing; choose --backbone timm:NAME")
        if not self.learning_rate > 0:
            raise UsageError(f"learning rate must be above 0, got {self.learning_rate}")
        for name, words, allowed in (
            ("perceptual", "perceptual network", ("vgg16", "mobilenet-v1")),
            ("precision", "precision", ("auto", "32", "bf16")),
            ("decoder", "decoder", ("pyav", "decord")),
            ("modality", "modality", ("rgb", "depth")),
            ("strategy", "strategy", ("auto", "ddp")),
            ("schedule", "schedule", ("constant", "cosine")),
        ):
            _check_choice(words, getattr(self, name), allowed)


@dataclass(frozen=True, kw_only=True)
class DistillConfig(TrainConfig):
    """One distillation: an RGB student under a frozen depth teacher. The defaults are Human3.6M's."""

    teacher: Path
    """Run folder or weights of a network trained on depth maps."""
    layer: str = "output"
    """Where they are compared: output (the heatmaps' logits), middle (up blocks) or early (down blocks)."""
    gamma: float = 0.1
    """Weight of the agreement with the teacher."""
    perceptual_weight: float = 1.0
    """Weight of the perceptual loss (the paper's lambda)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice("layer", self.layer, ("output", "middle", "early"))
        if self.gamma < 0 or self.perceptual_weight < 0:
            raise UsageError(
                f"gamma and lambda must not be negative, got {self.gamma} and {self.perceptual_weight}"
            )


@dataclass(frozen=True)
class TrackConfig:
    """How a video is tracked; the model comes with its own settings."""

    device: str = "auto"
    half: bool = False
    """bfloat16 on CUDA and on CPUs that compute in it."""
    runtime: str = "auto"
    """torch, onnx (on the CPU), or auto: onnx on the CPU where it is installed."""
    batch_size: int = 32
    start_seconds: float | None = None
    end_seconds: float | None = None
    """Half-open: frames shown in [start, end)."""
    stream: int | None = None
    """Which of a file's video streams, from 0; None = the best that is not a cover picture."""
    apply_rotation: bool = True
    """Turn and mirror frames as the file says they should be shown."""
    deinterlace: bool = False
    """Make interlaced pictures whole."""
    fps: float | None = None
    """Frames per second, in place of the times that the source tells; None = those, and 25 for pictures."""
    stride: int = 1
    """Look at every n-th frame; the smoother fills the others."""
    region: Region | Literal["follow", "auto"] | None = None
    """None = the whole frame; follow = a square window that the keypoints lead: `dkpvid.tracking.follow`;
    auto = one that follows what moves: `dkpvid.tracking.windows`."""
    min_confidence: float = 0.0
    """Below it a keypoint counts as not observed in that frame."""
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)

    def __post_init__(self) -> None:
        for name in ("batch_size", "stride"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name.replace('_', ' ')} must be at least 1, got {getattr(self, name)}")
        _check_choice("runtime", self.runtime, ("auto", "torch", "onnx"))
        if not 0 <= self.min_confidence <= 1:
            raise UsageError(f"min confidence must be 0 to 1, got {self.min_confidence}")
        if self.fps is not None and not 0 < self.fps <= MAX_FPS:
            raise UsageError(f"fps must be above 0 and at most {MAX_FPS:.0f}, got {self.fps}")
        start, end = self.start_seconds, self.end_seconds
        if start is not None and end is not None and end <= start:
            raise UsageError(f"end must be after start, got start {start} and end {end}")


@dataclass(frozen=True)
class EvalConfig:
    """What models are scored on, and how."""

    data: Path
    protocol: str
    """human36m, deepfashion, taichi, regression or motion."""
    weights: tuple[str | None, ...] = (None,)
    """The models to score, one after the other; None = those of the package."""
    videos: Path | None = None
    """Where the videos or pictures are, when not beside the annotations."""
    with_background: bool = True
    """human36m only: False paints grey what its masks leave out."""
    folds: int = 5
    """regression only: parts that the videos are dealt out to; each is predicted from the others."""
    seed: int = 0
    device: str = "auto"
    batch_size: int = 32

    def __post_init__(self) -> None:
        allowed = ("human36m", "deepfashion", "taichi", "regression", "motion")
        if self.protocol not in allowed:
            raise UsageError(f"unknown protocol {self.protocol!r}; choose one of {', '.join(allowed)}")
        if not 2 <= self.folds <= 1000:
            raise UsageError(f"folds must be 2 to 1000, got {self.folds}")
        if self.batch_size < 1:
            raise UsageError(f"batch size must be at least 1, got {self.batch_size}")


def _check_choice(words: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"unknown {words} {value!r}; choose {', '.join(allowed[:-1])} or {allowed[-1]}")


PRESETS: dict[str, dict[str, Any]] = {
    "human36m": {"num_keypoints": 16, "edge_variance": 5e-5, "gamma": 0.1},
    "deepfashion": {"num_keypoints": 16, "edge_variance": 5e-5, "flip": False, "gamma": 0.1},
    "taichi": {"num_keypoints": 10, "edge_variance": 5e-4, "gamma": 0.4},
    # Small enough for two CPU cores; for videos of one kind a few hundred steps show something.
    "cpu": {
        "num_keypoints": 10,
        "image_size": 64,
        "detector_width": 32,
        "decoder_width": 16,
        "edge_variance": 2e-3,
        "perceptual": "mobilenet-v1",
        "batch_size": 16,
        "learning_rate": 5e-4,
        "steps": 3000,
        "gamma": 0.4,
    },
}
"""What each preset changes; names are fields of DistillConfig or of its ModelConfig."""
