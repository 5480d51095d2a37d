"""Cameras: how the world is seen in a square picture, and from where a person is filmed."""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from dkpvid.shapes import Float

NEAR, FAR = 0.1, 100.0
"""What is drawn, metres."""
HEIGHTS = (0.1, 5.0)
"""Of cameras above the ground, metres."""


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera with a square picture."""

    eye: Float[ndarray, " 3"]
    axes: Float[ndarray, "3 3"]
    """Right, up and backward, unit rows."""
    focal: float
    """1 / tan(half the field of view)."""

    def view(self) -> Float[ndarray, "4 4"]:
        """OpenGL's view matrix."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.axes, -self.axes @ self.eye
        return matrix

    def projection(self) -> Float[ndarray, "4 4"]:
        """OpenGL's projection matrix."""
        depth = [0, 0, (FAR + NEAR) / (NEAR - FAR), 2 * FAR * NEAR / (NEAR - FAR)]
        return np.array([[self.focal, 0, 0, 0], [0, self.focal, 0, 0], depth, [0, 0, -1, 0]])

    def project(
        self, points: Float[ndarray, "point 3"], size: int
    ) -> tuple[Float[ndarray, "point 2"], Float[ndarray, " point"]]:
        """Pixels (x, y; integers are pixel centres) and z depth in metres."""
        seen = (points - self.eye) @ self.axes.T
        depth = -seen[:, 2]
        plane = np.c_[seen[:, 0], -seen[:, 1]] * self.focal / np.maximum(depth, 1e-6)[:, None]
        return (plane + 1) * size / 2 - 0.5, depth


def aim(eye: ndarray, at: ndarray, focal: float, place: tuple[float, float], roll: float) -> Camera:
    """A camera that shows a point at a place of the picture.

    Args:
        eye: Where it is.
        at: The point.
        focal: As in Camera.
        place: x to the right, y up, both in -1..1.
        roll: About the line of sight, radians.
    """
    way = at - eye
    azimuth = np.arctan2(way[0], way[2]) + np.arctan(place[0] / focal)
    down = np.arctan2(-way[1], np.hypot(way[0], way[2])) + np.arctan(place[1] / focal)
    back = -np.array([np.sin(azimuth) * np.cos(down), -np.sin(down), np.cos(azimuth) * np.cos(down)])
    right = np.cross([0, 1, 0], back)
    right /= np.linalg.norm(right)
    up, c, s = np.cross(back, right), np.cos(roll), np.sin(roll)
    return Camera(eye, np.stack([c * right + s * up, c * up - s * right, back]), focal)


def random_camera(rng: Generator, points: Float[ndarray, "point 3"]) -> tuple[Camera, float]:
    """A camera for a person, and which share of the picture's height the person takes."""
    low, high = points.min(0), points.max(0)
    centre, tall = (low + high) / 2, max(high[1] - low[1], 0.5 * (high - low).max())
    while True:
        focal = 1 / np.tan(np.radians(rng.uniform(25, 75)) / 2)
        shares = [rng.uniform(0.17, 0.45), rng.uniform(0.45, 0.95), rng.uniform(0.95, 1.5)]
        share = float(rng.choice(shares, p=[0.2, 0.63, 0.17]))
        steep = rng.random() < 0.15
        height = _height(rng, steep)
        place = _place(rng, share)
        far, rise = max(tall * focal / (2 * share), 1.3), height - centre[1]
        if abs(rise) > 0.85 * far or not HEIGHTS[0] <= height <= HEIGHTS[1]:
            continue
        azimuth, level = rng.uniform(0, 2 * np.pi), np.sqrt(far**2 - rise**2)
        eye = np.array([centre[0] + np.sin(azimuth) * level, height, centre[2] + np.cos(azimuth) * level])
        camera = aim(eye, centre, focal, place, np.radians(rng.normal(0, 9 if rng.random() < 0.1 else 2.5)))
        lowest, highest = (-30, 52) if steep else (-20, 35)
        if lowest <= np.degrees(np.arcsin(camera.axes[2, 1])) <= highest:
            return camera, share


def _height(rng: Generator, steep: bool) -> float:
    """Mostly a standing person's hands or eyes."""
    if steep:
        return float(rng.uniform(*HEIGHTS))
    return float(rng.uniform(0.3, 3) if rng.random() < 0.4 else rng.normal(1.4, 0.25))


def _place(rng: Generator, share: float) -> tuple[float, float]:
    """Where the person's middle is: inside where it fits; large ones are cut below, some at any border."""
    room_x, room_y = max(1 - 0.4 * share, 0.05), max(1 - share, 0.03)
    x, y = rng.uniform(-room_x, room_x), rng.uniform(-room_y, room_y)
    if share > 1 and rng.random() < 0.7:
        y = -(share - 0.95) * rng.uniform(0.3, 1.1)
    elif rng.random() < 0.15:
        x, y = np.clip([x + rng.normal(0, 0.4), y + rng.normal(0, 0.3)], -0.9, 0.9)
    return float(x), float(y)
