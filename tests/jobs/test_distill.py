"""Distillation: what is compared, what moves and what does not, and the way from depth to a tracked video."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

import dkpvid.jobs.distill
from dkpvid.cli import app
from dkpvid.config import PRESETS, DepthConfig, DistillConfig, ModelConfig, TrainConfig
from dkpvid.errors import UsageError
from dkpvid.jobs.distill import check_comparable, distill, embedding
from dkpvid.jobs.train import train
from dkpvid.models.autolink import AutoLink
from dkpvid.models.detector import KeypointDetector
from dkpvid.training.augment import random_flip
from dkpvid.training.data import FramePairs, FrameSet
from dkpvid.training.fitting import Callbacks
from dkpvid.training.losses import distillation_loss
from tests.tiny import TINY, logged, tiny_settings

pytestmark = pytest.mark.usefixtures("own_cache_and_perceptual_net")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of frames with a square before stripes, and the depth maps that go with them."""
    folder = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    for video in range(2):
        (folder / f"video{video}" / "depth").mkdir(parents=True)
        for number in range(10):
            frame = np.full((64, 64, 3), 60, np.uint8)
            frame[:, ::8] = 150
            near = np.zeros((64, 64), np.uint8)
            x, y = rng.integers(4, 44, 2)
            frame[y : y + 16, x : x + 16] = (230, 120 + 100 * video, 40)
            near[y : y + 16, x : x + 16] = 255
            Image.fromarray(frame).save(folder / f"video{video}" / f"{number}.png")
            Image.fromarray(near).save(folder / f"video{video}" / "depth" / f"{number}.png")
    return folder


def settings(data: Path, run: Path, **changes: Any) -> dict[str, Any]:
    return tiny_settings(data, run, **{"steps": 10, "checkpoint_every": 5} | changes)


@pytest.fixture(scope="module")
def teacher(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the depth maps that the data set brings; no depth network is needed for it."""
    run = tmp_path_factory.mktemp("runs") / "teacher"
    train(TrainConfig(**settings(data, run, modality="depth")))
    return run


def test_loss_is_minus_the_mean_cosine() -> None:
    student, teacher = torch.randn(3, 4, 5, 6), torch.randn(3, 4, 5, 6)
    cosines = []
    for a, b in zip(student, teacher, strict=True):
        a, b = a.flatten(), b.flatten()
        cosines.append(sum(a * b) / (sum(a * a).sqrt() * sum(b * b).sqrt()))
    torch.testing.assert_close(distillation_loss(student, teacher), -torch.stack(cosines).mean())
    torch.testing.assert_close(distillation_loss(student, 3 * student), torch.tensor(-1.0))


def test_every_layer_is_what_it_says() -> None:
    detector = KeypointDetector(TINY).eval()
    found = detector(torch.randn(2, 3, 64, 64))
    assert embedding(found, "output").shape == (2, 4, 32, 32)
    assert embedding(found, "output") is found.logits
    assert embedding(found, "middle") is found.middle
    assert embedding(found, "early") is found.early


def test_image_and_depth_are_read_and_mirrored_together() -> None:
    # Each pixel holds its column.
    ramp = np.broadcast_to(np.arange(8, dtype=np.uint8)[None, None, :, None], (6, 8, 8, 1))
    images, depth = ramp.repeat(3, axis=3), ramp
    frames = FrameSet(Path(), ("v",), (images,))
    pairs = FramePairs(frames, FrameSet(Path(), ("v",), (depth,)))
    batch = pairs.read(np.array([4, 1]))
    assert batch.shape == (2, 8, 8, 4) and len(pairs) == 6
    torch.manual_seed(1)
    flipped = random_flip(torch.from_numpy(batch).permute(0, 3, 1, 2).float().repeat(20, 1, 1, 1))
    assert torch.equal(flipped[:, :3], flipped[:, 3:].expand(-1, 3, -1, -1))
    assert 0 < (flipped[:, 0, 0, 0] == 7).sum() < 40


@pytest.mark.parametrize("layer", ["output", "middle", "early"])
def test_the_student_learns_to_agree_and_the_teacher_stays(
    data: Path, teacher: Path, tmp_path: Path, layer: str
) -> None:
    before = load_file(teacher / "model.safetensors")
    changes = {"steps": 40, "gamma": 2.0, "checkpoint_every": 40}
    run = tmp_path / "student"
    distill(DistillConfig(**settings(data, run, **changes), teacher=teacher, layer=layer))
    lines = logged(run)
    for line in lines:
        total = line["perceptual"] + 2.0 * line["distillation"]
        assert line["loss"] == pytest.approx(total, rel=1e-5)
    agreement = [line["distillation"] for line in lines]
    assert np.mean(agreement[-5:]) < np.mean(agreement[:5]) - 0.05
    after = load_file(teacher / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_without_the_perceptual_loss_only_the_detector_learns(
    data: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DKPVID_PERCEPTUAL_WEIGHTS", str(tmp_path / "not needed"))
    distill(
        DistillConfig(**settings(data, tmp_path / "run", perceptual_weight=0.0, gamma=0.5), teacher=teacher)
    )
    losses = logged(tmp_path / "run")
    assert "perceptual" not in losses[0]
    assert losses[-1]["loss"] == 0.5 * losses[-1]["distillation"]
    assert losses[-1]["distillation"] < losses[0]["distillation"]
    state = load_file(tmp_path / "run" / "checkpoint.safetensors")
    torch.manual_seed(0)
    untouched = AutoLink(TINY).state_dict()
    for name, value in untouched.items():
        is_same = torch.equal(value, state[f"model.{name}"])
        assert is_same == (not name.startswith("detector.")), name


def test_the_teacher_sees_depth_in_eval_mode_without_gradient(
    data: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    real = dkpvid.jobs.distill.load_weights

    def watched(path: Path) -> Any:
        weights = real(path)

        def look(module: torch.nn.Module, args: tuple[Tensor, ...], output: Any) -> None:
            assert not module.training and not output.logits.requires_grad
            seen.append(args[0])

        weights.detector.register_forward_hook(look)
        return weights

    monkeypatch.setattr(dkpvid.jobs.distill, "load_weights", watched)
    distill(DistillConfig(**settings(data, tmp_path / "run", steps=2), teacher=teacher))
    assert len(seen) == 2
    for images in seen:
        # Depth maps are grey, and this set's are black and white; its pictures are neither.
        assert images.shape == (4, 3, 64, 64)
        assert torch.equal(images[:, 0], images[:, 1])
        assert set(images.unique().tolist()) == {-1.0, 1.0}


def test_stopped_and_resumed_equals_uninterrupted(data: Path, teacher: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    distill(DistillConfig(**settings(data, whole), teacher=teacher))
    done: list[int] = []
    config = DistillConfig(**settings(data, parts), teacher=teacher)
    distill(config, Callbacks(on_step=lambda step, _: done.append(step), should_stop=lambda: len(done) >= 3))
    distill(config, resume=True)
    first, second = load_file(whole / "checkpoint.safetensors"), load_file(parts / "checkpoint.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_teacher_of_another_shape_is_refused() -> None:
    other = ModelConfig(num_keypoints=5, image_size=64, detector_width=4)
    with pytest.raises(UsageError, match="the teacher has keypoints 5, the student 4; for --layer output"):
        check_comparable(other, TINY, "output")
    wide = ModelConfig(num_keypoints=4, image_size=64, detector_width=8)
    check_comparable(wide, TINY, "output")
    with pytest.raises(UsageError, match="detector width 8, the student 4; for --layer middle"):
        check_comparable(wide, TINY, "middle")


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"layer": "last"}, "unknown layer"), ({"gamma": -0.1}, "must not be negative")],
)
def test_wrong_settings_are_named(data: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DistillConfig(**settings(data, Path("run")), teacher=Path("t"), **changes)


def test_defaults_are_the_papers() -> None:
    config = DistillConfig(data=Path(), run=Path(), teacher=Path())
    assert (config.layer, config.gamma, config.perceptual_weight) == ("output", 0.1, 1.0)
    gammas = {name: PRESETS[name]["gamma"] for name in ("human36m", "deepfashion", "taichi")}
    assert gammas == {"human36m": 0.1, "deepfashion": 0.1, "taichi": 0.4}
    assert DepthConfig().model == "dpt-swin2-large-384"


def test_from_videos_to_a_tracked_clip_on_the_command_line(shared: Path, tmp_path: Path) -> None:
    """depth, train --modality depth, distill, track: in a row, on real clips, with networks that are here."""
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("00000000.jpg", "00000001.jpg"):
        (videos / name).write_bytes((shared / "data" / "human" / "weizmann" / "train" / name).read_bytes())
    depth = ["--depth-model", f"local:{shared / 'nets' / 'depth'}"]
    small = ["--preset", "cpu", "--keypoints", "4", "--detector-width", "4", "--decoder-width", "4"]
    small += ["--steps", "2", "--device", "cpu", "-q"]
    teacher, student = str(tmp_path / "teacher"), str(tmp_path / "student")
    for command in (
        ["depth", str(videos), "--size", "64", "-q", *depth],
        ["train", str(videos), "-o", teacher, "--modality", "depth", *depth, *small],
        ["distill", str(videos), "--teacher", teacher, "-o", student, *depth, *small],
        ["track", str(videos / "00000000.jpg"), "--weights", student, "-o", str(tmp_path), "-q"],
    ):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "00000000.dkp.json").read_text())
    assert document["model"]["name"] == "student" and len(document["keypoints"]) == 4
    assert len(document["frames"]) > 40
    assert (tmp_path / "00000000.dkp.mp4").is_file()
