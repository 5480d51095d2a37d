"""Videos that are stored as pictures: a folder of frames, or one picture that holds them side by side."""

import re
import warnings
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy import ndarray
from PIL import Image, ImageOps

from dkpvid.errors import VideoError
from dkpvid.shapes import UInt8
from dkpvid.structures import Frame, LostPacket, VideoInfo

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})

IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""What a picture may be, whatever its suffix. Pillow hands some others, PostScript say, to other programs."""

# What Pillow raises for a file that is no picture, or a damaged one; broken PNG chunks are a SyntaxError.
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sort by name the way people count.

    >>> [path.name for path in natural_order([Path("frame10"), Path("frame9"), Path("Frame1")])]
    ['Frame1', 'frame9', 'frame10']
    """

    def key(path: Path) -> tuple[list[tuple[int, str]], str]:
        parts = re.findall(r"[0-9]+|[^0-9]+", path.name.casefold())
        # The name itself breaks ties such as a01 and a1: the order must not depend on the file system.
        return [(int(part), "") if part[0] in "0123456789" else (-1, part) for part in parts], path.name

    return sorted(paths, key=key)


def images_in(folder: Path) -> list[Path]:
    """The pictures that lie directly in a folder, in natural order; hidden files are passed over."""
    return natural_order(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def open_images(source: Path, *, fps: float, lost: list[LostPacket]) -> tuple[VideoInfo, Iterator[Frame]]:
    """Read a folder of frames, a strip of square frames side by side, or a single picture as a video.

    A picture is a strip when its width is a multiple, at least two, of its height.

    Args:
        source: A folder or a picture; the content, not the suffix, tells the format.
        fps: Frames per second: pictures carry no time.
        lost: Grows by each picture of a folder that cannot be read.

    Returns:
        What is known about the video, and its frames. Pictures of another size than the first are scaled to
        it and flagged `resized`; an unreadable picture leaves a gap in time.

    Raises:
        VideoError: there is no picture, or not one can be read.
    """
    paths = images_in(source) if source.is_dir() else [source]
    if not paths:
        suffixes = " ".join(sorted(IMAGE_SUFFIXES))
        raise VideoError(f"{source}: a folder without frames; expected pictures in it ({suffixes})")
    pictures = _read_all(paths, fps, lost)
    first = next(pictures, None)
    if first is None:
        raise VideoError(f"{source}: none of {len(paths)} pictures can be read ({lost[-1].reason})")
    height, width = first[1].shape[:2]
    count = len(paths)
    if source.is_file() and width % height == 0 and width > height:
        count, width = width // height, height
    info = VideoInfo(
        path=str(source),
        width=width,
        height=height,
        codec="images",
        time_base=1 / Fraction(fps).limit_denominator(1001),
        average_fps=fps,
        num_frames_estimate=count,
        start_seconds=0.0,
    )
    if source.is_file():
        return info, _cut_strip(first[1], width, fps)
    return info, _equally_large(first, pictures, fps)


def _read_all(
    paths: list[Path], fps: float, lost: list[LostPacket]
) -> Iterator[tuple[int, UInt8[ndarray, "height width 3"]]]:
    for number, path in enumerate(paths):
        try:
            yield number, read_picture(path)
        except _UNREADABLE as error:
            lost.append(LostPacket(number, number / fps, f"{path.name}: {error}"))


def read_picture(path: Path) -> UInt8[ndarray, "height width 3"]:
    """Decode a picture to upright 8-bit RGB, opaque.

    Raises:
        OSError: it is missing or damaged; or what else Pillow raises for that, see `_UNREADABLE`.
    """
    with warnings.catch_warnings():
        # Of what is large, but below the size that Pillow refuses.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        stored = Image.open(path, formats=IMAGE_FORMATS)
    with stored:
        upright = ImageOps.exif_transpose(stored)
        if upright.mode.startswith("I"):
            # Pillow clips 16-bit grey at 255 instead of scaling it.
            grey = np.clip(np.asarray(upright) // 257, 0, 255).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        if "transparency" in upright.info:
            upright = upright.convert("RGBA")
        return np.array(upright.convert("RGB"))


def _cut_strip(strip: UInt8[ndarray, "height width 3"], width: int, fps: float) -> Iterator[Frame]:
    for index, left in enumerate(range(0, strip.shape[1], width)):
        yield Frame(np.ascontiguousarray(strip[:, left : left + width]), index, index / fps)


def _equally_large(
    first: tuple[int, UInt8[ndarray, "height width 3"]],
    rest: Iterator[tuple[int, UInt8[ndarray, "_ _ 3"]]],
    fps: float,
) -> Iterator[Frame]:
    number, image = first
    height, width = image.shape[:2]
    yield Frame(image, 0, number / fps)
    for index, (number, image) in enumerate(rest, start=1):
        if image.shape[:2] == (height, width):
            yield Frame(image, index, number / fps)
        else:
            scaled = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
            yield Frame(np.array(scaled), index, number / fps, ("resized",))
