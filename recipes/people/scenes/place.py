"""Where people stand: ground, walls far away and light, from a panorama; or a room drawn in its light.

World: the annotated person stands on the ground y = 0 at the origin; metres. Colours are linear RGB.
"""

from functools import lru_cache

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from PIL import Image

from dkpvid.shapes import Float
from recipes.people.assets import Assets
from recipes.people.clothes.cloth import noise, palette, pattern

GREEN = (
    *("blender_forest", "chinese_garden", "forest_slope", "hilly_terrain_01", "immenstadter_horn"),
    *("kiara_1_dawn", "kloppenheim_05", "lebombo", "noon_grass", "phalzer_forest_01", "rainforest_trail"),
    "rooitou_park",
)
"""Panoramas with trees or meadows."""
ROOMS = 0.2
"""Share of drawn rooms, where no green is wanted."""
SURFACE = 256
"""Pixels a side of a room's floor and walls."""


class Panorama:
    """A packed panorama: equirectangular picture (centre = -z) and its light."""

    def __init__(self, assets: Assets, name: str) -> None:
        light = assets.arrays("panoramas", "light")
        index = [str(known) for known in light["name"]].index(name)
        self.picture = np.asarray(Image.open(assets.root / "panoramas" / f"{name}.jpg"))
        self.knee = float(light["knee"][index])
        """Of its tone curve: coded = (linear / (linear + knee)) ** (1 / 2.2)."""
        self.sun, self.sun_colour = light["sun"][index].astype(float), light["sun_colour"][index]
        self.harmonics = light["harmonics"][index]


panorama = lru_cache(None)(Panorama)
"""`Panorama(assets, name)`, each read once."""


class Place:
    """The picture of a panorama, projected on ground and wall by chance, or a room; and its light."""

    def __init__(self, rng: Generator, assets: Assets, reach: float, green: bool = False) -> None:
        """Choose a place.

        Args:
            rng: Decides.
            assets: Has the panoramas.
            reach: Metres that must fit inside the wall.
            green: Before trees and meadows.
        """
        names = [str(name) for name in assets.arrays("panoramas", "light")["name"]]
        names = [name for name in names if name in GREEN or not green]
        self.panorama = panorama(assets, names[rng.integers(len(names))])
        self.wall = reach + np.exp(rng.uniform(np.log(0.7), np.log(25)))
        """Its distance, metres: the radius of a round wall, half the side of a room."""
        angle, mirror = rng.uniform(0, 2 * np.pi), -1.0 if rng.random() < 0.5 else 1.0
        self.centre = np.array([rng.normal(0, 0.7), 1.6, rng.normal(0, 0.7)])
        """Where the panorama was taken."""
        self.grounded = rng.random() < 0.6
        """Whether it is projected on the ground, or infinitely far away."""
        self.waves = np.stack([rng.normal(0, 0.12, 6), rng.uniform(0, 2 * np.pi, 6)])
        """Amplitudes and phases of what makes the wall's depth uneven."""
        self.room = None if green or rng.random() >= ROOMS else (_surface(rng), _surface(rng))
        """Pictures (linear) of floor and walls, and the metres that each spans."""
        c, s = np.cos(angle), np.sin(angle)
        self.turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ np.diag([mirror, 1, 1])
        """From the panorama's axes to the world's."""
        self.sun, self.sun_colour = self.turn @ self.panorama.sun, self.panorama.sun_colour
        self.harmonics = turned_harmonics(self.panorama.harmonics, self.turn)

    def face_light(self) -> Float[ndarray, "3 3"]:
        """Light on the floor and on the two pairs of walls of a room, in the panorama's axes."""
        faces = np.array([[0.0, 1, 0], [1.0, 0, 0], [0, 0, 1.0]])
        direct = self.sun_colour * (faces @ self.panorama.sun).clip(0)[:, None]
        return (harmonic_terms(faces) @ self.panorama.harmonics).clip(0) + direct


def turned_harmonics(harmonics: Float[ndarray, "9 3"], turn: Float[ndarray, "3 3"]) -> Float[ndarray, "9 3"]:
    """The same light after a turn (or mirroring) of the world, fitted to samples."""
    directions = np.random.default_rng(0).normal(size=(64, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    light = harmonic_terms(directions @ turn) @ harmonics
    return np.linalg.lstsq(harmonic_terms(directions), light, rcond=None)[0]


def harmonic_terms(normal: Float[ndarray, "*any 3"]) -> Float[ndarray, "*any 9"]:
    """What multiplies the packed harmonics: three bands of irradiance at a unit normal."""
    x, y, z = normal[..., 0], normal[..., 1], normal[..., 2]
    return np.stack([1 + 0 * x, y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], -1)


def _surface(rng: Generator) -> tuple[Float[ndarray, "256 256 3"], float]:
    """A floor or a wall, mostly as rooms are: pale or greyish, little contrast."""
    colours = palette(rng)
    if rng.random() < 0.85:
        grey = colours.mean(1, keepdims=True)
        colours = grey + (colours - grey) * rng.uniform(0.05, 0.6)
        colours = colours[0] + (colours - colours[0]) * rng.uniform(0.05, 0.4)
    kind = str(rng.choice(["plain", "stripes", "checks", "print", "dots"], p=[0.45, 0.2, 0.2, 0.12, 0.03]))
    picture = pattern(rng, SURFACE, colours, kind)
    dirt = noise(rng, SURFACE, rng.uniform(2, 40), np.exp(rng.normal(0, 0.8)))[..., None]
    return (picture * (0.75 + 0.25 * dirt)) ** 2.2, float(np.exp(rng.uniform(np.log(1), np.log(6))))
