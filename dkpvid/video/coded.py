"""Decoded pictures in the codec's own format: upright RGB on demand, or a small version of it for less.

Pixels are those of `ffmpeg -i VIDEO -pix_fmt rgb24`: colour tags are honoured, a video without tags is taken
for BT.601 whatever its size, transparency is dropped, and high dynamic range is not tone mapped.
"""

import threading

from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy import ndarray

from dkpvid.shapes import UInt8
from dkpvid.video.orientation import Orientation

# The colour matrices of ITU-T H.273 that swscale tells apart, under the same numbers: BT.709, FCC, BT.601,
# SMPTE 240M and BT.2020. It refuses others, some of which are mere mistakes of an encoder; like the ffmpeg
# program we take them for unspecified, which swscale takes for BT.601.
_MATRICES = frozenset({1, 4, 5, 7, 9})
_BT601 = 5


class Scalers(threading.local):
    """What pictures of one video are scaled with.

    They keep their tables as long as what they convert stays the same, but serve one thread at a time.
    """

    def __init__(self) -> None:
        self.full = VideoReformatter()
        self.reducing = VideoReformatter()


class CodedPicture:
    """A decoded picture; see `dkpvid.structures.Picture`.

    Args:
        picture: As the decoder gave it.
        orientation: How it is to be turned.
        width: Columns when it is upright; it is scaled when it has others.
        height: Rows when it is upright.
        scalers: Those of the video.
    """

    def __init__(
        self, picture: VideoFrame, orientation: Orientation, width: int, height: int, scalers: Scalers
    ) -> None:
        self.width, self.height = width, height
        self._picture = picture
        self._orientation = orientation
        self._scalers = scalers

    @property
    def stored_size(self) -> tuple[int, int]:
        """Columns and rows before it is turned."""
        return (self.height, self.width) if self._orientation.swaps_axes else (self.width, self.height)

    def rgb(self) -> UInt8[ndarray, "height width 3"]:
        """All of it, upright, 0..255."""
        return self._scaled(self._scalers.full, self.stored_size, Interpolation.BICUBIC)

    def reduced(self, side: int) -> UInt8[ndarray, "height width 3"]:
        """All of it, upright, squeezed to side x side pixels; as it is where it is not larger than that."""
        if min(self.width, self.height) <= side:
            return self.rgb()
        return self._scaled(self._scalers.reducing, (side, side), Interpolation.AREA)

    def _scaled(
        self, scaler: VideoReformatter, size: tuple[int, int], interpolation: Interpolation
    ) -> UInt8[ndarray, "height width 3"]:
        picture = self._picture
        # All four colour settings are named, since their defaults differ between versions of PyAV.
        rgb = scaler.reformat(
            picture,
            width=size[0],
            height=size[1],
            format="rgb24",
            src_colorspace=picture.colorspace if picture.colorspace in _MATRICES else _BT601,
            dst_colorspace=_BT601,
            interpolation=interpolation,
            src_color_range=picture.color_range,
            dst_color_range=ColorRange.JPEG,
        )
        return self._orientation.apply(rgb.to_ndarray())
