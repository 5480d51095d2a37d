"""Follow a subject that is small in its frame with a smooth square window.

The window is placed around what moves (`dkpvid.tracking.subject`) such that the body takes up 70 % of its
side. Its place is averaged over the frames before and after, of which some are held back for that; its size
follows growth at once and shrinks slowly. While nothing moves it stays; until anything does it is the whole
frame. It is shifted into the frame where it fits, and reaches beyond it where the subject is taller than the
frame is wide: the picture is never distorted. Equal frames give equal windows, however they are batched.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy import ndarray

from dkpvid.coordinates import Region
from dkpvid.shapes import Float, Int
from dkpvid.structures import CLOCK_JUMP, RELOCATED, Frame, Track
from dkpvid.tracking.camera import Box
from dkpvid.tracking.detect import Detector
from dkpvid.tracking.follow import HELD_BACK, follow_keypoints
from dkpvid.tracking.looks import window_around
from dkpvid.tracking.subject import AHEAD, SubjectFinder, reduce

PATH_AHEAD = 10
"""Later frames that the window's place is averaged over, and as many earlier ones."""
PATH_STD = 4.0
"""Standard deviation of that average's weights, in frames."""
LOOKAHEAD = AHEAD[-1] + PATH_AHEAD
"""Frames held back, at most."""
JUMP = 0.25
"""A window that moves or grows by a larger share of its side in one frame has gone to another subject."""


def follow(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Give each frame the region to look at, holding back `LOOKAHEAD` frames.

    Args:
        frames: Upright frames of one size, in order.

    Yields:
        The same frames, with their `region`.
    """
    held: list[Frame] = []
    path = _Path()
    for frame in frames:
        held.append(frame)
        path.push(frame)
        del frame  # or one more would be held
        if len(held) > LOOKAHEAD:
            yield path.place(held.pop(0))
    path.end()
    while held:
        yield path.place(held.pop(0))


def placed(
    frames: Iterator[Frame], how: Region | Literal["follow", "auto"] | None, detector: Detector
) -> Iterator[Frame]:
    """Give each frame its own region to look at; one that is fixed, or the whole frame, is none."""
    if how == "follow":
        return follow_keypoints(frames, detector, detector.image_size)
    return follow(frames) if how == "auto" else frames


def held_back(how: Region | Literal["follow", "auto"] | None) -> int:
    """Most frames that `placed` holds back."""
    return {"follow": HELD_BACK, "auto": LOOKAHEAD}.get(str(how), 0)


def cut_at_jumps(pieces: Iterable[Track]) -> Iterator[tuple[Track, bool]]:
    """Cut a track where a speed would mean nothing.

    That is where its window goes to another subject, or from the whole frame to the first one, and where the
    time since the frame before is unknown.

    Yields:
        Its pieces, cut once more, and whether something new starts with them.
    """
    last: Int[ndarray, "1 4"] | None = None
    for piece in pieces:
        starts = [row for row, flags in enumerate(piece.flags) if {CLOCK_JUMP, RELOCATED} & {*flags}]
        if piece.region is not None:
            regions = piece.region if last is None else np.concatenate([last, piece.region])
            starts += [row - len(regions) + len(piece) for row in _jumps(regions.astype(float))]
            last = piece.region[-1:]
        for start, stop in pairwise(sorted({0, *starts, len(piece)})):
            yield piece[start:stop], start in starts


def _jumps(regions: Float[ndarray, "frame 4"]) -> list[int]:
    """The frames in which a window is unlike that of the frame before."""
    centre, side = regions[:, :2] + regions[:, 2:] / 2, regions[:, 2:].max(axis=1)
    change = np.maximum(np.abs(np.diff(centre, axis=0)).max(axis=1), np.abs(np.diff(side)))
    return [int(frame) + 1 for frame in np.flatnonzero(change > JUMP * np.minimum(side[1:], side[:-1]))]


class _Path:
    """The subject's box in frame after frame, averaged over the frames around."""

    def __init__(self) -> None:
        self._finder = SubjectFinder()
        self._pixel = np.ones(2)
        self._steps: list[Float[ndarray, "3 3"]] = []
        self._seen: list[Box | None] = []
        self._boxes: list[Box | None] = []
        self._turn = 0

    def push(self, frame: Frame) -> None:
        """Take the next frame."""
        grey, self._pixel = reduce(frame)
        self._steps.append(self._finder.push(grey, frame.time_seconds))
        if len(self._steps) > len(self._boxes) + AHEAD[-1]:
            self._find()

    def end(self) -> None:
        """No more frames will come."""
        while len(self._boxes) < len(self._steps):
            self._find()

    def place(self, frame: Frame) -> Frame:
        """Give the next frame its region."""
        width, height = frame.size
        box = self._averaged()
        self._turn += 1
        if self._turn > PATH_AHEAD:
            del self._steps[0], self._seen[0], self._boxes[0]
            self._turn -= 1
        if box is None:
            return replace(frame, region=Region(0, 0, width, height))
        box = Box(self._pixel * box.low, self._pixel * box.high)
        return replace(frame, region=window_around(box, width, height))

    def _find(self) -> None:
        seen, box = self._finder.find()
        self._seen.append(seen)
        self._boxes.append(box)

    def _averaged(self) -> Box | None:
        """The body in the frame whose turn it is; None when nothing has moved by then, nor will soon."""
        around = list(self._around())
        if not around:
            return None
        # No gliding from one subject to the next.
        subject = min(around, key=lambda each: abs(each[0]))[1].subject
        around = [(distance, box) for distance, box in around if box.subject == subject]
        weights = [np.exp(-0.5 * (distance / PATH_STD) ** 2) for distance, _ in around]
        low = np.average([box.low for _, box in around], axis=0, weights=weights)
        high = np.average([box.high for _, box in around], axis=0, weights=weights)
        return Box(low, high)

    def _around(self) -> Iterator[tuple[int, Box]]:
        """The boxes of the frames around, as this frame sees them, with their distances in frames.

        A box is pushed on by what moves, so it lags. The same is done backwards from the last frame that is
        known, with the size that is known by then: between the two there is no lag, and the first frames,
        which see a leg only, learn of the body.
        """
        views = {self._turn: np.eye(3)}
        for number in range(self._turn + 1, min(self._turn + PATH_AHEAD + 1, len(self._boxes))):
            views[number] = views[number - 1] @ self._steps[number]
        for number in reversed(range(max(0, self._turn - PATH_AHEAD), self._turn)):
            views[number] = np.linalg.inv(self._steps[number + 1]) @ views[number + 1]
        back: Box | None = None
        for number in sorted(views, reverse=True):
            if (box := self._boxes[number]) is None:
                continue
            box, seen = box.seen_by(views[number]), self._seen[number]
            if back is None or back.subject != box.subject:
                back = box
            elif seen is not None:
                back = back.holding(seen.seen_by(views[number]))
            centre, half = (box.centre + back.centre) / 2, np.maximum(box.size, back.size) / 2
            yield number - self._turn, replace(box, low=centre - half, high=centre + half)
