"""A random person, dressed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from recipes.people.assets import Assets
from recipes.people.bodies.body import Body, bone, make_body
from recipes.people.clothes import tailoring
from recipes.people.clothes.base import ARMS, LEGS, base_mesh
from recipes.people.clothes.cloth import DARK, cloth_texture, random_colour
from recipes.people.clothes.garments import Garment, garment
from recipes.people.clothes.heads import Looks, dress_head
from recipes.people.clothes.mesh import Soup, normals, primitive, ramp
from recipes.people.clothes.outfit import SMOOTHINGS, Outfit

SUITS = {
    "male": (*(f"male_casualsuit0{k}" for k in range(1, 7)), "male_elegantsuit01", "male_worksuit01"),
    "female": ("female_casualsuit01", "female_casualsuit02", "female_elegantsuit01", "female_sportsuit01"),
}
THEMES = {"any": 0.52, "tai-chi": 0.2, "sport": 0.15, "robe": 0.06, "dark": 0.07}
"""Kinds of people and their odds."""
PACKED = 0.42
"""Share of the people of the theme "any" that wear a packed suit."""


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody dressed."""

    body: Body
    soup: Soup
    thickness: float
    """Of the clothes, metres."""


def dress(rng: Generator, assets: Assets, theme: str = "any") -> Person:
    """Body, skin, clothes, shoes, hair, things worn on head, face, hands and back; `theme`: one of THEMES."""
    looks = Looks(str(rng.choice(["male", "female"])), rng.random() < 0.25, rng.random() < 0.35)
    body = _random_body(rng, looks)
    outfit = Outfit(body)
    _paint_skin(rng, assets, outfit, looks)
    suits = SUITS[looks.sex]
    wear: dict[str, Callable[[], None]] = {
        "tai-chi": lambda: tailoring.loose_suit(rng, outfit),
        "robe": lambda: tailoring.loose_suit(rng, outfit, robe=True),
        "sport": lambda: tailoring.sports_clothes(rng, outfit, looks.sex),
        "dark": lambda: tailoring.everyday_clothes(rng, outfit, looks.sex, DARK),
        "any": lambda: tailoring.everyday_clothes(rng, outfit, looks.sex),
    }
    if theme == "any" and rng.random() < PACKED:
        _packed_suit(rng, assets, outfit, garment(assets, suits[rng.integers(len(suits))]))
    else:
        wear[theme]()
    _dress_feet(rng, assets, outfit)
    dress_head(rng, assets, outfit, looks)
    if rng.random() < 0.06:  # Gloves.
        hands = np.isin(base_mesh().part, ARMS) & (base_mesh().along > 0.94)
        outfit.shell(hands, 0.004, outfit.paint(cloth_texture(rng, kind="plain"), relief=0.003))
    if rng.random() < 0.07:
        _wear_backpack(rng, outfit)
    return Person(body, outfit.soup(), outfit.thickness)


def _random_body(rng: Generator, looks: Looks) -> Body:
    shares = rng.dirichlet([0.5] * 3)
    african, asian, caucasian = np.sort(shares)[::-1] if looks.dark else shares * [0.2, 1, 1]
    return make_body(
        gender=rng.uniform(0.85, 1) if looks.sex == "male" else rng.uniform(0, 0.15),
        age=rng.uniform(0.8, 1) if looks.old else rng.uniform(0.55, 0.75),
        muscle=rng.uniform(0.3, 0.8),
        weight=rng.beta(2, 2),
        height=rng.beta(4, 4),
        proportions=rng.uniform(0.4, 1),
        african=african,
        asian=asian,
        caucasian=caucasian,
    )


def _paint_skin(rng: Generator, assets: Assets, outfit: Outfit, looks: Looks) -> None:
    wanted = (f"_{'dark' if looks.dark else 'light'}skinned_", f"_{looks.sex}_")
    skins = [name for name in assets.skins() if all(word in name for word in wanted)]
    skins = [name for name in skins if name.startswith("old") == looks.old] or skins
    tint = rng.uniform(0.75, 1.15) * np.array([1, rng.uniform(0.92, 1.02), rng.uniform(0.85, 1.02)])
    outfit.paint(assets.texture("skins", skins[rng.integers(len(skins))]), tint, 0.35)


def _packed_suit(rng: Generator, assets: Assets, outfit: Outfit, suit: Garment) -> None:
    """By chance in other colours, with patterns, and looser."""
    vertices = suit.fit(outfit.body)
    loose = rng.choice([0, rng.uniform(0.004, 0.03)])
    push = loose * (1 - 0.75 * ramp(suit.height, 0.8, 1.0))
    outwards = normals(suit.surface.face, vertices)
    for _ in range(SMOOTHINGS):
        outwards = suit.smoothing @ outwards
    name = suit.texture_name or ""
    picture = assets.texture("textures", name)

    def dyed() -> int:
        if "_ao" in name or rng.random() > 0.35:
            return outfit.paint(cloth_texture(rng, detail=picture), relief=rng.uniform(0, 0.012))
        return outfit.paint(picture, 1.0 if rng.random() < 0.5 else _dye(rng, 2))

    top, low = dyed(), dyed()
    outfit.wear(suit.surface, vertices + outwards * push[:, None], np.where(suit.low, low, top))
    outfit.hidden[suit.hidden] = True
    outfit.thickness = max(outfit.thickness, loose)


def _dye(rng: Generator, brightness: float) -> ndarray:
    """Factors of linear RGB."""
    return brightness * random_colour(rng) ** 2.2


def _dress_feet(rng: Generator, assets: Assets, outfit: Outfit) -> None:
    """Shoes, socks or bare feet."""
    if rng.random() < 0.85:
        shoes = garment(assets, f"shoes0{rng.integers(1, 7)}")
        picture = assets.texture("textures", shoes.texture_name or "")
        layer = outfit.paint(picture, 1.0 if rng.random() < 0.5 else _dye(rng, 2.5))
        outfit.wear(shoes.surface, shoes.fit(outfit.body), layer)
        outfit.hidden[shoes.hidden] = True
    if rng.random() < 0.3:
        base = base_mesh()
        socks = np.isin(base.part, LEGS) & (base.along > rng.uniform(0.7, 0.93)) & ~outfit.hidden
        outfit.shell(socks, 0.004, outfit.paint(cloth_texture(rng, kind="plain")))


def _wear_backpack(rng: Generator, outfit: Outfit) -> None:
    spine = bone("spine02")
    size = rng.uniform([0.26, 0.3, 0.14], [0.38, 0.5, 0.22])
    surface, vertices = primitive(str(rng.choice(["box", "sphere"])), size, spine)
    place = outfit.body.heads[spine] + [0, 0.02, -0.18]
    outfit.wear(surface, vertices + place, outfit.paint(cloth_texture(rng), relief=0.01))
