"""Trainings so small that they take moments, and what they leave behind."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from dkpvid.config import ModelConfig

TINY = ModelConfig(num_keypoints=4, image_size=64, detector_width=4, decoder_width=4, edge_variance=2e-3)
TINY_BACKBONE = replace(TINY, backbone="timm:test_efficientnet", head_width=8)


def tiny_settings(data: Path, run: Path, **changes: Any) -> dict[str, Any]:
    """Of TrainConfig."""
    settings: dict[str, Any] = {"data": data, "run": run, "model": TINY, "batch_size": 4, "device": "cpu"}
    settings |= {"perceptual": "mobilenet-v1", "learning_rate": 1e-3, "log_every": 1, "preview_every": 100}
    settings["precision"] = "32"  # the same on every processor
    return settings | changes


def logged(run: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses(run: Path) -> list[tuple[int, float]]:
    """By step; without the times, which no two runs share."""
    return [(int(line["step"]), line["loss"]) for line in logged(run)]


def assert_same_state(a: Path, b: Path) -> None:
    """Bit for bit: weights, optimizer, random state, logged losses."""
    for name in ("model.safetensors", "checkpoint.safetensors"):
        first, second = load_file(a / name), load_file(b / name)
        assert first.keys() == second.keys()
        for tensor in first:
            assert torch.equal(first[tensor], second[tensor]), tensor
    assert losses(a) == losses(b)


def assert_same_run(a: Path, b: Path) -> None:
    """The state, the previews, and no file more."""
    assert_same_state(a, b)
    assert previews(a) and previews(a) == previews(b)
    assert not [path for path in b.rglob(".*")], "temporary files are left"


def previews(run: Path) -> list[str]:
    """Their files' names."""
    return sorted(path.name for path in (run / "preview").iterdir())
