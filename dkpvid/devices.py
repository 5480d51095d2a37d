"""Where networks run, and in which precision."""

import os
from collections.abc import Callable
from typing import Any

import torch

from dkpvid.errors import UsageError


def choose_device(name: str) -> torch.device:
    """The device for a name of the command line.

    Args:
        name: auto (CUDA, then Apple's MPS, then CPU), cpu, cuda, cuda:N or mps.

    Raises:
        UsageError: the name is unknown, or this machine lacks the device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}; choose auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {name} is not there: {torch.cuda.device_count()} CUDA devices; use --device auto or cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device mps is not there: it needs an Apple GPU; use --device auto or cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"unknown device {name!r}; choose auto, cpu, cuda, cuda:N or mps")
    return device


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision for a block.

    Args:
        device: Where the block runs.
        precision: See `inference_dtype`.
    """
    is_half = inference_dtype(device, precision) == torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=is_half)


def use_deterministic_algorithms() -> None:
    """From now on, take the algorithms that give the same bits on every run; see --deterministic.

    An operation that has no such algorithm on this device still runs, and PyTorch warns about it.
    """
    # cuBLAS reads it when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def computes_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is there for speed: on CUDA, and on CPUs with instructions for it."""
    if device.type != "cpu":
        return device.type == "cuda"
    # Younger than the oldest PyTorch that we run on.
    get_capabilities: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    capabilities = get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def inference_dtype(device: torch.device, precision: str) -> torch.dtype:
    """What a network computes in.

    Args:
        device: Where it runs.
        precision: 32, bf16, or auto. Both of the latter are bf16 where the device computes in it, else 32: a
            CPU without instructions for it would take thirty times as long.
    """
    is_half = precision in ("bf16", "auto") and computes_bfloat16(device)
    return torch.bfloat16 if is_half else torch.float32


def precision_remarks(device: torch.device, precision: str) -> list[str]:
    """What the user should know where the precision that was asked for is not used, one line each."""
    if precision == "bf16" and not computes_bfloat16(device):
        return [f"this {device.type} has no instructions for bfloat16; going on as with --precision 32"]
    return []
