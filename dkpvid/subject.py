"""Where the subject is: what moves against the background, once the camera's own motion is taken out.

Everything happens on small grey frames (see `reduce`), one at a time and in order. Two pictures of the
background say what is foreground: the median of a few frames around, which shows what moves just now and
knows no ghosts; and a slow running average, which shows the whole body of somebody who moves an arm only.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from PIL import Image

from dkpvid.shapes import Bool, Float, UInt8

SMALL_SIDE = 160
"""Longer side of a small frame is this many pixels, to twice as many."""
AHEAD = (3, 6)
"""Later frames that motion is told from; there must be as many before a frame's turn comes."""
PAST_SECONDS = (0.17, 0.33, 0.5)
"""How long ago the earlier frames were."""

LEAST_DIFFERENCE = 8.0
"""Grey levels by which a moving pixel differs at least from the background."""
ABSORB_SECONDS = 0.7
"""Time in which the background takes up what differs from it and does not move (a moved chair; the place that
somebody left)."""
FORGET_SECONDS = 60.0
"""The same for what lies in the subject's box: who stands still stays in view."""
RELEASE_SECONDS = 3.0
"""A subject that has not moved for as long is given up for another that does."""


def reduce(image: UInt8[ndarray, "height width 3"]) -> tuple[Float[ndarray, "row column"], int]:
    """A small grey frame, and how many pixels of the frame each of its pixels is wide and high."""
    factor = max(1, max(image.shape[:2]) // SMALL_SIDE)
    grey = Image.fromarray(image).convert("L").reduce(factor)
    return np.asarray(grey, dtype=np.float32), factor


@dataclass(frozen=True, eq=False)
class Box:
    """A rectangle in pixels of the first small frame, as if the camera had seen the whole scene then."""

    low: Float[ndarray, "2"]
    """(x, y)."""
    high: Float[ndarray, "2"]

    def grown(self, share: float) -> "Box":
        """Larger on all sides, by a share of the longer one."""
        margin = share * (self.high - self.low).max()
        return Box(self.low - margin, self.high + margin)


@dataclass(frozen=True, eq=False)
class _Small:
    grey: Float[ndarray, "row column"]
    time_seconds: float
    offset: Float[ndarray, "2"]
    """Where its top-left pixel is in the first frame's coordinates, (x, y)."""


class SubjectFinder:
    """Finds the subject's box in frame after frame. `push` runs ahead of `find` by `AHEAD[-1]` frames."""

    def __init__(self) -> None:
        self._frames: deque[_Small] = deque()
        self._turn = 0
        self._background: ndarray | None = None
        self._offset = np.zeros(2)
        self._box: Box | None = None
        self._still_seconds = 0.0
        self._time = 0.0

    def push(self, grey: Float[ndarray, "row column"], time_seconds: float) -> ndarray:
        """Take the next frame; returns the place of its top-left pixel in the first frame's coordinates."""
        offset = np.zeros(2)
        if self._frames:
            last = self._frames[-1]
            offset = last.offset + camera_shift(last.grey, grey)
        self._frames.append(_Small(grey, time_seconds, offset))
        return offset

    def find(self) -> Box | None:
        """The subject's box in the next frame; None when it does not move there, or nothing does."""
        now = self._frames[self._turn]
        moving, noise = self._moving(now)
        background = self._aligned_background(now)
        difference = np.abs(now.grey - background)
        is_foreground = moving | (difference > noise)
        step = max(now.time_seconds - self._time, 0.0) if self._turn else 0.0
        self._time = now.time_seconds
        subject = self._choose(is_foreground, moving, now, step)
        self._learn(now, background, is_foreground, moving, step)
        self._advance()
        return subject

    def _moving(self, now: _Small) -> tuple[Bool[ndarray, "row column"], ndarray]:
        """Which pixels differ from the median of the frames around, and the difference that it takes."""
        others = [
            self._frames[self._turn + ahead] for ahead in AHEAD if self._turn + ahead < len(self._frames)
        ]
        past = list(self._frames)[: self._turn]
        for seconds in PAST_SECONDS:
            earlier = [frame for frame in past if frame.time_seconds <= now.time_seconds - seconds + 1e-6]
            others += earlier[-1:]
        if not others and past:
            others = past[-1:]
        if not others:
            return np.zeros(now.grey.shape, bool), np.full_like(now.grey, LEAST_DIFFERENCE)
        seen = [shifted(other.grey, now.offset - other.offset) for other in others]
        difference = np.abs(
            now.grey - np.nanmedian([np.where(np.isnan(s), now.grey, s) for s in seen], axis=0)
        )
        # Half a pixel of misalignment, when the camera moves, shows wherever the picture has edges.
        is_panning = any(np.abs(now.offset - other.offset).max() > 0.05 for other in others)
        noise = np.full_like(now.grey, max(LEAST_DIFFERENCE, 5 * float(np.median(difference))))
        if is_panning:
            noise = noise + steepness(now.grey)
        return difference > noise, noise

    def _aligned_background(self, now: _Small) -> ndarray:
        if self._background is None:
            return now.grey.copy()
        moved = shifted(self._background, now.offset - self._offset)
        return np.where(np.isnan(moved), now.grey, moved)

    def _choose(self, is_foreground: ndarray, moving: ndarray, now: _Small, step: float) -> Box | None:
        from scipy import ndimage  # half a second: only when it is used

        near = ndimage.maximum_filter(is_foreground, 3)
        label, count = ndimage.label(near, np.ones((3, 3)))
        if self._box is not None:
            self._still_seconds += step
        if not count:
            return None
        inside = label[is_foreground]
        numbers = np.arange(1, count + 1)
        motion = np.bincount(label[moving], minlength=count + 1)[1:].astype(float)
        size = np.bincount(inside, minlength=count + 1)[1:]
        alive = motion >= np.maximum(4, 0.05 * size)
        slices = ndimage.find_objects(label)
        low = np.array([[s[1].start, s[0].start] for s in slices]) + now.offset
        high = np.array([[s[1].stop, s[0].stop] for s in slices]) + now.offset
        if self._box is not None and self._still_seconds < RELEASE_SECONDS:
            reach = self._box.grown(0.3)
            centre = (self._box.low + self._box.high) / 2
            gap = np.maximum(np.maximum(reach.low - high, low - reach.high), 0).max(axis=1)
            alive &= gap <= 0
            distance = np.linalg.norm((low + high) / 2 - centre, axis=1)
            motion *= np.exp(-0.5 * (distance / (self._box.high - self._box.low).max()) ** 2)
        if not alive.any():
            return None
        best = int(np.argmax(np.where(alive, motion, -1)))
        body = Box(low[best], high[best]).grown(0.25)
        belongs = alive & (low < body.high).all(axis=1) & (high > body.low).all(axis=1)
        rows, columns = np.nonzero(is_foreground & np.isin(label, numbers[belongs]))
        points = np.stack([columns, rows], axis=1) + now.offset
        box = Box(np.percentile(points, 1, axis=0), np.percentile(points, 99, axis=0) + 1)
        self._box, self._still_seconds = box, 0.0
        return box

    def _learn(
        self, now: _Small, background: ndarray, is_foreground: ndarray, moving: ndarray, step: float
    ) -> None:
        rate = np.where(is_foreground, _rate(step, ABSORB_SECONDS), _rate(step, ABSORB_SECONDS / 2))
        rate[moving] = _rate(step, FORGET_SECONDS)
        if self._box is not None:
            box = self._box.grown(0.1)
            (left, top), (right, bottom) = (
                np.rint(corner - now.offset).astype(int).clip(0) for corner in (box.low, box.high)
            )
            inside = np.zeros_like(moving)
            inside[top:bottom, left:right] = True
            rate[inside & is_foreground] = _rate(step, FORGET_SECONDS)
        self._background = background + rate * (now.grey - background)
        self._offset = now.offset

    def _advance(self) -> None:
        self._turn += 1
        oldest = self._time - PAST_SECONDS[-1]
        # One frame beyond the oldest that is asked for.
        while self._turn > 1 and self._frames[1].time_seconds <= oldest:
            self._frames.popleft()
            self._turn -= 1


def _rate(step: float, seconds: float) -> float:
    return float(1 - np.exp(-step / seconds))


def steepness(grey: ndarray) -> ndarray:
    """Largest difference to a neighbouring pixel."""
    along = np.abs(np.diff(grey, axis=1))
    down = np.abs(np.diff(grey, axis=0))
    steep = np.zeros_like(grey)
    for part, change in (
        (steep[:, 1:], along),
        (steep[:, :-1], along),
        (steep[1:], down),
        (steep[:-1], down),
    ):
        np.maximum(part, change, out=part)
    return steep


def shifted(grey: ndarray, shift: Float[ndarray, "2"]) -> ndarray:
    """The picture seen from a place further by (x, y) pixels; NaN where it shows nothing."""
    if not shift.any():
        return grey
    rows, columns = grey.shape
    x, y = np.arange(columns) + shift[0], np.arange(rows) + shift[1]
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    across, down = (x - left).astype(np.float32), (y - top).astype(np.float32)[:, None]
    is_inside = ((x >= 0) & (x <= columns - 1))[None] & ((y >= 0) & (y <= rows - 1))[:, None]
    left0, left1 = left.clip(0, columns - 1), (left + 1).clip(0, columns - 1)
    top0, top1 = top.clip(0, rows - 1), (top + 1).clip(0, rows - 1)
    upper = grey[top0][:, left0] * (1 - across) + grey[top0][:, left1] * across
    lower = grey[top1][:, left0] * (1 - across) + grey[top1][:, left1] * across
    return np.where(is_inside, upper * (1 - down) + lower * down, np.float32(np.nan))


def camera_shift(before: ndarray, now: ndarray) -> Float[ndarray, "2"]:
    """How far the camera's view moved between two frames, (x, y) in pixels; 0 unless most of it did."""
    start = _cell_motion(before, now)
    if start is None or start < 0.1:
        return np.zeros(2)
    rows, columns = now.shape
    taper = np.hanning(rows + 2)[1:-1, None] * np.hanning(columns + 2)[1:-1]
    spectrum = np.fft.rfft2((before - before.mean()) * taper) * np.conj(
        np.fft.rfft2((now - now.mean()) * taper)
    )
    correlation = np.fft.irfft2(spectrum / np.maximum(np.abs(spectrum), 1e-9), s=now.shape)
    row, column = np.unravel_index(np.argmax(correlation), correlation.shape)
    y = row + _vertex(correlation[[row - 1, row, (row + 1) % rows], column])
    x = column + _vertex(correlation[row, [column - 1, column, (column + 1) % columns]])
    found = np.array([x - columns * (x > columns / 2), y - rows * (y > rows / 2)])
    seen = shifted(before, found)
    end = _cell_motion(np.where(np.isnan(seen), now, seen), now)
    return found if end is not None and end < start else np.zeros(2)


def _vertex(values: ndarray) -> float:
    """Where the parabola through three values at -1, 0, 1 is highest."""
    bend = values[0] - 2 * values[1] + values[2]
    return 0.0 if bend >= 0 else float(np.clip(0.5 * (values[0] - values[2]) / bend, -0.5, 0.5))


def _cell_motion(before: ndarray, now: ndarray, cell: int = 8) -> float | None:
    """By how many pixels the median cell with any texture has moved; None when few cells have."""
    rows, columns = now.shape[0] // cell * cell, now.shape[1] // cell * cell
    if not rows or not columns:
        return None

    def mean(values: ndarray) -> ndarray:
        parts = values[:rows, :columns].reshape(rows // cell, cell, columns // cell, cell)
        return np.asarray(parts.mean(axis=(1, 3)))

    gradient, change = mean(steepness(now)), mean(np.abs(now - before))
    has_texture = gradient > 4
    if has_texture.mean() < 0.2:
        return None
    return float(np.median((change / np.maximum(gradient, 1))[has_texture]))
