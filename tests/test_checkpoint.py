import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dkpvid.checkpoint import load_weights, save_weights
from dkpvid.config import ModelConfig
from dkpvid.errors import WeightsError
from dkpvid.models.autolink import AutoLink
from dkpvid.reference import read_reference
from tests.filled import fill

SMALL = ModelConfig(num_keypoints=4, image_size=64, detector_width=4, decoder_width=4, edge_variance=1e-3)


@pytest.fixture
def model() -> AutoLink:
    torch.manual_seed(0)
    model = AutoLink(SMALL)
    # Batch norm statistics other than the initial ones, or losing them would not be noticed.
    model(torch.randn(4, 3, 64, 64), 0.8)
    return model.eval()


def write(path: Path, model: AutoLink, half: bool = False) -> Path:
    save_weights(path, model.config, model.detector, model.edge_map, half=half)
    return path


def test_weights_survive_the_round_trip(tmp_path: Path, model: AutoLink) -> None:
    weights = load_weights(write(tmp_path / "mine.safetensors", model))
    assert (weights.name, weights.config) == ("mine", SMALL)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(
        weights.detector(images).keypoints, model.detector(images).keypoints, rtol=0, atol=0
    )
    torch.testing.assert_close(weights.edge_map.weights, model.edge_map.weights, rtol=0, atol=0)
    assert not weights.detector.training


def test_a_run_folder_is_named_after_itself(tmp_path: Path, model: AutoLink) -> None:
    write(tmp_path / "run7" / "model.safetensors", model)
    assert load_weights(tmp_path / "run7").name == "run7"


def test_half_precision_moves_keypoints_by_little(tmp_path: Path, model: AutoLink) -> None:
    full = write(tmp_path / "full.safetensors", model)
    half = write(tmp_path / "half.safetensors", model, half=True)
    assert half.stat().st_size < 0.6 * full.stat().st_size
    images = torch.randn(2, 3, 64, 64)
    moved = load_weights(half).detector(images).keypoints - load_weights(full).detector(images).keypoints
    assert 0 < moved.abs().max() < 0.01


def test_a_missing_file_says_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights at .*run folder with model\.safetensors"):
        load_weights(tmp_path / "nothing.safetensors")


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"unknown weights suffix '\.onnx'"):
        load_weights(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state, meta: state.pop("detector.head.bias"), r"lacks detector\.head\.bias"),
        (lambda state, meta: state.update({"detector.extra": torch.zeros(1)}), r"no detector has"),
        (lambda state, meta: state.update({"detector.head.bias": torch.zeros(9)}), r"is \(9,\)"),
        (lambda state, meta: meta.update(format="other"), "not a dkpvid model"),
        (lambda state, meta: meta.update(config='{"num_keypoints": 1}'), "no usable model settings"),
        (lambda state, meta: meta.update(config='{"surprise": 1}'), "no usable model settings"),
        (lambda state, meta: meta.update(config="{"), "no usable model settings"),
    ],
)
def test_damaged_contents_are_named(tmp_path: Path, model: AutoLink, damage: Any, message: str) -> None:
    path = write(tmp_path / "model.safetensors", model)
    state = load_file(path)
    metadata = {"format": "dkpvid-student/1", "config": json.dumps(vars(SMALL))}
    damage(state, metadata)
    save_file(state, path, metadata)
    with pytest.raises(WeightsError, match=message):
        load_weights(path)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 64])
def test_bytes_that_are_no_safetensors_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged or no safetensors"):
        load_weights(path)


class Settings(dict[str, Any]):
    """A class of the checkpoint's author, like a training framework's settings."""


class Mark:
    """Unpickling this creates a file, if anything of it is executed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def reference_state(shared: Path) -> dict[str, torch.Tensor]:
    """A state_dict as the reference implementation saves it."""
    golden = np.load(shared / "golden" / "autolink_k10_seed7.npz")
    from dkpvid.reference import reference_name

    shapes = AutoLink(ModelConfig(num_keypoints=10)).state_dict()
    state = {}
    for name in golden["parameter_names"].tolist():
        ours = reference_name(name)
        if name == "decoder.skeleton_scalar":
            state[name] = torch.from_numpy(golden[name.rpartition(".")[2]])
        elif ours is not None:
            state[name] = fill(name, tuple(shapes[ours].shape), 7)
        else:
            state[name] = torch.zeros(1, dtype=torch.long)
    return state | {"vgg_loss.features.0.weight": torch.zeros(3)}


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_reference_checkpoint_tracks(
    tmp_path: Path, shared: Path, reference_state: dict[str, torch.Tensor], is_zip: bool
) -> None:
    path = tmp_path / "epoch=9.ckpt"
    content = {
        "state_dict": reference_state,
        "hyper_parameters": Settings(n_parts=10, thick=0.0025, sklr=512.0),
        "callbacks": {"best": Path("/somewhere")},
    }
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    weights = load_weights(path)
    assert (weights.config.num_keypoints, weights.config.edge_variance) == (10, 0.0025)
    golden = np.load(shared / "golden" / "autolink_k10_seed7.npz")
    found = weights.detector(torch.from_numpy(golden["image"])).keypoints.detach().flip(2)
    np.testing.assert_allclose(found.numpy(), golden["keypoints"], atol=1e-4)


@pytest.mark.parametrize("is_zip", [True, False])
def test_nothing_in_a_checkpoint_is_executed(
    tmp_path: Path, reference_state: dict[str, torch.Tensor], is_zip: bool
) -> None:
    mark, path = tmp_path / "mark", tmp_path / "hostile.ckpt"
    content = {"state_dict": reference_state, "hyper_parameters": {"thick": Mark(mark)}, "x": Mark(mark)}
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    config, _ = read_reference(path)
    assert not mark.exists()
    assert config.edge_variance == ModelConfig.edge_variance


def test_a_plain_hostile_pickle_is_refused(tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "hostile.ckpt"
    path.write_bytes(pickle.dumps(Mark(mark)))
    with pytest.raises(WeightsError):
        load_weights(path)
    assert not mark.exists()


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, {"state_dict": {"a": "text"}}, [1, 2]])
def test_other_checkpoints_are_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "other.ckpt"
    torch.save(content, path)
    with pytest.raises(WeightsError, match="no AutoLink checkpoint"):
        load_weights(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder.detector.conv.x.net.4.bias": torch.zeros(1)}, "AutoLink has no encoder.detector.conv.x"),
        ({"encoder.detector.conv.0": torch.zeros(1)}, "AutoLink has no encoder.detector.conv.0"),
        ({"decoder.down1.9.weight": torch.zeros(1)}, "AutoLink has no decoder.down1.9.weight"),
        ({"decoder.skeleton_scalar": torch.zeros(2)}, "too many indices|dimension"),
        ({"encoder.detector.conv.6.weight": torch.tensor(1.0)}, "0-d tensor"),
        ({"encoder.detector.conv.6.weight": torch.zeros(1, 4)}, "num keypoints must be 2 to 256, got 1"),
    ],
)
def test_an_odd_reference_checkpoint_is_one_line(
    tmp_path: Path, changes: dict[str, torch.Tensor], words: str
) -> None:
    state = {
        "encoder.detector.conv.6.weight": torch.zeros(4, 4),
        "encoder.detector.conv.0.net.0.weight": torch.zeros(4, 3),
        "decoder.skeleton_scalar": torch.zeros(4, 4),
        "decoder.down0.0.weight": torch.zeros(4, 3),
    }
    torch.save({"state_dict": state | changes, "hyper_parameters": {}}, tmp_path / "odd.ckpt")
    with pytest.raises(WeightsError, match=rf"odd\.ckpt is no AutoLink checkpoint: .*({words})"):
        read_reference(tmp_path / "odd.ckpt")


def test_a_legacy_checkpoint_with_odd_keys_is_one_line(tmp_path: Path) -> None:
    with (tmp_path / "odd.ckpt").open("wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, {}, {}, [[]]):
            pickle.dump(part, file, protocol=2)
    with pytest.raises(WeightsError, match="cannot be read as a checkpoint"):
        read_reference(tmp_path / "odd.ckpt")
