"""The files that a track is written to: one class per format, each fed with a piece of the track at a time.

A file appears under its final name only when it is complete: it grows under a temporary name beside it.
"""

import csv
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from dkpvid.files import put_in_place, temporary_beside
from dkpvid.schema import TrackHeader, end_record, frame_records, header_record, lost_records, to_json
from dkpvid.structures import LostPacket, Track


@runtime_checkable
class TrackWriter(Protocol):
    """What all formats have in common."""

    suffix: ClassVar[str]
    """What the file's name ends with."""

    def __init__(self, path: Path, header: TrackHeader) -> None: ...

    def write(self, track: Track) -> None:
        """Append the frames that follow the ones written before."""

    def close(self, lost: Sequence[LostPacket]) -> None:
        """Complete the file and give it its final name, replacing what is there."""

    def abort(self) -> None:
        """Remove the unfinished file. Does nothing after `close`, so it can always be called to clean up."""


@runtime_checkable
class TextStream(Protocol):
    """As much of a text stream as is needed here."""

    def write(self, text: str, /) -> int:
        """Append the text."""

    def flush(self) -> None:
        """Hand on what was written."""


class JsonLinesStream:
    """JSON Lines to a text stream, such as stdout. The stream stays open.

    Each `write` ends with a flush, so that a reader at the other end of a pipe is never behind; when that
    reader has gone, the BrokenPipeError is the caller's to handle.
    """

    def __init__(self, stream: TextStream, header: TrackHeader) -> None:
        self._stream = stream
        self._header = header
        self._num_frames = 0
        self._write_line(header_record(header))
        stream.flush()

    def write(self, track: Track) -> None:
        """Append the frames that follow the ones written before."""
        for record in frame_records(track, self._header):
            self._write_line(record)
        self._num_frames += len(track)
        self._stream.flush()

    def close(self, lost: Sequence[LostPacket]) -> None:
        """Write the end record, which tells a finished stream from a cut one."""
        self._write_line(end_record(self._num_frames, lost))
        self._stream.flush()

    def abort(self) -> None:
        """Write no end record: what was sent cannot be taken back, but is seen to be cut."""

    def _write_line(self, record: dict[str, Any]) -> None:
        self._stream.write(to_json(record) + "\n")


class _TextFile:
    """A text file that takes its final name when it is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = temporary_beside(path)
        self.stream = self._temporary.open("w", encoding="utf-8", newline="")

    def close(self) -> None:
        """Flush to disk and rename; whatever goes wrong leaves nothing behind."""
        try:
            self.stream.close()
            put_in_place(self._temporary, self._path)
        finally:
            self.abort()

    def abort(self) -> None:
        """Remove the file unless it was completed."""
        with suppress(OSError):  # a full disk: closing flushes
            self.stream.close()
        self._temporary.unlink(missing_ok=True)


class JsonLines:
    """A record a line: header, frames, end."""

    suffix: ClassVar[str] = ".dkp.jsonl"

    def __init__(self, path: Path, header: TrackHeader) -> None:
        self._file = _TextFile(path)
        self._lines = JsonLinesStream(self._file.stream, header)

    def write(self, track: Track) -> None:
        """Append the frames that follow the ones written before."""
        self._lines.write(track)

    def close(self, lost: Sequence[LostPacket]) -> None:
        """Complete the file and give it its final name, replacing what is there."""
        self._lines.close(lost)
        self._file.close()

    def abort(self) -> None:
        """Remove the unfinished file. Does nothing after `close`."""
        self._file.abort()


class JsonDocument:
    """One JSON document, with a line per frame so that line tools still find their way."""

    suffix: ClassVar[str] = ".dkp.json"

    def __init__(self, path: Path, header: TrackHeader) -> None:
        self._header = header
        self._file = _TextFile(path)
        self._separator = "\n"
        about = header_record(header)
        del about["type"]
        members = [f"{to_json(name)}:{to_json(value)}" for name, value in about.items()]
        self._file.stream.write("{" + ",\n".join([*members, '"frames":[']))

    def write(self, track: Track) -> None:
        """Append the frames that follow the ones written before."""
        for record in frame_records(track, self._header):
            self._file.stream.write(self._separator + to_json(record))
            self._separator = ",\n"

    def close(self, lost: Sequence[LostPacket]) -> None:
        """Complete the file and give it its final name, replacing what is there."""
        self._file.stream.write(f'\n],\n"lost":{to_json(lost_records(lost))}}}\n')
        self._file.close()

    def abort(self) -> None:
        """Remove the unfinished file. Does nothing after `close`."""
        self._file.abort()


class DeepLabCutCsv:
    """The CSV of DeepLabCut: three header rows, then x, y, likelihood of each keypoint; empty = not observed.

    It has no room for times, covariances, flags or lost packets.
    """

    suffix: ClassVar[str] = ".dkp.csv"

    def __init__(self, path: Path, header: TrackHeader) -> None:
        self._header = header
        self._file = _TextFile(path)
        self._rows = csv.writer(self._file.stream, lineterminator="\n")
        names = [*header.keypoints, *header.joints]
        # Readers look for these three words, bare, at the start of the rows.
        self._rows.writerow(["scorer", *[f"dkpvid-{header.model_name}"] * (3 * len(names))])
        self._rows.writerow(["bodyparts", *(name for name in names for _ in range(3))])
        self._rows.writerow(["coords", *["x", "y", "likelihood"] * len(names)])

    def write(self, track: Track) -> None:
        """Append the frames that follow the ones written before."""
        missing = {"x": None, "y": None, "confidence": 0.0}
        for record in frame_records(track, self._header):
            points = record["keypoints"] or [missing] * len(self._header.keypoints)
            points += record.get("joints") or [missing] * len(self._header.joints)
            values = (point[key] for point in points for key in ("x", "y", "confidence"))
            self._rows.writerow([record["frame"], *values])

    def close(self, lost: Sequence[LostPacket]) -> None:
        """Complete the file and give it its final name, replacing what is there."""
        self._file.close()

    def abort(self) -> None:
        """Remove the unfinished file. Does nothing after `close`."""
        self._file.abort()


FORMATS: dict[str, type[TrackWriter]] = {
    "json": JsonDocument,
    "jsonl": JsonLines,
    "csv": DeepLabCutCsv,
}
