"""Figures with painted spots, and a detector that finds these: a follower is tested with them in moments."""

from collections.abc import Sequence

import numpy as np
from numpy import ndarray

from dkpvid.structures import Frame

WIDTH, HEIGHT = 480, 270
SIZE = 48
"""Side of the pictures that the detector sees."""
COLOURS = np.array([(250, 30, 30), (30, 250, 30), (30, 30, 250), (250, 250, 30)], dtype=float)
SPOTS = np.array([(0.0, -0.5), (-0.25, 0.0), (0.25, 0.0), (0.0, 0.5)])
"""Of a figure, in its heights from its middle: as tall as the outermost are apart."""


def painted(places: Sequence[tuple[float, float, float]], index: int, ground: int = 110) -> Frame:
    """A grey frame with figures, each (x, y, height)."""
    image = np.full((HEIGHT, WIDTH, 3), ground, np.uint8)
    image[::2] += 20
    for x, y, height in places:
        radius = 0.07 * height
        for (dx, dy), colour in zip(SPOTS, COLOURS, strict=True):
            left, right = np.rint(x + dx * height + [-radius, radius]).astype(int).clip(0, WIDTH)
            top, bottom = np.rint(y + dy * height + [-radius, radius]).astype(int).clip(0, HEIGHT)
            image[top:bottom, left:right] = colour
    return Frame(image, index, index / 25)


class SpotFinder:
    """One point a colour. Its heatmap is where that colour is, and the whole picture where there is none."""

    def __init__(self) -> None:
        self.looks: list[int] = []
        """Pictures in each call."""

    def __call__(self, images: ndarray) -> tuple[ndarray, ndarray]:
        """See `dkpvid.tracking.looks.Finder`."""
        self.looks.append(len(images))
        away = np.linalg.norm(images[:, None] - COLOURS[:, None, None], axis=4)
        heat = np.maximum(0, 1 - away / 150) + 1e-4
        heat /= heat.sum(axis=(2, 3), keepdims=True)
        grid = np.linspace(-1, 1, images.shape[1])
        x, y = (heat.sum(axis=2) * grid).sum(axis=2), (heat.sum(axis=3) * grid).sum(axis=2)
        dx, dy = grid - x[..., None], grid - y[..., None]
        xx, yy = (heat.sum(axis=2) * dx**2).sum(axis=2), (heat.sum(axis=3) * dy**2).sum(axis=2)
        xy = np.einsum("bkrc,bkc,bkr->bk", heat, dx, dy)
        return np.stack([x, y], axis=2), np.stack([xx, xy, yy], axis=2)
