"""The NWB file as pynwb and movement read it."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pynwb
import pytest

from dkpvid import __version__
from dkpvid.formats.schema import COORDINATES
from dkpvid.structures import Track
from tests.formats.test_schema import make_header, make_track
from tests.formats.writing import NAMES, points_of, with_joints, write


@pytest.mark.parametrize("num_parts", [1, 5])
def test_pynwb_reads_what_was_written(rng: np.random.Generator, tmp_path: Path, num_parts: int) -> None:
    track, header = with_joints(rng, make_track(rng))
    path = write("nwb", tmp_path, track, num_parts, header)
    assert path.name == "clip.dkp.nwb"
    assert pynwb.validate(path=path) == []
    xy, confidence = points_of(track)
    with pynwb.NWBHDF5IO(path, "r") as file:
        content = file.read()
        poses = content.processing["behavior"]["PoseEstimation"]
        for point, name in enumerate(NAMES):
            series = poses[name]
            np.testing.assert_allclose(series.data[:], xy[:, point], rtol=1e-6)
            np.testing.assert_allclose(series.confidence[:], confidence[:, point], rtol=1e-6)
            np.testing.assert_array_equal(series.timestamps[:], track.time_seconds)
            assert (series.unit, series.reference_frame) == ("pixels", COORDINATES)
        assert list(poses.skeleton.nodes[:]) == NAMES
        np.testing.assert_array_equal(poses.skeleton.edges[:], [[0, 1]])
        assert (poses.scorer, poses.source_software) == ("dkpvid-taichi-rgb", "dkpvid")
        assert poses.source_software_version == __version__
        video = poses.source_video
        assert video is content.acquisition["source_video"]
        assert list(video.external_file[:]) == [header.source.path]
        assert list(video.dimension[:]) == [1280, 720]


def test_the_video_is_linked_from_the_folder_of_the_file(rng: np.random.Generator, tmp_path: Path) -> None:
    video = tmp_path / "videos" / "clip.mp4"
    video.parent.mkdir()
    video.touch()
    os.utime(video, (0, 1_700_000_000))
    header = replace(make_header(), source=replace(make_header().source, path=str(video)))
    path = write("nwb", tmp_path / "out", make_track(rng), header=header)
    with pynwb.NWBHDF5IO(path, "r") as file:
        content = file.read()
        assert list(content.acquisition["source_video"].external_file[:]) == ["../videos/clip.mp4"]
        assert content.session_start_time == datetime.fromtimestamp(1_700_000_000, UTC)


def test_the_identifier_follows_from_the_header(rng: np.random.Generator, tmp_path: Path) -> None:
    def identity(track: Track, folder: str, **changes: Any) -> tuple[str, datetime]:
        path = write("nwb", tmp_path / folder, track, header=replace(make_header(), **changes))
        with pynwb.NWBHDF5IO(path, "r") as file:
            content = file.read()
            return content.identifier, content.session_start_time

    first, start = identity(make_track(rng), "a")
    assert first.startswith("tai chi 太極-")
    assert start == datetime(1970, 1, 1, tzinfo=UTC), "there is no such file"
    assert identity(make_track(rng), "b") == (first, start)
    assert identity(make_track(rng), "c", model_sha256="f" * 64)[0] != first


def test_names_that_nwb_does_not_allow(rng: np.random.Generator, tmp_path: Path) -> None:
    header = replace(make_header(), keypoints=("a/b", "c:d", "e f"), skeleton=())
    with pynwb.NWBHDF5IO(write("nwb", tmp_path, make_track(rng), header=header), "r") as file:
        poses = file.read().processing["behavior"]["PoseEstimation"]
        assert list(poses.skeleton.nodes[:]) == ["a_b", "c_d", "e f"]
        assert set(poses.pose_estimation_series) == {"a_b", "c_d", "e f"}


def test_movement_loads_it(
    rng: np.random.Generator, tmp_path: Path, need_package: Callable[[str], Any]
) -> None:
    track, header = with_joints(rng, make_track(rng))
    path = write("nwb", tmp_path, track, header=header)
    data = need_package("movement.io").load_dataset(path, source_software="NWB")
    xy, confidence = points_of(track)
    assert sorted(data.keypoints.values) == sorted(NAMES)
    data = data.sel(keypoints=NAMES).squeeze("individuals")
    np.testing.assert_allclose(data.position.transpose("time", "keypoints", "space"), xy, rtol=1e-6)
    np.testing.assert_allclose(data.confidence.transpose("time", "keypoints"), confidence, rtol=1e-6)
    np.testing.assert_allclose(data.time, np.arange(5) * 1001 / 30000, atol=1e-6)
