"""The analysis file as h5py, sleap-io and movement read it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.formats.test_schema import make_header, make_track
from tests.formats.writing import NAMES, points_of, with_joints, write


@pytest.mark.parametrize("num_parts", [1, 3, 5])
def test_the_arrays_are_those_of_sleap(rng: np.random.Generator, tmp_path: Path, num_parts: int) -> None:
    track, header = with_joints(rng, make_track(rng))
    path = write("sleap-h5", tmp_path, track, num_parts, header)
    assert path.name == "clip.dkp.sleap.h5"
    xy, confidence = points_of(track)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["tracks"][:], xy.T[None].transpose(0, 1, 2, 3))
        np.testing.assert_array_equal(file["point_scores"][:], confidence.T[None])
        np.testing.assert_array_equal(file["track_occupancy"][:], [[1], [1], [1], [0], [1]])
        scores = [confidence[frame, np.isfinite(xy[frame, :, 0])].mean() for frame in (0, 1, 2, 4)]
        np.testing.assert_allclose(file["instance_scores"][0], np.insert(scores, 3, np.nan))
        assert np.isnan(file["tracking_scores"][:]).all()
        assert file["tracking_scores"].shape == (1, 5)
        assert [name.decode() for name in file["node_names"]] == NAMES
        assert list(file["track_names"]) == [b"track_0"]
        np.testing.assert_array_equal(file["edge_inds"][:], [[0, 1]])
        np.testing.assert_array_equal(file["edge_names"][:], [[b"k00", b"k01"]])
        assert file["video_path"][()].decode() == header.source.path
        assert (file["labels_path"][()], file["video_ind"][()]) == (b"", 0)


def test_the_frame_axis_is_that_of_the_video(rng: np.random.Generator, tmp_path: Path) -> None:
    track = replace(make_track(rng), index=np.arange(7, 12))
    with h5py.File(write("sleap-h5", tmp_path, track)) as file:
        assert file["tracks"].shape == (1, 2, 3, 12)
        assert np.isnan(file["tracks"][..., :7]).all()
        assert file["track_occupancy"][:, 0].tolist() == [0] * 7 + [1, 1, 1, 0, 1]
        np.testing.assert_array_equal(file["tracks"][0, :, :, 7:].T, track.xy.transpose(0, 1, 2))


def test_a_skeleton_without_edges(rng: np.random.Generator, tmp_path: Path) -> None:
    path = write("sleap-h5", tmp_path, make_track(rng), header=replace(make_header(), skeleton=()))
    with h5py.File(path) as file:
        assert file["edge_inds"].shape == file["edge_names"].shape == (0, 2)


def test_sleap_io_loads_it(
    rng: np.random.Generator, tmp_path: Path, need_package: Callable[[str], Any]
) -> None:
    track, header = with_joints(rng, make_track(rng))
    labels = need_package("sleap_io").load_file(str(write("sleap-h5", tmp_path, track, header=header)))
    xy, confidence = points_of(track)
    assert labels.skeletons[0].node_names == NAMES
    assert labels.skeletons[0].edge_inds == [(0, 1)]
    assert labels.videos[0].filename == header.source.path
    assert [frame.frame_idx for frame in labels] == [0, 1, 2, 4]
    for frame in labels:
        [instance] = frame.instances
        assert instance.track.name == "track_0"
        np.testing.assert_allclose(instance.numpy(), xy[frame.frame_idx])
        np.testing.assert_allclose(instance.points["score"], confidence[frame.frame_idx])


def test_movement_loads_it(
    rng: np.random.Generator, tmp_path: Path, need_package: Callable[[str], Any]
) -> None:
    track, header = with_joints(rng, make_track(rng))
    path = write("sleap-h5", tmp_path, track, header=header)
    data = need_package("movement.io").load_dataset(path, source_software="SLEAP", fps=25)
    xy, confidence = points_of(track)
    assert list(data.keypoints.values) == NAMES
    position = data.position.squeeze("individuals").transpose("time", "keypoints", "space")
    np.testing.assert_allclose(position, xy, rtol=1e-6)
    scores = data.confidence.squeeze("individuals").transpose("time", "keypoints")
    np.testing.assert_allclose(scores, confidence, rtol=1e-6)
