"""The frames of a video file or stream: decoded by PyAV, in RGB, upright, with their own times.

Pixels are those of `ffmpeg -i VIDEO -pix_fmt rgb24`: colour tags are honoured, a video without tags is taken
for BT.601 whatever its size, transparency is dropped, and high dynamic range is not tone mapped.
"""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import cast

from av.buffer import Buffer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy import ndarray

from dkpvid.shapes import UInt8
from dkpvid.structures import Frame, LostPacket, VideoInfo
from dkpvid.video.deinterlace import deinterlace as make_whole
from dkpvid.video.orientation import Orientation
from dkpvid.video.streams import DamagedError, ThreadType, decode, open_stream

FALLBACK_FPS = 25.0
"""Frames per second where the file tells none."""

# The colour matrices of ITU-T H.273 that swscale tells apart, under the same numbers: BT.709, FCC, BT.601,
# SMPTE 240M and BT.2020. It refuses others, some of which are mere mistakes of an encoder; like the ffmpeg
# program we take them for unspecified, which swscale takes for BT.601.
_MATRICES = frozenset({1, 4, 5, 7, 9})
_BT601 = 5

_HDR_TRANSFERS = {16: "pq", 18: "hlg"}
"""The transfer functions of ITU-T H.273 for high dynamic range: SMPTE ST 2084, and ARIB STD-B67."""


class VideoContainer:
    """One video stream of a file, of a URL, or of standard input (`-`); see `dkpvid.video.reader`."""

    def __init__(
        self,
        source: str | Path,
        *,
        stream: int | None,
        apply_rotation: bool,
        deinterlace: bool,
        thread_type: ThreadType,
        lost: list[LostPacket],
    ) -> None:
        self._lost = lost
        self._source = "pipe:0" if source == "-" else str(source)
        self._stream_number = stream
        # Only what can be opened again allows a second look at a damaged stretch.
        first_threads = thread_type if Path(source).is_file() else "SLICE"
        self._stream = open_stream(self._source, number=stream, thread_type=first_threads)
        try:
            pictures = self._decode(self._stream, is_strict=first_threads == "AUTO")
            first = next(pictures, None)
            orientation = _orientation(first) if first and apply_rotation else Orientation()
            is_interlaced = first is not None and first.interlaced_frame
            self.info = replace(
                _describe(str(source), self._stream, first, orientation),
                is_interlaced=is_interlaced,
                is_deinterlaced=is_interlaced and deinterlace,
            )
            is_avi = self._stream.container.format.name == "avi"
            pictures = chain([first] if first else [], pictures)
            if deinterlace:
                pictures = make_whole(pictures)
            self.frames: Iterator[Frame] = _convert(pictures, orientation, self.info, is_avi=is_avi)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the file back; no frames come after it."""
        self._stream.container.close()

    def _decode(self, stream: VideoStream, *, is_strict: bool) -> Iterator[VideoFrame]:
        """Decode with all cores, and where that meets damage, go on with the decoder that loses least.

        Frame threads blame the wrong packet, and at a damaged end they drop up to a queue of good frames;
        without them exactly the frames of the ffmpeg program come out. So the file is opened again, and the
        frames that were given already are passed over.
        """
        num_given = 0
        if is_strict:
            try:
                for picture in decode(stream, lost=None):
                    num_given += 1
                    yield picture
                return
            except DamagedError:
                self.close()
                stream = open_stream(self._source, number=self._stream_number, thread_type="SLICE")
                self._stream = stream
        yield from islice(decode(stream, self._lost), num_given, None)


class _Clock:
    """Frame times in seconds: those of the file, as long as they are there and increase."""

    def __init__(self, info: VideoInfo) -> None:
        self._time_base = info.time_base
        self._frame_seconds = 1 / (info.average_fps or FALLBACK_FPS)
        self._last_seconds: float | None = None

    def read(self, pts: int | None) -> tuple[float, bool]:
        """The time of the next frame, and whether it had to be estimated."""
        last, is_estimated = self._last_seconds, True
        if pts is not None:
            time_seconds, is_estimated = float(pts * self._time_base), False
        else:
            time_seconds = 0.0 if last is None else last + self._frame_seconds
        # Speeds divide by the time between frames, so it must not be zero or less. The smallest step leaves
        # the times that follow as they are.
        if last is not None and time_seconds <= last:
            time_seconds, is_estimated = last + float(self._time_base), True
        self._last_seconds = time_seconds
        return time_seconds, is_estimated


class _Scalers(threading.local):
    """They keep their tables as long as what they convert stays the same, but serve one thread at a time."""

    def __init__(self) -> None:
        self.full = VideoReformatter()
        self.reducing = VideoReformatter()


class _CodedPicture:
    """A decoded picture; see `dkpvid.structures.Picture`.

    Args:
        picture: As the decoder gave it.
        orientation: How it is to be turned.
        width: Columns when it is upright; it is scaled when it has others.
        height: Rows when it is upright.
        scalers: Those of the video.
    """

    def __init__(
        self, picture: VideoFrame, orientation: Orientation, width: int, height: int, scalers: _Scalers
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
        return self._scaled(self._scalers.full, self.stored_size, Interpolation.BICUBIC)

    def reduced(self, side: int) -> UInt8[ndarray, "height width 3"]:
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


def _convert(
    pictures: Iterator[VideoFrame], orientation: Orientation, info: VideoInfo, *, is_avi: bool
) -> Iterator[Frame]:
    clock = _Clock(info)
    scalers = _Scalers()
    for index, picture in enumerate(pictures):
        # An AVI holds decoding times only. FFmpeg makes up presentation times that are scrambled where the
        # encoder reordered the frames; the decoder hands out the decoding times in order.
        has_decoding_time_only = is_avi and picture.dts is not None
        time_seconds, is_estimated = clock.read(picture.dts if has_decoding_time_only else picture.pts)
        coded = _CodedPicture(picture, orientation, info.width, info.height, scalers)
        remarks = {
            "time_estimated": is_estimated,
            "corrupt": picture.is_corrupt,
            "resized": (picture.width, picture.height) != coded.stored_size,
        }
        yield Frame(
            picture=coded,
            index=index,
            time_seconds=time_seconds,
            flags=tuple(name for name, holds in remarks.items() if holds),
        )


def _orientation(picture: VideoFrame) -> Orientation:
    # PyAV's annotation of side_data knows motion vectors only.
    matrix = cast(Mapping[str, Buffer], picture.side_data).get("DISPLAYMATRIX")
    return Orientation() if matrix is None else Orientation.from_display_matrix(bytes(matrix))


def _describe(
    path: str, stream: VideoStream, first: VideoFrame | None, orientation: Orientation
) -> VideoInfo:
    """What the header says, with the size of the first frame, which a header may have wrong."""
    time_base = stream.time_base or Fraction(1, 1000)
    rate = stream.average_rate or None
    seconds = None if stream.duration is None else stream.duration * time_base
    width, height = (first.width, first.height) if first else (stream.width, stream.height)
    sample_aspect_ratio = stream.sample_aspect_ratio or Fraction(1)
    if orientation.swaps_axes:
        width, height, sample_aspect_ratio = height, width, 1 / sample_aspect_ratio
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        codec=stream.codec_context.name,
        time_base=time_base,
        average_fps=float(rate) if rate else None,
        num_frames_estimate=stream.frames or (round(seconds * rate) if seconds and rate else None),
        start_seconds=None if stream.start_time is None else float(stream.start_time * time_base),
        rotation_degrees=orientation.rotation_degrees,
        is_mirrored=orientation.is_mirrored,
        sample_aspect_ratio=sample_aspect_ratio,
        has_audio=bool(stream.container.streams.audio),
        hdr=_HDR_TRANSFERS.get(stream.codec_context.color_trc),
    )
