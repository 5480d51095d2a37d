"""The one place that knows which detectors there are."""

from dkpvid.config import ModelConfig
from dkpvid.models.backbone import BackboneDetector
from dkpvid.models.detector import KeypointDetector
from dkpvid.models.fused import FusedDetector, FusedNetwork
from dkpvid.models.fused_backbone import FusedBackboneDetector

Detector = KeypointDetector | BackboneDetector


def make_detector(config: ModelConfig) -> Detector:
    """A new detector; see `ModelConfig.backbone`.

    Raises:
        UsageError: timm has no such backbone.
    """
    return KeypointDetector(config) if config.backbone == "autolink" else BackboneDetector(config)


def fuse(detector: Detector) -> FusedNetwork:
    """A detector's copy for inference.

    Args:
        detector: In eval mode; it is not changed.
    """
    if isinstance(detector, KeypointDetector):
        return FusedDetector(detector)
    return FusedBackboneDetector(detector)
