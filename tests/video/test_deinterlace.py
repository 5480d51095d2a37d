"""Interlaced pictures made whole, against the same filter in the ffmpeg program."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from dkpvid.structures import Frame, VideoInfo
from dkpvid.video.reader import VideoReader
from tests.video.clips import HEIGHT, WIDTH, make_clip, need_program

INTERLACED = (("crf", "10"), ("x264-params", "tff=1"))


def read(source: Path, **options: object) -> tuple[list[Frame], VideoInfo]:
    with VideoReader(source, **options) as video:
        return list(video), video.info


def by_ffmpeg(path: Path) -> ndarray:
    filtering = (
        "-vf bwdif=mode=send_frame:deint=interlaced -f rawvideo -pix_fmt rgb24 -fps_mode passthrough -"
    )
    command = [need_program("ffmpeg"), "-v", "quiet", "-i", str(path), *filtering.split()]
    pixels = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(pixels, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)


@pytest.fixture
def interlaced(tmp_path: Path) -> Path:
    """24 pictures of two fields each, top field first."""
    path = tmp_path / "interlaced.mp4"
    path.write_bytes(make_clip(options=INTERLACED))
    return path


def test_as_the_ffmpeg_program_does(interlaced: Path) -> None:
    frames, info = read(interlaced, deinterlace=True)
    assert (info.is_interlaced, info.is_deinterlaced, info.remarks) == (True, True, ())
    seen, expected = np.stack([frame.image for frame in frames]), by_ffmpeg(interlaced)
    # Versions of the filter treat the first picture, which has none before it, differently.
    np.testing.assert_array_equal(seen[1:], expected[1:])
    assert np.abs(seen[0].astype(int) - expected[0]).mean() < 1
    as_stored, _ = read(interlaced)
    assert [frame.time_seconds for frame in frames] == [frame.time_seconds for frame in as_stored]
    assert np.abs(seen - np.stack([frame.image for frame in as_stored]).astype(int)).mean() > 1


def test_what_is_not_interlaced_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "whole.mp4"
    path.write_bytes(make_clip())
    frames, info = read(path, deinterlace=True)
    assert (info.is_interlaced, info.is_deinterlaced) == (False, False)
    for frame, stored in zip(frames, read(path)[0], strict=True):
        np.testing.assert_array_equal(frame.image, stored.image)


def test_interlaced_pictures_are_remarked_upon(interlaced: Path) -> None:
    info = read(interlaced)[1]
    assert (info.is_interlaced, info.is_deinterlaced) == (True, False)
    assert [remark.partition(",")[0] for remark in info.remarks] == ["interlaced pictures"]


@pytest.mark.parametrize("num_frames", [1, 2])
def test_no_picture_is_held_back(tmp_path: Path, num_frames: int) -> None:
    path = tmp_path / "short.mp4"
    path.write_bytes(make_clip(times=(0.0, 0.3)[:num_frames], options=INTERLACED))
    assert [frame.time_seconds for frame in read(path, deinterlace=True)[0]] == [0.0, 0.3][:num_frames]


def test_missing_times_and_a_change_of_size(tmp_path: Path) -> None:
    small = make_clip(container="h264", options=INTERLACED)
    large = make_clip(container="h264", size=(192, 128), options=INTERLACED)
    path = tmp_path / "grows.h264"
    path.write_bytes(small + large)
    frames, _ = read(path, deinterlace=True)
    assert [frame.flags for frame in frames] == [("time_estimated",)] * 24 + [
        ("time_estimated", "resized")
    ] * 24
    np.testing.assert_allclose([frame.time_seconds for frame in frames], np.arange(48) / 25, atol=1e-9)


def test_pictures_too_small_for_the_filter(tmp_path: Path) -> None:
    path = tmp_path / "small.nut"
    path.write_bytes(make_clip(size=(2, 2), container="nut", codec="rawvideo", pix_fmt="rgb24", options=()))
    assert len(read(path, deinterlace=True)[0]) == 24
