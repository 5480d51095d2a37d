"""Reading and writing weights: safetensors with the config that built them.

Safetensors holds plain arrays, so nothing in a file is ever executed; `dkpvid.reference` reads other files.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dkpvid.config import ModelConfig
from dkpvid.config_json import from_dict, to_dict
from dkpvid.downloads import HUB_PREFIX, fetch_from_hub
from dkpvid.errors import UsageError, WeightsError
from dkpvid.files import parse_json, write_then_rename
from dkpvid.models.edge_map import EdgeMap
from dkpvid.models.networks import Detector, make_detector
from dkpvid.reference import read_reference

WEIGHTS_FILE = "model.safetensors"
FORMAT = "dkpvid-student/1"


@dataclass(frozen=True, eq=False)
class Weights:
    """What tracking needs of a trained model."""

    name: str
    sha256: str
    config: ModelConfig
    detector: Detector
    """In eval mode, float32, on the CPU."""
    edge_map: EdgeMap


def save_weights(
    path: Path, config: ModelConfig, detector: Detector, edge_map: EdgeMap, *, half: bool = False
) -> None:
    """Write what tracking needs: detector, edge weights and the config that builds them.

    Args:
        path: A `.safetensors` file.
        config: What the two modules were built from.
        detector: Finds the keypoints.
        edge_map: Knows how they are linked.
        half: Store float16, half the size; see `weights/default.md` for what that changes.
    """
    tensors = {f"detector.{name}": value for name, value in detector.state_dict().items()}
    tensors |= {f"edge_map.{name}": value for name, value in edge_map.state_dict().items()}
    tensors = {
        name: (value.half() if half else value).contiguous().cpu()
        for name, value in tensors.items()
        if not name.endswith("num_batches_tracked")
    }
    metadata = {"format": FORMAT, "config": json.dumps(to_dict(config))}
    with write_then_rename(path) as temporary:
        save_file(tensors, temporary, metadata)


def load_weights(source: str | Path | None) -> Weights:
    """Read a model for tracking.

    Args:
        source: A run folder, a .safetensors file, a reference AutoLink .ckpt, hf://OWNER/REPO[/FILE], or None
            for the weights that come with the package.

    Raises:
        WeightsError: the file is missing, damaged, or no detector.
    """
    is_on_hub = str(source).startswith(HUB_PREFIX)
    path = fetch_from_hub(str(source), WEIGHTS_FILE) if is_on_hub else Path(source or default_weights())
    if path.is_dir():
        path = path / WEIGHTS_FILE
    if not path.is_file():
        raise WeightsError(
            f"no weights at {path}: give a run folder with {WEIGHTS_FILE}, a .safetensors or a .ckpt file, "
            f"or {HUB_PREFIX}OWNER/REPO"
        )
    if path.suffix == ".safetensors":
        config, state = _read_safetensors(path)
    elif path.suffix in (".ckpt", ".pt", ".pth"):
        config, state = read_reference(path)
    else:
        raise WeightsError(f"{path}: unknown weights suffix {path.suffix!r}; allowed: .safetensors, .ckpt")
    try:
        detector, edge_map = make_detector(config), EdgeMap(config)
    except UsageError as error:
        raise WeightsError(f"{path} cannot be used here: {error}") from None
    _load(detector, state, "detector.", path)
    _load(edge_map, state, "edge_map.", path)
    # The hub's cache names folders after commits.
    place = Path(str(source)) if is_on_hub else path
    if place.suffix == path.suffix:
        name = place.parent.name if place.name == WEIGHTS_FILE else place.stem
    else:
        name = place.name  # of a repository
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Weights(name, digest, config, detector.eval(), edge_map.eval())


def default_weights() -> Path:
    """The weights that come with the package: inside it when installed, beside it in a checkout."""
    for folder in (resources.files("dkpvid") / "weights", Path(__file__).parents[1] / "weights"):
        path = Path(str(folder / "default.safetensors"))
        if path.is_file():
            return path
    raise WeightsError("this installation has no default weights; reinstall dkpvid or give --weights")


def _read_safetensors(path: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged or no safetensors file: {error}") from None
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{path} is not a dkpvid model: its format is {metadata.get('format')!r}, not {FORMAT!r}"
        )
    try:
        config = from_dict(ModelConfig, parse_json(metadata["config"]))
    except (AttributeError, KeyError, TypeError, ValueError, UsageError) as error:
        raise WeightsError(f"{path} holds no usable model settings: {error}") from None
    return config, state


def _load(module: torch.nn.Module, state: dict[str, Tensor], prefix: str, path: Path) -> None:
    """Fill a module; batch norm's step counters are not needed for tracking and may be missing."""
    tensors = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    expected = {name: value for name, value in module.state_dict().items() if "num_batches" not in name}
    for name, value in expected.items():
        if name not in tensors:
            raise WeightsError(f"{path} is incomplete: it lacks {prefix}{name}")
        if tensors[name].shape != value.shape:
            raise WeightsError(
                f"{path}: {prefix}{name} is {tuple(tensors[name].shape)}, "
                f"its settings say {tuple(value.shape)}"
            )
    unknown = sorted(set(tensors) - set(expected))
    if unknown:
        raise WeightsError(
            f"{path} holds {len(unknown)} tensors that no detector has, such as {prefix}{unknown[0]}"
        )
    module.load_state_dict(tensors, strict=False)
