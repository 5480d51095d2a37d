"""recipes/people/scenes: cameras and light."""

import numpy as np
import pytest

from recipes.people.scenes.camera import HEIGHTS, aim, random_camera
from recipes.people.scenes.place import harmonic_terms, turned_harmonics

STANDING = np.array([[x, y, 0.0] for x in (-0.3, 0.3) for y in (0.1, 0.9, 1.7)])


@pytest.mark.parametrize("roll", [0.0, 0.3])
def test_a_camera_shows_a_point_where_it_was_aimed(roll: float) -> None:
    point = np.array([0.4, 1.1, -0.2])
    camera = aim(np.array([2.0, 1.5, 3.0]), point, 1.8, (0.0, 0.0), roll)
    pixel, depth = camera.project(point[None], 101)
    np.testing.assert_allclose(pixel, [[50, 50]], atol=1e-6)
    assert depth[0] == pytest.approx(np.linalg.norm(point - camera.eye))
    np.testing.assert_allclose(camera.axes @ camera.axes.T, np.eye(3), atol=1e-12)


def test_right_and_up_in_the_world_are_right_and_up_in_the_picture() -> None:
    camera = aim(np.array([0.0, 1.0, 4.0]), np.array([0.0, 1.0, 0.0]), 2.0, (0.0, 0.0), 0.0)
    pixel, depth = camera.project(np.array([[0.5, 1.0, 0.0], [0.0, 1.5, 0.0]]), 100)
    np.testing.assert_allclose(depth, 4)
    # Half a metre, 4 m away, focal 2: a quarter of half the picture.
    np.testing.assert_allclose(pixel, [[49.5 + 12.5, 49.5], [49.5, 49.5 - 12.5]])


def test_projection_is_what_opengl_draws() -> None:
    camera = aim(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 0.0]), 1.5, (0.2, -0.1), 0.1)
    clip = camera.projection() @ camera.view() @ np.array([0.3, 0.8, -0.1, 1.0])
    drawn = (clip[:2] / clip[3] * [1, -1] + 1) * 64 / 2 - 0.5
    np.testing.assert_allclose(camera.project(np.array([[0.3, 0.8, -0.1]]), 64)[0][0], drawn)


def test_random_cameras_see_the_person_at_the_wanted_size() -> None:
    inside = []
    for seed in range(60):
        camera, share = random_camera(np.random.default_rng(seed), STANDING)
        pixel, depth = camera.project(STANDING, 1)
        assert HEIGHTS[0] <= camera.eye[1] <= HEIGHTS[1]
        assert (depth > 0).all()
        if abs(camera.axes[2, 1]) < 0.2:  # Seen level, the height is as wanted.
            assert np.ptp(pixel[:, 1]) == pytest.approx(share, rel=0.35)
        inside.append((np.abs(pixel) < 0.5).all(1).mean())
    assert np.mean(inside) > 0.7


def test_light_turns_with_the_world(rng: np.random.Generator) -> None:
    harmonics = rng.normal(size=(9, 3))
    c, s = np.cos(0.7), np.sin(0.7)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ np.diag([-1.0, 1, 1])
    normal = rng.normal(size=(20, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    turned = harmonic_terms(normal @ turn.T) @ turned_harmonics(harmonics, turn)
    np.testing.assert_allclose(turned, harmonic_terms(normal) @ harmonics, atol=1e-9)
