"""Labellings whose joints can be seen: white dots, which a test finds in the picture and on the screen."""

from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy import ndarray
from PIL import Image
from scipy import ndimage

from dkpvid.labeling.folder import LabelFrame, Labeling, picture_path, write_frames
from dkpvid.labeling.page import write_label_page
from dkpvid.video.writer import VideoWriter

NAMES = ("nose", 'tail, "base"', "<script>document.title='harm'</script>")
"""What joints may be called."""


def dots_frame(index: int, width: int, height: int) -> ndarray:
    """A grey frame with three white dots on whole pixels."""
    y, x = np.mgrid[:height, :width]
    image = np.full((height, width, 3), 60, np.uint8)
    moved = np.array([0.004 * index, 0.02 * (index % 7)])
    shares = np.array([[0.2, 0.3], [0.55, 0.7], [0.83, 0.25]])
    for dot_x, dot_y in ((shares + moved) * [width, height]).round():
        image[(x - dot_x) ** 2 + (y - dot_y) ** 2 <= (max(width, height) / 48) ** 2] = 255
    return image


def dots_video(path: Path, num_frames: int = 24, width: int = 320, height: int = 200) -> Path:
    """An MP4 of such frames."""
    writer = VideoWriter(path, width=width, height=height, time_base=Fraction(1, 25), crf=4)
    for index in range(num_frames):
        writer.write(dots_frame(index, width, height), index / 25)
    writer.close()
    return path


def dots_in(picture: ndarray) -> ndarray:
    """(x, y) of the white dots' centres, from left to right; the centre of the top-left pixel is (0, 0).

    Args:
        picture: Grey levels, 0..1.
    """
    labels, count = ndimage.label(picture > 0.75)
    sizes = ndimage.sum_labels(np.ones_like(picture), labels, range(1, count + 1))
    found = np.array(ndimage.center_of_mass(picture > 0.75, labels, range(1, count + 1)))
    # Letters, and the lines of marks, are smaller.
    return found[sizes > 0.5 * sizes.max()][:, ::-1][found[sizes > 0.5 * sizes.max()][:, 1].argsort()]


def grey(path: Path) -> ndarray:
    """A picture's grey levels, 0..1."""
    return np.asarray(Image.open(path).convert("L")) / 255


def make_labeling(
    folder: Path, num_frames: int = 3, names: tuple[str, ...] = NAMES, size: tuple[int, int] = (320, 200)
) -> Labeling:
    """A folder with a page, as `dkpvid label` leaves it, without looking for frames in a video."""
    frames = tuple(
        LabelFrame(
            image=f"labeled-data/dots/img{10 * index:05d}.png",
            video="dots.mp4",
            index=10 * index,
            time_seconds=0.4 * index,
            width=size[0],
            height=size[1],
            reason="12 other frames are like it",
            hints=((30.0, 40.0, 0.9),),
        )
        for index in range(num_frames)
    )
    for frame in frames:
        path = picture_path(folder, frame)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(dots_frame(frame.index, *size)).save(path)
    # Browsers have one memory for all files.
    labeling = Labeling(str(folder), names, frames, ((None,) * len(names),) * num_frames)
    write_frames(folder, labeling)
    write_label_page(folder, labeling)
    return labeling
