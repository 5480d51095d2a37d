"""The rendered person: tapered capsules around the skeleton, and how one capsule is drawn."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recipes.figure_background import random_colour
from recipes.figure_motion import Proportions, Skeleton

SKINS = np.array([[0.95, 0.77, 0.64], [0.85, 0.62, 0.46], [0.6, 0.4, 0.28], [0.4, 0.26, 0.18]])
CHEST_DEPTH = 0.62  # a trunk's depth, as a share of its width
# Share of the axis (below 0 and above 1 on the round ends) and normals -> RGB in [0, 1].
Paint = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Looks:
    """A person's build and clothes: colours are RGB in [0, 1], lengths are in body heights."""

    body: Proportions
    girth: float
    head: float
    sleeve: float
    """Where the sleeve ends: 1 is the elbow, 2 the wrist."""
    trouser: float
    """Where the trouser ends: 1 is the knee, 2 the ankle."""
    stripes: float
    """Stripes per body height; 0 for a plain shirt."""
    long_hair: bool
    skin: np.ndarray
    hair: np.ndarray
    shirt: np.ndarray
    second: np.ndarray
    """Of the stripes."""
    trousers: np.ndarray
    shoes: np.ndarray


def random_looks(rng: np.random.Generator) -> Looks:
    """Draw a person."""
    shirt_hue, trouser_hue = rng.random(2)
    return Looks(
        body=Proportions(*(np.array([0.11, 0.055, 1, 1]) * rng.uniform(0.93, 1.07, 4))),
        girth=rng.uniform(0.88, 1.22),
        head=rng.uniform(0.95, 1.12),
        sleeve=rng.choice([0.6, 2.0]),
        trouser=rng.choice([0.8, 2.0, 2.0]),
        stripes=rng.choice([0.0, 0.0, rng.uniform(10, 22)]),
        long_hair=rng.random() < 0.4,
        skin=rng.choice(SKINS),
        hair=random_colour(rng, rng.uniform(0.04, 0.12), (0.3, 0.7), (0.08, 0.6)),
        shirt=random_colour(rng, shirt_hue, (0.5, 0.9), (0.55, 1)),
        second=random_colour(rng, shirt_hue + 0.5, (0, 0.5), (0.6, 1)),
        trousers=random_colour(rng, trouser_hue, (0.2, 0.8), (0.15, 0.7)),
        shoes=random_colour(rng, rng.random(), (0, 0.8), (0.1, 0.95)),
    )


@dataclass(frozen=True, eq=False)
class Part:
    """A tapered capsule in the world frame; with a `side` direction, its cross-section is an ellipse."""

    ends: np.ndarray
    radii: np.ndarray
    paint: Paint
    side: np.ndarray | None = None


def _plain(first: np.ndarray, second: np.ndarray, split: float) -> Paint:
    """One colour up to a share of the axis, then another."""
    return lambda share, normal: np.where((share < split)[:, None], first, second)


def _cloth(looks: Looks, begin: float, length: float, belt: float) -> Paint:
    """The shirt, striped, and the trousers below the belt.

    Args:
        looks: The clothes.
        begin: Where on the trunk the part starts, in body heights, for stripes that go on over two parts.
        length: The part's length, in body heights.
        belt: Where on the part the trousers start, as a share of its axis.
    """

    def paint(share: np.ndarray, normal: np.ndarray) -> np.ndarray:
        striped = ((begin + length * share) * looks.stripes % 1 > 0.5)[:, None]
        return np.where((share < belt)[:, None], np.where(striped, looks.second, looks.shirt), looks.trousers)

    return paint


def _face(looks: Looks, frame: np.ndarray) -> Paint:
    """Hair, eyes and mouth; the columns of `frame` are the head's left, up and forward."""

    def paint(share: np.ndarray, normal: np.ndarray) -> np.ndarray:
        left, up, forward = (normal @ frame).T
        hairy = (up > 0.6) | ((forward < 0.1) & (share > 0.1)) | ((up > 0.25) & (forward < 0.5))
        eye = (abs(abs(left) - 0.36) < 0.13) & (abs(share - 0.62) < 0.17) & (forward > 0)
        mouth = (abs(left) < 0.26) & (abs(share + 0.42) < 0.1) & (forward > 0)
        colour = np.where(hairy[:, None], looks.hair, looks.skin)
        colour = np.where((eye & ~hairy)[:, None], 0.12, colour)
        return np.where(mouth[:, None], looks.skin * [0.75, 0.4, 0.4], colour)

    return paint


def body_parts(looks: Looks, skeleton: Skeleton) -> list[Part]:
    """The capsules that are drawn for a person."""
    joints, up, girth = skeleton.joints, skeleton.chest[:, 1], looks.girth
    head, shoulders, hips = joints[0], joints[1:3].mean(0), joints[7:9].mean(0)
    waist, seat = 0.55 * hips + 0.45 * shoulders, hips + np.array([0, 0.02, 0])
    skull = looks.head * skeleton.head[:, 1]
    skin, shirt, hair, shoe = (
        _plain(colour, colour, 1) for colour in (looks.skin, looks.shirt, looks.hair, looks.shoes)
    )
    sleeves = [_plain(looks.shirt, looks.skin, looks.sleeve - joint) for joint in range(2)]
    trousers = [_plain(looks.trousers, looks.skin, looks.trouser - joint) for joint in range(2)]
    parts = []

    def add(
        start: np.ndarray, end: np.ndarray, radii: list[float], paint: Paint, side: np.ndarray | None = None
    ) -> None:
        parts.append(Part(np.array([start, end]), np.array(radii), paint, side))

    chest = shoulders - 0.083 * up
    lengths = np.linalg.norm([chest - waist, waist - seat], axis=1)
    jersey, waistband = _cloth(looks, 0, lengths[0], np.inf), _cloth(looks, lengths[0], lengths[1], 0.5)
    add(chest, waist, [0.1 * girth, 0.083 * girth], jersey, skeleton.chest[:, 0])
    add(waist, seat, [0.083 * girth, 0.09 * girth], waistband, skeleton.hips[:, 0])
    add(shoulders, head, [0.034 * girth, 0.03], skin)
    add(joints[1] - 0.006 * up, joints[2] - 0.006 * up, [0.036 * girth, 0.036 * girth], shirt)
    face = _face(looks, skeleton.head)
    add(head - 0.022 * skull, head + 0.02 * skull, [0.041 * looks.head, 0.05 * looks.head], face)
    if looks.long_hair:
        back = head - 0.03 * skeleton.head[:, 2]
        add(back + 0.025 * skull, back - 0.085 * skull, [0.046, 0.034], hair)
    for side, toe in enumerate(skeleton.toes):
        shoulder, elbow, wrist, hip, knee, ankle = joints[1 + side :: 2]
        hand = wrist + 0.05 * (wrist - elbow) / np.linalg.norm(wrist - elbow)
        sole = ankle - [0, 0.017, 0]
        add(shoulder, elbow, [0.038 * girth, 0.029 * girth], sleeves[0])
        add(elbow, wrist, [0.029 * girth, 0.02], sleeves[1])
        add(wrist, hand, [0.021, 0.019], skin)
        add(hip, knee, [0.057 * girth, 0.042 * girth], trousers[0])
        add(knee, ankle, [0.042 * girth, 0.028], trousers[1])
        add(sole - 0.012 * toe, sole + 0.095 * toe, [0.03, 0.024], shoe)
    return parts


def draw_part(
    part: Part, ends: np.ndarray, scale: float, light: np.ndarray, z_buffer: np.ndarray, image: np.ndarray
) -> None:
    """Draw one capsule into a buffer of depths (pixels) and shaded colours, where it is in front.

    The surface is the capsule's own where the axis is parallel to the image, and close to it elsewhere.

    Args:
        part: What to draw.
        ends: The part's ends in the buffer's pixels, with z.
        scale: The buffer's pixels per body height.
        light: Unit vector to the light: right, up, towards the viewer.
        z_buffer: Depths so far; changed.
        image: Colours so far; changed.
    """
    radii, bulge, shear = part.radii * scale, 1.0, 0.0
    if part.side is not None:  # the outline and the front of an upright elliptic cylinder
        across, towards = part.side[0], part.side[2]
        outline = np.sqrt(across**2 + (CHEST_DEPTH * towards) ** 2)
        bulge = CHEST_DEPTH / outline**2
        shear = (1 - CHEST_DEPTH**2) * across * towards / outline**2
        radii = radii * outline
    (x0, y0, z0), (x1, y1, z1) = ends
    reach = radii.max()
    left, top = np.floor(np.minimum(ends[0], ends[1])[:2] - reach).astype(int).clip(0)
    right, bottom = np.ceil(np.maximum(ends[0], ends[1])[:2] + reach).astype(int) + 1
    window = (slice(top, bottom), slice(left, right))
    z_part, image_part = z_buffer[window], image[window]
    y, x = (
        np.arange(left_or_top, left_or_top + count, dtype=np.float32)
        for left_or_top, count in zip((top, left), z_part.shape, strict=True)
    )
    x, y = x[None] - x0, y[:, None] - y0
    length2 = (x1 - x0) ** 2 + (y1 - y0) ** 2 + 1e-6
    along = (x * (x1 - x0) + y * (y1 - y0)) / length2
    share = along.clip(0, 1)
    radius = radii[0] + share * (radii[1] - radii[0])
    off_x, off_y = (x - share * (x1 - x0)) / radius, (y - share * (y1 - y0)) / radius
    rest = 1 - off_x**2 - off_y**2
    inside = np.nonzero(rest > 0)
    along, share, radius, off_x, off_y, rest = (
        values[inside] for values in (along, share, radius, off_x, off_y, rest)
    )
    rest = np.sqrt(rest)
    z = z0 + share * (z1 - z0) + radius * (bulge * rest + shear * off_x)
    front = z > z_part[inside]
    inside = tuple(index[front] for index in inside)
    along, off_x, off_y, rest = along[front], off_x[front], off_y[front], rest[front]
    normal = np.stack([bulge * off_x - shear * rest, -bulge * off_y, rest], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    shade = 0.5 + 0.62 * (normal @ light).clip(0)
    z_part[inside] = z[front]
    image_part[inside] = part.paint(along, normal) * shade[:, None]
