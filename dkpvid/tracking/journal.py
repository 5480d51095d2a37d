"""What was detected in a video so far, on disk, so that a run that was killed can go on where it was.

A journal holds the detections, exactly, batch by batch; never the smoothed track. The next run decodes the
video anew, looks only at the frames that are not in the journal, and smooths and writes all of it again:
detecting is what takes the time, and so every output comes out as if nothing had happened.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy import ndarray

from dkpvid.errors import DataError
from dkpvid.structures import Frame, Track

_TITLE = b"dkpvid journal "


class Journal:
    """A file that grows by one batch of detections at a time.

    Args:
        path: The file. It is made with the first batch.
        key: Says which video, model and settings the detections are of; without line breaks.
        batch_size: Frames in a batch. A last one that is smaller may have been cut short by an interruption,
            and is not read: networks give slightly other numbers in other company.
        resume: Read what is there. A journal of another key, and a batch that was cut off while it was
            written, count as not there. Otherwise the file is begun anew.
    """

    def __init__(self, path: Path, key: str, *, batch_size: int, resume: bool) -> None:
        self.path = path
        self._batch_size = batch_size
        self._title = _TITLE + key.encode() + b"\n"
        self.batches: list[Track] = []
        """What was read; the batches of before, whole."""
        self._size = 0
        self._is_closed = False
        if resume:
            self._read()

    def _read(self) -> None:
        try:
            file = self.path.open("rb")
        except OSError:
            return
        with file:
            if file.readline(4096) != self._title:
                return
            self._size = file.tell()
            try:
                while True:
                    batch = _unpacked(np.lib.format.read_array(file, allow_pickle=False))
                    if len(batch) < self._batch_size:
                        return
                    self.batches.append(batch)
                    self._size = file.tell()
            except (ValueError, EOFError, OSError):
                return  # here it ends, or was cut off

    def close(self) -> None:
        """Take no more: what comes now is made of a video that was cut short, at whose end windows differ."""
        self._is_closed = True

    def append(self, detections: Track) -> None:
        """Add a batch; when this returns, a kill does not lose it. Does nothing after `close`."""
        if self._is_closed:
            return
        is_new = self._size == 0
        if is_new:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("wb" if is_new else "r+b") as file:
            if is_new:
                file.write(self._title)
            else:
                file.truncate(self._size)
                file.seek(0, os.SEEK_END)
            np.lib.format.write_array(file, _packed(detections), allow_pickle=False)
            self._size = file.tell()


def _packed(track: Track) -> ndarray:
    """One row a frame: index, time, region or NaN, and for each keypoint x, y, confidence and covariance."""
    values = np.concatenate([track.xy, track.confidence[..., None], track.covariance], axis=2)
    region = np.full((len(track), 4), np.nan) if track.region is None else track.region
    return np.column_stack([track.index, track.time_seconds, region, values.reshape(len(track), -1)])


def _unpacked(rows: ndarray) -> Track:
    """What `_packed` made, in the same precision.

    Raises:
        ValueError: it is something else.
    """
    values = rows[:, 6:].reshape(len(rows), -1, 6)
    region = rows[:, 2:6]
    return Track(
        index=rows[:, 0].astype(np.int64),
        time_seconds=rows[:, 1],
        xy=values[..., :2],
        confidence=values[..., 2],
        covariance=values[..., 3:],
        region=None if np.isnan(region).any() else region.astype(np.int64),
    )


def check_same_frames(known: Track, again: Sequence[Frame]) -> None:
    """See that frames that were decoded again are those of the journal.

    Raises:
        DataError: they are not; the video has changed.
    """
    index, times = [frame.index for frame in again], [frame.time_seconds for frame in again]
    if known.index.tolist() != index or known.time_seconds.tolist() != times:
        raise DataError("the video gives other frames than before the interruption; run without --resume")
