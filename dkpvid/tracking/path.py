"""The path of a window: where the subject was seen now and then, made smooth in both directions of time."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray

from dkpvid.coordinates import Region
from dkpvid.shapes import Float
from dkpvid.structures import RELOCATED, Frame
from dkpvid.tracking.camera import Box
from dkpvid.tracking.looks import window_around

LOOKAHEAD = 8
"""Later frames whose sightings must be known when a frame is placed."""
PATH_STD_SECONDS = 0.12
"""Standard deviation of the weights of the times around that are averaged, up to twice as far away."""
PATH_SAMPLES = 9
"""Times around that are averaged."""
HOLD_SECONDS = 1.0
"""For how long a window stays where the subject was last seen, and how long before it was first seen it is
there already; then it is the whole frame."""


@dataclass(frozen=True, eq=False)
class _Sighting:
    frame_index: int
    time_seconds: float
    corners: Float[ndarray, "4"]
    """Low x and y, high x and y."""
    segment: int


class Path:
    """Sightings of subjects; those of different ones, or before and after a cut, are different segments."""

    def __init__(self) -> None:
        self._sightings: list[_Sighting] = []
        self._starts = [-1]
        """Number of the first frame of each segment."""
        self._placed: int | None = None

    def begin_segment(self, frame: Frame) -> None:
        """What was seen before this frame says nothing about it and the later ones."""
        self._starts.append(frame.index)

    def add(self, frame: Frame, box: Box) -> None:
        """The subject was seen in a frame."""
        corners = np.concatenate([box.low, box.high])
        self._sightings.append(_Sighting(frame.index, frame.time_seconds, corners, len(self._starts) - 1))

    def place(self, frame: Frame) -> Frame:
        """Give the next frame its region."""
        segment = bisect_right(self._starts, frame.index) - 1
        now = frame.time_seconds
        sightings = [each for each in self._sightings if each.segment == segment]
        if not sightings or not (
            sightings[0].time_seconds - HOLD_SECONDS <= now <= sightings[-1].time_seconds + HOLD_SECONDS
        ):
            return replace(frame, region=Region(0, 0, *frame.size))
        self._forget(now)
        flags = frame.flags
        if self._placed not in (None, segment):
            flags = (*flags, RELOCATED)
        self._placed = segment
        return replace(frame, flags=flags, region=window_around(_averaged(sightings, now), *frame.size))

    def _forget(self, now: float) -> None:
        old = [each for each in self._sightings if each.time_seconds < now - 2 * HOLD_SECONDS]
        # The last one of them, since a frame may lie between it and the next.
        del self._sightings[: max(0, len(old) - 1)]


def _averaged(sightings: Sequence[_Sighting], now: float) -> Box:
    """The subject's box at a time, between and around sightings."""
    offsets = np.linspace(-2, 2, PATH_SAMPLES)
    times = [each.time_seconds for each in sightings]
    corners = np.array([each.corners for each in sightings])
    samples = now + PATH_STD_SECONDS * offsets
    weights = np.exp(-0.5 * offsets**2)
    mean = np.array([np.average(np.interp(samples, times, values), weights=weights) for values in corners.T])
    return Box(mean[:2], mean[2:])
