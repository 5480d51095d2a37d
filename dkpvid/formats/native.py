"""The project's own formats: the `dkpvid/1` records as one JSON document and as JSON Lines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from dkpvid.formats.base import TrackSink, TrackWriter, UnfinishedFile, open_text
from dkpvid.formats.schema import TrackHeader, end_record, frame_records, header_record, lost_records, to_json
from dkpvid.structures import LostPacket, Track


@runtime_checkable
class TextStream(Protocol):
    """As much of a text stream as is needed here."""

    def write(self, text: str, /) -> int:
        """Append the text."""

    def flush(self) -> None:
        """Hand on what was written."""


class JsonLinesStream(TrackSink):
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


class JsonLines(TrackWriter):
    """A record a line: header, frames, end."""

    suffix: ClassVar[str] = ".dkp.jsonl"

    def __init__(self, path: Path, header: TrackHeader) -> None:
        self._file = UnfinishedFile(path, open_text)
        self._lines = JsonLinesStream(self._file.content, header)

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


class JsonDocument(TrackWriter):
    """One JSON document, with a line per frame so that line tools still find their way."""

    suffix: ClassVar[str] = ".dkp.json"

    def __init__(self, path: Path, header: TrackHeader) -> None:
        self._header = header
        self._file = UnfinishedFile(path, open_text)
        self._separator = "\n"
        about = header_record(header)
        del about["type"]
        members = [f"{to_json(name)}:{to_json(value)}" for name, value in about.items()]
        self._file.content.write("{" + ",\n".join([*members, '"frames":[']))

    def write(self, track: Track) -> None:
        """Append the frames that follow the ones written before."""
        for record in frame_records(track, self._header):
            self._file.content.write(self._separator + to_json(record))
            self._separator = ",\n"

    def close(self, lost: Sequence[LostPacket]) -> None:
        """Complete the file and give it its final name, replacing what is there."""
        self._file.content.write(f'\n],\n"lost":{to_json(lost_records(lost))}}}\n')
        self._file.close()

    def abort(self) -> None:
        """Remove the unfinished file. Does nothing after `close`."""
        self._file.abort()
