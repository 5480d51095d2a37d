"""A look: what the detector finds within one square window, how certain it is, and where the subject is then.

A heatmap that is spread over the whole window knows nothing, one that is a point knows all: certainty is the
share of the window's own variance that a heatmap does without. It needs no tuning to a model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from dkpvid.coordinates import Region, model_to_pixels, pixels_per_unit
from dkpvid.shapes import Float, UInt8
from dkpvid.structures import Frame
from dkpvid.tracking.camera import Box
from dkpvid.video.resize import to_square

Finder = Callable[
    [UInt8[ndarray, "batch size size 3"]],
    tuple[Float[ndarray, "batch point 2"], Float[ndarray, "batch point 3"]],
]
"""Points in model space and their heatmaps' covariance; see `dkpvid.tracking.detect.Detector`."""

UNIFORM_VARIANCE = 1 / 3
"""Of a heatmap that knows nothing, on each axis, in squared model units."""
CERTAIN = 0.5
"""Points as certain as this, or as half of the most certain one, say where the subject is."""
SLACK = 0.5
"""How far beyond a point the subject is taken to reach, in standard deviations of its heatmap."""
BODY_SHARE = 0.7
"""Share of the window's side that the subject takes up."""
LEAST_SIDE = 0.08
"""Shortest side of a window, as a share of the frame's longer side."""
BATCH = 32
"""Most windows per forward pass."""
EDGE = 0.05
"""A subject whose box comes so near to the window's edge, in shares of its side, may be cut off there..."""
BEYOND = 0.15
"""...and is taken to reach so far beyond."""


@dataclass(frozen=True, eq=False)
class Look:
    """What was found within a window of a frame."""

    region: Region
    xy: Float[ndarray, "point 2"]
    """In pixels of the frame."""
    spread: Float[ndarray, "point 2"]
    """Standard deviation of the heatmaps on x and y, in pixels of the frame."""
    certainty: Float[ndarray, " point"]
    """0..1."""

    @property
    def score(self) -> float:
        """How certain it is that the subject is there, 0..1: the mean of the more certain half of the points.

        Keypoints that nobody named are less certain than named joints, and some always are hidden.
        """
        return float(np.sort(self.certainty)[len(self.certainty) // 2 :].mean())

    @property
    def box(self) -> Box:
        """Around the subject: the points that are certain, and more where it seems to be cut off."""
        known = self.certainty >= min(CERTAIN, 0.5 * float(self.certainty.max()))
        low = (self.xy - SLACK * self.spread)[known].min(axis=0)
        high = (self.xy + SLACK * self.spread)[known].max(axis=0)
        origin = np.array([self.region.x, self.region.y], dtype=float)
        size = np.array([self.region.width, self.region.height], dtype=float)
        low = np.where(low < origin + EDGE * size, low - BEYOND * size, low)
        high = np.where(high > origin + (1 - EDGE) * size, high + BEYOND * size, high)
        return Box(low, high)


def look(finder: Finder, image_size: int, places: Sequence[tuple[Frame, Sequence[Region]]]) -> list[Look]:
    """Look at windows of frames, in the order given.

    Args:
        finder: The detector.
        image_size: Side of its input, in pixels.
        places: Frames with the windows to look at in each.
    """
    squares: list[UInt8[ndarray, "size size 3"]] = []
    for frame, regions in places:
        image = frame.image
        squares += [to_square(image, image_size, region) for region in regions]
    windows = [region for _, regions in places for region in regions]
    looks: list[Look] = []
    for start in range(0, len(squares), BATCH):
        points, covariance = finder(np.stack(squares[start : start + BATCH]))
        variance = covariance[..., [0, 2]]
        certainty = np.nan_to_num(1 - variance.mean(axis=2) / UNIFORM_VARIANCE, nan=0.0).clip(0, 1)
        for row, region in enumerate(windows[start : start + BATCH]):
            xy = model_to_pixels(points[row], region, image_size)
            spread = np.sqrt(variance[row]) * pixels_per_unit(region, image_size)
            looks.append(Look(region, xy, spread, certainty[row]))
    return looks


def window_around(box: Box, width: int, height: int) -> Region:
    """The window in which the subject takes up its share; see `square`."""
    return square(box.centre, float(box.size.max()) / BODY_SHARE, width, height)


def square(centre: Float[ndarray, "2"], side: float, width: int, height: int) -> Region:
    """A square about a place, shifted into the frame on each axis on which it fits, centred on the others.

    Args:
        centre: (x, y), where 0 is the left and top edge of the frame.
        side: In pixels; kept between `LEAST_SIDE` and the frame's longer side.
        width: Of the frame.
        height: Of the frame.

    >>> square(np.array([10.0, 300.0]), 100.0, 640, 360)
    Region(x=0, y=250, width=100, height=100)
    >>> square(np.array([200.0, 180.0]), 400.0, 640, 360)
    Region(x=0, y=-20, width=400, height=400)
    """
    longer = max(width, height)
    whole = round(np.clip(side, max(1.0, LEAST_SIDE * longer), longer))
    x, y = (
        (length - whole) // 2 if whole > length else round(np.clip(middle - whole / 2, 0, length - whole))
        for middle, length in zip(centre.tolist(), (width, height), strict=True)
    )
    return Region(x, y, whole, whole)
