"""The pictures that are annotated: files, masked where they have a mask, and frames of videos."""

from collections.abc import Iterator
from itertools import groupby

import numpy as np
from numpy import ndarray
from PIL import Image

from dkpvid.errors import DataError
from dkpvid.evaluation.annotations import ImageSource
from dkpvid.shapes import UInt8
from dkpvid.video.images import read_picture
from dkpvid.video.reader import VideoReader


def read_rows(
    sources: tuple[ImageSource, ...],
) -> Iterator[tuple[int, UInt8[ndarray, "height width 3"]]]:
    """Each row's number and image; in the order of the videos, so that each is read once.

    Raises:
        DataError: an image is missing or damaged, or a video has too few frames.
    """
    order = sorted(range(len(sources)), key=lambda row: (str(sources[row].path), sources[row].frame or 0))
    for path, rows in groupby(order, key=lambda row: sources[row].path):
        wanted = list(rows)
        if sources[wanted[0]].frame is None:
            for row in wanted:
                yield row, _read_picture(sources[row])
            continue
        with VideoReader(path) as reader:
            for frame in reader:
                while wanted and sources[wanted[0]].frame == frame.index:
                    yield wanted.pop(0), frame.image
                if not wanted:
                    break
        if wanted:
            raise DataError(f"{path} has no frame {sources[wanted[0]].frame}, which is annotated")


def _read_picture(source: ImageSource) -> UInt8[ndarray, "height width 3"]:
    pixels = read_picture(source.path)
    if source.mask is None:
        return pixels
    mask = Image.fromarray(read_picture(source.mask)).convert("L")
    picture = Image.fromarray(pixels)
    # The reference multiplies the picture in [-1, 1] by the mask: what is left out becomes mid-grey.
    grey = Image.new("RGB", picture.size, (128, 128, 128))
    return np.asarray(Image.composite(picture, grey, mask.resize(picture.size)))
