"""The folder of JSON files that OpenPose writes."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from dkpvid.files import put_folder_in_place, temporary_folder_beside
from dkpvid.formats.base import TrackWriter, frame_points
from dkpvid.formats.schema import TrackHeader, to_json
from dkpvid.structures import LostPacket, Track

_OTHER_PARTS = (
    *("face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d"),
    *("pose_keypoints_3d", "face_keypoints_3d", "hand_left_keypoints_3d", "hand_right_keypoints_3d"),
)


class OpenPoseFolder(TrackWriter):
    """A folder with a file a frame, `STEM_000000000000_keypoints.json` and so on, as `--write_json` makes it.

    A file holds one person, or none when nothing was found in the frame. `pose_keypoints_2d` are x, y,
    confidence of one point after the other, keypoints first, then named joints; 0, 0, 0 = not observed. These
    are not the joints of OpenPose's body model unless they were trained to be.

    It has no room for names and times.

    Source: doc/02_output.md of OpenPose, version 1.1 of the format.
    """

    suffix: ClassVar[str] = ".dkp.openpose"

    def __init__(self, path: Path, header: TrackHeader) -> None:
        self._header = header
        self._path = path
        self._stem = path.name.removesuffix(self.suffix)
        self._temporary = temporary_folder_beside(path)

    def write(self, track: Track) -> None:
        """Write the files of the frames that follow the ones written before."""
        for frame, points in frame_points(track, self._header):
            content = to_json({"version": 1.1, "people": _people(points)})
            file = self._temporary / f"{self._stem}_{frame:012d}_keypoints.json"
            file.write_text(content, encoding="utf-8")

    def close(self, lost: Sequence[LostPacket]) -> None:
        """Give the folder its final name, replacing the folder that is there."""
        try:
            put_folder_in_place(self._temporary, self._path)
        finally:
            self.abort()

    def abort(self) -> None:
        """Remove the unfinished folder. Does nothing after `close`."""
        shutil.rmtree(self._temporary, ignore_errors=True)


def _people(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if all(point["x"] is None for point in points):
        return []
    values: list[float] = []
    for point in points:
        values += (0, 0, 0) if point["x"] is None else (point["x"], point["y"], point["confidence"])
    person = {"person_id": [-1], "pose_keypoints_2d": values}
    return [person | {part: [] for part in _OTHER_PARTS}]
