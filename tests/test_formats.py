"""The files: their content, and that none is ever seen half written."""

import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dkpvid.formats import FORMATS, JsonLinesStream
from dkpvid.schema import header_record
from dkpvid.structures import Track
from dkpvid.track_file import read_track
from tests.test_schema import LOST, assert_same_track, make_header, make_track, validator


def write(name: str, folder: Path, track: Track, num_parts: int = 2) -> Path:
    path = folder / f"clip{FORMATS[name].suffix}"
    writer = FORMATS[name](path, make_header())
    for part in np.array_split(np.arange(len(track)), num_parts):
        writer.write(track[slice(part[0], part[-1] + 1)] if len(part) else track[0:0])
    writer.close(LOST)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_the_final_name_appears_at_close(rng: np.random.Generator, tmp_path: Path, name: str) -> None:
    path = tmp_path / "new folder" / f"clip{FORMATS[name].suffix}"
    writer = FORMATS[name](path, make_header())
    writer.write(make_track(rng))
    assert not path.exists()
    writer.close(())
    writer.abort()  # does nothing any more
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", FORMATS)
def test_abort_leaves_nothing_and_harms_nothing(rng: np.random.Generator, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"clip{FORMATS[name].suffix}"
    path.write_text("an earlier result")
    writer = FORMATS[name](path, make_header())
    writer.write(make_track(rng))
    writer.abort()
    writer.abort()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "an earlier result"


@pytest.mark.parametrize("name", FORMATS)
def test_a_failed_close_leaves_nothing(rng: np.random.Generator, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"clip{FORMATS[name].suffix}"
    path.mkdir()  # a file cannot take its place
    writer = FORMATS[name](path, make_header())
    writer.write(make_track(rng))
    with pytest.raises(OSError, match=path.name):
        writer.close(())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["json", "jsonl"])
@pytest.mark.parametrize("num_parts", [1, 3, 5])
def test_json_round_trips_however_it_is_cut(
    rng: np.random.Generator, tmp_path: Path, name: str, num_parts: int
) -> None:
    track = make_track(rng)
    read = read_track(write(name, tmp_path, track, num_parts))
    assert read.complete
    assert read.header == make_header()
    assert read.lost == LOST
    assert_same_track(read.track, track)


@pytest.mark.parametrize("num_frames", [0, 1, 5])
def test_document_and_lines_say_the_same(rng: np.random.Generator, tmp_path: Path, num_frames: int) -> None:
    track = make_track(rng, num_frames)
    text = write("json", tmp_path, track).read_text()
    document = json.loads(text)
    validator().validate(document)
    lines = [json.loads(line) for line in write("jsonl", tmp_path, track).read_text().splitlines()]
    for line in lines:
        validator("line").validate(line)
    frames, lost = document.pop("frames"), document.pop("lost")
    assert {"type": "header"} | document == lines[0]
    assert frames == lines[1:-1]
    assert {"type": "end", "frames": num_frames, "lost": lost} == lines[-1]
    assert sum('"type":"frame"' in line for line in text.splitlines()) == num_frames, "a line per frame"


def test_csv_loads_in_pandas(rng: np.random.Generator, tmp_path: Path) -> None:
    track = make_track(rng)
    path = write("csv", tmp_path, track)
    table = pd.read_csv(path, header=[0, 1, 2], index_col=0)
    assert table.columns.names == ["scorer", "bodyparts", "coords"]
    assert list(table.index) == [0, 1, 2, 3, 4]
    assert table.columns[0] == ("dkpvid-taichi-rgb", "k00", "x")
    values = table.to_numpy().reshape(5, 3, 3)
    np.testing.assert_allclose(values[..., :2], track.xy, rtol=0, atol=0.005001)
    np.testing.assert_allclose(values[..., 2], track.confidence, rtol=0, atol=0.5001e-4)
    assert np.isnan(values[3, :, :2]).all()
    first_cells = [line.split(",")[0] for line in path.read_text().splitlines()]
    assert first_cells == ["scorer", "bodyparts", "coords", "0", "1", "2", "3", "4"]


def test_csv_keeps_the_frame_numbers(rng: np.random.Generator, tmp_path: Path) -> None:
    table = pd.read_csv(write("csv", tmp_path, make_track(rng)[0:5][2:]), header=[0, 1, 2], index_col=0)
    assert list(table.index) == [2, 3, 4]


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_jq_reads_the_lines(rng: np.random.Generator, tmp_path: Path) -> None:
    track = make_track(rng)
    path = write("jsonl", tmp_path, track)
    query = 'select(.type == "frame" and .keypoints != null) | [.frame, .time, .keypoints[0].x] | @csv'
    done = subprocess.run(["jq", "-r", query, path], capture_output=True, text=True, check=True)
    rows = [[float(cell) for cell in line.split(",")] for line in done.stdout.splitlines()]
    expected = np.column_stack([track.index, track.time_seconds, track.xy[:, 0, 0]])[[0, 1, 2, 4]]
    np.testing.assert_allclose(rows, expected, rtol=0, atol=0.005001)


class CountingStream(io.StringIO):
    """Remembers how many lines had been written at each flush."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed: list[int] = []

    def flush(self) -> None:
        if not self.closed:
            self.flushed.append(len(self.getvalue().splitlines()))


def test_a_stream_is_flushed_after_each_write(rng: np.random.Generator) -> None:
    stream = CountingStream()
    lines = JsonLinesStream(stream, make_header())
    track = make_track(rng)
    lines.write(track[0:2])
    lines.write(track[2:5])
    lines.close(LOST)
    assert stream.flushed == [1, 3, 6, 7]
    assert not stream.closed
    assert json.loads(stream.getvalue().splitlines()[0]) == header_record(make_header())
    assert json.loads(stream.getvalue().splitlines()[-1])["frames"] == 5


def test_a_closed_pipe_reaches_the_caller() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        JsonLinesStream(Closed(), make_header())
