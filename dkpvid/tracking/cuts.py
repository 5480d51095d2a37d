"""Where one scene ends and the next begins, told from tiny pictures."""

import numpy as np
from numpy import ndarray

from dkpvid.shapes import Float
from dkpvid.structures import Frame
from dkpvid.video.resize import frame_to_square

SIDE = 32
"""Of the tiny picture, in pixels."""
LEAST_CHANGE = 12.0
"""Mean difference, in grey levels, from which on a change may be a cut..."""
CHANGE_FACTOR = 4.0
"""...when it is so many times what was usual just before."""
USUAL_FRAMES = 8


class CutFinder:
    """Asked about frame after frame."""

    def __init__(self) -> None:
        self._before: Float[ndarray, "row column 3"] | None = None
        self._changes: list[float] = []

    def is_cut(self, frame: Frame) -> bool:
        """Whether this frame begins another scene."""
        now = frame_to_square(frame, SIDE).astype(float)
        before, self._before = self._before, now
        if before is None:
            return False
        change = float(np.abs(now - before).mean())
        usual = float(np.median(self._changes)) if self._changes else 0.0
        self._changes = [*self._changes[1 - USUAL_FRAMES :], change]
        return change > max(LEAST_CHANGE, CHANGE_FACTOR * usual)
