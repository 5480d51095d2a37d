"""The folder of OpenPose."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.formats.test_schema import make_track
from tests.formats.writing import points_of, with_joints, write


def test_a_file_a_frame(rng: np.random.Generator, tmp_path: Path) -> None:
    track, header = with_joints(rng, make_track(rng))
    folder = write("openpose", tmp_path, track[0:5][1:], header=header)
    assert folder.name == "clip.dkp.openpose"
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"clip_{frame:012d}_keypoints.json" for frame in range(1, 5)]
    assert files[2].read_text() == '{"version":1.1,"people":[]}', "nothing was found in frame 3"
    xy, confidence = points_of(track)
    for frame in (1, 2, 4):
        content = json.loads(files[frame - 1].read_text())
        [person] = content.pop("people")
        assert content == {"version": 1.1}
        found = np.isfinite(xy[frame, :, :1])
        expected = np.where(found, np.column_stack([xy[frame], confidence[frame]]), 0)
        values = np.reshape(person.pop("pose_keypoints_2d"), (5, 3))
        np.testing.assert_allclose(values, expected, rtol=0, atol=0.005001)
        assert list(person.items()) == [
            ("person_id", [-1]),
            ("face_keypoints_2d", []),
            ("hand_left_keypoints_2d", []),
            ("hand_right_keypoints_2d", []),
            ("pose_keypoints_3d", []),
            ("face_keypoints_3d", []),
            ("hand_left_keypoints_3d", []),
            ("hand_right_keypoints_3d", []),
        ]


def test_an_earlier_folder_is_replaced_as_a_whole(rng: np.random.Generator, tmp_path: Path) -> None:
    track = make_track(rng)
    write("openpose", tmp_path, track)
    folder = write("openpose", tmp_path, track[0:2], num_parts=1)
    assert len(list(folder.iterdir())) == 2
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.skipif(os.name != "posix", reason="rights are a POSIX matter")
def test_the_folder_can_be_read_by_all(rng: np.random.Generator, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        folder = write("openpose", tmp_path, make_track(rng))
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o644}
