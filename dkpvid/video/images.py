"""Videos that are stored as pictures: a folder of frames, or one picture that holds them side by side."""

import re
import struct
import warnings
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy import ndarray
from PIL import Image, ImageOps

from dkpvid.errors import DataError, VideoError
from dkpvid.shapes import UInt8
from dkpvid.structures import Frame, LostPacket, VideoInfo

IMAGE_SUFFIXES = frozenset(
    {
        ".avif",
        ".bmp",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
    }
    | {".webp"}
)

PICTURES_FPS = 25.0
"""Frames per second of pictures, which have no times."""

IMAGE_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What a picture may be, whatever its suffix. Pillow hands some others, PostScript say, to other programs."""

# What Pillow raises for a file that is no picture, or a damaged one; its readers stumble in every way,
# that of TIFF above all.
UNREADABLE = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError),
    *(LookupError, ArithmeticError, struct.error),
    Image.DecompressionBombError,
)

_CAMERA_BITS = (10, 12, 14)


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
    bits = grey_bits(paths)
    pictures = _read_all(paths, fps, bits, lost)
    first = next(pictures, None)
    if first is None:
        raise VideoError(f"{source}: none of {len(paths)} pictures can be read ({lost[-1].reason})")
    height, width = first[1].shape[:2]
    count = len(paths)
    if source.is_file() and width % height == 0 and width > height:
        count, width = width // height, height
    info = describe(source, (width, height), fps, count, bits)
    if source.is_file():
        return info, _cut_strip(first[1], width, fps)
    return info, _equally_large(first, pictures, fps)


def describe(source: Path, size: tuple[int, int], fps: float, count: int, bits: int) -> VideoInfo:
    """What is known about a video of pictures; `bits` is what `grey_bits` says."""
    return VideoInfo(
        path=str(source),
        width=size[0],
        height=size[1],
        codec="images",
        time_base=1 / Fraction(fps).limit_denominator(1001),
        average_fps=fps,
        num_frames_estimate=count,
        start_seconds=0.0,
        grey_bits=bits if bits < 16 else None,
    )


def grey_bits(paths: list[Path]) -> int:
    """How many bits the values of 16-bit grey pictures take, all of them together; 16 for other pictures.

    Cameras of 10, 12 or 14 bits write into 16: taken as they are, their pictures would be nearly black.
    """
    largest = -1
    for path in paths:
        try:
            with opened(path) as stored:
                for page in range(getattr(stored, "n_frames", 1)):
                    stored.seek(page)
                    if not stored.mode.startswith("I"):
                        return 16
                    largest = max(largest, int(np.asarray(stored).max()))
        except UNREADABLE:
            continue
        if largest >= 1 << _CAMERA_BITS[-1]:
            return 16
    return next((bits for bits in _CAMERA_BITS if 0 <= largest < 1 << bits), 16)


def _read_all(
    paths: list[Path], fps: float, bits: int, lost: list[LostPacket]
) -> Iterator[tuple[int, UInt8[ndarray, "height width 3"]]]:
    for number, path in enumerate(paths):
        try:
            with opened(path) as stored:
                yield number, to_rgb(stored, bits)
        except UNREADABLE as error:
            lost.append(LostPacket(number, number / fps, f"{path.name}: {error}"))


def opened(path: Path) -> Image.Image:
    """A picture whose pixels are not decoded yet; a context manager."""
    with warnings.catch_warnings():
        # Of what is large, but below the size that Pillow refuses, and of damaged tags.
        warnings.simplefilter("ignore")
        return Image.open(path, formats=IMAGE_FORMATS)


def read_picture(path: Path) -> UInt8[ndarray, "height width 3"]:
    """One picture, upright, as opaque 8-bit RGB.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with opened(path) as stored:
            return to_rgb(stored, grey_bits([path]))
    except UNREADABLE as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def to_rgb(stored: Image.Image, bits: int) -> UInt8[ndarray, "height width 3"]:
    """Decode a picture to upright 8-bit RGB, opaque."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a cut EXIF record
        picture = ImageOps.exif_transpose(stored)
    if picture.mode.startswith("I"):
        # Pillow clips 16-bit grey at 255 instead of scaling it.
        values = np.asarray(picture).astype(np.int64)
        top = (1 << bits) - 1
        scaled = values // 257 if bits == 16 else (values * 255 + top // 2) // top
        grey = np.clip(scaled, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return np.array(picture.convert("RGB"))


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
