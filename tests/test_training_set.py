"""benchmarks/training_set.py and held_out.py: silhouettes, people in other rooms, squares around people."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    # benchmarks is a folder of scripts; only this file imports these two.
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
        import held_out
        import training_set

        yield {"training_set": training_set, "held_out": held_out}
        for name in ("training_set", "held_out"):
            sys.modules.pop(name)


def wall(rng: np.random.Generator, cast: float, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    """Twelve frames of a dark block that stands before a wall of its own colour; and where the block is."""
    frames = np.clip(rng.normal(150 * cast, 3, (12, 64, 64, 3)), 0, 255).astype(np.uint8)
    is_block = np.zeros((64, 64), bool)
    is_block[20:64, columns] = True
    frames[:, is_block] = (40, 50, 60)
    return frames, is_block


def test_who_never_moves_is_told_from_a_wall_that_others_leave_free(scripts: dict[str, ModuleType]) -> None:
    rng = np.random.default_rng(0)
    clips = [wall(rng, cast, slice(x, x + 12)) for cast, x in ((1.0, 14), (1.2, 28), (0.9, 38))]
    masks = scripts["training_set"].silhouettes(dict(enumerate(frames for frames, _ in clips)))
    for number, (_, is_block) in enumerate(clips):
        is_near = masks[number] > 127
        assert is_near.shape == (12, 64, 64)
        assert (is_near & is_block).sum() / (is_near | is_block).sum(axis=(1, 2)).sum() > 0.85


def test_a_moved_person_keeps_its_depth(scripts: dict[str, ModuleType]) -> None:
    rng = np.random.default_rng(1)
    frames = np.full((6, 64, 64, 3), 200, np.uint8)
    masks = np.zeros((6, 64, 64), np.uint8)
    masks[:, 24:, 24:40] = 255
    room = np.zeros((90, 120, 3), np.uint8)
    images, depths = scripts["training_set"].moved_elsewhere(frames, masks, [room], rng)
    assert len(images) == len(depths) == 2  # every third frame
    assert images[0].shape == (64, 64, 3)
    # The person stands on the lower edge, in the middle, and is the nearest there is.
    assert depths[0][-1, 32] == 255 == depths[0].max()
    assert depths[0][2, 2] < 160


def test_pieces_of_rooms_have_the_wanted_shape(scripts: dict[str, ModuleType]) -> None:
    rng = np.random.default_rng(2)
    rooms = [np.zeros((90, 160, 3), np.uint8), np.zeros((100, 40, 3), np.uint8)]
    for _ in range(20):
        assert scripts["training_set"]._piece(rooms, rng, (64, 114)).shape == (64, 114, 3)


def test_a_square_goes_on_beyond_the_edge(scripts: dict[str, ModuleType]) -> None:
    image = np.zeros((100, 60, 3), np.uint8)
    image[:, 40:] = 250  # the right third
    square = scripts["held_out"].cut(image, np.array([20.0, 60.0, 80.0]))
    assert square.shape == (128, 128, 3)
    assert square[64, 10].tolist() == [0] * 3  # x = 26
    assert square[64, 120].tolist() == [250] * 3  # x = 95: beyond the image
