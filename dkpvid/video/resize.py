"""From a frame to the small square picture that the networks see; training and tracking share it."""

import numpy as np
from numpy import ndarray
from PIL import Image

from dkpvid.coordinates import Region
from dkpvid.shapes import UInt8
from dkpvid.structures import Frame

REDUCTION = 4
"""How much larger than the square that is wanted the codec's own scaler may leave a frame. On 720p video the
keypoints of the package's weights then lie within 0.1 pixels of the network's input of where they would be;
at 1 it is 0.6, since that scaler does not average like this one."""


def frame_to_square(frame: Frame, size: int, region: Region | None = None) -> UInt8[ndarray, "size size 3"]:
    """What a network sees of a frame; see `to_square`. The whole of a large frame is never made RGB."""
    if region is not None:
        return to_square(frame.image, size, region)
    return to_square(frame.reduced(REDUCTION * size), size)


def to_square(
    image: UInt8[ndarray, "height width 3"], size: int, region: Region | None = None
) -> UInt8[ndarray, "size size 3"]:
    """Resize a frame, or a region of it, to a square, keeping pixel edges in place.

    Antialiased: a 1080p frame shrinks 15-fold, and plain bilinear sampling would see one pixel in 56.

    Args:
        image: RGB.
        size: Side of the result in pixels.
        region: The part to take; None takes the whole frame. What lies beyond the frame repeats its border.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = (0, 0, width, height)
    if region is not None:
        left, top, right, bottom = region.x, region.y, region.x + region.width, region.y + region.height
        if left < 0 or top < 0 or right > width or bottom > height:
            rows = np.arange(top, bottom).clip(0, height - 1)
            columns = np.arange(left, right).clip(0, width - 1)
            return to_square(image[rows[:, None], columns], size)
    if image.shape[:2] == (size, size) and (right - left, bottom - top) == (size, size):
        return image
    box = (left, top, right, bottom)
    square = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box, reducing_gap=2.0)
    return np.asarray(square)
