"""Pictures that hold several: GIF, APNG, WebP and AVIF animations, and stacks of TIFF pages."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from dkpvid.errors import VideoError
from dkpvid.structures import Frame, LostPacket, VideoInfo
from dkpvid.video.images import PICTURES_FPS, UNREADABLE, describe, grey_bits, opened, to_rgb

_ANIMATED = frozenset({"AVIF", "GIF", "PNG", "TIFF", "WEBP"})
_SHORTEST_SECONDS = 0.02
_DEFAULT_SECONDS = 0.1
"""Browsers and FFmpeg agree on both."""


def num_pages(path: Path) -> int:
    """How many pictures there are in one: 1 also where it cannot be read."""
    try:
        with opened(path) as stored:
            # Beside a photo, other formats keep thumbnails and depth.
            return getattr(stored, "n_frames", 1) if stored.format in _ANIMATED else 1
    except UNREADABLE:
        return 1


def open_animation(
    source: Path, count: int, *, fps: float | None, lost: list[LostPacket]
) -> tuple[VideoInfo, Iterator[Frame]]:
    """Read the pictures in a picture as a video.

    Args:
        source: The file.
        count: How many there are; see `num_pages`.
        fps: Frames per second; None = the times of the file, 25 for a stack of TIFF pages, which has none.
        lost: Grows by the picture that cannot be read, with which the video ends.

    Returns:
        What is known about the video, and its frames.

    Raises:
        VideoError: not one can be read.
    """
    bits = grey_bits([source])
    pages = _pages(source, count, fps, bits, lost)
    first = next(pages, None)
    if first is None:
        raise VideoError(f"{source}: none of {count} pictures can be read ({lost[-1].reason})")
    height, width = first.image.shape[:2]
    with opened(source) as stored:
        rate = fps or (1 / _seconds_shown(stored) if stored.format != "TIFF" else PICTURES_FPS)
    return describe(source, (width, height), rate, count, bits), chain([first], pages)


def _pages(source: Path, count: int, fps: float | None, bits: int, lost: list[LostPacket]) -> Iterator[Frame]:
    size: tuple[int, int] | None = None
    with opened(source) as stored:
        seconds = 0.0
        for index in range(count):
            try:
                stored.seek(index)
                image = to_rgb(stored, bits)
                shown = _seconds_shown(stored)
            except UNREADABLE as error:
                lost.append(LostPacket(index, seconds, str(error)))
                return
            size = size or (image.shape[1], image.shape[0])
            flags = () if size == (image.shape[1], image.shape[0]) else ("resized",)
            if flags:
                image = np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
            yield Frame(image, index, index / fps if fps else seconds, flags)
            seconds += 1 / PICTURES_FPS if stored.format == "TIFF" else shown


def _seconds_shown(stored: Image.Image) -> float:
    """How long the current picture of an animation is shown; what is too short to be meant is 0.1 s."""
    stored.load()  # before that, a WebP does not tell
    seconds = float(stored.info.get("duration") or 0) / 1000
    return seconds if seconds >= _SHORTEST_SECONDS else _DEFAULT_SECONDS


def has_bare_frames(gif: Path) -> bool:
    """Whether a GIF has pictures without a control block each, of which FFmpeg shows only the first."""
    content = gif.read_bytes()
    place, num_bare, is_controlled = 13, 0, False
    if len(content) < place or content[:3] != b"GIF":
        return False
    if content[10] & 0x80:
        place += 3 << ((content[10] & 7) + 1)
    while place + 10 < len(content) and content[place] in (0x21, 0x2C):
        if content[place] == 0x21:
            is_controlled = is_controlled or content[place + 1] == 0xF9
            place += 2
        else:
            num_bare += not is_controlled
            is_controlled = False
            table = content[place + 9]
            place += 11 + (3 << ((table & 7) + 1) if table & 0x80 else 0)
        while place < len(content) and content[place]:
            place += 1 + content[place]
        place += 1
    return num_bare > 1
