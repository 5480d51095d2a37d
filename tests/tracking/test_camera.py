"""The camera's motion between two frames, against pictures that scipy has moved."""

import numpy as np
import pytest
from numpy import ndarray
from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates

from dkpvid.tracking.camera import camera_motion, moved, steepness, warped

SHAPE = (90, 160)
MIDDLE = np.array([79.5, 44.5])


def picture(rng: np.random.Generator) -> ndarray:
    """Smooth enough that moving it by parts of a pixel is well defined."""
    grey = gaussian_filter(rng.normal(0, 1, (130, 200)), 2)
    return (128 + 40 * grey / grey.std()).astype(np.float32)


def seen_through(grey: ndarray, view: ndarray) -> ndarray:
    """The middle of a larger picture, as the camera sees it whose view of the unmoved one is given."""
    swap = np.array([[0, 1], [1, 0]])
    matrix, offset = swap @ view[:2, :2] @ swap, view[:2, 2][::-1]
    origin = np.array([20.0, 20.0])
    moved_grey = affine_transform(grey, matrix, offset + origin, output_shape=SHAPE, order=3)
    return moved_grey.astype(np.float32)


def view_of(shift: tuple[float, float], degrees: float = 0.0, zoom: float = 1.0) -> ndarray:
    """Turned and scaled about the middle, then shifted."""
    cos, sin = zoom * np.cos(np.radians(degrees)), zoom * np.sin(np.radians(degrees))
    view = np.eye(3)
    view[:2, :2] = [[cos, -sin], [sin, cos]]
    view[:2, 2] = MIDDLE - view[:2, :2] @ MIDDLE + shift
    return view


CORNERS = np.array([[0.0, 0.0], [159.0, 0.0], [0.0, 89.0], [159.0, 89.0]])


@pytest.mark.parametrize(
    ("shift", "degrees", "zoom"),
    [
        ((3, -2), 0, 1),
        ((0.4, 0.3), 0, 1),
        ((-12.6, 5.2), 0, 1),
        ((1, 2), 1.0, 1),
        ((0, 0), 0, 1.02),
        ((4, 1), -1, 0.98),
    ],
)
def test_the_view_is_found(
    rng: np.random.Generator, shift: tuple[float, float], degrees: float, zoom: float
) -> None:
    grey, view = picture(rng), view_of(shift, degrees, zoom)
    before, now = seen_through(grey, np.eye(3)), seen_through(grey, view)
    found = camera_motion(before, now)
    np.testing.assert_allclose(moved(found, CORNERS), moved(view, CORNERS), rtol=0, atol=0.1)


def test_a_subject_does_not_count(rng: np.random.Generator) -> None:
    grey, view = picture(rng), view_of((2.5, -1.5))
    before, now = seen_through(grey, np.eye(3)), seen_through(grey, view)
    before[20:70, 40:70], now[20:70, 50:80] = 10, 10
    np.testing.assert_allclose(
        moved(camera_motion(before, now), CORNERS), moved(view, CORNERS), rtol=0, atol=0.15
    )


def test_a_camera_at_rest_is_exactly_at_rest(rng: np.random.Generator) -> None:
    before = seen_through(picture(rng), np.eye(3))
    now = before + rng.normal(0, 1, SHAPE).astype(np.float32)
    now[30:60, 40:80] = 20
    np.testing.assert_array_equal(camera_motion(before, now), np.eye(3))


def test_before_a_plain_wall_it_is_the_subject_that_moves(rng: np.random.Generator) -> None:
    before, now = np.full((2, *SHAPE), 150, np.float32)
    before[30:60, 40:50], now[30:60, 45:55] = 20, 20
    np.testing.assert_array_equal(camera_motion(before, now), np.eye(3))


def test_a_shift_along_stripes_is_seen_where_they_end(rng: np.random.Generator) -> None:
    scene = np.tile(80 + 60 * np.sin(np.arange(200) / 2), (130, 1)).astype(np.float32)
    scene[60:75, 50:65] = scene[90:110, 140:150] = scene[30:45, 100:120] = 220
    view = view_of((0, 2))
    found = camera_motion(scene[20:110, 20:180], scene[22:112, 20:180])
    np.testing.assert_allclose(moved(found, CORNERS), moved(view, CORNERS), rtol=0, atol=0.1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 2), (8, 8)])
def test_tiny_pictures(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    before, now = rng.uniform(0, 255, (2, *shape)).astype(np.float32)
    assert np.isfinite(camera_motion(before, now)).all()
    assert warped(before, view_of((0.5, 0.5))).shape == shape
    assert steepness(before).shape == shape


def test_warping_is_what_scipy_does(rng: np.random.Generator) -> None:
    grey, view = rng.uniform(0, 255, SHAPE).astype(np.float32), view_of((3.3, -1.7), 2.0, 1.05)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    places = moved(view, np.stack([x, y], axis=-1).astype(float))
    expected = map_coordinates(grey, [places[..., 1], places[..., 0]], order=1, cval=np.nan)
    # In single precision a place on the border may fall on either side of it.
    both = np.isfinite(expected) & np.isfinite(warped(grey, view))
    assert both.mean() > 0.8 and (np.isfinite(expected) ^ np.isfinite(warped(grey, view))).mean() < 0.01
    np.testing.assert_allclose(warped(grey, view)[both], expected[both], rtol=0, atol=0.05)


def test_steepness_is_the_largest_step_to_a_neighbour() -> None:
    grey = np.array([[0, 0, 0], [0, 5, 7], [0, 0, 0]], np.float32)
    np.testing.assert_array_equal(steepness(grey), [[0, 5, 7], [5, 5, 7], [0, 5, 7]])
