"""How the camera moved between two small grey frames, so that its motion is not taken for the subject's.

A view is a 3 x 3 matrix that maps (x, y, 1) of one frame to the place in another that shows the same thing.
It shifts, turns and scales; what a camera that travels sees shift more in the foreground is not modelled.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray

from dkpvid.shapes import Float

STILL_PIXELS = 0.1
"""A camera stands still when half of the textured cells move less."""
CELL = 8
"""Side of a cell, in pixels."""
TEXTURE = 4.0
"""Mean steepness, in grey levels, of a cell whose motion can be told."""
LEAST_EXTENT = 0.75
"""Share of the picture's width or height over which there must be such cells. Before a plain wall nobody can
tell a moving subject from a moving camera, which is then taken to stand still."""
MOST_DIFFERENCE = 20.0
"""Grey levels beyond which it does not matter how badly two pixels fit."""
ROUNDS = 8
"""Gauss-Newton steps, at half and at full resolution."""


def camera_motion(
    before: Float[ndarray, "row column"], now: Float[ndarray, "row column"]
) -> Float[ndarray, "3 3"]:
    """The view that maps places in the later frame to the earlier one; the identity for a camera at rest.

    The first guess is a shift, by phase correlation (Kuglin and Hines 1975). It is refined by Gauss-Newton on
    the difference of grey values, in which pixels that fit badly lose their weight: they are the subject's.
    """
    before, now = _blurred(before), _blurred(now)
    change, steep = _cell_means(np.abs(now - before)), _cell_means(steepness(now))
    has_texture = steep > TEXTURE
    cells = np.argwhere(has_texture)
    if not len(cells) or (np.ptp(cells, axis=0) + 1 < LEAST_EXTENT * np.array(has_texture.shape)).all():
        return np.eye(3)
    shift = np.eye(3)
    shift[:2, 2] = _shift(before, now)
    # Change over steepness is about how far a cell has moved. Stripes that move lengthwise do not change.
    if np.median(change[has_texture] / steep[has_texture]) < STILL_PIXELS and not shift[:2, 2].any():
        return np.eye(3)
    view = min(np.eye(3), shift, key=lambda guess: _misfit(before, now, guess))
    half = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])  # from pixel centre to pixel centre
    view = half @ view @ np.linalg.inv(half)
    view = np.linalg.inv(half) @ _refined(_halved(before), _halved(now), view) @ half
    view = _refined(before, now, view)
    return min(np.eye(3), view, key=lambda guess: _misfit(before, now, guess))


def warped(grey: Float[ndarray, "row column"], view: Float[ndarray, "3 3"]) -> Float[ndarray, "row column"]:
    """What another frame shows at `view` of each pixel, bilinearly; NaN where it shows nothing."""
    if np.array_equal(view, np.eye(3)):
        return grey
    rows, columns = grey.shape
    x, y = np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32)[:, None]
    a = view.astype(np.float32)
    u, v = a[0, 0] * x + a[0, 1] * y + a[0, 2], a[1, 0] * x + a[1, 1] * y + a[1, 2]
    is_outside = (u < 0) | (u > columns - 1) | (v < 0) | (v > rows - 1)
    left = np.clip(u.astype(np.intp), 0, max(columns - 2, 0))
    top = np.clip(v.astype(np.intp), 0, max(rows - 2, 0))
    across, down = u - left, v - top
    flat, at = grey.ravel(), top * columns + left
    right, below = min(1, columns - 1), columns * min(1, rows - 1)
    upper = flat[at] + across * (flat[at + right] - flat[at])
    lower = flat[at + below] + across * (flat[at + below + right] - flat[at + below])
    result: ndarray = upper + down * (lower - upper)
    result[is_outside] = np.nan
    return result


def moved(view: Float[ndarray, "3 3"], places: Float[ndarray, "*place 2"]) -> Float[ndarray, "*place 2"]:
    """Where a view maps (x, y)."""
    mapped: ndarray = places @ view[:2, :2].T + view[:2, 2]
    return mapped


def scale(view: Float[ndarray, "3 3"]) -> float:
    """By how much a view magnifies."""
    return float(np.sqrt(abs(np.linalg.det(view[:2, :2]))))


@dataclass(frozen=True, eq=False)
class Box:
    """A rectangle in pixels of a frame."""

    low: Float[ndarray, "2"]
    """(x, y)."""
    high: Float[ndarray, "2"]
    subject: int = 0
    """Changes when another thing is followed."""

    @property
    def centre(self) -> Float[ndarray, "2"]:
        """(x, y)."""
        return np.asarray((self.low + self.high) / 2)

    @property
    def size(self) -> Float[ndarray, "2"]:
        """(width, height)."""
        return np.asarray(self.high - self.low)

    def grown(self, share: float) -> "Box":
        """Larger on all sides, by a share of the longer one."""
        margin = share * self.size.max()
        return replace(self, low=self.low - margin, high=self.high + margin)

    def holding(self, other: "Box") -> "Box":
        """Shifted as little as it takes to hold another box, or to be in the middle of a larger one."""
        slack = np.maximum(self.size - other.size, 0) / 2
        shift = np.clip(self.centre, other.centre - slack, other.centre + slack) - self.centre
        return replace(self, low=self.low + shift, high=self.high + shift)

    def seen_by(self, view: Float[ndarray, "3 3"]) -> "Box":
        """The box where a view maps its centre, scaled as the view scales."""
        centre, half = moved(view, self.centre), scale(view) * self.size / 2
        return replace(self, low=centre - half, high=centre + half)


def steepness(grey: Float[ndarray, "row column"]) -> Float[ndarray, "row column"]:
    """Largest difference to a pixel beside, above or below."""
    steep = np.zeros_like(grey)
    along, down = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0))
    for part, change in (
        (steep[:, 1:], along),
        (steep[:, :-1], along),
        (steep[1:], down),
        (steep[:-1], down),
    ):
        np.maximum(part, change, out=part)
    return steep


def _shift(before: ndarray, now: ndarray) -> Float[ndarray, "2"]:
    """(x, y) of the shift at which the two correlate best, in whole pixels."""
    rows, columns = now.shape
    taper = np.hanning(rows + 2)[1:-1, None] * np.hanning(columns + 2)[1:-1]
    first, second = (np.fft.rfft2((grey - grey.mean()) * taper) for grey in (before, now))
    spectrum = first * second.conj()
    correlation = np.fft.irfft2(spectrum / np.maximum(np.abs(spectrum), 1e-9), s=now.shape)
    y, x = np.unravel_index(np.argmax(correlation), correlation.shape)
    return np.array([x - columns * (x > columns / 2), y - rows * (y > rows / 2)], dtype=float)


def _refined(before: ndarray, now: ndarray, view: ndarray) -> Float[ndarray, "3 3"]:
    rows, columns = now.shape
    x, y = np.arange(columns) - (columns - 1) / 2, np.arange(rows)[:, None] - (rows - 1) / 2
    reach = max(rows, columns) / 2
    for _ in range(ROUNDS):
        seen = warped(before, view)
        known = np.isfinite(seen)
        difference = np.where(known, seen - now, 0)
        down, across = np.gradient(np.where(known, seen, now))
        spread = max(1.0, 1.5 * float(np.median(np.abs(difference[known])))) if known.any() else 1.0
        weight = known / (1 + (difference / spread) ** 2) ** 2
        # A shift, a turn and a change of scale about the middle of the frame, all in pixels at its border.
        slopes = np.stack([across, down, (across * x + down * y) / reach, (down * x - across * y) / reach])
        slopes = slopes.reshape(4, -1)
        weighted = slopes * weight.ravel()
        normal = weighted @ slopes.T
        damping = 1e-3 * np.trace(normal) + 1e-6
        dx, dy, zoom, turn = -np.linalg.solve(normal + damping * np.eye(4), weighted @ difference.ravel())
        about = np.array([[1, 0, -(columns - 1) / 2], [0, 1, -(rows - 1) / 2], [0, 0, 1]])
        zoom, turn = zoom / reach, turn / reach
        step = np.array([[1 + zoom, -turn, dx], [turn, 1 + zoom, dy], [0, 0, 1]])
        view = view @ np.linalg.inv(about) @ step @ about
        if max(abs(dx), abs(dy), abs(zoom * reach), abs(turn * reach)) < 0.01:
            break
    return view


def _misfit(before: ndarray, now: ndarray, view: ndarray) -> float:
    """Mean difference in grey levels, in which the subject counts no more than a certain amount."""
    difference = np.abs(warped(before, view) - now)
    known = difference[np.isfinite(difference)]
    return float(np.minimum(known, MOST_DIFFERENCE).mean()) if len(known) else np.inf


def _cell_means(grey: ndarray) -> ndarray:
    rows, columns = grey.shape[0] // CELL, grey.shape[1] // CELL
    cells = grey[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL)
    return np.asarray(cells.mean(axis=(1, 3)))


def _blurred(grey: ndarray) -> ndarray:
    """Without the detail that sampling has bent, and that would draw every shift to whole pixels."""
    for axis in (0, 1):
        padded = np.pad(grey, [(2 * (axis == 0),) * 2, (2 * (axis == 1),) * 2], mode="edge")
        length = grey.shape[axis]
        parts = [np.take(padded, range(start, start + length), axis) for start in range(5)]
        grey = (parts[0] + parts[4] + 4 * (parts[1] + parts[3]) + 6 * parts[2]) / 16
    return grey


def _halved(grey: ndarray) -> ndarray:
    """Half the size: means of 2 x 2 pixels."""
    rows, columns = grey.shape[0] // 2, grey.shape[1] // 2
    return np.asarray(grey[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).mean(axis=(1, 3)))
