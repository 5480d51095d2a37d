"""Find the subject in a frame of which nothing is known: many looks at once, then closer ones at the best.

The looks form a pyramid: the whole frame, then overlapping squares of the frame's shorter side and of smaller
ones. What is found in the best of them places a window of the right size, in which a second look tells more,
until it settles.
"""

from collections.abc import Callable, Sequence

import numpy as np

from dkpvid.coordinates import Region
from dkpvid.structures import Frame
from dkpvid.tracking.looks import Look, square, window_around

Looker = Callable[[Sequence[tuple[Frame, Sequence[Region]]]], list[Look]]
"""See `dkpvid.tracking.looks.look`."""

LEVELS = (1.0, 0.6, 0.36)
"""Sides of the squares, as shares of the frame's shorter side."""
STRIDE = 0.5
"""From one square to the next, at most, in sides."""
CANDIDATES = 4
"""Looks of a level that are worth a closer one."""
CLOSER = 3
"""Closer looks at each, one after the other."""
STEADY = 0.8
"""A closer look counts when it is so certain at least, compared with the one before."""
FOUND = 0.6
"""Score from which on there is a subject, and no need to look for a smaller one."""
SAME = 0.5
"""Windows that have so much in common (intersection over union) show the same subject."""
SIZE_POWER = 0.3
"""How much a large subject is preferred: the score is multiplied by the window's share of the frame's shorter
side to this power."""


def pyramid(width: int, height: int) -> list[list[Region]]:
    """The squares of each level, in which the first one has the whole frame too."""
    levels: list[list[Region]] = []
    for share in LEVELS:
        side = share * min(width, height)
        columns, rows = (
            np.linspace(
                side / 2, length - side / 2, 1 + int(np.ceil((length - side) / (STRIDE * side) - 0.01))
            )
            for length in (width, height)
        )
        levels.append([square(np.array([x, y]), side, width, height) for y in rows for x in columns])
    whole = square(np.array([width, height]) / 2, float(max(width, height)), width, height)
    levels[0] = list(dict.fromkeys([whole, *levels[0]]))
    return levels


def search(looker: Looker, frame: Frame, guesses: Sequence[Region] = ()) -> list[Look]:
    """The subjects of a frame, the largest and most certain one first.

    Args:
        looker: Looks at windows of frames.
        frame: Where to look.
        guesses: Windows that are worth a closer look besides.

    Returns:
        A look at each, in a window of the right size; what is less certain than `FOUND` is none, so there may
        be none at all.
    """
    found: list[Look] = []
    for level, squares in enumerate(pyramid(*frame.size)):
        looks = looker([(frame, squares if level else [*guesses, *squares])])
        best = sorted(looks, key=lambda each: -each.score)[:CANDIDATES]
        found = merged([*found, *(each for each in settled(looker, frame, best) if each.score >= FOUND)])
        if found:
            break
    shorter = min(frame.size)
    return sorted(found, key=lambda each: -each.score * (each.region.width / shorter) ** SIZE_POWER)


def settled(looker: Looker, frame: Frame, looks: Sequence[Look]) -> list[Look]:
    """Look again in the windows that looks lead to; of each the last look that was not much less certain.

    Not the most certain one: from afar it is easy to say where somebody is, but not where the hands are.
    """
    best = list(looks)
    for _ in range(CLOSER):
        now = looker([(frame, [window_around(each.box, *frame.size) for each in best])])
        best = [
            closer if closer.score >= STEADY * before.score else before
            for before, closer in zip(best, now, strict=True)
        ]
    return best


def merged(looks: Sequence[Look]) -> list[Look]:
    """One look for each subject: the most certain one."""
    kept: list[Look] = []
    for each in sorted(looks, key=lambda each: -each.score):
        if all(in_common(each.region, other.region) < SAME for other in kept):
            kept.append(each)
    return kept


def in_common(first: Region, second: Region) -> float:
    """Intersection over union of two windows.

    >>> in_common(Region(0, 0, 2, 2), Region(1, 0, 2, 2))
    0.3333333333333333
    """
    width = min(first.x + first.width, second.x + second.width) - max(first.x, second.x)
    height = min(first.y + first.height, second.y + second.height) - max(first.y, second.y)
    shared = max(0, width) * max(0, height)
    return shared / (first.width * first.height + second.width * second.height - shared)
