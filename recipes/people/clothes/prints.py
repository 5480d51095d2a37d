"""What is printed or sewn on cloth: logos, bands, seams with clasps. They paint into the picture they get."""

import numpy as np
from numpy import ndarray
from numpy.random import Generator


def print_logo(rng: Generator, cloth: ndarray, colours: ndarray) -> None:
    """A block, disc, writing or spots on the chest, by chance on the back too, or a band round the body."""
    size = len(cloth)
    width, height = (np.array([rng.uniform(0.1, 0.3), rng.uniform(0.05, 0.3)]) * size).astype(int)
    first_row = int(rng.uniform(0.2, 0.5) * size)
    style = rng.choice(["block", "disc", "writing", "spots", "band"])
    if style == "band":
        cloth[first_row : first_row + height // 2] = colours[1]
        return
    y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None] - 0.5
    mark = np.ones((height, width), int)
    if style == "disc":
        mark = 1 * (x * x + y * y < 0.25)
    elif style == "writing":
        lines = np.floor(y * rng.integers(2, 7) * 2) % 2 == 0
        mark = 1 * (lines & (rng.random(width)[None] < 0.7))
    elif style == "spots":
        mark = 1 + (
            np.kron(rng.random((8, 8)), np.ones((height // 8 + 1, width // 8 + 1)))[:height, :width] > 0.5
        )
    for centre in (0, size // 2) if rng.random() < 0.5 else (0,):
        at = np.ix_((np.arange(height) + first_row) % size, (np.arange(width) - width // 2 + centre) % size)
        cloth[at] = np.where((mark > 0)[..., None], colours[np.maximum(mark, 1)], cloth[at])


def print_seam(rng: Generator, cloth: ndarray, colours: ndarray, u: ndarray, v: ndarray) -> None:
    """A border down the front, with clasps across it."""
    away = np.minimum(u, 1 - u)
    cloth[away < rng.uniform(0.004, 0.03)] = colours[1]
    clasps = (away < rng.uniform(0.03, 0.06)) & (v * rng.integers(8, 13) % 1 < 0.2)
    cloth[clasps] = colours[1 if rng.random() < 0.7 else 2]
