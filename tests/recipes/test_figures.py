"""recipes/figures.py: exact keypoints and depth, the same for the same seed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from recipes import figures


def scenes(width: int, height: int) -> list:
    return [
        figures.random_scene(np.random.default_rng(seed), width, height, motions=[name], duration_seconds=3)
        for seed, name in enumerate(figures.MOTIONS)
    ]


def test_the_same_seed_gives_the_same_frames() -> None:
    first, second = (
        list(figures.render_clip(figures.random_scene(np.random.default_rng(5), 64, 48), 3, 10))
        for _ in range(2)
    )
    for one, other in zip(first, second, strict=True):
        assert one.image.tobytes() == other.image.tobytes()
        assert one.depth.tobytes() == other.depth.tobytes()
        assert one.joints_xy.tobytes() == other.joints_xy.tobytes()


def test_shapes_and_ranges() -> None:
    frame = figures.render(figures.random_scene(np.random.default_rng(1), 96, 64), 0.4)
    assert (frame.image.shape, frame.image.dtype) == ((64, 96, 3), np.uint8)
    assert (frame.depth.shape, frame.depth.dtype) == ((64, 96), np.float32)
    assert frame.depth.min() >= 0 and frame.depth.max() <= 1
    assert frame.joints_xy.shape == (len(figures.JOINTS), 2)
    assert max(max(edge) for edge in figures.EDGES) < len(figures.JOINTS)


def test_joints_are_in_the_image_and_on_the_person() -> None:
    for scene in scenes(160, 90):
        far, near = scene.background_depth.min() - 0.2, max(0.8, scene.background_depth.max())
        empty = (scene.background_depth - far) / (near - far)
        for frame in figures.render_clip(scene, 30, 10):
            assert (frame.joints_xy >= 0).all() and (frame.joints_xy <= [159, 89]).all()
            x, y = np.rint(frame.joints_xy[frame.visible]).astype(int).T
            assert (frame.depth[y, x] > empty[y, x]).all()
            assert frame.visible.mean() > 0.5


def test_a_motion_moves_joints_and_repeats() -> None:
    for scene in scenes(64, 64):
        scene = figures.replace(scene, path=scene.path[:1], path_seconds=scene.path_seconds[:1])
        (segment,) = scene.segments
        start, later, period = (
            figures.render(scene, share / segment.frequency).joints_xy for share in (0.0, 0.3, 1.0)
        )
        np.testing.assert_allclose(start, period, atol=1e-3)
        assert np.abs(later - start).max() > 1, "a joint moves by more than a pixel"


def test_depth_is_nearer_lower_on_the_floor() -> None:
    depth = figures.random_scene(np.random.default_rng(2), 64, 64).background_depth
    floor = depth[-5:]
    assert (np.diff(floor, axis=0) > 0).all()
    assert depth[0].max() < floor.min()


def image_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.mark.parametrize("layout", ["folders", "strips", "mp4"])
def test_dataset_writes_its_layout(tmp_path: Path, layout: str) -> None:
    options = ["--videos", "3", "--frames", "4", "--size", "32", "--test-share", "0.34", "--depth"]
    result = CliRunner().invoke(figures.app, ["dataset", str(tmp_path), *options, "--layout", layout])
    assert result.exit_code == 0, result.output
    base = tmp_path / "train" / "figure00000"
    if layout == "folders":
        assert [path.name for path in sorted(base.glob("*.png"))] == [f"{i:04}.png" for i in range(4)]
        assert image_size(base / "depth" / "0003.png") == (32, 32)
    elif layout == "strips":
        assert image_size(base.with_suffix(".png")) == (128, 32)
        assert image_size(base.with_suffix(".depth.png")) == (128, 32)
    else:
        assert base.with_suffix(".mp4").stat().st_size > 0
    with np.load(tmp_path / "annotations_train.npz") as truth:
        assert truth["xy"].shape == (8, 13, 2)
        assert truth["frame"].tolist() == [0, 1, 2, 3] * 2
        assert set(truth["video"]) == {"figure00000", "figure00001"}
    with np.load(tmp_path / "annotations_test.npz") as truth:
        assert set(truth["video"]) == {"figure00002"}
