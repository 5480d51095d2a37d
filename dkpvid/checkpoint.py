"""Reading and writing weights: safetensors with the config that built them, and the reference's checkpoints.

Nothing in a file is ever executed: safetensors holds plain arrays, and of a pickled checkpoint only tensors
and plain values are taken; see `dkpvid.torch_files`.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dkpvid.config import ModelConfig, to_dict
from dkpvid.downloads import HUB_PREFIX, fetch_from_hub
from dkpvid.errors import UsageError, WeightsError
from dkpvid.files import parse_json, write_then_rename
from dkpvid.models.detector import KeypointDetector
from dkpvid.models.edge_map import EdgeMap
from dkpvid.torch_files import as_mapping, read_torch_file

WEIGHTS_FILE = "model.safetensors"
FORMAT = "dkpvid-student/1"


@dataclass(frozen=True, eq=False)
class Weights:
    """What tracking needs of a trained model."""

    name: str
    sha256: str
    config: ModelConfig
    detector: KeypointDetector
    """In eval mode, float32, on the CPU."""
    edge_map: EdgeMap


def save_weights(
    path: Path, config: ModelConfig, detector: KeypointDetector, edge_map: EdgeMap, *, half: bool = False
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
    detector, edge_map = KeypointDetector(config), EdgeMap(config)
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
        config = ModelConfig(**parse_json(metadata["config"]))
    except (KeyError, TypeError, ValueError, UsageError) as error:
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


# --- The reference implementation's checkpoints -------------------------------------------------------------


def read_reference(path: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Read a checkpoint of the AutoLink reference code: our settings, and tensors under our names.

    Raises:
        WeightsError: the file is no such checkpoint.
    """
    file = read_torch_file(path)
    content = as_mapping(file.content)
    state = {}
    try:
        for name, value in as_mapping(content.get("state_dict")).items():
            if (tensor := file.tensor(value)) is None:
                raise ValueError(f"{name} is no tensor")
            state[name] = tensor
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{path} is no AutoLink checkpoint: {error}") from None
    return convert_reference(state, as_mapping(content.get("hyper_parameters")), path)


def convert_reference(
    state: dict[str, Tensor], settings: dict[str, Any], path: Path
) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Rename the reference's tensors to ours, and turn its K x K edge weights into one per pair.

    Args:
        state: Tensors named `encoder.*`, `decoder.*`; others (`vgg_loss.*`) are ignored.
        settings: The reference's hyper-parameters; `thick` and `sklr` are used when present.
        path: For error messages.
    """
    renamed = {}
    for name, value in state.items():
        ours = reference_name(name)
        if ours is not None:
            renamed[ours] = value.float()
    try:
        head, first = renamed["detector.head.weight"], renamed["detector.down_blocks.0.conv1.weight"]
        scores = renamed.pop("edge_map.raw_weights")
        decoder_width = len(renamed["decoder.first.weight"])
    except KeyError as error:
        raise WeightsError(f"{path} is no AutoLink checkpoint: it lacks {error.args[0]}") from None
    config = ModelConfig(
        num_keypoints=len(head),
        image_size=128,
        detector_width=len(first),
        decoder_width=decoder_width,
        edge_variance=_number(settings, "thick", ModelConfig.edge_variance),
        edge_weight_lr=_number(settings, "sklr", ModelConfig.edge_weight_lr),
    )
    i, j = torch.triu_indices(config.num_keypoints, config.num_keypoints, 1)
    renamed["edge_map.raw_weights"] = scores[i, j]
    return config, renamed


def _number(settings: dict[str, Any], name: str, default: float) -> float:
    value = settings.get(name)
    return float(value) if isinstance(value, (int, float)) else default


def reference_name(name: str) -> str | None:
    """Our name for a tensor of the reference; None for what we do not keep.

    >>> reference_name("encoder.detector.conv.0.net.4.bias")
    'detector.down_blocks.0.conv2.bias'
    """
    parts = name.split(".")
    leaf = parts[-1]
    if leaf == "num_batches_tracked" or name == "encoder.detector.coord":
        return None
    if name.startswith("encoder.detector.conv."):
        block = int(parts[3])
        if block == 6:
            return f"detector.head.{leaf}"
        if block >= 4:
            return f"detector.up_blocks.{block - 4}.{ ({'1': 'conv', '2': 'norm'}[parts[5]]) }.{leaf}"
        layers = {
            "net.0": "conv1",
            "net.2": "norm1",
            "net.4": "conv2",
            "net.5": "norm2",
            "conv_res.0": "skip_conv",
            "conv_res.2": "skip_norm",
        }
        return f"detector.down_blocks.{block}.{layers['.'.join(parts[4:6])]}.{leaf}"
    single = {
        "decoder.skeleton_scalar": "edge_map.raw_weights",
        "decoder.alpha": "decoder.image_scale",
        f"decoder.down0.0.{leaf}": f"decoder.first.{leaf}",
        f"decoder.conv.{leaf}": f"decoder.last.{leaf}",
    }
    if name in single:
        return single[name]
    if name.startswith(("decoder.down", "decoder.up")):
        kind, number = parts[1][:-1], int(parts[1][-1]) - 1
        # The up blocks start with the resize, which shifts their layers by one.
        layer = {0: "conv1", 1: "norm1", 3: "conv2", 4: "norm2"}[int(parts[3]) - (kind == "up")]
        return f"decoder.{kind}_blocks.{number}.{layer}.{leaf}"
    return None
