"""Reading a video once from start to end: upright RGB frames with their own times.

Pixels are those of `ffmpeg -i VIDEO -pix_fmt rgb24`: colour tags are honoured, a video without tags is taken
for BT.601 whatever its size, and transparency is dropped.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import cast

from av.buffer import Buffer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from dkpvid.structures import Frame, LostPacket, VideoInfo
from dkpvid.video.images import IMAGE_SUFFIXES, images_in, natural_order, open_images
from dkpvid.video.orientation import Orientation
from dkpvid.video.streams import DamagedError, ThreadType, decode, open_stream

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
    ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv",
})
# fmt: on

FALLBACK_FPS = 25.0
"""Frames per second where neither the file nor the user tells any."""

# The colour matrices of ITU-T H.273 that swscale tells apart, under the same numbers: BT.709, FCC, BT.601,
# SMPTE 240M and BT.2020. It refuses others, some of which are mere mistakes of an encoder; like the ffmpeg
# program we take them for unspecified, which swscale takes for BT.601.
_MATRICES = frozenset({1, 4, 5, 7, 9})
_BT601 = 5


def find_videos(folder: Path) -> list[Path]:
    """List what `VideoReader` can read in a folder and its subfolders, in natural order.

    Each video file and GIF is a video, and so is each picture that lies directly in `folder` (a strip of
    frames, or a single one). A subfolder with pictures in it is one video, a picture a frame. Hidden files
    and folders are passed over.
    """
    videos = []
    for path in natural_order(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
            videos.append(path)
        elif path.is_dir():
            videos += [path] if images_in(path) else find_videos(path)
    return videos


class VideoReader:
    """The frames of a video in presentation order, once; a context manager.

    Reads whatever FFmpeg does, GIFs too, folders of pictures, and strips of square frames in one picture.
    Damaged stretches are passed over and listed in `lost`. A video may turn out to have no frames.

    Args:
        source: A file, a folder of frames, a URL that FFmpeg understands, or `-` for standard input.
        stream: Which of a file's video streams to read, from 0; None takes the best, cover pictures aside.
        apply_rotation: Turn and mirror the frames as the file says they should be shown.
        thread_type: AUTO decodes on all processor cores; SLICE gives the same frames with less memory.
        fps: Frames per second of pictures; videos have their own times.
        start_seconds: Frames before this time are decoded and dropped; indices count from the file's first.
        end_seconds: Frames at and after this time are not read.

    Raises:
        VideoError: the source cannot be read.
        UsageError: there is no video stream with that number.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        stream: int | None = None,
        apply_rotation: bool = True,
        thread_type: ThreadType = "AUTO",
        fps: float = FALLBACK_FPS,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
    ) -> None:
        self.lost: list[LostPacket] = []
        """What could not be decoded so far; complete after the last frame."""
        self.info: VideoInfo
        self._source = "pipe:0" if source == "-" else str(source)
        self._stream_number = stream
        self._stream: VideoStream | None = None
        path = Path(source)
        frames: Iterator[Frame]
        if path.is_dir() or (path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES):
            self.info, frames = open_images(path, fps=fps, lost=self.lost)
        else:
            # Only what can be opened again allows a second look at a damaged stretch.
            first_threads = thread_type if path.is_file() else "SLICE"
            self._stream = open_stream(self._source, number=stream, thread_type=first_threads)
            try:
                pictures = self._decode(self._stream, is_strict=first_threads == "AUTO")
                first = next(pictures, None)
                orientation = _orientation(first) if first and apply_rotation else Orientation()
                self.info = _describe(str(source), self._stream, first, orientation)
                is_avi = self._stream.container.format.name == "avi"
                pictures = chain([first] if first else [], pictures)
                frames = _convert(pictures, orientation, self.info, is_avi=is_avi)
            except BaseException:
                self.close()
                raise
        self._frames = _between(frames, start_seconds, end_seconds)

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back; no frames come after it."""
        if self._stream is not None:
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
        yield from islice(decode(stream, self.lost), num_given, None)


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


def _convert(
    pictures: Iterator[VideoFrame], orientation: Orientation, info: VideoInfo, *, is_avi: bool
) -> Iterator[Frame]:
    clock = _Clock(info)
    # One for all frames: it keeps its tables as long as the pictures' format stays the same.
    reformatter = VideoReformatter()
    width, height = (info.height, info.width) if orientation.swaps_axes else (info.width, info.height)
    for index, picture in enumerate(pictures):
        # An AVI holds decoding times only. FFmpeg makes up presentation times that are scrambled where the
        # encoder reordered the frames; the decoder hands out the decoding times in order.
        has_decoding_time_only = is_avi and picture.dts is not None
        time_seconds, is_estimated = clock.read(picture.dts if has_decoding_time_only else picture.pts)
        # All four colour settings are named, since their defaults differ between versions of PyAV.
        rgb = reformatter.reformat(
            picture,
            width=width,
            height=height,
            format="rgb24",
            src_colorspace=picture.colorspace if picture.colorspace in _MATRICES else _BT601,
            dst_colorspace=_BT601,
            interpolation=Interpolation.BICUBIC,
            src_color_range=picture.color_range,
            dst_color_range=ColorRange.JPEG,
        )
        remarks = {
            "time_estimated": is_estimated,
            "corrupt": picture.is_corrupt,
            "resized": (picture.width, picture.height) != (width, height),
        }
        yield Frame(
            image=orientation.apply(rgb.to_ndarray()),
            index=index,
            time_seconds=time_seconds,
            flags=tuple(name for name, holds in remarks.items() if holds),
        )


def _between(frames: Iterator[Frame], start: float | None, end: float | None) -> Iterator[Frame]:
    for frame in frames:
        if end is not None and frame.time_seconds >= end:
            return
        if start is None or frame.time_seconds >= start:
            yield frame


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
    )
