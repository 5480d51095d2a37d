"""Writing frames to an MP4 (H.264) with the frame times, and the sound, of the video they came from."""

import math
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import av
import av.error
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream
from numpy import ndarray

from dkpvid.errors import VideoError
from dkpvid.files import put_in_place, temporary_beside
from dkpvid.shapes import UInt8

if TYPE_CHECKING:
    AudioPacket = Packet[AudioStream]
else:
    # Generic in PyAV's annotations only.
    AudioPacket = Packet

_COARSEST_CLOCK = 1000
"""Fewest ticks per second: frame times that were estimated lie between those of the source's clock."""

MAX_SIDE = 16384
"""In pixels; what x264 can do."""

_SINGLE_FRAME_SECONDS = Fraction(1, 25)

_SHORTEST_LAST_SECONDS = Fraction(1, 500)
"""An MP4 tells its length in milliseconds; players would cut off a last frame that is shorter than that."""


class VideoWriter:
    """An MP4 that appears under its name when it is complete; a context manager.

    The first frame is shown at 0 s, and each other one as long after it as in the source, so a variable frame
    rate stays variable. Sound is copied, not encoded again, from the first to the end of the last frame.

    Odd sizes are padded to even ones at the right and the bottom, where pixel coordinates do not notice.
    Large pictures are stored as BT.709 and small ones as BT.601, with the tag that says so, since programs
    that do not read the tag guess by size.

    Args:
        path: The MP4; its folder is made when it is missing. An existing file is replaced on success only.
        width: Columns of the frames.
        height: Rows of the frames.
        time_base: Seconds per tick of the source's clock: times on it are kept exactly.
        crf: Quality of x264, 0 (lossless) to 51; smaller is better.
        sample_aspect_ratio: Width of a pixel over its height.
        audio_from: A file whose best audio stream is to be copied, by its own clock.
        comment: Text to store in the file, which `read_comment` finds.

    Raises:
        VideoError: the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        time_base: Fraction,
        crf: int = 20,
        sample_aspect_ratio: Fraction = Fraction(1),
        audio_from: Path | None = None,
        comment: str = "",
    ) -> None:
        if max(width, height) > MAX_SIDE:
            raise VideoError(
                f"{path}: an H.264 video has at most {MAX_SIDE} pixels a side, got {width} x {height}; "
                "track with --no-video"
            )
        self.path = path
        self.audio_note: str | None = None
        """Why the source's sound is missing; None when it is there, or the source has none."""
        self._size = width, height
        self._tick = Fraction(1, time_base.denominator * math.ceil(_COARSEST_CLOCK / time_base.denominator))
        self._first_seconds: float | None = None
        self._last_pts = -1
        # How long the latest frame is shown: as long as the one before it.
        self._last_ticks = round(_SINGLE_FRAME_SECONDS / self._tick)
        self._reformatter = VideoReformatter()
        self._sound: _Sound | None = None
        try:
            self._temporary = temporary_beside(path)
        except OSError as error:
            raise VideoError(
                f"{path}: cannot be written ({error.strerror or error}); choose another folder"
            ) from error
        self._container: OutputContainer = av.open(
            str(self._temporary.absolute()), "w", format="mp4", container_options={"movflags": "+faststart"}
        )
        if comment:
            self._container.metadata["comment"] = comment
        try:
            self._stream = self._add_picture_stream(crf, sample_aspect_ratio)
            if audio_from is not None and audio_from.is_file():
                self._add_sound(audio_from)
            self._container.start_encoding()
        except BaseException as error:
            self.abort()
            if isinstance(error, av.error.FFmpegError):
                raise self._failure(error) from error
            raise

    def _add_picture_stream(self, crf: int, sample_aspect_ratio: Fraction) -> VideoStream:
        options = {"crf": str(crf), "preset": "veryfast"}
        # The rate is a mere hint to the encoder: the time base and the frames' own times replace it.
        stream: VideoStream = self._container.add_stream("libx264", rate=25, options=options)
        width, height = self._size
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        coder = stream.codec_context
        coder.time_base = self._tick
        coder.sample_aspect_ratio = sample_aspect_ratio
        coder.color_range = ColorRange.MPEG
        is_large = width >= 1280 or height > 576
        self._matrix = Colorspace.ITU709 if is_large else Colorspace.ITU601
        # BT.709 and BT.601 have the same number in all three lists of ITU-T H.273.
        coder.colorspace = coder.color_primaries = coder.color_trc = 1 if is_large else 6
        return stream

    def _add_sound(self, source: Path) -> None:
        try:
            self._sound = _Sound(source, self._container)
        except (ValueError, av.error.FFmpegError) as error:
            self.audio_note = f"{source}: sound left out ({error})"

    def write(self, image: UInt8[ndarray, "height width 3"], time_seconds: float) -> None:
        """Add a frame.

        Args:
            image: RGB, of the size that was announced.
            time_seconds: When the source shows it; later than the frame before.

        Raises:
            ValueError: the image has another size.
            VideoError: the file cannot be written, say because the disk is full.
        """
        width, height = self._size
        if image.shape != (height, width, 3):
            raise ValueError(f"image must be {(height, width, 3)}, got {image.shape}")
        if self._first_seconds is None:
            self._first_seconds = time_seconds
        pts = max(round((time_seconds - self._first_seconds) / self._tick), self._last_pts + 1)
        if pts > 0:
            self._last_ticks = max(pts - self._last_pts, math.ceil(_SHORTEST_LAST_SECONDS / self._tick))
        self._last_pts = pts
        even = image
        if width % 2 or height % 2:
            even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = self._reformatter.reformat(
            VideoFrame.from_ndarray(even, format="rgb24"),
            format="yuv420p",
            src_colorspace=Colorspace.DEFAULT,
            dst_colorspace=self._matrix,
            dst_color_range=ColorRange.MPEG,
        )
        picture.pts, picture.time_base = pts, self._tick
        try:
            self._encode(picture)
            if self._sound:
                self._sound.copy(self._first_seconds, time_seconds)
        except av.error.FFmpegError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Complete the file and give it its name. Without a single frame there is no file.

        Raises:
            VideoError: the file cannot be written.
        """
        if self._first_seconds is None:
            self.abort()
            return
        try:
            self._encode(None)
            if self._sound:
                end = self._first_seconds + float((self._last_pts + self._last_ticks) * self._tick)
                self._sound.copy(self._first_seconds, end)
                self._sound.close()
            self._container.close()
            put_in_place(self._temporary, self.path)
        except BaseException as error:
            self.abort()
            if isinstance(error, (OSError, av.error.FFmpegError)):
                raise self._failure(error) from error
            raise

    def abort(self) -> None:
        """Remove what was written; a file that had the name before stays."""
        with suppress(av.error.FFmpegError):
            self._container.close()
        if self._sound:
            self._sound.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _encode(self, picture: VideoFrame | None) -> None:
        for packet in self._stream.encode(picture):
            # Only that of the last packet counts: it is how long players show the last frame.
            packet.duration = self._last_ticks
            self._container.mux(packet)

    def _failure(self, error: OSError | av.error.FFmpegError) -> VideoError:
        return VideoError(
            f"{self.path}: cannot be written ({error.strerror or error}); check the free space and the rights"
        )


def read_comment(path: Path) -> str:
    """The comment that `VideoWriter` stored in a file; empty when there is none, or it is no video."""
    try:
        # FFmpeg takes the name `12:30.mp4` for a protocol, but no absolute path.
        with av.open(str(path.absolute()), metadata_errors="replace") as container:
            return str(container.metadata.get("comment", ""))
    except (av.error.FFmpegError, OSError):
        return ""


class _Sound:
    """Copies the best audio stream of a file, packet by packet.

    Raises:
        ValueError: an MP4 cannot hold this kind of sound.
        FFmpegError: the file cannot be read.
    """

    def __init__(self, source: Path, output: OutputContainer) -> None:
        self._input = av.open(str(source.absolute()), metadata_errors="replace")
        self._output = output
        self._rest: Iterator[AudioPacket] = iter(())
        stream = self._input.streams.best("audio")
        if isinstance(stream, AudioStream):
            try:
                self._track = output.add_stream_from_template(stream)
            except BaseException:
                self.close()
                raise
            self._rest = self._input.demux(stream)
        self._last_dts: int | None = None
        self._next = self._read()

    def copy(self, start_seconds: float, end_seconds: float) -> None:
        """Copy on, up to a time of the source; what ends before the start is dropped, which becomes 0."""
        while (packet := self._next) is not None:
            if packet.pts is not None and packet.pts * packet.time_base >= end_seconds:
                return
            self._next = self._read()
            if packet.pts is None or packet.dts is None:
                continue
            start = round(start_seconds / packet.time_base)
            is_later = self._last_dts is None or packet.dts > self._last_dts
            # A damaged source may step back in time, which an MP4 cannot.
            if packet.pts + (packet.duration or 0) >= start and is_later:
                self._last_dts = packet.dts
                packet.pts -= start
                packet.dts -= start
                packet.stream = self._track
                self._output.mux(packet)

    def _read(self) -> AudioPacket | None:
        # Where a damaged source cannot be read on, the sound ends, but the pictures shall not.
        with suppress(av.error.FFmpegError):
            return next(self._rest, None)
        return None

    def close(self) -> None:
        self._input.close()
