"""JSON and JSON Lines: their content, round trips, and the stream for pipes."""

import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from dkpvid.formats import JsonLinesStream
from dkpvid.formats.reading import read_track
from dkpvid.formats.schema import header_record
from tests.formats.test_schema import LOST, assert_same_track, make_header, make_track, validator
from tests.formats.writing import write


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
