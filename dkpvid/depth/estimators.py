"""The depth networks to choose from, behind one call: frames in, nearness out."""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from numpy import ndarray
from torch import Tensor

from dkpvid.config import DepthConfig
from dkpvid.depth.dpt import DPT_VARIANTS, DptSwinV2, build_dpt, load_dpt
from dkpvid.depth.small_depth import SmallDepth
from dkpvid.devices import autocast
from dkpvid.downloads import MIDAS, fetch
from dkpvid.errors import UsageError, WeightsError, need_extra
from dkpvid.shapes import Float, UInt8
from dkpvid.training.data import fingerprint

_PRECISION = {"cuda": "bf16", "cpu": "32", "mps": "32"}
"""By device. Maps are cached: a processor must not change them."""


@runtime_checkable
class DepthEstimator(Protocol):
    """A depth network on a device. It is read when the first frames come: a full cache needs no network."""

    key: str
    """Tells networks and their weights apart; maps are cached under it."""
    input_size: int | None
    """Side of the square pictures it takes; None takes frames as they are."""

    def __call__(self, images: UInt8[ndarray, "batch height width 3"]) -> Float[Tensor, "batch row column"]:
        """Nearness of RGB pictures: larger is nearer, on any scale, at any size."""


def make_estimator(config: DepthConfig, device: torch.device) -> DepthEstimator:
    """The estimator that the settings name.

    Args:
        config: Its `model` is a name of `DPT_VARIANTS`, hf:OWNER/REPO (or hf:FOLDER in the same layout), or
            local:FOLDER with the two small networks.
        device: Where to run it.

    Raises:
        UsageError: an unknown name, weights for a network that brings its own, or a missing package.
        WeightsError: a weights file is not there.
    """
    name = config.model
    if name in DPT_VARIANTS:
        return Midas(name, config.weights, device)
    if config.weights is not None:
        raise UsageError(f"--depth-weights goes with {', '.join(DPT_VARIANTS)}; got it with {name!r}")
    kind, _, place = name.partition(":")
    if kind == "local":
        return SmallNetworks(Path(place), device)
    if kind == "hf" and place:
        return HubNetwork(place, device)
    raise UsageError(
        f"unknown depth model {name!r}; choose {', '.join(DPT_VARIANTS)}, hf:OWNER/REPO or local:FOLDER"
    )


class Midas:
    """MiDaS 3.1; see `dkpvid.depth.dpt`."""

    def __init__(self, name: str, weights: Path | None, device: torch.device) -> None:
        self.name, self.weights, self.device = name, weights, device
        self.input_size: int | None = DPT_VARIANTS[name].input_size
        self.key = f"{name}-{MIDAS[name].sha256[:16] if weights is None else _sha256(weights)}"

    @cached_property
    def network(self) -> DptSwinV2:
        """In eval mode, on the device."""
        path = self.weights or fetch(MIDAS[self.name])
        network = build_dpt(DPT_VARIANTS[self.name])
        load_dpt(network, path, self.name)
        return network.eval().to(self.device)

    def __call__(self, images: UInt8[ndarray, "batch size size 3"]) -> Float[Tensor, "batch size size"]:
        """Relative inverse depth."""
        pixels = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
        with torch.inference_mode(), autocast(self.device, _PRECISION[self.device.type]):
            nearness: Tensor = self.network(pixels.float() / 127.5 - 1)
        return nearness


class SmallNetworks:
    """FastDepth and METER together; see `dkpvid.depth.small_depth`."""

    input_size: int | None = 256

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.folder, self.device = folder, device
        digests = [_sha256(folder / file) for file in SmallDepth.files]
        self.key = f"local-{'-'.join(digests)}"

    @cached_property
    def network(self) -> SmallDepth:
        """In eval mode, on the device."""
        network = SmallDepth()
        network.load(self.folder)
        return network.eval().to(self.device)

    def __call__(self, images: UInt8[ndarray, "batch size size 3"]) -> Float[Tensor, "batch row column"]:
        """Nearness in [0, 1]."""
        pixels = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
        # Full precision: they are small, and differences within a person are small against the room's depth.
        with torch.inference_mode():
            nearness: Tensor = self.network(pixels.float() / 255)
        return nearness


class HubNetwork:
    """Any depth network that the `transformers` library can load, with its own preprocessing.

    Args:
        name: OWNER/REPO on the Hugging Face hub, or a folder in the same layout.
        device: Where to run it.
    """

    input_size: int | None = None

    def __init__(self, name: str, device: torch.device) -> None:
        self._transformers = need_extra(f"hf:{name}", "transformers", "dkpvid[depth-hub]")
        self.name, self.device = name, device
        is_folder = Path(name).is_dir()
        self.key = f"hf-{fingerprint(Path(name)) if is_folder else name.replace('/', '--')}"

    @cached_property
    def network(self) -> tuple[Any, Any]:
        """The preprocessing, and the model in eval mode on the device."""
        try:
            # Padding would have to be cut off again.
            processor = self._transformers.AutoImageProcessor.from_pretrained(
                self.name, do_pad=False, trust_remote_code=False
            )
            model = self._transformers.AutoModelForDepthEstimation.from_pretrained(
                self.name, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            first_line = str(error).partition("\n")[0]
            raise WeightsError(
                f"cannot load the depth network {self.name} ({first_line}): get config.json, "
                f"preprocessor_config.json and model.safetensors from https://huggingface.co/{self.name}, "
                "put them in a folder and give it with --depth-model hf:FOLDER"
            ) from None
        return processor, model.eval().to(self.device)

    def __call__(self, images: UInt8[ndarray, "batch height width 3"]) -> Float[Tensor, "batch row column"]:
        """What the model predicts; distances are turned into nearness."""
        processor, model = self.network
        inputs = processor(images=list(images), return_tensors="pt").to(self.device)
        with torch.inference_mode(), autocast(self.device, _PRECISION[self.device.type]):
            predicted: Tensor = model(**inputs).predicted_depth
        predicted = predicted.float()
        return 1 / predicted.clamp_min(1e-4) if predicts_distance(model.config) else predicted


def predicts_distance(config: Any) -> bool:
    """True when a `transformers` depth model gives distances (near = small), by its settings.

    The others give relative inverse depth.
    """
    backbone = getattr(config, "backbone_config", None)
    return (
        config.model_type in ("glpn", "zoedepth")
        or getattr(config, "depth_estimation_type", "relative") == "metric"
        # The DPT heads that were published on DINOv2 were trained on NYU and KITTI.
        or (config.model_type == "dpt" and getattr(backbone, "model_type", "") == "dinov2")
    )


def _sha256(path: Path) -> str:
    """The first 16 digits of a file's SHA-256.

    Raises:
        WeightsError: there is no such file.
    """
    if not path.is_file():
        raise WeightsError(f"no weights file at {path}; check the path")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
