"""Reading the checkpoints of the AutoLink reference code.

Nothing in a file is ever executed: only tensors and plain values are taken; see
`dkpvid.untrusted.torch_files`.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dkpvid.config import ModelConfig
from dkpvid.errors import UsageError, WeightsError
from dkpvid.untrusted.torch_files import as_mapping, read_torch_file


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
    except (KeyError, TypeError, ValueError) as error:
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
        try:
            ours = reference_name(name)
        except (KeyError, IndexError, ValueError):
            raise WeightsError(f"{path} is no AutoLink checkpoint: AutoLink has no {name}") from None
        if ours is not None:
            renamed[ours] = value.float()
    try:
        head, first = renamed["detector.head.weight"], renamed["detector.down_blocks.0.conv1.weight"]
        scores = renamed.pop("edge_map.raw_weights")
        config = ModelConfig(
            num_keypoints=len(head),
            image_size=128,
            detector_width=len(first),
            decoder_width=len(renamed["decoder.first.weight"]),
            edge_variance=_number(settings, "thick", ModelConfig.edge_variance),
            edge_weight_lr=_number(settings, "sklr", ModelConfig.edge_weight_lr),
        )
        i, j = torch.triu_indices(config.num_keypoints, config.num_keypoints, 1)
        renamed["edge_map.raw_weights"] = scores[i, j]
    except KeyError as error:
        raise WeightsError(f"{path} is no AutoLink checkpoint: it lacks {error.args[0]}") from None
    except (IndexError, TypeError, UsageError) as error:
        raise WeightsError(f"{path} is no AutoLink checkpoint: {error}") from None
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
