"""Decoding the packets of a video, however damaged it is, and taking note of the damage."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import av.error
from av.codec import CodecContext
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dkpvid.structures import LostPacket
from dkpvid.video.clock import LONGEST_BROADCAST_GAP
from dkpvid.video.streams import CONCEALING, MAX_PIXELS, reason_of

if TYPE_CHECKING:
    VideoPacket = Packet[VideoStream]
else:
    # Generic in PyAV's annotations only.
    VideoPacket = Packet

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
            if not packet.size:
                continue
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
    has_witness = is_witnessed and stream.codec_context.name in CONCEALING
    witness = _Witness(stream, damage) if has_witness else None
    number = 0
    try:
        for packet, is_incomplete in _packets(stream):
            number = next(numbers)
            # To the decoder an empty packet is the end; some AVI files have them for repeated pictures.
            if not packet.size:
                continue
            if is_incomplete:
                damage.add(number, packet, "data is missing in the stream")
            for picture in _pictures(number, packet, damage, witness):
                if picture.is_corrupt:
                    damage.add(number, picture, "the picture is damaged")
                yield picture
    except av.error.FFmpegError as error:
        damage.add(next(numbers), None, reason_of(error))
    if witness:
        witness.look_at(number, None)
    try:
        pictures = stream.decode(None)
    except av.error.FFmpegError as error:
        damage.add(next(numbers), None, reason_of(error))
        pictures = []
    yield from pictures


def _pictures(
    number: int, packet: VideoPacket, damage: Damage, witness: "_Witness | None"
) -> list[VideoFrame]:
    """What comes out of the decoder for a packet."""
    if _is_encrypted(packet):
        damage.add(number, packet, "encrypted; its key is needed")
        return []
    if witness:
        witness.look_at(number, packet)
    try:
        return list(packet.decode())
    except av.error.FFmpegError as error:
        damage.add(number, packet, reason_of(error))
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
            self._damage.add(number, packet, reason_of(error))


def _packets(stream: VideoStream) -> Iterator[tuple[VideoPacket, bool]]:
    """The packets, each with whether data is missing in it.

    Where recordings were joined, the counters of a transport stream jump as if something were missing. So the
    packets that follow are looked at: their times jump too.
    """
    waiting: list[VideoPacket] = []
    for packet in stream.container.demux(stream):  # type: ignore[attr-defined]
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
