"""Eyes, brows and hair; now and then a hat, a cap of cloth, a headscarf or a mask."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from dkpvid.shapes import UInt8
from recipes.people.assets import TEXTURE, Assets
from recipes.people.bodies.body import NUM_BODY_VERTICES, bone
from recipes.people.clothes.base import base_mesh
from recipes.people.clothes.cloth import cloth_texture
from recipes.people.clothes.garments import garment
from recipes.people.clothes.outfit import Outfit

HAIR = {
    "male": ("short01", "short02", "short03", "short04", "afro01"),
    "female": ("bob01", "bob02", "braid01", "long01", "ponytail01", "short03", "afro01"),
}
HAIR_COLOURS = np.array(
    [[0.012, 0.01, 0.009], [0.03, 0.018, 0.012], [0.09, 0.045, 0.02], [0.28, 0.18, 0.08], [0.3, 0.29, 0.28]]
)
"""Linear RGB: black, dark brown, brown, blond, grey."""
EYES = ("blue", "bluegreen", "brown", "brownlight", "deepblue", "green", "grey", "ice", "lightblue")
MIDDLE_GREY = 0.216
"""Linear light of the mean of `strands`."""


@dataclass(frozen=True)
class Looks:
    """What decides about skin and hair."""

    sex: str
    """"male" or "female", as the assets' names say."""
    old: bool
    dark: bool


@lru_cache(None)
def strands(assets: Assets, name: str | None) -> UInt8[ndarray, "256 256 4"]:
    """Hair or eyebrow texture to be dyed: detail about a middle grey, with alpha; grain without a file."""
    if name:
        picture = assets.texture("textures", name).copy()
    else:
        grain = np.random.default_rng(0).integers(60, 200, (TEXTURE, TEXTURE, 1), np.uint8)
        picture = np.concatenate([grain] * 3 + [np.full_like(grain, 255)], 2)
    light, seen = picture[..., :3].mean(2), picture[..., 3] > 60
    detail = (light - light[seen].mean()) * 60 / max(light[seen].std(), 12)
    picture[..., :3] = np.clip(128 + detail, 30, 255)[..., None]
    return picture


def dress_head(rng: Generator, assets: Assets, outfit: Outfit, looks: Looks) -> None:
    """All that is on a head."""
    odds = (
        [0.1, 0.1, 0.1, 0.1, 0.6]
        if looks.old
        else [0.5, 0.5, 0, 0, 0]
        if looks.dark
        else [0.25, 0.3, 0.25, 0.17, 0.03]
    )
    dye = HAIR_COLOURS[rng.choice(5, p=odds)] * rng.uniform(0.7, 1.4) / MIDDLE_GREY

    def put_on(name: str, layer: int) -> None:
        worn = garment(assets, name)
        outfit.wear(worn.surface, worn.fit(outfit.body), layer)

    eyes = assets.texture("textures", f"{EYES[rng.integers(len(EYES))]}_eye.png")
    put_on("low-poly", outfit.paint(eyes, 0.5, 0.3))
    brows = f"eyebrow0{rng.integers(1, 13):02d}"
    put_on(brows, outfit.paint(strands(assets, garment(assets, brows).texture_name), dye, 0.25))
    base, heads = base_mesh(), outfit.body.heads
    eye = heads[bone("eye.L")]
    unit = eye[1] - heads[bone("head")][1]  # From the neck to the eyes.
    _, up, front = ((outfit.body.vertices - [0, eye[1], eye[2]]) / unit).T
    on_head = (base.height > 1.05) & (np.arange(len(base.height)) < NUM_BODY_VERTICES)
    headwear = rng.choice(["hair", "hat", "cap", "scarf"], p=[0.86, 0.05, 0.06, 0.03])
    if headwear == "hat":
        put_on(
            str(rng.choice(["fedora", "fedora_cocked"])),
            outfit.paint(cloth_texture(rng, kind="plain"), relief=0.002),
        )
    elif headwear == "cap":
        outfit.shell(
            on_head & (up > 0.75 - 0.4 * front.clip(-1, 1)),
            0.014,
            outfit.paint(cloth_texture(rng), relief=0.005),
        )
    elif headwear == "scarf":
        outfit.shell(
            on_head & ((up > 1.0) | (front < -0.9)), 0.014, outfit.paint(cloth_texture(rng), relief=0.005)
        )
    elif rng.random() < 0.93:  # The others are bald.
        hair = str(rng.choice(HAIR[looks.sex]))
        put_on(hair, outfit.paint(strands(assets, garment(assets, hair).texture_name), dye, 0.25))
    if rng.random() < 0.04:  # A mask over nose and mouth.
        covered = on_head & (up < -0.3) & (up > -2.6) & (front > -0.9)
        outfit.shell(covered, 0.007, outfit.paint(cloth_texture(rng, kind="plain")))
