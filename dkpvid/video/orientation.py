"""How a stored picture is turned upright: the display matrix of video files."""

import math
import struct
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from dkpvid.shapes import UInt8


@dataclass(frozen=True)
class Orientation:
    """A rotation by right angles, followed by a left-right mirroring or not."""

    rotation_degrees: int = 0
    """Counter-clockwise: 0, 90, 180 or 270."""
    is_mirrored: bool = False

    @classmethod
    def from_display_matrix(cls, matrix: bytes) -> "Orientation":
        """Read what a player has to do from a file's display matrix, to the nearest right angle.

        The rotation alone (as `av_display_rotation_get` gives it) is not enough: it reads a plain mirror
        image as a half turn.

        Args:
            matrix: Nine native 32-bit integers a b u, c d v, x y w; a stored point (p, q), q down, is shown
                at (a p + c q, b p + d q), up to a shift.

        Source: ISO/IEC 14496-12, 6.2.2 (the matrix of the track header).
        """
        a, b, _, c, d, *_ = struct.unpack("=9i", matrix)
        is_mirrored = a * d < b * c
        if is_mirrored:
            a, c = -a, -c
        # Without the mirror, (a c) = (cos sin) and (b d) = (-sin cos); both rows vote for the angle.
        degrees = math.degrees(math.atan2(c - b, a + d))
        return cls(round(degrees / 90) * 90 % 360, is_mirrored)

    @property
    def swaps_axes(self) -> bool:
        """True when columns become rows."""
        return self.rotation_degrees in (90, 270)

    def apply(
        self, image: UInt8[ndarray, "height width 3"]
    ) -> UInt8[ndarray, "upright_height upright_width 3"]:
        """Turn a stored picture upright.

        >>> picture = np.array([[[1, 1, 1], [2, 2, 2]]], dtype=np.uint8)
        >>> Orientation(rotation_degrees=90).apply(picture)[..., 0]
        array([[2],
               [1]], dtype=uint8)
        """
        turned = np.rot90(image, self.rotation_degrees // 90)
        return np.ascontiguousarray(turned[:, ::-1] if self.is_mirrored else turned)
