"""Keypoint results of COCO."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from dkpvid.formats.base import TrackWriter, UnfinishedFile, frame_points, open_text
from dkpvid.formats.schema import TrackHeader, to_json
from dkpvid.structures import LostPacket, Track


class CocoResults(TrackWriter):
    """The list of keypoint results that `COCO.loadRes` of pycocotools reads, with a line per entry.

    An entry is a frame in which something was found: `image_id` is the frame's number, `category_id` is 1,
    `keypoints` are x, y, v of one point after the other, keypoints first, then named joints. v is 1, as the
    format's description recommends for results (scoring does not look at it), and x, y, v are 0, 0, 0 where
    a point was not observed. `score`, by which results are ranked, is the mean confidence of those that were.

    It has no room for names, times and the confidence of a single point.

    Source: https://cocodataset.org/#format-results
    """

    suffix: ClassVar[str] = ".dkp.coco.json"

    def __init__(self, path: Path, header: TrackHeader) -> None:
        self._header = header
        self._file = UnfinishedFile(path, open_text)
        self._separator = "[\n"

    def write(self, track: Track) -> None:
        """Append the frames that follow the ones written before."""
        for frame, points in frame_points(track, self._header):
            found = [point["confidence"] for point in points if point["x"] is not None]
            if not found:
                continue
            triples = (
                (point["x"], point["y"], 1) if point["x"] is not None else (0, 0, 0) for point in points
            )
            entry = {
                "image_id": frame,
                "category_id": 1,
                "keypoints": [value for triple in triples for value in triple],
                "score": round(sum(found) / len(found), 4),
            }
            self._file.content.write(self._separator + to_json(entry))
            self._separator = ",\n"

    def close(self, lost: Sequence[LostPacket]) -> None:
        """Complete the file and give it its final name, replacing what is there."""
        self._file.content.write("[]\n" if self._separator == "[\n" else "\n]\n")
        self._file.close()

    def abort(self) -> None:
        """Remove the unfinished file. Does nothing after `close`."""
        self._file.abort()
