"""The frames of a video file or stream: decoded by PyAV, upright, with their own times."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from fractions import Fraction
from itertools import chain, count, islice
from typing import cast

from av.buffer import Buffer
from av.container import Container, InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dkpvid.errors import DkpvidError, VideoError
from dkpvid.structures import CORRUPT, Frame, LostPacket, VideoInfo
from dkpvid.video.background import BackgroundThread, StoppedError
from dkpvid.video.clock import (
    FALLBACK_FPS,
    LONGEST_BROADCAST_GAP,
    LONGEST_GAP,
    Picture,
    by_the_file,
    by_the_rate,
    by_the_wall,
)
from dkpvid.video.coded import CodedPicture, Scalers
from dkpvid.video.decoding import Damage, DamagedError, decode, decode_strictly
from dkpvid.video.deinterlace import deinterlace as make_whole
from dkpvid.video.orientation import Orientation
from dkpvid.video.sources import Source
from dkpvid.video.streams import ThreadType, open_stream, why_not_piped

_HDR_TRANSFERS = {16: "pq", 18: "hlg"}
"""The transfer functions of ITU-T H.273 for high dynamic range: SMPTE ST 2084, and ARIB STD-B67."""

_NO_TIMES, _CLOCK_MAY_JUMP = 0x80, 0x200
"""FFmpeg's flags of formats: AVFMT_NOTIMESTAMPS and AVFMT_TS_DISCONT."""

_FASTEST_BARE_STREAM = 1000
"""Frames per second."""

RECONNECT_DELAYS_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""How long to wait before each attempt to open a live stream again; after the last one it has ended."""


class VideoContainer:
    """One video stream of a file, of a URL, of a camera, or of standard input; see `dkpvid.video.reader`."""

    _container: Container | None = None

    def __init__(
        self,
        source: Source,
        *,
        stream: int | None,
        apply_rotation: bool,
        deinterlace: bool,
        thread_type: ThreadType,
        fps: float | None,
        lost: list[LostPacket],
        should_stop: Callable[[], bool],
    ) -> None:
        self._source = source
        self._damage = Damage(lost)
        self._fps = fps
        self._stream_number = stream
        # Frame threads can only be trusted where a second look is possible: see `_decode_file`.
        self._thread_type: ThreadType = thread_type if self._source.kind == "file" else "SLICE"
        self._is_strict = self._source.kind == "file"
        self._thread = None if self._source.kind == "file" else BackgroundThread(should_stop)
        try:
            self._stream = self._open()
            frames = self._decode_file() if self._thread is None else self._decode_stream(self._thread)
            first = next(filter(None, frames), None)
            if first is None and self._source.kind == "pipe" and not should_stop():
                raise VideoError(why_not_piped(self._source, "no frame in it"))
            if first is None and not (self._stream.width and self._stream.height):
                reason = f" ({lost[0].reason})" if lost else ""
                raise VideoError(f"{self._source.name}: no frame could be decoded{reason}")
            orientation = _orientation(first) if first and apply_rotation else Orientation()
            self.info = self._describe(first, orientation, deinterlace=deinterlace)
            pictures = self._timed(chain([first] if first else [], frames))
            if deinterlace:
                pictures = make_whole(pictures)
            self.frames: Iterator[Frame] = _convert(pictures, orientation, self.info, self._damage.concealed)
        except StoppedError:
            self.close()
            raise VideoError(f"{self._source.name}: stopped before its first frame") from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the file back; no frames come after it."""
        if self._thread is None:
            self._close_container()
        else:
            self._thread.finish(self._close_container)

    def _open(self) -> VideoStream:
        def call() -> VideoStream:
            return open_stream(
                self._source,
                number=self._stream_number,
                thread_type=self._thread_type,
                is_strict=self._is_strict,
            )

        stream = self._thread.run(call) if self._thread else call()
        self._container = stream.container
        return stream

    def _close_container(self) -> None:
        if self._container is not None:
            self._container.close()

    def _decode_file(self) -> Iterator[VideoFrame]:
        """Decode with all cores, and where that meets damage, go on with the decoder that loses least.

        Frame threads blame the wrong packet, and at a damaged end they drop up to a queue of good frames;
        without them exactly the frames of the ffmpeg program come out. So the file is opened again, and the
        frames that were given already are passed over.
        """
        num_given = 0
        try:
            for frame in decode_strictly(self._stream):
                num_given += 1
                yield frame
            return
        except DamagedError:
            self._close_container()
        self._thread_type, self._is_strict = "SLICE", False
        self._stream = self._open()
        yield from islice(decode(self._stream, self._damage, count(), is_witnessed=True), num_given, None)

    def _decode_stream(self, thread: BackgroundThread) -> Iterator[VideoFrame | None]:
        """Decode to the end, or until asked to stop; None where a live stream was lost and came back."""
        numbers, delays = count(), iter(RECONNECT_DELAYS_SECONDS)
        with suppress(StoppedError):
            while True:
                for frame in thread.iterate(decode(self._stream, self._damage, numbers)):
                    # Who sends pictures is waited for again.
                    delays = iter(RECONNECT_DELAYS_SECONDS)
                    yield frame
                if self._source.kind != "live" or not self._is_back(thread, delays):
                    return
                self._damage.lost.append(LostPacket(next(numbers), None, "the connection was lost"))
                yield None

    def _is_back(self, thread: BackgroundThread, delays: Iterator[float]) -> bool:
        """Try to open a live stream again, after each of the delays."""
        thread.run(self._close_container)
        for seconds in delays:
            thread.sleep(seconds)
            with suppress(DkpvidError):
                self._stream = self._open()
                return True
        return False

    def _timed(self, frames: Iterator[VideoFrame | None]) -> Iterator[Picture]:
        if self._fps is not None:
            return by_the_rate(filter(None, frames), self._fps, is_guess=False)
        if self._source.kind == "live":
            return by_the_wall(frames, self.info.time_base)
        if self._has_no_times:
            fps = self.info.average_fps or FALLBACK_FPS
            return by_the_rate(filter(None, frames), fps, is_guess=self.info.average_fps is None)
        container = self._stream.container.format
        return by_the_file(
            filter(None, frames),
            self.info.time_base,
            self.info.average_fps,
            has_decoding_times_only=container.name == "avi",
            longest_gap=LONGEST_BROADCAST_GAP if container.flags & _CLOCK_MAY_JUMP else LONGEST_GAP,
        )

    @property
    def _has_no_times(self) -> bool:
        """True for a bare stream of pictures, such as .h264: FFmpeg counts them by a rate of its own."""
        return bool(self._stream.container.format.flags & _NO_TIMES)

    def _describe(
        self, first: VideoFrame | None, orientation: Orientation, *, deinterlace: bool
    ) -> VideoInfo:
        """What the header says, with the size of the first frame, which a header may have wrong."""
        stream, container = self._stream, cast(InputContainer, self._stream.container)
        time_base = stream.time_base or Fraction(1, 1000)
        rate = stream.average_rate
        if self._has_no_times:
            rate = stream.codec_context.framerate
            if rate and rate > _FASTEST_BARE_STREAM:
                rate = None  # a clock's rate rather than that of the pictures
        if rate and stream.base_rate and rate * time_base >= 1:
            rate = min(rate, stream.base_rate)  # a tick for each picture is no measurement
        seconds = None if stream.duration is None else stream.duration * time_base
        width, height = (first.width, first.height) if first else (stream.width, stream.height)
        sample_aspect_ratio = stream.sample_aspect_ratio or Fraction(1)
        if orientation.swaps_axes:
            width, height, sample_aspect_ratio = height, width, 1 / sample_aspect_ratio
        is_interlaced = first is not None and first.interlaced_frame
        return VideoInfo(
            path=self._source.path,
            width=width,
            height=height,
            codec=stream.codec_context.name,
            time_base=time_base,
            average_fps=self._fps or (float(rate) if rate else None),
            has_no_times=self._has_no_times and not rate and self._fps is None,
            num_frames_estimate=stream.frames or (round(seconds * rate) if seconds and rate else None),
            start_seconds=None if stream.start_time is None else float(stream.start_time * time_base),
            rotation_degrees=orientation.rotation_degrees,
            is_mirrored=orientation.is_mirrored,
            sample_aspect_ratio=sample_aspect_ratio,
            has_audio=bool(container.streams.audio),
            hdr=_HDR_TRANSFERS.get(stream.codec_context.color_trc),
            is_interlaced=is_interlaced,
            is_deinterlaced=is_interlaced and deinterlace,
            # A download that tells no length may be a broadcast.
            can_reopen=self._source.kind == "file"
            or (self._source.kind == "download" and container.duration is not None),
        )


def _convert(
    pictures: Iterator[Picture], orientation: Orientation, info: VideoInfo, concealed: set[int]
) -> Iterator[Frame]:
    scalers = Scalers()
    for index, picture in enumerate(pictures):
        frame = picture.frame
        coded = CodedPicture(frame, orientation, info.width, info.height, scalers)
        remarks = {
            CORRUPT: frame.is_corrupt or frame.pts in concealed,
            "resized": (frame.width, frame.height) != coded.stored_size,
        }
        yield Frame(
            picture=coded,
            index=index,
            time_seconds=picture.time_seconds,
            flags=picture.flags + tuple(name for name, holds in remarks.items() if holds),
        )


def _orientation(frame: VideoFrame) -> Orientation:
    try:
        # PyAV's annotation of side_data knows motion vectors only.
        matrix = cast(Mapping[str, Buffer], frame.side_data).get("DISPLAYMATRIX")
    except ValueError:
        # PyAV gives up on all of it where FFmpeg has a kind of side data that PyAV does not know.
        return Orientation(rotation_degrees=round(frame.rotation / 90) * 90 % 360)
    return Orientation() if matrix is None else Orientation.from_display_matrix(bytes(matrix))
