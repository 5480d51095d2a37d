"""The only place that maps between the model's coordinates and pixels.

Model space: (x, y) in [-1, 1], x right, y down; -1 and 1 are the centres of the first and last pixel of the
network's square input (`linspace(-1, 1, size)`), because the edge map that training compares with the
picture is drawn on that grid. Pixel space: the centre of the top-left pixel is (0, 0).

The network's input is a region of the frame resized bilinearly with `align_corners=False`, which keeps pixel
*edges* in place: input pixel u lies at (u + 0.5) * region / size - 0.5 of the region, on each axis by itself.
"""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from dkpvid.errors import UsageError
from dkpvid.shapes import Float, Int


@dataclass(frozen=True)
class Region:
    """A rectangle of the upright frame, in whole pixels; `x`, `y` is its top-left pixel."""

    x: int
    y: int
    width: int
    height: int

    def clipped(self, frame_width: int, frame_height: int) -> "Region":
        """The part of the region that lies in the frame.

        Raises:
            UsageError: nothing of the region lies in the frame.
        """
        left, top = max(self.x, 0), max(self.y, 0)
        right, bottom = min(self.x + self.width, frame_width), min(self.y + self.height, frame_height)
        if right <= left or bottom <= top:
            raise UsageError(
                f"region {self.x},{self.y},{self.width},{self.height} lies outside the "
                f"{frame_width}x{frame_height} frame; give x,y,width,height within it"
            )
        return Region(left, top, right - left, bottom - top)


Regions = Region | Int[ndarray, "frame 4"]
"""One region for all frames, or (x, y, width, height) of each frame's own."""


def origin_and_size(regions: Regions) -> tuple[Float[ndarray, "..."], Float[ndarray, "..."]]:
    """Top-left pixel (x, y) and size (width, height), to be combined with [frame, keypoint, 2] arrays.

    >>> origin_and_size(Region(4, 2, 64, 32))
    (array([4., 2.]), array([64., 32.]))
    """
    if isinstance(regions, Region):
        rows = np.array([regions.x, regions.y, regions.width, regions.height], dtype=float)
        return rows[:2], rows[2:]
    rows = regions[:, None].astype(float)
    return rows[..., :2], rows[..., 2:]


def pixels_per_unit(region: Regions, image_size: int) -> Float[ndarray, "*frame 2"]:
    """Frame pixels per unit of model space, on x and y.

    With a region per frame, the result is [frame, 1, 2].

    >>> pixels_per_unit(Region(0, 0, 256, 128), image_size=128)
    array([127. ,  63.5])
    """
    scale: ndarray = origin_and_size(region)[1] / image_size * (image_size - 1) / 2
    return scale


def model_to_pixels(
    keypoints: Float[ndarray, "*batch 2"], region: Regions, image_size: int
) -> Float[ndarray, "*batch 2"]:
    """Map keypoints from model space to pixels of the upright frame.

    Args:
        keypoints: (x, y) in [-1, 1].
        region: The part of the frame that was resized to the network's input, or each frame's own.
        image_size: Side of the network's input, in pixels.

    >>> model_to_pixels(np.array([[-1.0, 1.0]]), Region(0, 0, 128, 128), image_size=128)
    array([[  0., 127.]])
    """
    origin, size = origin_and_size(region)
    input_pixels = (keypoints + 1) / 2 * (image_size - 1)
    xy: ndarray = (input_pixels + 0.5) * size / image_size - 0.5 + origin
    return xy


def pixels_to_model(
    xy: Float[ndarray, "*batch 2"], region: Regions, image_size: int
) -> Float[ndarray, "*batch 2"]:
    """Map pixels of the upright frame to model space: the inverse of `model_to_pixels`.

    >>> pixels_to_model(np.array([[0.0, 127.0]]), Region(0, 0, 128, 128), image_size=128)
    array([[-1.,  1.]])
    """
    origin, size = origin_and_size(region)
    input_pixels = (xy - origin + 0.5) * image_size / size - 0.5
    keypoints: ndarray = input_pixels / (image_size - 1) * 2 - 1
    return keypoints
