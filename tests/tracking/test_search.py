"""The looks at a frame of which nothing is known, and what is made of them."""

from functools import partial

import numpy as np
import pytest

from dkpvid.tracking.looks import look
from dkpvid.tracking.search import in_common, pyramid, search
from tests.tracking.painted import SIZE, SpotFinder, painted


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (640, 640), (300, 40)])
def test_every_place_is_in_a_square_of_every_level(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(0, size, (200, 2))
    for level in pyramid(*size):
        low = np.array([[square.x, square.y] for square in level])
        side = np.array([[square.width] for square in level])
        inside = (places[:, None] >= low) & (places[:, None] <= low + side)
        assert inside.all(axis=2).any(axis=1).all()
        assert all(square.width == square.height for square in level)


@pytest.mark.parametrize("height", [30.0, 60.0, 120.0, 200.0])
def test_a_figure_is_found_and_fills_its_share(height: float) -> None:
    frame = painted([(170, 135, height)], 0)
    (found,) = search(partial(look, SpotFinder(), SIZE), frame)
    centre = np.array([found.region.x, found.region.y]) + found.region.width / 2
    assert np.abs(centre - [170, 135]).max() < 0.25 * height
    assert 1.2 < found.region.width / height < 2
    assert in_common(found.region, found.region) == 1


def test_nobody_is_found_where_nobody_is() -> None:
    assert search(partial(look, SpotFinder(), SIZE), painted([], 0)) == []


def test_of_two_the_larger_comes_first() -> None:
    frame = painted([(110, 120, 40), (360, 140, 90)], 0)
    found = search(partial(look, SpotFinder(), SIZE), frame)
    assert found[0].region.x > 240
