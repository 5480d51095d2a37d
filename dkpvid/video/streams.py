"""Opening a video file and decoding its packets, however damaged it is.

FFmpeg's own log is left alone: a log level set from Python can deadlock with decoder threads.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import av
import av.error
from av.codec import CodecContext
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dkpvid.errors import UsageError, VideoError
from dkpvid.structures import LostPacket
from dkpvid.video.clock import LONGEST_BROADCAST_GAP
from dkpvid.video.sources import Source

if TYPE_CHECKING:
    VideoPacket = Packet[VideoStream]
else:
    # Generic in PyAV's annotations only.
    VideoPacket = Packet

ThreadType = Literal["AUTO", "SLICE"]
"""AUTO decodes several frames at once; SLICE only parts of one frame."""


MAX_PIXELS = 1 << 27
"""Of a frame; as RGB they take 400 MB. A damaged header may ask for any size. 16K is 15360 x 8640."""


_CONCEALING = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"})
"""Codecs whose decoders paint over what is damaged, or drop it, without a word; the others report it."""


_PACKETS_AT_A_JOINT = 3
"""How soon after a packet that seems incomplete the times jump where recordings were joined."""


class DamagedError(Exception):
    """The stream has a damaged packet, or kept back frames."""


@dataclass(eq=False)
class Damage:
    """What was found wrong with a stream so far."""

    lost: list[LostPacket]
    """Grows by each packet that was not decoded, or only in part."""
    concealed: set[int] = field(default_factory=set)
    """Presentation times, in ticks, of pictures that do not show what the camera saw."""

    def add(self, number: int, packet: VideoPacket | VideoFrame | None, reason: str) -> None:
        """Note a packet, or a picture that comes of it; a second remark about the same one is left out."""
        seconds = None
        if self.lost and self.lost[-1].packet == number:
            return
        if packet is not None and packet.pts is not None:
            if packet.pts in self.concealed:
                return
            self.concealed.add(packet.pts)
            seconds = float(packet.pts * (packet.time_base or 0))
        self.lost.append(LostPacket(number, seconds, reason))


def open_stream(
    source: Source, *, number: int | None, thread_type: ThreadType, is_strict: bool = False
) -> VideoStream:
    """Open a video; its container is `stream.container`, which the caller closes.

    Args:
        source: What to open.
        number: Which of the file's video streams, from 0; None takes the best that is not a cover picture.
        thread_type: How the decoder may use several processor cores.
        is_strict: Let the decoder report damage instead of painting over it.

    Raises:
        VideoError: the file cannot be opened, or has no video.
        UsageError: there is no video stream with that number.
    """
    _check_file(source)
    try:
        # Tags that are not UTF-8 must not keep anybody from their video.
        container = av.open(
            source.url,
            format=source.format,
            options=source.options,
            timeout=source.timeout_seconds,
            metadata_errors="replace",
        )
    except av.error.FFmpegError as error:
        raise VideoError(_why_unreadable(source, error)) from error
    try:
        # FFmpeg plays text files as ANSI art.
        if container.format.name == "tty":
            raise VideoError(f"{source.name}: a text file, not a video; give a video file")
        stream = _choose(container.streams.video, container.streams.best("video"), source.name, number)
        if getattr(stream, "codec_context", None) is None:
            raise VideoError(
                f"{source.name}: no decoder for its video; convert it with `ffmpeg -i INPUT output.mp4`"
            )
        if stream.width * stream.height > MAX_PIXELS:
            raise VideoError(
                f"{source.name}: frames of {stream.width} x {stream.height} pixels by its header, above the "
                f"limit of {MAX_PIXELS / 1e6:.0f} megapixels; the header is damaged, or scale the video down"
            )
        # A size that changes within the stream is held to the same limit.
        options = {"max_pixels": str(MAX_PIXELS)}
        if is_strict and stream.codec_context.name in _CONCEALING:
            options["err_detect"] = "explode"
        stream.codec_context.options = options
        stream.codec_context.thread_type = av.codec.context.ThreadType[thread_type]
    except Exception:
        container.close()
        raise
    return stream


def decode_strictly(stream: VideoStream) -> Iterator[VideoFrame]:
    """Decode a stream in presentation order, as long as all is well.

    Args:
        stream: As `open_stream` gave it, strict.

    Raises:
        DamagedError: something is damaged or missing; all frames before it may not have come out.
    """
    num_sent = num_received = 0
    try:
        for packet, is_incomplete in _packets(stream):
            if is_incomplete or _is_encrypted(packet):
                raise DamagedError
            num_sent += not packet.is_discard
            for picture in packet.decode():
                num_received += 1
                if picture.is_corrupt:
                    raise DamagedError
                yield picture
        for picture in stream.decode(None):
            num_received += 1
            yield picture
    except av.error.FFmpegError as error:
        raise DamagedError from error
    # When one of the last packets is damaged, a decoder with frame threads silently drops what it holds.
    if num_received < num_sent:
        raise DamagedError


def decode(
    stream: VideoStream, damage: Damage, numbers: Iterator[int], *, is_witnessed: bool = False
) -> Iterator[VideoFrame]:
    """Decode a stream in presentation order, passing over what is damaged.

    Args:
        stream: As `open_stream` gave it.
        damage: Takes note.
        numbers: Each packet takes one.
        is_witnessed: Ask a second, strict decoder what the first one paints over; takes twice the time.
    """
    has_witness = is_witnessed and stream.codec_context.name in _CONCEALING
    witness = _Witness(stream, damage) if has_witness else None
    number = 0
    try:
        for packet, is_incomplete in _packets(stream):
            number = next(numbers)
            if is_incomplete:
                damage.add(number, packet, "data is missing in the stream")
            if witness:
                witness.look_at(number, packet)
            for picture in _pictures(number, packet, damage):
                if picture.is_corrupt:
                    damage.add(number, picture, "the picture is damaged")
                yield picture
    except av.error.FFmpegError as error:
        damage.add(next(numbers), None, _reason(error))
    if witness:
        witness.look_at(number, None)
    try:
        pictures = stream.decode(None)
    except av.error.FFmpegError as error:
        damage.add(next(numbers), None, _reason(error))
        pictures = []
    yield from pictures


def _pictures(number: int, packet: VideoPacket, damage: Damage) -> list[VideoFrame]:
    """What comes out of the decoder for a packet."""
    if _is_encrypted(packet):
        damage.add(number, packet, "encrypted; its key is needed")
        return []
    try:
        return list(packet.decode())
    except av.error.FFmpegError as error:
        damage.add(number, packet, _reason(error))
        return []


class _Witness:
    """A second decoder of a stream that tells of damage which the first one conceals.

    Args:
        stream: The same for both.
        damage: Takes note.
    """

    def __init__(self, stream: VideoStream, damage: Damage) -> None:
        self._damage = damage
        self._decoder: Any = CodecContext.create(stream.codec_context.name, "r")
        self._decoder.extradata = stream.codec_context.extradata
        self._decoder.options = {
            "max_pixels": str(MAX_PIXELS),
            "err_detect": "explode",
            # Give pictures whose references are missing, instead of none.
            "flags": "output_corrupt",
        }

    def look_at(self, number: int, packet: VideoPacket | None) -> None:
        """Decode a packet, or what is left at the end."""
        try:
            for picture in self._decoder.decode(packet):
                if picture.is_corrupt:
                    self._damage.add(number, picture, "what the picture builds on is missing")
        except av.error.FFmpegError as error:
            self._damage.add(number, packet, _reason(error))


def _packets(stream: VideoStream) -> Iterator[tuple[VideoPacket, bool]]:
    """The packets, each with whether data is missing in it.

    Where recordings were joined, the counters of a transport stream jump as if something were missing. So the
    packets that follow are looked at: their times jump too.
    """
    waiting: list[VideoPacket] = []
    for packet in stream.container.demux(stream):  # type: ignore[attr-defined]
        # To the decoder an empty packet is the end; some AVI files have empty ones for repeated pictures.
        if not packet.size:
            continue
        waiting.append(packet)
        if not waiting[0].is_corrupt:
            yield waiting.pop(0), False
        elif len(waiting) > _PACKETS_AT_A_JOINT:
            yield from _judged(waiting)
            waiting = []
    yield from _judged(waiting)


def _judged(packets: list[VideoPacket]) -> Iterator[tuple[VideoPacket, bool]]:
    known = [float(packet.dts * (packet.time_base or 0)) for packet in packets if packet.dts is not None]
    is_joint = any(not 0 <= b - a <= LONGEST_BROADCAST_GAP for a, b in pairwise(known))
    yield from ((packet, packet.is_corrupt and not is_joint) for packet in packets)


def _is_encrypted(packet: VideoPacket) -> bool:
    """True for a packet of an MP4 with copy protection; older versions of PyAV cannot tell."""
    has = getattr(packet, "has_sidedata", None)
    return has is not None and bool(has("encryption_info"))


def _choose(streams: tuple[VideoStream, ...], best: object, source: str, number: int | None) -> VideoStream:
    if number is not None:
        if not 0 <= number < len(streams):
            raise UsageError(f"{source}: no video stream {number}; it has {len(streams)}, counted from 0")
        return streams[number]
    moving = [stream for stream in streams if not stream.disposition & Disposition.attached_pic]
    if not moving:
        raise VideoError(f"{source}: no video stream in it, only sound or still pictures; give a video")
    return next((stream for stream in moving if stream is best), moving[0])


def _check_file(source: Source) -> None:
    path = Path(source.url)
    if source.format == "v4l2" and not path.exists():
        raise VideoError(f"{source.name}: there is no {path}; plug a camera in, or give another number")
    if source.kind != "file":
        return
    if not path.exists():
        raise VideoError(f"{source.name}: no such file; check the path")
    if path.is_file() and path.stat().st_size == 0:
        raise VideoError(f"{source.name}: an empty file (0 bytes); copy or record it again")


def why_not_piped(source: Source, reason: str) -> str:
    """The error of a pipe that gives no frames."""
    return (
        f"{source.name}: not a video that a pipe can carry ({reason}); an MP4 may have its index at the end: "
        "pipe Matroska (`ffmpeg -i INPUT -c copy -f matroska -`) or MPEG-TS, or give the file"
    )


def _why_unreadable(source: Source, error: av.error.FFmpegError) -> str:
    if source.kind == "pipe":
        return why_not_piped(source, _reason(error))
    if source.kind == "file" and _is_mp4_without_index(Path(source.url)):
        return (
            f"{source.name}: an MP4 without its index (moov), so the recording was cut off; "
            "repair it with `untrunc` and an intact video of the same camera, or record it again"
        )
    if source.kind == "file":
        return (
            f"{source.name}: not a readable video ({_reason(error)}); check it with `ffprobe`, or convert it"
        )
    return f"{source.name}: cannot be opened ({_reason(error)}); check it with `ffplay`"


def _reason(error: av.error.FFmpegError) -> str:
    # What FFmpeg says when we interrupt it.
    return "no data in time" if isinstance(error, av.error.ExitError) else str(error.strerror)


def _is_mp4_without_index(path: Path) -> bool:
    """Walk the top-level boxes: each starts with its size (32 bits; 1 = 64 bits follow) and its type."""
    size, position, boxes = path.stat().st_size, 0, []
    with path.open("rb") as file:
        while position + 8 <= size:
            file.seek(position)
            length, kind = struct.unpack(">I4s", file.read(8))
            if length == 1:
                length = int.from_bytes(file.read(8), "big")
            boxes.append(kind)
            if length < 8:
                break
            position += length
    return boxes[:1] == [b"ftyp"] and b"moov" not in boxes
