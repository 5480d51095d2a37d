"""Structured, static backgrounds for rendered people: a patterned wall, a floor, and what stands there."""

import colorsys

import numpy as np


def random_colour(
    rng: np.random.Generator, hue: float, saturation: tuple[float, float], value: tuple[float, float]
) -> np.ndarray:
    """RGB in [0, 1] of a hue (wraps at 1), with saturation and value drawn from ranges."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, rng.uniform(*saturation), rng.uniform(*value)))


def _wall_pattern(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where the wall has its second colour, 0 to 1; x and y in body heights from the wall's foot."""
    period = rng.uniform(0.12, 0.4)
    kind = rng.choice(["vertical", "horizontal", "diagonal", "bricks", "checks", "panels", "plain"])
    if kind == "bricks":
        row = np.floor(y / (0.35 * period))
        joint = np.minimum((x / period + 0.5 * row) % 1 * period, y % (0.35 * period))
        return (joint < 0.05 * period) * 1.0
    if kind == "panels":
        return ((x % (2 * period) < 0.08 * period) | ((y > 0.35) & (y < 0.37))) * 1.0
    if kind == "checks":
        return (((x // period) + (y // period)) % 2) * 1.0
    if kind == "plain":
        return 0 * x + np.clip(y, 0, 1)
    along = {"vertical": x + 0 * y, "horizontal": y + 0 * x, "diagonal": 0.7 * (x + y)}[kind]
    return (along % period < rng.uniform(0.25, 0.6) * period) * 1.0


def draw_background(
    rng: np.random.Generator,
    size: tuple[int, int],
    floor_rows: tuple[float, float],
    body_pixels: float,
    wall: float,
    shirt: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw an empty room.

    Args:
        rng: Draws the room.
        size: Height and width in pixels.
        floor_rows: The rows where the floor meets the wall, and where z = 0 is on the floor.
        body_pixels: Pixels per body height.
        wall: Distance of the wall behind z = 0, in body heights.
        shirt: Colour of the person's shirt; the wall's hue is another.

    Returns:
        The image (RGB in [0, 1]), and z per pixel in body heights (0 at the second of floor_rows).
    """
    height, width = size
    corner, ground = floor_rows
    # Twice the resolution, averaged at the end, smooths the edges; -0.25 and 0.25 are subpixel centres.
    rows = (np.arange(2 * height)[:, None] - 0.5) / 2
    columns = (np.arange(2 * width)[None] - 0.5) / 2
    # In body heights, from the middle and from the floor's far end.
    x, y = (columns - width / 2) / body_pixels, (corner - rows) / body_pixels
    hue = colorsys.rgb_to_hsv(*shirt)[0] + rng.uniform(0.2, 0.8)
    wall_colour = random_colour(rng, hue, (0.06, 0.35), (0.5, 0.92))
    other = wall_colour * rng.uniform(0.72, 0.9) if rng.random() < 0.5 else 0.75 * wall_colour + 0.25
    image = wall_colour + _wall_pattern(rng, x, y)[..., None] * (other - wall_colour)
    depth = np.full((2 * height, 2 * width), -wall)

    def box(left: float, bottom: float, right: float, top: float, colour: np.ndarray, z: float) -> None:
        inside = ((x >= left) & (x < right)) & ((y >= bottom) & (y < top))
        image[inside], depth[inside] = colour, z

    edge = width / 2 / body_pixels

    def places(count: int) -> list[tuple[float, float]]:
        """Left ends and widths (at most 0.5) of places side by side, so that things do not overlap."""
        room = 2 * edge / max(count, 1)
        wide = min(room, 0.5)
        return [(-edge + room * place + rng.uniform(0, room - wide), wide) for place in range(count)]

    for left, room in places(int(rng.integers(1, 2 + int(2 * edge)))):  # posters and windows
        bottom, wide, tall = rng.uniform(0.35, 0.75), room * rng.uniform(0.4, 0.9), rng.uniform(0.2, 0.45)
        frame, inner = (
            random_colour(rng, hue + 0.1, (0, 0.4), (0.15, 1)),
            random_colour(rng, rng.random(), (0.1, 0.5), (0.5, 1)),
        )
        box(left, bottom, left + wide, bottom + tall, frame, -wall)
        panes = rng.integers(1, 3)
        for column in range(panes):
            for row in range(panes):
                pane = (
                    left + 0.02 + column * (wide - 0.02) / panes,
                    bottom + 0.02 + row * (tall - 0.02) / panes,
                )
                box(
                    *pane,
                    pane[0] + (wide - 0.02) / panes - 0.02,
                    pane[1] + (tall - 0.02) / panes - 0.02,
                    inner,
                    -wall,
                )
    box(-9, -0.01, 9, 0.04, 0.6 * other, -wall)  # skirting board

    depth = np.where(y < 0, wall * ((rows - corner) / (ground - corner) - 1), depth)
    floor_colour = random_colour(rng, rng.choice([hue, rng.uniform(0.05, 0.11)]), (0.1, 0.5), (0.35, 0.75))
    # The boards run to a vanishing point although the projection has none: it reads better.
    fan = x / (0.9 - np.minimum(y, 0)) / rng.uniform(0.12, 0.3)
    across = np.log1p(3 * np.maximum(-y, 0)) / rng.uniform(0.1, 0.3)
    kind = rng.integers(3)
    boards = [fan % 1 < 0.07, (fan // 1 + across // 1) % 2 == 1, (fan // 1) % 3 == 1][kind]
    floor = floor_colour * (1 - rng.uniform(0.08, 0.2) * boards[..., None])
    image = np.where((y < 0)[..., None], floor, image)
    for left, room in places(int(rng.integers(0, 2 + int(1.5 * edge)))):  # cupboards and posts by the wall
        wide, tall = room * rng.uniform(0.2, 0.9), rng.uniform(0.25, 0.8)
        foot = -rng.uniform(0.01, 0.3) * (ground - corner) / body_pixels
        z = wall * (-foot * body_pixels / (ground - corner) - 1)
        colour = random_colour(rng, hue + rng.uniform(-0.3, 0.3), (0.1, 0.5), (0.25, 0.75))
        box(left, foot, left + wide, foot + tall, colour, z)
        box(left - 0.01, foot + tall - 0.02, left + wide + 0.01, foot + tall, 0.7 * colour, z)
        for shelf in range(1, rng.integers(1, 5)):
            middle = foot + tall * shelf / 5
            box(left + 0.02, middle, left + wide - 0.02, middle + 0.012, 0.6 * colour, z)
    glow = np.exp(-((x - rng.uniform(-edge, edge)) ** 2 + (y - rng.uniform(0.4, 1)) ** 2) / 1.5)
    image *= (0.78 + 0.27 * glow)[..., None]
    quarters = image.clip(0, 1).reshape(height, 2, width, 2, 3)
    return quarters.mean((1, 3)), depth.reshape(height, 2, width, 2).max((1, 3))


def floor_light(size: tuple[int, int], feet_and_hips: np.ndarray, body_pixels: float) -> np.ndarray:
    """How much light each pixel gets, 0 to 1: a person's soft shadow on the floor.

    Args:
        size: Height and width in pixels.
        feet_and_hips: (x, y) in pixels of the points on the floor below both ankles and the hips.
        body_pixels: Pixels per body height.
    """
    height, width = size
    light = np.ones(size, np.float32)
    for (x, y), reach, strength in zip(feet_and_hips, (0.07, 0.07, 0.17), (0.4, 0.4, 0.3), strict=True):
        across = np.exp(-(((np.arange(width) - x) / (reach * body_pixels)) ** 2))
        down = np.exp(-(((np.arange(height) - y) / (0.4 * reach * body_pixels)) ** 2))
        light *= 1 - strength * np.outer(down, across).astype(np.float32)
    return light
