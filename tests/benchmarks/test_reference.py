"""benchmarks/reference_autolink.py is the reference: it gives the outputs that were recorded from it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import reference_autolink as reference
from tests.filled import fill

# Float32 sums in another order differ by about 1e-6 of the largest value.
TOLERANCE = 1e-4


def relative_error(got: Tensor, want: np.ndarray) -> float:
    return float(np.abs(got.detach().numpy() - want).max() / np.abs(want).max())


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    return dict(np.load(shared / "golden" / "autolink_k10_seed7.npz"))


@pytest.fixture(scope="module")
def model(golden: dict[str, Any]) -> Any:
    model = reference.AutoLink(10, float(golden["thick"]))
    assert float(golden["sklr"]) == reference.WEIGHT_LR
    state = model.state_dict()
    assert sorted(state) == golden["parameter_names"].tolist()
    for name, value in state.items():
        if not name.endswith(("num_batches_tracked", "coord")):
            value.copy_(fill(name, tuple(value.shape), int(golden["seed"])))
    state["decoder.skeleton_scalar"].copy_(torch.from_numpy(golden["skeleton_scalar"]))
    state["decoder.alpha"].fill_(float(golden["alpha"]))
    return model.eval()


@torch.no_grad()
def test_detector(model: Any, golden: dict[str, Any]) -> None:
    keypoints, heatmaps = model.encoder.detector(torch.from_numpy(golden["image"]))
    assert relative_error(heatmaps, golden["prob_map"]) < TOLERANCE
    assert relative_error(keypoints, golden["keypoints"]) < TOLERANCE
    for name in ("wide", "big"):
        keypoints, _ = model.encoder.detector(torch.from_numpy(golden[f"{name}_image"]).float())
        assert relative_error(keypoints, golden[f"{name}_keypoints"]) < TOLERANCE


@pytest.mark.parametrize(("size", "name"), [(128, "edge_map"), (64, "edge_map_64")])
def test_edge_map(model: Any, golden: dict[str, Any], size: int, name: str) -> None:
    edge_map = model.decoder.edge_map(torch.from_numpy(golden["edge_keypoints"]), size)
    assert relative_error(edge_map, golden[name]) < TOLERANCE


def test_edge_map_gradients(model: Any, golden: dict[str, Any]) -> None:
    keypoints = torch.from_numpy(golden["edge_keypoints"]).requires_grad_()
    model.zero_grad()
    model.decoder.edge_map(keypoints, 128).backward(torch.from_numpy(golden["edge_grad_out"]))
    assert keypoints.grad is not None
    assert relative_error(keypoints.grad, golden["edge_grad_keypoints"]) < TOLERANCE
    assert relative_error(model.decoder.skeleton_scalar.grad, golden["edge_grad_skeleton"]) < TOLERANCE


@torch.no_grad()
def test_decoder(model: Any, golden: dict[str, Any]) -> None:
    damaged, keypoints = (torch.from_numpy(golden[name]) for name in ("damaged", "edge_keypoints"))
    assert relative_error(model.decoder(damaged, keypoints), golden["reconstruction"]) < TOLERANCE


@torch.no_grad()
def test_perceptual_loss(shared: Path) -> None:
    want = json.loads((shared / "golden" / "perceptual_vgg16_seed7.json").read_text())
    loss = reference.VggLoss()
    for name, value in loss.features.state_dict().items():
        value.copy_(fill(f"features.{name}", tuple(value.shape), want["seed"]))
    rng = np.random.default_rng(want["seed"])
    x, y = (torch.from_numpy(rng.uniform(-1, 1, (2, 3, 128, 128)).astype(np.float32)) for _ in range(2))
    assert loss(x, y).item() == pytest.approx(want["loss"], rel=1e-4)


def test_a_step_trains_everything() -> None:
    model = reference.AutoLink(3, 5e-3, image_size=64, detector_width=4, decoder_width=4)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = reference.make_optimizer(model)
    loss = reference.training_step(model, optimizer, torch.nn.L1Loss(), torch.rand(2, 3, 64, 64) * 2 - 1)
    assert loss > 0 and not loss.requires_grad
    assert all((value != before[name]).any() for name, value in model.named_parameters())
