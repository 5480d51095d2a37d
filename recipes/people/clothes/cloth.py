"""Procedural cloth: colours, periodic patterns, folds: float32 pictures in 0..1 (sRGB), bottom row first.

A picture stands for one square metre and repeats. For clothes u = 0 is the middle of the front, v = 0 the
height of the hips.
"""

import colorsys

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from scipy.fft import irfft2

from dkpvid.shapes import Float, UInt8
from recipes.people.assets import TEXTURE
from recipes.people.clothes.prints import print_logo, print_seam


def _rgb(*colours: tuple[int, int, int]) -> Float[ndarray, "colour 3"]:
    return np.array(colours, np.float32) / 255


CLOTHING = _rgb(
    *((20, 20, 22), (240, 240, 238), (250, 250, 250), (128, 128, 130), (70, 72, 76), (24, 32, 62)),
    *((60, 84, 120), (120, 150, 190), (176, 152, 112), (196, 178, 150), (96, 70, 48), (74, 84, 52)),
    *((40, 76, 56), (176, 28, 36), (120, 24, 40), (226, 120, 40), (238, 200, 40), (230, 150, 170)),
    *((120, 70, 140), (40, 120, 180), (40, 150, 140), (90, 160, 70)),
)
"""What shops sell: black, white, greys, navy, denim, beige, khaki, red, wine, ..."""
BRIGHT = _rgb(
    *((248, 248, 246), (210, 30, 36), (244, 204, 40), (30, 90, 190), (18, 18, 20), (240, 130, 40)),
    *((236, 236, 230), (60, 160, 80)),
)
"""Of plain suits: white, red, yellow, blue, black, orange, cream, green."""
DARK = _rgb((14, 14, 16), (24, 24, 28), (22, 28, 46), (36, 30, 28), (30, 38, 30), (50, 50, 54))
KINDS = {
    "plain": 0.34,
    "stripes": 0.14,
    "checks": 0.11,
    "dots": 0.05,
    "print": 0.11,
    "gradient": 0.06,
    "logo": 0.11,
    "piping": 0.05,
    "closure": 0.03,
}
"""Patterns and their odds."""


def random_colour(rng: Generator) -> Float[ndarray, " 3"]:
    """A common one, slightly off, or any."""
    if rng.random() < 0.7:
        common = CLOTHING[rng.integers(len(CLOTHING))]
        return np.clip(common * rng.uniform(0.85, 1.1) + rng.normal(0, 0.02, 3), 0.02, 0.98).astype(
            np.float32
        )
    return np.float32(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.2, 1), rng.uniform(0.2, 1)))


def palette(rng: Generator, first: ndarray | None = None) -> Float[ndarray, "4 3"]:
    """Colours that go together: the first, its shades or neighbours, neutral or contrasting ones."""
    colours = [random_colour(rng) if first is None else first]
    hue, saturation, value = colorsys.rgb_to_hsv(*colours[0])
    for _ in range(3):
        kind = rng.integers(4)
        if kind == 0:  # A shade.
            shade = np.clip(value + rng.normal(0, 0.35), 0.03, 1)
            colours.append(colorsys.hsv_to_rgb(hue, saturation, shade))
        elif kind == 1:  # A neighbour or the complement.
            other = (hue + rng.choice([0.07, -0.07, 0.5])) % 1
            colours.append(colorsys.hsv_to_rgb(other, max(saturation, 0.3), rng.uniform(0.2, 1)))
        else:
            colours.append(random_colour(rng) if kind == 2 else np.full(3, rng.choice([0.05, 0.95, 0.5])))
    return np.float32(colours)


def noise(rng: Generator, size: int, cycles: float, stretch: float = 1.0) -> Float[ndarray, "size size"]:
    """Smooth periodic noise in 0..1.

    Args:
        rng: Decides.
        size: Pixels a side.
        cycles: Waves a side, about.
        stretch: How much longer than wide the waves are, along u.
    """
    # Beyond these frequencies the weights are below 1e-3.
    most_u, most_v = (min(int(3 * cycles * s) + 2, size // 2) for s in (1 / stretch, stretch))
    u, v = np.arange(most_u + 1), np.r_[np.arange(most_v), np.arange(-most_v, 0)]
    along, across = (u * stretch / cycles) ** 2, (v / (stretch * cycles)) ** 2
    weight = np.exp(-along[None] - across[:, None]).astype(np.float32)
    draws = rng.standard_normal((2, *weight.shape), np.float32) * weight
    spectrum = np.zeros((size, size // 2 + 1), np.complex64)
    spectrum[v % size, : len(u)] = draws[0] + 1j * draws[1]
    spectrum[0, 0] = 0
    field = irfft2(spectrum, (size, size))
    return 0.5 + 0.5 * np.tanh(np.float32(0.9 / field.std()) * field)


def folds(rng: Generator, size: int) -> Float[ndarray, "size size"]:
    """Height in 0..1 of folded cloth: broad waves, and ridges between flat parts."""
    along = np.exp(rng.uniform(-0.9, 0.9))
    ridges = np.maximum(np.abs(2 * noise(rng, size, 6, along) - 1) - 0.25, 0)
    height = 0.5 * noise(rng, size, 5, along) + 0.7 * ridges + 0.15 * noise(rng, size, 14, along)
    return (height - height.min()) / np.ptp(height)


def pattern(
    rng: Generator, size: int, colours: ndarray | None = None, kind: str | None = None
) -> Float[ndarray, "size size 3"]:
    """One periodic square metre of cloth; any colours [4, 3] and kind where not given."""
    colours = palette(rng) if colours is None else colours
    kind = kind or str(rng.choice(list(KINDS), p=list(KINDS.values())))
    v, u = np.mgrid[:size, :size].astype(np.float32) / size
    cloth = np.broadcast_to(colours[0], (size, size, 3)).copy()
    if kind in ("stripes", "checks", "dots", "print"):
        cloth = colours[_repeated(rng, kind, u, v)].reshape(size, size, -1, 3).mean(2)
    elif kind == "gradient":
        height = np.where(v > 0.75, v - 1, v)
        share = np.clip((height + rng.uniform(-0.1, 0.3)) / rng.uniform(0.3, 0.8), 0, 1)[..., None]
        cloth = (1 - share) * colours[0] + share * colours[1]
    elif kind == "logo":
        print_logo(rng, cloth, colours)
    elif kind == "piping":  # Stripes along the sides of sleeves and legs.
        cloth[np.abs(np.minimum(u, 1 - u) - 0.125) < rng.uniform(0.006, 0.025)] = colours[1]
    elif kind == "closure":
        print_seam(rng, cloth, colours, u, v)
    return np.clip(cloth * (0.95 + 0.1 * noise(rng, size, size / 6)[..., None]), 0, 1).astype(np.float32)


def _repeated(rng: Generator, kind: str, u: ndarray, v: ndarray) -> ndarray:
    """Number of the colour at each pixel, or of the two that mix there."""
    num_colours = int(rng.integers(2, 5))
    if kind == "stripes":
        ways = ((0, 1), (1, 0), (1, 1), (-1, 1))
        ku, kv = ways[rng.choice(4, p=[0.45, 0.35, 0.1, 0.1])]
        return _bands(rng, (ku * u + kv * v) * _count(rng, 3, 45), num_colours)
    if kind == "checks":
        count = _count(rng, 4, 30)
        return np.stack([_bands(rng, u * count, num_colours), _bands(rng, v * count, num_colours)], -1)
    if kind == "dots":
        count = _count(rng, 6, 40)
        x, y = (u * count) % 1 - 0.5, (v * count + 0.5 * (np.floor(u * count) % 2)) % 1 - 0.5
        return (x * x + y * y < rng.uniform(0.04, 0.14)).astype(int)
    spots = noise(rng, len(u), np.exp(rng.uniform(1.2, 3.4)), np.exp(rng.normal(0, 0.3)))
    return np.minimum((spots * num_colours).astype(int), num_colours - 1)


def _count(rng: Generator, low: float, high: float) -> int:
    return int(np.exp(rng.uniform(np.log(low), np.log(high))))


def _bands(rng: Generator, phase: ndarray, num_colours: int) -> ndarray:
    """Number of the colour band that each phase (in periods) falls into."""
    edges = np.cumsum(rng.dirichlet(np.full(num_colours, 2.0)))[:-1]
    return np.searchsorted(edges, phase % 1)


def cloth_texture(
    rng: Generator, colours: ndarray | None = None, kind: str | None = None, detail: ndarray | None = None
) -> UInt8[ndarray, "256 256 4"]:
    """A pattern shaded by folds, whose height is alpha.

    Args:
        rng: Decides.
        colours: Four, or any.
        kind: Of the pattern, or any.
        detail: RGBA texture of a garment whose shading is added.
    """
    height = folds(rng, TEXTURE)
    rgb = pattern(rng, TEXTURE, colours, kind) * (0.86 + 0.14 * height[..., None])
    if detail is not None:
        light = detail[..., :3].mean(2, keepdims=True) / 255
        rgb = rgb * np.clip(light / max(np.quantile(light, 0.8), 0.05), 0.25, 1.25)
    return np.dstack([255 * rgb.clip(0, 1), 255 * height]).astype(np.uint8)
