"""Clothes cut from the base mesh: everyday clothes, sports clothes, loose suits and robes."""

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from recipes.people.clothes.base import Cut
from recipes.people.clothes.cloth import BRIGHT, cloth_texture, palette, random_colour
from recipes.people.clothes.outfit import Outfit

FITS = {
    "tight": (0.003, 0.0, 0.003),
    "normal": (0.009, 0.006, 0.012),
    "loose": (0.018, 0.025, 0.03),
    "wide": (0.026, 0.05, 0.04),
}
"""Metres off the body, more at the ends of limbs, height of the folds."""
OVER = 0.007
"""Metres by which tops lie above trousers."""


def _fit(rng: Generator, odds: tuple[float, ...]) -> tuple[float, float, float]:
    loose, flare, relief = FITS[str(rng.choice(list(FITS), p=odds))]
    return loose * rng.uniform(0.8, 1.2), flare * rng.uniform(0.4, 1.3), relief * rng.uniform(0.4, 1.2)


def _bright(rng: Generator) -> ndarray:
    return np.clip(BRIGHT[rng.integers(len(BRIGHT))] * rng.uniform(0.8, 1.05), 0.02, 0.98).astype(np.float32)


def everyday_clothes(rng: Generator, outfit: Outfit, sex: str, colours: ndarray | None = None) -> None:
    """Trousers, shorts, leggings or a skirt with a top, coat or dress.

    Args:
        rng: Decides.
        outfit: Gets them.
        sex: "male" or "female".
        colours: To choose from; any where None.
    """
    loose, flare, relief = _fit(rng, (0.2, 0.35, 0.3, 0.15))

    def shades() -> ndarray:
        return palette(rng) if colours is None else colours[rng.integers(len(colours), size=4)]

    top = outfit.paint(cloth_texture(rng, shades()), relief=relief)
    plain = "plain" if rng.random() < 0.7 else None
    bottom = outfit.paint(cloth_texture(rng, shades(), plain), relief=relief)
    skirt = rng.random() < (0.4 if sex == "female" else 0.06)
    waist, long = rng.uniform(0.15, 0.28), rng.uniform(0.9, 1.02)
    if skirt:
        outfit.tailor(Cut(hem=rng.uniform(-1.45, -0.45), top=waist), bottom, loose, flare * 2, skirt=True)
        if rng.random() < 0.3:  # Trousers or tights below.
            tights = outfit.paint(cloth_texture(rng, shades(), "plain"), relief=0.004)
            outfit.tailor(Cut(top=waist, leg=long), tights, 0.003, 0)
    else:
        leg = long if rng.random() < 0.75 else rng.uniform(0.2, 0.6)
        outfit.tailor(Cut(top=waist, leg=leg), bottom, loose, flare, cuffed=rng.random() < 0.4)
    lengths = [-1, rng.uniform(0.12, 0.4), rng.uniform(0.4, 0.8), 0.97]
    sleeve = rng.choice(lengths, p=[0.12, 0.4, 0.08, 0.4])
    hem = waist - (rng.uniform(-0.12, 0.05) if rng.random() < 0.2 else rng.uniform(0.05, 0.35))
    outfit.tailor(Cut(hem=hem, neck=rng.uniform(0.1, 0.27), sleeve=sleeve), top, loose + OVER, flare)
    if not skirt and rng.random() < 0.12:  # The top goes on as a long coat.
        coat = Cut(hem=rng.uniform(-1.2, -0.2), top=waist + 0.05)
        outfit.tailor(coat, top, loose + OVER + 0.005, flare + 0.02, skirt=True)


def sports_clothes(rng: Generator, outfit: Outfit, sex: str) -> None:
    """Shorts, leggings or training trousers with a shirt, tank top or jacket; shiny, with prints, stripes."""
    loose, flare, relief = _fit(rng, (0.4, 0.4, 0.2, 0))
    kinds = ["plain", "logo", "piping", "stripes", "gradient", "print"]
    kind = str(rng.choice(kinds, p=[0.25, 0.3, 0.2, 0.12, 0.06, 0.07]))
    vivid = palette(rng, _bright(rng) if rng.random() < 0.5 else random_colour(rng))
    top = outfit.paint(cloth_texture(rng, vivid, kind), gloss=rng.uniform(0.1, 0.7), relief=relief)
    kind = str(rng.choice(["plain", "piping", "gradient"], p=[0.6, 0.3, 0.1]))
    shades = vivid if rng.random() < 0.4 else palette(rng)
    bottom = outfit.paint(cloth_texture(rng, shades, kind), gloss=rng.uniform(0.1, 0.7), relief=relief)
    waist = rng.uniform(0.12, 0.25)
    legs = str(rng.choice(["shorts", "tights", "trousers"], p=[0.5, 0.3, 0.2]))
    if legs == "tights":
        outfit.tailor(Cut(top=waist, leg=rng.uniform(0.6, 1.0)), bottom, 0.003, 0)
    else:
        leg = rng.uniform(0.12, 0.5) if legs == "shorts" else 1.0
        outfit.tailor(Cut(top=waist, leg=leg), bottom, loose + 0.004, flare, cuffed=rng.random() < 0.3)
    sleeve = rng.choice([-1, rng.uniform(0.15, 0.42), 0.97], p=[0.35, 0.4, 0.25])
    bare_waist = sex == "female" and rng.random() < 0.3
    hem = waist + rng.uniform(0.05, 0.35) if bare_waist else waist - rng.uniform(0.03, 0.3)
    outfit.tailor(Cut(hem=hem, neck=rng.uniform(0.12, 0.3), sleeve=sleeve), top, loose + OVER, flare)


def loose_suit(rng: Generator, outfit: Outfit, robe: bool = False) -> None:
    """A loose suit of one bright cloth with long sleeves, as people wear for martial arts; sash by chance.

    Args:
        rng: Decides.
        outfit: Gets it.
        robe: Down to the knees or feet, mostly with wide sleeves.
    """
    loose, flare, relief = _fit(rng, (0, 0.15, 0.45, 0.4))
    colours = palette(rng, _bright(rng) if rng.random() < 0.8 else random_colour(rng))
    kinds = ["plain", "closure", "piping", "gradient", "print"]
    kind = str(rng.choice(kinds, p=[0.6, 0.2, 0.1, 0.05, 0.05]))
    top = outfit.paint(cloth_texture(rng, colours, kind), gloss=rng.choice([0.1, 0.6]), relief=relief)
    bottom = top
    if rng.random() < 0.3:
        other = random_colour(rng) if rng.random() < 0.5 else _bright(rng)
        bottom = outfit.paint(cloth_texture(rng, palette(rng, other), "plain"), relief=relief)
    waist = rng.uniform(0.15, 0.28)
    trousers = Cut(top=waist, leg=rng.uniform(0.9, 1.02))
    outfit.tailor(trousers, bottom, loose, flare, cuffed=rng.random() < 0.4)
    sleeve = 0.97 if rng.random() < 0.85 else rng.uniform(0.5, 0.8)
    bell = rng.uniform(0.03, 0.12) if rng.random() < (0.8 if robe else 0.3) else 0.0
    jacket = Cut(hem=waist - rng.uniform(0.2, 0.45), neck=rng.uniform(0.1, 0.25), sleeve=sleeve)
    cuffed = not bell and rng.random() < 0.4
    outfit.tailor(jacket, top, loose + OVER, flare, cuffed=cuffed, bell=bell)
    if robe or rng.random() < 0.12:
        skirt = Cut(hem=rng.uniform(-1.45, -0.4), top=waist + 0.05)
        outfit.tailor(skirt, top, loose + OVER + 0.005, flare * 1.5 + 0.02, skirt=True)
    if rng.random() < 0.35:  # A sash.
        middle, half = waist + rng.uniform(-0.04, 0.06), rng.uniform(0.04, 0.08)
        sash = outfit.paint(cloth_texture(rng, palette(rng), "plain"), relief=0.01)
        outfit.tailor(Cut(hem=middle - half, top=middle + half), sash, loose + 0.022, 0)
