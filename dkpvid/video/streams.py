"""Opening a video file.

FFmpeg's own log is left alone: a log level set from Python can deadlock with decoder threads.
"""

import struct
from pathlib import Path
from typing import Literal

import av
import av.error
from av.stream import Disposition
from av.video.stream import VideoStream

from dkpvid.errors import UsageError, VideoError
from dkpvid.video.sources import Source

ThreadType = Literal["AUTO", "SLICE"]
"""AUTO decodes several frames at once; SLICE only parts of one frame."""


MAX_PIXELS = 1 << 27
"""Of a frame; as RGB they take 400 MB. A damaged header may ask for any size. 16K is 15360 x 8640."""


CONCEALING = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"})
"""Codecs whose decoders paint over what is damaged, or drop it, without a word; the others report it."""


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
        if is_strict and stream.codec_context.name in CONCEALING:
            options["err_detect"] = "explode"
        stream.codec_context.options = options
        stream.codec_context.thread_type = av.codec.context.ThreadType[thread_type]
    except Exception:
        container.close()
        raise
    return stream


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
        return why_not_piped(source, reason_of(error))
    if source.kind == "file" and _is_mp4_without_index(Path(source.url)):
        return (
            f"{source.name}: an MP4 without its index (moov), so the recording was cut off; "
            "repair it with `untrunc` and an intact video of the same camera, or record it again"
        )
    if source.kind == "file":
        reason = reason_of(error)
        return f"{source.name}: not a readable video ({reason}); check it with `ffprobe`, or convert it"
    return f"{source.name}: cannot be opened ({reason_of(error)}); check it with `ffplay`"


def reason_of(error: av.error.FFmpegError) -> str:
    """What went wrong, in FFmpeg's words."""
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
