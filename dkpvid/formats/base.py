"""What the formats share: how a file comes into being, and the points that go into it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy import ndarray

from dkpvid.drawing import DrawStyle
from dkpvid.files import put_in_place, temporary_beside
from dkpvid.formats.schema import TrackHeader, frame_records
from dkpvid.shapes import Float
from dkpvid.structures import LostPacket, Track


class TrackSink(ABC):
    """Takes a track piece by piece."""

    @abstractmethod
    def write(self, track: Track) -> None:
        """Append the frames that follow the ones written before."""

    @abstractmethod
    def close(self, lost: Sequence[LostPacket]) -> None:
        """Complete the output, and give it its final name, replacing what is there."""

    @abstractmethod
    def abort(self) -> None:
        """Give the unfinished output up. Does nothing after `close`, so it can always be called."""


class TrackWriter(TrackSink):
    """A sink that writes one file, or one folder: what every format is.

    Args:
        path: Its final name.
        header: Of the track.
    """

    suffix: ClassVar[str]
    """What the file's name ends with."""

    @abstractmethod
    def __init__(self, path: Path, header: TrackHeader) -> None: ...


@runtime_checkable
class _Closable(Protocol):
    def close(self) -> None: ...


_Content = TypeVar("_Content", bound=_Closable)


class UnfinishedFile(Generic[_Content]):
    """A file that takes its final name when it is complete.

    Args:
        path: The final name.
        open_file: Opens the temporary file for writing; what it gives is `content`.
    """

    def __init__(self, path: Path, open_file: Callable[[Path], _Content]) -> None:
        self._path = path
        self._temporary = temporary_beside(path)
        try:
            self.content = open_file(self._temporary)
        except BaseException:
            self._temporary.unlink()
            raise

    def close(self) -> None:
        """Flush to disk and rename; whatever goes wrong leaves nothing behind."""
        try:
            self.content.close()
            put_in_place(self._temporary, self._path)
        finally:
            self.abort()

    def abort(self) -> None:
        """Remove the file unless it was completed."""
        with suppress(OSError):  # a full disk: closing flushes
            self.content.close()
        self._temporary.unlink(missing_ok=True)


def open_text(path: Path) -> Any:
    """Open for writing UTF-8, with line ends as they are given."""
    return path.open("w", encoding="utf-8", newline="")


def scorer(header: TrackHeader) -> str:
    """What found the points, in the word of DeepLabCut and NWB."""
    return f"dkpvid-{header.model_name}"


def point_names(header: TrackHeader) -> tuple[str, ...]:
    """The keypoints, then the named joints."""
    return header.keypoints + header.joints


def point_arrays(track: Track) -> tuple[Float[ndarray, "frame point 2"], Float[ndarray, "frame point"]]:
    """Places and confidence of the keypoints, then of the named joints.

    Places are NaN in both coordinates where a point was not observed; confidence is always a number.
    """
    parts = [track] if track.joints is None else [track, track.joints]
    xy = np.concatenate([part.xy for part in parts], axis=1)
    confidence = np.concatenate([part.confidence for part in parts], axis=1)
    observed = np.isfinite(xy).all(axis=2, keepdims=True)
    return np.where(observed, xy, np.nan), np.nan_to_num(confidence)


def frame_points(track: Track, header: TrackHeader) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Of each frame its number and its points, keypoints first, rounded as in the JSON.

    A point has "x", "y" and "confidence"; x and y are None where it was not observed.
    """
    missing = {"x": None, "y": None, "confidence": 0.0}
    for record in frame_records(track, header):
        keypoints = record["keypoints"] or [missing] * len(header.keypoints)
        joints = record.get("joints") or [missing] * len(header.joints)
        yield record["frame"], keypoints + joints


def strong_edges(header: TrackHeader) -> list[tuple[int, int]]:
    """Between `point_names`: the learned edges that are also drawn, and the limbs between joints.

    The other learned edges are left out: formats without weights would make all look alike.
    """
    limit = DrawStyle.min_edge_weight * max((weight for _, _, weight in header.skeleton), default=0.0)
    edges = [(i, j) for i, j, weight in header.skeleton if weight >= limit]
    first = len(header.keypoints)
    return edges + [(first + i, first + j) for i, j in header.joints_skeleton]
