"""What stands in the way: boxes, spheres and poles before and behind a person, and a seat below."""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from dkpvid.shapes import Float, UInt8
from recipes.people.assets import Assets
from recipes.people.clothes.cloth import pattern
from recipes.people.clothes.mesh import MAX_IMAGES, Part, Soup, assemble, primitive
from recipes.people.scenes.camera import Camera
from recipes.people.scenes.place import panorama

TEXTURE = 128
"""Pixels a side."""
PIECE_OF_PANORAMA = 0.4
"""Share of the textures that are not a pattern."""


@dataclass(frozen=True, eq=False)
class Things:
    """What is drawn of them."""

    soup: Soup
    bones: Float[ndarray, "thing 3 4"]
    """Where each thing is."""


@dataclass(frozen=True, eq=False)
class _Thing:
    kind: str
    size: ndarray
    place: ndarray


def random_things(
    rng: Generator,
    assets: Assets,
    camera: Camera,
    joints: Float[ndarray, "joint 3"],
    share: float,
    in_front: int,
    behind: int,
    seat: Float[ndarray, " 3"] | None,
) -> Things | None:
    """Things about a person, or None for nothing.

    Args:
        rng: Decides.
        assets: Has panoramas, pieces of which are textures.
        camera: That sees them.
        joints: Of the person.
        share: Of the picture's height that the person takes; limits what stands before it.
        in_front: How many are before the person.
        behind: How many are further away, or beside.
        seat: The point to sit on.
    """
    found = [
        _before(rng, camera, joints, rng.uniform(0.25, 0.85), 0.15, min(share, 1)) for _ in range(in_front)
    ]
    found += [_before(rng, camera, joints, rng.uniform(1.2, 2.5), 0.6, 1.0) for _ in range(behind)]
    if seat is not None:
        size = np.array([rng.uniform(0.35, 0.6), max(seat[1], 0.05), rng.uniform(0.35, 0.5)])
        found.append(_Thing("box", size, np.array([seat[0], size[1] / 2, seat[2]])))
    if not found:
        return None
    parts, bones = [], []
    for number, thing in enumerate(found):
        angle = rng.uniform(0, 2 * np.pi)
        c, s = np.cos(angle), np.sin(angle)
        bones.append(np.c_[np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]), thing.place])
        parts.append(Part(*primitive(thing.kind, thing.size, number), number))
    images = [_texture(rng, assets) for _ in found]
    tint = np.ones((MAX_IMAGES, 4), np.float32)
    tint[:, 3] = rng.uniform(0, 0.5)
    return Things(assemble(parts, images, tint, np.zeros(MAX_IMAGES, np.float32)), np.stack(bones))


def _before(
    rng: Generator, camera: Camera, joints: ndarray, distance: float, spread: float, largest: float
) -> _Thing:
    """A thing that the camera sees near a joint.

    Args:
        rng: Decides.
        camera: That sees it.
        joints: Of the person.
        distance: From the camera, in units of the joint's.
        spread: Metres about the joint.
        largest: Limits its apparent size; at 1 it takes 5 to 30 % of the picture.
    """
    kind = str(rng.choice(["box", "sphere", "pole"], p=[0.5, 0.2, 0.3]))
    way = joints[rng.integers(len(joints))] + rng.normal(0, spread, 3) - camera.eye
    place = camera.eye + distance * way
    half_picture = distance * np.linalg.norm(way) / camera.focal
    size = largest * half_picture * np.exp(rng.uniform(np.log(0.1), np.log(0.6), 3))
    if kind == "pole":
        size[[0, 2]], size[1], place[1] = size[0] * 0.35, 8, 2
    elif kind == "box" and rng.random() < 0.6:  # Stands on the ground.
        size[1] = max(place[1], 0.1)
        place[1] = size[1] / 2
    return _Thing(kind, size, place)


def _texture(rng: Generator, assets: Assets) -> UInt8[ndarray, "128 128 4"]:
    """A pattern, or a piece of a panorama."""
    rgb = 255 * pattern(rng, TEXTURE)
    if rng.random() < PIECE_OF_PANORAMA:
        names = assets.arrays("panoramas", "light")["name"]
        picture = panorama(assets, str(rng.choice(names))).picture
        row, column = (rng.integers(side - TEXTURE + 1) for side in picture.shape[:2])
        rgb = picture[row : row + TEXTURE, column : column + TEXTURE]
    return np.dstack([rgb, np.full((TEXTURE, TEXTURE), 255)]).astype(np.uint8)[::-1]
