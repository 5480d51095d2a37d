"""benchmarks/structured_background.py: its clips, and that its scores tell good keypoints from bad ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import structured_background as benchmark
from recipes import structured_rooms

SIDE = 32


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    benchmark.make_data(folder, SIDE, clips=1, frames=3, noisy_depth=False)
    return folder


def test_clips_have_frames_depth_and_annotations(clips: Path) -> None:
    for split, people in (("train", 6), ("test", 2)):
        with np.load(clips / f"annotations_{split}.npz") as truth:
            assert truth["xy"].shape == (4 * people, 3, 13, 2)
            assert truth["foreground"].shape == (4 * people, 3, SIDE, SIDE)
            assert 0.02 < truth["foreground"].mean() < 0.4
            assert truth["video"].tolist() == sorted(path.name for path in (clips / split).iterdir())
    clip = clips / "test" / "subject6_room0_00"
    for folder in (clip, clip / "depth"):
        assert sorted(path.name for path in folder.glob("*.png")) == ["0000.png", "0001.png", "0002.png"]


def test_joints_are_on_the_foreground(clips: Path) -> None:
    with np.load(clips / "annotations_train.npz") as truth:
        x, y = np.rint(truth["xy"]).astype(int).clip(0, SIDE - 1).reshape(-1, 13, 2).T
        rows = np.arange(x.shape[1])
        assert truth["foreground"].reshape(-1, SIDE, SIDE)[rows, y, x].mean() > 0.9


def test_the_person_is_nearer_than_the_wall(clips: Path) -> None:
    depth = np.asarray(Image.open(clips / "train" / "subject0_room0_00" / "depth" / "0000.png"), dtype=float)
    with np.load(clips / "annotations_train.npz") as truth:
        person = truth["foreground"][0, 0]
    assert depth[person].mean() > depth[: SIDE // 2][~person[: SIDE // 2]].mean() + 40


def test_noisy_depth_is_blurred_and_repeats() -> None:
    depth = np.zeros((SIDE, SIDE), np.float32)
    depth[:, SIDE // 2 :] = 0.8
    first, second = (structured_rooms.like_a_network(np.random.default_rng(3), depth) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.float32 and first.min() >= 0 and first.max() <= 1
    assert 0.02 < np.abs(first - depth).mean() < 0.1


def test_scores_of_the_joints_themselves_and_of_the_corner(clips: Path) -> None:
    joints, corner = {}, {}
    for split in ("train", "test"):
        with np.load(clips / f"annotations_{split}.npz") as truth:
            joints[split] = truth["xy"].reshape(-1, 13, 2) * 2 / (SIDE - 1) - 1
            corner[split] = np.full_like(joints[split], -1.0)
    best, worst = (benchmark.score(clips, found, SIDE) for found in (joints, corner))
    assert best["error"] < 0.5  # all but exact: there is no intercept
    assert best["on_figure"] > 95 > 5 > worst["on_figure"]
    assert worst["error"] > 5
    assert best["chance"] == worst["chance"] < 50


def test_a_finished_run_is_not_done_again(tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").write_text(
        '{"run": "student-seed0", "error": 7.0, "on_figure": 50.0, "chance": 20.0}\n'
        '{"run": "student-seed1", "error": 9.0, "on_figure": 50.0, "chance": 20.0}\n'
    )
    setup = benchmark.SETUPS[benchmark.Size.CPU]
    runs = benchmark.Benchmark(tmp_path, setup, "cpu", [])
    students = [benchmark.Run("student", seed) for seed in range(2)]
    runs.do(students[0])
    assert not (tmp_path / "runs").exists()
    assert runs.cell(students, "error") == "8.00 ± 1.41 (2)"
    assert runs.cell([benchmark.Run("distilled", 0, "output", 0.1)], "error") == "-"
