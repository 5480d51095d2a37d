"""The package's weights: what the recipe trains on and calls, and what benchmarks/held_out.py scores on."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import held_out
from dkpvid.cli import app
from recipes import default_weights, training_set


def wall(rng: np.random.Generator, cast: float, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    """Twelve frames of a dark block that stands before a wall of its own colour; and where the block is."""
    frames = np.clip(rng.normal(150 * cast, 3, (12, 64, 64, 3)), 0, 255).astype(np.uint8)
    is_block = np.zeros((64, 64), bool)
    is_block[20:64, columns] = True
    frames[:, is_block] = (40, 50, 60)
    return frames, is_block


def test_who_never_moves_is_told_from_a_wall_that_others_leave_free() -> None:
    rng = np.random.default_rng(0)
    clips = [wall(rng, cast, slice(x, x + 12)) for cast, x in ((1.0, 14), (1.2, 28), (0.9, 38))]
    masks = training_set.silhouettes(dict(enumerate(frames for frames, _ in clips)))
    for number, (_, is_block) in enumerate(clips):
        is_near = masks[number] > 127
        assert is_near.shape == (12, 64, 64)
        assert (is_near & is_block).sum() / (is_near | is_block).sum(axis=(1, 2)).sum() > 0.85


def test_a_moved_person_keeps_its_depth() -> None:
    rng = np.random.default_rng(1)
    frames = np.full((6, 64, 64, 3), 200, np.uint8)
    masks = np.zeros((6, 64, 64), np.uint8)
    masks[:, 24:, 24:40] = 255
    room = np.zeros((90, 120, 3), np.uint8)
    images, depths = training_set.moved_elsewhere(frames, masks, [room], rng)
    assert len(images) == len(depths) == 2  # every third frame
    assert images[0].shape == (64, 64, 3)
    # The person stands on the lower edge, in the middle, and is the nearest there is.
    assert depths[0][-1, 32] == 255 == depths[0].max()
    assert depths[0][2, 2] < 160


def test_pieces_of_rooms_have_the_wanted_shape() -> None:
    rng = np.random.default_rng(2)
    rooms = [np.zeros((90, 160, 3), np.uint8), np.zeros((100, 40, 3), np.uint8)]
    for _ in range(20):
        assert training_set.piece_of_room(rooms, rng, (64, 114)).shape == (64, 114, 3)


def test_a_square_goes_on_beyond_the_edge() -> None:
    image = np.zeros((100, 60, 3), np.uint8)
    image[:, 40:] = 250  # the right third
    square = held_out.cut(image, np.array([20.0, 60.0, 80.0]))
    assert square.shape == (128, 128, 3)
    assert square[64, 10].tolist() == [0] * 3  # x = 26
    assert square[64, 120].tolist() == [250] * 3  # x = 95: beyond the image


@pytest.mark.parametrize("size", ["cpu", "gpu"])
def test_the_stages_of_the_default_weights_call_commands_that_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    stages, called = default_weights, []
    monkeypatch.setattr(stages, "dkpvid", lambda *words: called.append(words))
    monkeypatch.setenv("DKPVID_PERCEPTUAL_WEIGHTS", str(tmp_path / "missing"))
    for folder, names in (("set", ("known.jpg", "known.depth.png", "guessed.jpg")), ("taichi", ("a.jpg",))):
        (tmp_path / folder / "train").mkdir(parents=True)
        for name in names:
            (tmp_path / folder / "train" / name).write_bytes(b"no picture")
    stages.teacher(tmp_path, stages.Size(size))
    assert [path.name for path in sorted((tmp_path / "seen" / "train").iterdir())] == [
        "known.depth.png",
        "known.jpg",
    ]
    stages.student(tmp_path, stages.Size(size), seed=1, with_taichi=True)
    assert (tmp_path / "seen-taichi" / "train" / "a.jpg").is_symlink()
    stages.baseline(tmp_path, stages.Size(size))
    assert [words[0] for words in called] == ["train", "distill", "train"]
    for words, complaint in zip(called, ("perceptual", "no weights at", "perceptual"), strict=True):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2 and complaint in result.stderr, result.output
