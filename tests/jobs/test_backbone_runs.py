"""The jobs with a timm backbone: train, distill, resume, two processes, weights with joints, export."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from dkpvid.checkpoint import load_weights, save_weights
from dkpvid.config import DistillConfig, TrainConfig
from dkpvid.coordinates import Region, model_to_pixels
from dkpvid.errors import UsageError, WeightsError
from dkpvid.jobs.distill import check_comparable, distill
from dkpvid.jobs.export import export
from dkpvid.jobs.train import train
from dkpvid.models.backbone import BackboneDetector
from dkpvid.models.edge_map import EdgeMap
from dkpvid.tracking.detect import Detector
from dkpvid.training.fitting import Callbacks
from tests.filled import filled
from tests.tiny import TINY, TINY_BACKBONE, assert_same_run, losses, tiny_settings
from tests.training.test_parallel import run_processes

pytestmark = pytest.mark.usefixtures("own_cache_and_perceptual_net")

JOINTS = ("nose", "left_wrist", "right_wrist")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A strip of a bright square that moves, and its depth."""
    folder = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    strip, depth = np.full((64, 12 * 64, 3), 30, np.uint8), np.zeros((64, 12 * 64), np.uint8)
    for number in range(12):
        x, y = rng.integers(4, 44, 2)
        x += 64 * number
        strip[y : y + 16, x : x + 16] = (230, 120, 40)
        depth[y : y + 16, x : x + 16] = 255
    Image.fromarray(strip).save(folder / "strip.png")
    Image.fromarray(depth).save(folder / "strip.depth.png")
    return folder


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands for weights that know ImageNet."""
    path = tmp_path_factory.mktemp("imagenet") / "net.safetensors"
    torch.manual_seed(1)
    save_file(timm.create_model("test_efficientnet").state_dict(), path)
    return path


def settings(data: Path, run: Path, imagenet: Path, **changes: Any) -> dict[str, Any]:
    known = {"model": TINY_BACKBONE, "steps": 4, "checkpoint_every": 2, "backbone_weights": imagenet}
    return tiny_settings(data, run, **known | changes)


def test_a_run_starts_from_the_file_and_resumes_alike(data: Path, imagenet: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    changes = {"freeze_stages": 2, "preview_every": 2}
    train(TrainConfig(**settings(data, whole, imagenet, **changes)))
    done: list[int] = []
    callbacks = Callbacks(on_step=lambda step, _: done.append(step), should_stop=lambda: len(done) >= 2)
    train(TrainConfig(**settings(data, parts, imagenet, **changes)), callbacks)
    # A resumed run has no need of the file any more.
    changes["backbone_weights"] = tmp_path / "gone"
    assert train(TrainConfig(**settings(data, parts, imagenet, **changes)), resume=True) == 4
    assert_same_run(whole, parts)
    start, end = load_file(imagenet), load_file(whole / "model.safetensors")
    for name, is_frozen in (
        ("conv_stem", True),
        ("blocks.2.0.conv_exp", True),
        ("blocks.4.0.conv_pw", False),
    ):
        same = torch.equal(start[f"{name}.weight"], end[f"detector.backbone.{name}.weight"])
        assert same is is_frozen, name
    weights = load_weights(whole)
    assert weights.config == TINY_BACKBONE and isinstance(weights.detector, BackboneDetector)


@pytest.mark.parametrize("layer", ["output", "middle", "early"])
def test_a_student_learns_from_a_teacher_of_its_kind(
    data: Path, imagenet: Path, tmp_path: Path, layer: str
) -> None:
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    train(TrainConfig(**settings(data, teacher, imagenet, modality="depth", steps=2)))
    config = settings(data, student, imagenet, steps=8, gamma=1.0, perceptual_weight=0.0)
    distill(DistillConfig(**config, teacher=teacher, layer=layer))
    values = [loss for _, loss in losses(student)]
    assert np.mean(values[-2:]) < np.mean(values[:2])


def test_an_autolink_teacher_teaches_by_its_heatmaps_only(data: Path, imagenet: Path, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    train(TrainConfig(**tiny_settings(data, teacher, modality="depth", steps=2)))
    config = settings(data, tmp_path / "student", imagenet, steps=2)
    assert distill(DistillConfig(**config, teacher=teacher)) == 2
    with pytest.raises(UsageError, match="the teacher has backbone autolink, the student timm:test_eff"):
        check_comparable(TINY, TINY_BACKBONE, "middle")
    wide = replace(TINY_BACKBONE, head_width=16)
    check_comparable(wide, TINY_BACKBONE, "output")
    with pytest.raises(UsageError, match="head width 16, the student 8; for --layer early"):
        check_comparable(wide, TINY_BACKBONE, "early")


def test_two_processes(data: Path, imagenet: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dkpvid", "train", str(data), "-o", str(tmp_path / "run")]
    command += ["--backbone", "timm:test_efficientnet", "--backbone-weights", str(imagenet)]
    command += ["--freeze-stages", "1", "--head-width", "8", "--keypoints", "4", "--image-size", "64"]
    command += ["--decoder-width", "4", "--perceptual", "mobilenet-v1", "--device", "cpu", "--log-every", "1"]
    command += ["--batch-size", "4", "--steps", "2", "--devices", "2", "--quiet"]
    run_processes(tmp_path, command)
    assert len(losses(tmp_path / "run")) == 2 and np.isfinite(losses(tmp_path / "run")).all()


def test_an_autolink_run_takes_no_backbone_weights(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose --backbone timm:NAME"):
        TrainConfig(**tiny_settings(data, tmp_path, freeze_stages=1))


@pytest.fixture
def with_joints(tmp_path: Path) -> Path:
    """Weights of a small backbone that was taught three joints."""
    config = replace(TINY_BACKBONE, image_size=96, joints=JOINTS)
    path = tmp_path / "joints.safetensors"
    torch.manual_seed(0)
    save_weights(path, config, filled(BackboneDetector(config)), EdgeMap(config), half=True)
    return path


def test_weights_bring_their_joints(with_joints: Path, rng: np.random.Generator, tmp_path: Path) -> None:
    weights = load_weights(with_joints)
    assert weights.config.joints == JOINTS
    images = rng.integers(0, 256, (3, 12, 12, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    with torch.no_grad():
        found = weights.detector(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1)
    keypoints, _ = Detector(weights, torch.device("cpu"))(images)
    np.testing.assert_allclose(keypoints, found.keypoints, rtol=0, atol=1e-4)
    points, _ = Detector(weights, torch.device("cpu"), with_joints=True)(images)
    np.testing.assert_allclose(points[:, 4:], found.joints.keypoints, rtol=0, atol=1e-4)

    export(weights, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    given = dict(zip(names, session.run(None, {"images": images}), strict=True))
    assert {name: value.shape[1:] for name, value in given.items()} == {
        **{"keypoints": (4, 2), "confidence": (4,), "covariance": (4, 3)},
        **{"joints": (3, 2), "joints_confidence": (3,), "joints_covariance": (3, 3)},
    }
    square = Region(0, 0, 96, 96)
    for name, part in (("keypoints", found), ("joints", found.joints)):
        np.testing.assert_allclose(
            given[name], model_to_pixels(part.keypoints.numpy(), square, 96), rtol=0, atol=0.01
        )
    assert session.get_modelmeta().custom_metadata_map["joints"] == '["nose", "left_wrist", "right_wrist"]'


def test_weights_of_a_network_that_timm_lacks(with_joints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "is_model", lambda name: False)
    with pytest.raises(WeightsError, match=r"cannot be used here: timm .* has no network"):
        load_weights(with_joints)
