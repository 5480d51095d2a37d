"""Follow a subject that is small in its frame with a smooth square window.

The window is placed around what moves (`dkpvid.subject`) such that the body takes up three quarters of its
side. Its place is averaged over the frames before and after, of which some are held back for that; its size
follows growth at once and shrinks slowly. While nothing moves it stays; until anything does it is the whole
frame. It is shifted into the frame where it fits, and reaches beyond it where the subject is taller than the
frame is wide: the picture is never distorted. Equal frames give equal windows, however they are batched.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray

from dkpvid.coordinates import Region
from dkpvid.shapes import Float
from dkpvid.structures import Frame
from dkpvid.subject import AHEAD, Box, SubjectFinder, reduce

PATH_AHEAD = 10
"""Later frames that the window's place is averaged over, and as many earlier ones."""
PATH_STD = 4.0
"""Standard deviation of that average's weights, in frames."""
LOOKAHEAD = AHEAD[-1] + PATH_AHEAD
"""Frames held back, at most."""
BODY_SHARE = 0.75
"""Share of the window's side that the subject takes up."""
SIZE_SECONDS = 3.0
"""For how long a subject is taken to be as large as it was seen."""
SIZE_QUANTILE = 0.85
LEAST_SIDE = 0.08
"""Shortest side of a window, as a share of the frame's longer side."""


@dataclass(frozen=True, eq=False)
class _Place:
    """The subject in one frame, in small pixels of the scene."""

    time_seconds: float
    centre: Float[ndarray, "2"]
    side: float


def follow(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Give each frame the region to look at, holding back `LOOKAHEAD` frames.

    Args:
        frames: Upright frames of one size, in order.

    Yields:
        The same frames, with their `region`.
    """
    held: deque[tuple[Frame, ndarray]] = deque()
    finder, path, factor = SubjectFinder(), _Path(), 1
    num_unplaced = 0
    for frame in frames:
        grey, factor = reduce(frame.image)
        held.append((frame, finder.push(grey, frame.time_seconds)))
        del frame
        num_unplaced += 1
        if num_unplaced > AHEAD[-1]:
            path.add(held[-num_unplaced][0].time_seconds, finder.find())
            num_unplaced -= 1
        if len(held) > LOOKAHEAD:
            yield _placed(*held.popleft(), path, factor)
    while num_unplaced:
        path.add(held[-num_unplaced][0].time_seconds, finder.find())
        num_unplaced -= 1
    while held:
        yield _placed(*held.popleft(), path, factor)


def _placed(frame: Frame, offset: ndarray, path: "_Path", factor: int) -> Frame:
    width, height = frame.size
    place = path.next()
    if place is None:
        return replace(frame, region=Region(0, 0, width, height))
    # A small pixel's edges are the edges of the pixels that it is made of.
    side = place.side * factor / BODY_SHARE
    return replace(frame, region=square(tuple((place.centre - offset) * factor), side, width, height))


def square(centre: tuple[float, float], side: float, width: int, height: int) -> Region:
    """A square about a place, shifted into the frame on each axis on which it fits, centred on the others.

    >>> square((10.0, 300.0), 100.0, 640, 360)
    Region(x=0, y=250, width=100, height=100)
    >>> square((200.0, 180.0), 400.0, 640, 360)
    Region(x=0, y=-20, width=400, height=400)
    """
    whole = round(np.clip(side, max(8.0, LEAST_SIDE * max(width, height)), max(width, height)))
    low = []
    for middle, length in zip(centre, (width, height), strict=True):
        fits = whole <= length
        low.append(round(np.clip(middle - whole / 2, 0, length - whole)) if fits else (length - whole) // 2)
    return Region(low[0], low[1], whole, whole)


class _Path:
    """The window's place in frame after frame, averaged over the frames around."""

    def __init__(self) -> None:
        self._places: deque[_Place | None] = deque()
        self._sizes: deque[tuple[float, float]] = deque()
        self._turn = 0

    def add(self, time_seconds: float, box: Box | None) -> None:
        """Take the next frame's box; None = where it was before."""
        last = self._places[-1] if self._places else None
        if box is not None:
            self._sizes.append((time_seconds, float((box.high - box.low).max())))
            while self._sizes[0][0] < time_seconds - SIZE_SECONDS:
                self._sizes.popleft()
            side = float(np.quantile([size for _, size in self._sizes], SIZE_QUANTILE))
            last = _Place(time_seconds, (box.low + box.high) / 2, side)
        self._places.append(last)

    def next(self) -> _Place | None:
        """The next frame's; None when nothing has moved by then, nor will soon."""
        around = [
            (number - self._turn, place)
            for number, place in enumerate(self._places)
            if abs(number - self._turn) <= PATH_AHEAD and place is not None
        ]
        now = self._places[self._turn]
        self._turn += 1
        if self._turn > PATH_AHEAD:
            self._places.popleft()
            self._turn -= 1
        if not around:
            return None
        weight = np.exp(-0.5 * (np.array([distance for distance, _ in around]) / PATH_STD) ** 2)
        weight /= weight.sum()
        centre = weight @ np.array([place.centre for _, place in around])
        side = float(weight @ np.array([place.side for _, place in around]))
        return _Place(now.time_seconds if now else 0.0, centre, side)
