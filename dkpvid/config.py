"""Settings and their defaults, once. The command line reads the defaults from here; runs store them.

The string under a field is its help text on the command line.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dkpvid.errors import UsageError

ImageSize = Literal[64, 128]
PerceptualNet = Literal["vgg16", "mobilenet-v1"]
Modality = Literal["rgb", "depth"]
SmoothingMethod = Literal["kalman", "one-euro", "savgol", "median", "none"]


@dataclass(frozen=True)
class ModelConfig:
    """What the networks look like; stored with every weights file, which can so be rebuilt."""

    num_keypoints: int = 16
    image_size: int = 128
    """Side of the square image that the networks see, in pixels: 64 or 128."""
    detector_width: int = 64
    """Channels after the detector's first down block; each further block doubles them."""
    decoder_width: int = 64
    """Channels after the decoder's first convolution. Training only: tracking does not notice."""
    edge_variance: float = 5e-5
    """Squared width of a drawn edge, in model units (the frame is 2 wide): exp(-distance^2 / edge_variance)."""
    edge_weight_lr: float = 512.0
    """Learning-rate factor of the edge weights."""

    def __post_init__(self) -> None:
        if self.image_size not in (64, 128):
            raise UsageError(f"image size must be 64 or 128, got {self.image_size}")
        for name in ("num_keypoints", "detector_width", "decoder_width"):
            value = getattr(self, name)
            low, high = (2, 256) if name == "num_keypoints" else (4, 512)
            if not low <= value <= high:
                raise UsageError(f"{name.replace('_', ' ')} must be {low} to {high}, got {value}")
        if not 0 < self.edge_variance < 1:
            raise UsageError(f"edge variance must be between 0 and 1, got {self.edge_variance}")


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


def to_dict(config: Any) -> dict[str, Any]:
    """A settings object as plain JSON values."""
    return asdict(config)
