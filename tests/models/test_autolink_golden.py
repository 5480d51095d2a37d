"""Detector, edge map and decoder against recorded outputs of the reference implementation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dkpvid.config import ModelConfig
from dkpvid.models.autolink import AutoLink
from dkpvid.models.fused import FusedDetector
from dkpvid.reference import convert_reference, reference_name
from tests.filled import fill

# Float32 sums in another order differ by about 1e-6 of the largest value.
TOLERANCE = 1e-4


def relative_error(got: Tensor, want: np.ndarray) -> float:
    return float(np.abs(got.detach().numpy() - want).max() / np.abs(want).max())


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    return dict(np.load(shared / "golden" / "autolink_k10_seed7.npz"))


@pytest.fixture(scope="module")
def model(golden: dict[str, Any]) -> AutoLink:
    """Our network, filled through the names of a reference checkpoint."""
    shapes = AutoLink(ModelConfig(num_keypoints=10)).state_dict()
    state = {}
    for name in golden["parameter_names"].tolist():
        ours = reference_name(name)
        if ours is not None and name not in ("decoder.skeleton_scalar", "decoder.alpha"):
            state[name] = fill(name, tuple(shapes[ours].shape), int(golden["seed"]))
    state["decoder.skeleton_scalar"] = torch.from_numpy(golden["skeleton_scalar"])
    state["decoder.alpha"] = torch.tensor(float(golden["alpha"]))
    settings = {"thick": float(golden["thick"]), "sklr": float(golden["sklr"])}
    config, renamed = convert_reference(state, settings, Path("golden"))
    model = AutoLink(config)
    missing = model.load_state_dict(renamed, strict=False).missing_keys
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return model.eval()


def test_detector_matches(model: AutoLink, golden: dict[str, Any]) -> None:
    with torch.no_grad():
        found = model.detector(torch.from_numpy(golden["image"]))
    assert relative_error(found.early, golden["feat_res4"]) < TOLERANCE
    assert relative_error(found.middle.mean((2, 3)), golden["feat_up2_mean"]) < TOLERANCE
    assert relative_error(found.logits, golden["logits"]) < TOLERANCE
    assert relative_error(found.heatmaps, golden["prob_map"]) < TOLERANCE
    # The reference stores (row, column).
    assert relative_error(found.keypoints.flip(2), golden["keypoints"]) < TOLERANCE


def test_fused_detector_matches(model: AutoLink, golden: dict[str, Any]) -> None:
    image = torch.from_numpy(golden["image"])
    with torch.no_grad():
        logits, trained = FusedDetector(model.detector).logits(image), model.detector(image)
    assert relative_error(logits, golden["logits"]) < TOLERANCE
    assert relative_error(logits, trained.logits.numpy()) < 1e-5


@pytest.mark.parametrize("name", ["wide", "big"])
def test_detector_resizes_as_the_reference_does(model: AutoLink, golden: dict[str, Any], name: str) -> None:
    with torch.no_grad():
        found = model.detector(torch.from_numpy(golden[f"{name}_image"]).float())
    assert relative_error(found.keypoints.flip(2), golden[f"{name}_keypoints"]) < TOLERANCE


@pytest.mark.parametrize(("size", "name"), [(128, "edge_map"), (64, "edge_map_64")])
def test_edge_map_matches(model: AutoLink, golden: dict[str, Any], size: int, name: str) -> None:
    keypoints = torch.from_numpy(golden["edge_keypoints"]).flip(2)
    assert relative_error(model.edge_map(keypoints, size), golden[name]) < TOLERANCE


def test_edge_map_gradients_match(model: AutoLink, golden: dict[str, Any]) -> None:
    keypoints = torch.from_numpy(golden["edge_keypoints"]).flip(2).requires_grad_()
    model.edge_map.raw_weights.grad = None
    model.edge_map(keypoints, 128).backward(torch.from_numpy(golden["edge_grad_out"]))
    assert keypoints.grad is not None and model.edge_map.raw_weights.grad is not None
    assert relative_error(keypoints.grad.flip(2), golden["edge_grad_keypoints"]) < TOLERANCE
    i, j = torch.triu_indices(10, 10, 1)
    upper = golden["edge_grad_skeleton"][i, j]
    assert relative_error(model.edge_map.raw_weights.grad, upper) < TOLERANCE


def test_decoder_matches(model: AutoLink, golden: dict[str, Any]) -> None:
    edge_map = model.edge_map(torch.from_numpy(golden["edge_keypoints"]).flip(2), 128)
    with torch.no_grad():
        reconstruction = model.decoder(torch.from_numpy(golden["damaged"]), edge_map)
    assert relative_error(reconstruction, golden["reconstruction"]) < TOLERANCE
