"""Weights files of other projects: read without running anything in them, with every tensor accounted for."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dkpvid.errors import WeightsError


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a PyTorch file that holds a plain dictionary of them.

    Raises:
        WeightsError: the file is missing, damaged, or holds something else.
    """
    if not path.is_file():
        raise WeightsError(f"no weights file at {path}; check the path")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged or no safetensors file: {error}") from None
    except Exception as error:  # unpickling foreign bytes can fail in any way
        first_line = str(error).partition("\n")[0]
        raise WeightsError(f"{path} cannot be read as a PyTorch weights file: {first_line}") from None
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{path} is no weights file: expected a dictionary of tensors")
    return content


def load_exactly(module: nn.Module, tensors: dict[str, Tensor], path: Path, network: str) -> None:
    """Fill a module, in its own precision, with exactly the tensors it has.

    Args:
        module: Its non-persistent buffers are left alone.
        tensors: By the module's names.
        path: Where they come from, for the error message.
        network: What the module is called, for the error message.

    Raises:
        WeightsError: a tensor is missing, left over or of another shape; the line names the first of them.
    """
    expected = module.state_dict()
    for problem, names in (
        ("lacks", expected.keys() - tensors.keys()),
        ("has the unknown", tensors.keys() - expected.keys()),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise WeightsError(f"{path} is not a {network} file: it {problem} {min(names)}{more}")
    for name, value in expected.items():
        if tensors[name].shape != value.shape:
            raise WeightsError(
                f"{path} is not a {network} file: {name} is {tuple(tensors[name].shape)}, "
                f"expected {tuple(value.shape)}"
            )
    module.load_state_dict(tensors)
