"""The CSV of DeepLabCut."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from dkpvid.formats.base import TrackWriter, UnfinishedFile, frame_points, open_text, point_names, scorer
from dkpvid.formats.schema import TrackHeader
from dkpvid.structures import LostPacket, Track


class DeepLabCutCsv(TrackWriter):
    """The CSV of DeepLabCut: three header rows, then x, y, likelihood of each keypoint; empty = not observed.

    It has no room for times, covariances, flags or lost packets. Rows are labelled with the frame's number,
    which some readers ignore: for those, track from the start of the video.
    """

    suffix: ClassVar[str] = ".dkp.csv"

    def __init__(self, path: Path, header: TrackHeader) -> None:
        self._header = header
        self._file = UnfinishedFile(path, open_text)
        self._rows = csv.writer(self._file.content, lineterminator="\n")
        names = point_names(header)
        # Readers look for these three words, bare, at the start of the rows.
        self._rows.writerow(["scorer", *[scorer(header)] * (3 * len(names))])
        self._rows.writerow(["bodyparts", *(name for name in names for _ in range(3))])
        self._rows.writerow(["coords", *["x", "y", "likelihood"] * len(names)])

    def write(self, track: Track) -> None:
        """Append the frames that follow the ones written before."""
        for frame, points in frame_points(track, self._header):
            values = (point[key] for point in points for key in ("x", "y", "confidence"))
            self._rows.writerow([frame, *values])

    def close(self, lost: Sequence[LostPacket]) -> None:
        """Complete the file and give it its final name, replacing what is there."""
        self._file.close()

    def abort(self) -> None:
        """Remove the unfinished file. Does nothing after `close`."""
        self._file.abort()
