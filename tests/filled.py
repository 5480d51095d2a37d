"""The rule by which golden files fill a network: every tensor follows from its own name."""

import zlib
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from dkpvid.config import ModelConfig
from dkpvid.models.detector import KeypointDetector

Network = TypeVar("Network", bound=nn.Module)


def fill(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """The values of one tensor, by the name that the reference gives it."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    kind = name.rpartition(".")[2]
    if kind == "running_var":
        values = rng.uniform(0.5, 1.5, shape)
    elif kind in ("running_mean", "bias"):
        values = rng.normal(0, 0.1, shape)
    elif len(shape) >= 2:
        values = rng.normal(0, 1, shape) * np.sqrt(2 / np.prod(shape[1:]))
    else:
        values = rng.uniform(0.5, 1.5, shape)
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def filled_detector(config: ModelConfig) -> KeypointDetector:
    """A detector in eval mode that looks trained: batch norm has statistics, heatmaps have peaks."""
    return filled(KeypointDetector(config))


def filled(detector: Network) -> Network:
    """The same of a detector of any kind; it is changed in place."""
    state = detector.state_dict()
    state = {
        name: fill(name, tuple(value.shape), 7) for name, value in state.items() if "num_batches" not in name
    }
    state["head.weight"] *= 3
    detector.load_state_dict(state, strict=False)
    return detector.eval()
