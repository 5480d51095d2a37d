"""Reading track files back: whole, cut off, damaged, and other people's."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dkpvid.errors import DataError
from dkpvid.formats.reading import read_track
from dkpvid.formats.schema import TrackHeader, end_record, frame_records, header_record, to_json
from dkpvid.structures import Track
from tests.formats.test_schema import LOST, assert_same_track, make_document, make_header, make_track


def write_lines(path: Path, track: Track, header: TrackHeader) -> list[str]:
    records = [header_record(header), *frame_records(track, header), end_record(len(track), LOST)]
    lines = [to_json(record) + "\n" for record in records]
    path.write_text("".join(lines))
    return lines


@pytest.mark.parametrize("num_frames", [0, 1, 5, 600])
def test_lines_round_trip(rng: np.random.Generator, tmp_path: Path, num_frames: int) -> None:
    track, header = make_track(rng, num_frames), make_header()
    write_lines(tmp_path / "a.dkp.jsonl", track, header)
    read = read_track(tmp_path / "a.dkp.jsonl")
    assert read.complete
    assert read.header == header
    assert read.lost == LOST
    if num_frames == 0:
        assert len(read.track) == 0
        assert read.track.xy.shape == (0, 3, 2)
    else:
        assert_same_track(read.track, track if num_frames > 2 else track_without_flags(track))


def track_without_flags(track: Track) -> Track:
    """Flags are empty, not one empty remark a frame, when no frame has one."""
    return Track(track.index, track.time_seconds, track.xy, track.confidence, track.covariance, track.raw_xy)


@pytest.mark.parametrize("indent", [None, 1])
def test_a_document_round_trips_in_any_layout(
    rng: np.random.Generator, tmp_path: Path, indent: int | None
) -> None:
    track, header = make_track(rng), make_header()
    path = tmp_path / "a.dkp.json"
    path.write_text(json.dumps(make_document(track, header), indent=indent))
    read = read_track(path)
    assert read.complete
    assert read.header == header
    assert read.lost == LOST
    assert_same_track(read.track, track)


def test_a_moving_region_is_read_back(rng: np.random.Generator, tmp_path: Path) -> None:
    regions = np.array([[3 * t, -t, 90, 90] for t in range(5)])
    header = replace(make_header(), region=None, region_moves=True)
    write_lines(tmp_path / "a.jsonl", replace(make_track(rng), region=regions), header)
    found = read_track(tmp_path / "a.jsonl")
    assert found.header.region_moves
    assert found.header.region is None
    np.testing.assert_array_equal(found.track.region, regions)


def test_named_joints_are_read_back(rng: np.random.Generator, tmp_path: Path) -> None:
    joints = replace(make_track(rng, num_keypoints=2), raw_xy=None, flags=())
    header = replace(make_header(), joints=("nose", "tail"))
    write_lines(tmp_path / "a.jsonl", replace(make_track(rng), joints=joints), header)
    found = read_track(tmp_path / "a.jsonl").track.joints
    assert found is not None
    assert_same_track(found, joints)


def test_cut_lines_are_read_and_told(rng: np.random.Generator, tmp_path: Path) -> None:
    track, header = make_track(rng), make_header()
    path = tmp_path / "a.dkp.jsonl"
    lines = write_lines(path, track, header)
    path.write_text("".join(lines[:4]))  # between two lines
    read = read_track(path)
    assert (read.complete, len(read.track), read.lost) == (False, 3, ())
    path.write_text("".join(lines[:4]) + lines[4][:30])  # within a line
    read = read_track(path)
    assert (read.complete, len(read.track)) == (False, 3)
    assert_same_track(read.track, track[:3])
    path.write_text("".join(lines[:3] + lines[5:]))  # frames taken out
    assert not read_track(path).complete


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "Expecting value"),
        (b"\x00\x00\x00\x20ftypisom\xff\xfe", "not a dkpvid/1 track"),
        (b"[1, 2]", "does not start with a header"),
        (b"{}", "'schema' is missing"),
        (b'{"schema": "dkpvid/2"}', "'dkpvid/2', which this version does not read"),
        (b'{"images": [], "annotations": []}', "'schema' is missing"),
        (b'{"type":"frame","frame":0}', "'keypoints' is missing"),
        (b'{"type":"header","sche', "not a dkpvid/1 track"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_track(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damage_within_is_refused(rng: np.random.Generator, tmp_path: Path) -> None:
    path = tmp_path / "a.dkp.jsonl"
    lines = write_lines(path, make_track(rng), make_header())
    path.write_text("".join([*lines[:2], lines[2][:30] + "\n", *lines[3:]]))
    with pytest.raises(DataError, match="line 3"):
        read_track(path)
    path.write_text(
        lines[0]
        + lines[1].replace(
            '{"name":"k01"', '{"name":"k00","x":1,"y":1,"confidence":0},' * 2 + '{"name":"k01"'
        )
    )
    with pytest.raises(DataError, match="5 keypoints in a frame, 3 in the header"):
        read_track(path)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_track(tmp_path / "absent.json")
