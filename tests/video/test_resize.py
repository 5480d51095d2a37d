"""What the networks see of a frame: like an exact antialiased reduction, whichever scaler did the work."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray
from PIL import Image

from dkpvid.coordinates import Region
from dkpvid.structures import Frame
from dkpvid.video.reader import VideoReader
from dkpvid.video.resize import REDUCTION, frame_to_square, to_square
from tests.video.clips import need_program, with_display_matrix


@pytest.fixture(scope="module")
def wide_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two frames of 1280 x 720 with detail of every size."""
    path = tmp_path_factory.mktemp("wide") / "wide.mp4"
    source = ["-f", "lavfi", "-i", "mandelbrot=size=1280x720:rate=25:start_scale=0.01", "-frames:v", "2"]
    subprocess.run([need_program("ffmpeg"), "-v", "error", *source, "-crf", "10", str(path)], check=True)
    return path


def exact(image: ndarray, size: int) -> ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("size", [64, 128])
def test_a_large_frame_is_reduced_by_the_codecs_scaler(wide_clip: Path, size: int) -> None:
    with VideoReader(wide_clip) as reader:
        for frame in reader:
            assert frame.reduced(REDUCTION * size).shape == (REDUCTION * size, REDUCTION * size, 3)
            difference = frame_to_square(frame, size).astype(float) - exact(frame.image, size)
            # Of 255; the whole range is in the picture, and detail down to single pixels.
            assert np.abs(difference).mean() < 2.5
            assert abs(difference.mean()) < 0.5


def test_a_small_frame_and_a_region_are_what_to_square_makes_of_them(wide_clip: Path) -> None:
    region = Region(100, 50, 400, 300)
    with VideoReader(wide_clip) as reader:
        frame = next(iter(reader))
    assert frame.size == (1280, 720)
    np.testing.assert_array_equal(frame_to_square(frame, 64, region), to_square(frame.image, 64, region))
    assert frame.reduced(720).shape == (720, 1280, 3), "it would not get smaller"
    picture = Frame(frame.image[:200, :150].copy(), 0, 0.0)
    assert picture.size == (150, 200)
    np.testing.assert_array_equal(frame_to_square(picture, 64), to_square(picture.image, 64))


def test_a_turned_frame_is_reduced_upright(wide_clip: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(with_display_matrix(wide_clip.read_bytes(), (0, 1, -1, 0)))
    with VideoReader(turned) as reader:
        frame = next(iter(reader))
    assert frame.size == (720, 1280)
    difference = frame_to_square(frame, 64).astype(float) - exact(frame.image, 64)
    assert np.abs(difference).mean() < 2.5
