"""recipes/people/pictures/raster.py: what is drawn is where the camera projects it, with exact depth."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from recipes.people.assets import Assets
from recipes.people.clothes.mesh import MAX_IMAGES, Part, assemble, primitive
from recipes.people.scenes.camera import aim

SIZE = 48
RED, BLUE = (255, 0, 0, 255), (0, 0, 255, 255)


@pytest.fixture(scope="module")
def raster(need_package: Any) -> Any:
    need_package("moderngl")
    from recipes.people.pictures import raster

    try:
        renderer = raster.Renderer(SIZE)
    except Exception as error:  # moderngl has one class for all: no EGL, no driver.
        if "moderngl" in os.environ.get("DKPVID_REQUIRE", "").split(","):
            raise
        pytest.skip(f"no OpenGL without a window here: {error}")
    return SimpleNamespace(renderer=renderer, Actor=raster.Actor, Light=raster.Light)


@pytest.fixture
def camera() -> Any:
    return aim(np.array([0.0, 1.0, 5.0]), np.array([0.0, 1.0, 0.0]), 2.0, (0.0, 0.0), 0.0)


def make_box(raster: Any, colour: tuple[int, ...], place: tuple[float, float, float]) -> tuple[Any, Any]:
    """A cube of one metre, and its bone."""
    images = [np.full((4, 4, 4), colour, np.uint8)]
    tint = np.ones((MAX_IMAGES, 4), np.float32)
    soup = assemble([Part(*primitive("box", np.ones(3)), 0)], images, tint, np.zeros(MAX_IMAGES))
    return raster.Actor(raster.renderer, soup), np.c_[np.eye(3), place][None]


def day(raster: Any) -> Any:
    harmonics = np.zeros((9, 3))
    harmonics[0] = 0.5
    sun = np.array([0.3, 1.0, 0.5]) / np.linalg.norm([0.3, 1.0, 0.5])
    blobs = np.tile([0.0, 0.0, 1.0, 0.0], (4, 1))
    return raster.Light(sun, np.full(3, 0.5), harmonics, np.array([0, 1.0, 0]), 3.0, blobs, (0.5, 0.5))


def test_a_box_is_drawn_with_its_depth_and_colour(raster: Any, camera: Any) -> None:
    box = make_box(raster, RED, (0.0, 1.0, 0.0))
    colour, truth = raster.renderer.draw([box], camera, day(raster))
    assert colour[24, 24, 3] == 1
    assert 1 / truth[24, 24, 0] == pytest.approx(
        4.5, abs=1e-3
    )  # The front lies half a metre before its middle.
    assert colour[24, 24, 0] > 10 * colour[24, 24, 1] > -1e-6
    # Its front face is one metre, 4.5 m away: 2 / 4.5 of half the picture's width.
    covered = (truth[24, :, 1] > 0.5).sum()
    assert covered == pytest.approx(SIZE / 2 * 2 / 4.5, abs=1)
    assert colour[2, 2, 3] == 0


def test_what_is_in_front_hides_and_only_the_first_actor_is_masked(raster: Any, camera: Any) -> None:
    behind, front = make_box(raster, RED, (0.0, 1.0, -1.0)), make_box(raster, BLUE, (0.3, 1.0, 1.0))
    colour, truth = raster.renderer.draw([behind, front], camera, day(raster))
    at = int(camera.project(np.array([[0.3, 1.0, 1.5]]), SIZE)[0][0, 0])
    assert colour[24, at, 2] > 10 * colour[24, at, 0]
    assert truth[24, at, 1] == 0
    left = int(camera.project(np.array([[-0.4, 1.0, -0.5]]), SIZE)[0][0, 0])
    assert truth[24, left, 1] == 1
    assert colour[24, left, 0] > 10 * colour[24, left, 2]


def test_a_box_casts_a_shadow_on_the_ground(raster: Any, camera: Any) -> None:
    box = make_box(raster, RED, (0.0, 0.5, 0.0))
    from_above = aim(np.array([0.0, 6.0, 0.01]), np.zeros(3), 2.0, (0.0, 0.0), 0.0)
    _, truth = raster.renderer.draw([box], from_above, day(raster))
    # The sun stands to the right (x) and to the viewer (z): the shadow falls to the left and away.
    column, row = from_above.project(np.array([[-0.6, 0.0, -0.2]]), SIZE)[0][0].astype(int)
    assert truth[row, column, 2] > 0.3
    column, row = from_above.project(np.array([[0.8, 0.0, 0.2]]), SIZE)[0][0].astype(int)
    assert truth[row, column, 2] == 0


def write_panorama(folder: Path) -> Assets:
    """Red above the horizon, blue below."""
    for name in ("meshes", "motion", "panoramas"):
        (folder / name).mkdir()
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:32, :, 0] = picture[32:, :, 2] = 200
    Image.fromarray(picture).save(folder / "panoramas" / "two.jpg", quality=95, subsampling=0)
    light = {"name": np.array(["two"]), "knee": np.ones(1), "sun": np.array([[0, 1.0, 0]])}
    light |= {"sun_colour": np.ones((1, 3)), "harmonics": np.ones((1, 9, 3))}
    np.savez(folder / "panoramas" / "light.npz", **light)
    return Assets(folder)


def test_background_has_the_ground_at_its_exact_depth(raster: Any, tmp_path: Path) -> None:
    from recipes.people.scenes.place import Place

    assets = write_panorama(tmp_path)
    camera = aim(np.array([0.0, 1.0, 4.0]), np.array([0.0, 1.0, 0.0]), 1.0, (0.0, 0.0), 0.0)
    rooms = set()
    for seed in range(6):
        place = Place(np.random.default_rng(seed), assets, 6.0)
        rooms.add(place.room is None)
        rgb, depth = raster.renderer.background(place, camera)
        assert np.isfinite(rgb).all()
        # A pixel below the middle looks down by v: the ground, one metre below, is 1 / v away.
        v = 2 * (40 + 0.5) / SIZE - 1
        np.testing.assert_allclose(depth[40, 16:32], 1 / v, rtol=1e-4)
        if place.room is None and not place.grounded:
            assert rgb[4, 24, 0] > 5 * rgb[4, 24, 2]
            assert rgb[40, 24, 2] > 5 * rgb[40, 24, 0]
    assert rooms == {True, False}
