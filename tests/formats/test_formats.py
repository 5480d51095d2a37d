"""What all formats have in common: files that are complete or not there, and checks before any work."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dkpvid.errors import UsageError
from dkpvid.formats import FORMATS, TrackWriter, check_format
from dkpvid.formats.base import frame_points, point_arrays, strong_edges
from dkpvid.formats.schema import TrackHeader
from tests.formats.test_schema import make_header, make_track
from tests.formats.writing import points_of, with_joints


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", FORMATS)
def test_the_final_name_appears_at_close(rng: np.random.Generator, tmp_path: Path, name: str) -> None:
    path = tmp_path / "new folder" / f"clip{FORMATS[name].suffix}"
    writer = FORMATS[name](path, make_header())
    assert isinstance(writer, TrackWriter)
    writer.write(make_track(rng))
    assert not path.exists()
    writer.close(())
    writer.abort()  # does nothing any more
    assert names_in(path.parent) == [path.name]


@pytest.mark.parametrize("name", FORMATS)
def test_abort_leaves_nothing_and_harms_nothing(rng: np.random.Generator, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"clip{FORMATS[name].suffix}"
    path.write_text("an earlier result")
    writer = FORMATS[name](path, make_header())
    writer.write(make_track(rng))
    writer.abort()
    writer.abort()
    assert names_in(tmp_path) == [path.name]
    assert path.read_text() == "an earlier result"


@pytest.mark.parametrize("name", FORMATS)
def test_a_failed_close_leaves_nothing(rng: np.random.Generator, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"clip{FORMATS[name].suffix}"
    # Neither can a file take the place of a folder, nor a folder that of a file.
    path.write_text("") if name == "openpose" else path.mkdir()
    writer = FORMATS[name](path, make_header())
    writer.write(make_track(rng))
    with pytest.raises(OSError, match=path.name):
        writer.close(())
    assert names_in(tmp_path) == [path.name]


@pytest.mark.parametrize("name", ["sleap-h5", "nwb"])
def test_a_file_that_cannot_be_begun_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def no_names(header: TrackHeader) -> list[str]:
        raise MemoryError

    monkeypatch.setattr(f"dkpvid.formats.{name.removesuffix('-h5')}.point_names", no_names)
    with pytest.raises(MemoryError):
        FORMATS[name](tmp_path / "clip", make_header())
    assert names_in(tmp_path) == []


FULL_DISK = """
import resource, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from dkpvid.formats import FORMATS
from tests.formats.test_schema import make_header, make_track

name, path, limit = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
track = make_track(np.random.default_rng(7), 1000)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    writer = FORMATS[name](path, make_header())
    try:
        for start in range(0, 50_000, 1000):
            writer.write(replace(track, index=np.arange(start, start + 1000)))
        writer.close(())
    finally:
        writer.abort()
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits are a POSIX matter")
@pytest.mark.parametrize(("name", "limit"), [("sleap-h5", 400_000), ("nwb", 20_000)])
def test_hdf5_survives_a_full_disk(tmp_path: Path, name: str, limit: int) -> None:
    words = [sys.executable, "-c", FULL_DISK, name, str(tmp_path / "clip"), str(limit)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout, done.stderr) == (0, "File too large\n", "")
    assert names_in(tmp_path) == []


def test_points_are_keypoints_and_joints(rng: np.random.Generator) -> None:
    track, header = with_joints(rng, make_track(rng))
    track.xy[0, 0, 1] = track.confidence[0, 1] = np.nan
    expected_xy, expected_confidence = points_of(track)
    xy, confidence = point_arrays(track)
    assert np.isnan(xy[0, 0]).all()
    expected_xy[0, 0, 0] = np.nan
    np.testing.assert_array_equal(xy, expected_xy)
    np.testing.assert_array_equal(confidence, np.nan_to_num(expected_confidence))
    for (frame, points), places, chances in zip(frame_points(track, header), xy, confidence, strict=True):
        assert len(points) == 5
        for point, (x, y), chance in zip(points, places, chances, strict=True):
            if np.isnan(x):
                assert (point["x"], point["y"]) == (None, None)
            else:
                assert (point["x"], point["y"]) == (round(x, 2), round(y, 2))
            assert point["confidence"] == round(chance, 4), frame


@pytest.mark.parametrize(
    ("skeleton", "edges"),
    [
        (((0, 1, 1.0), (0, 2, 0.29), (1, 2, 0.31)), [(0, 1), (1, 2)]),
        (((0, 1, 0.0),), [(0, 1)]),
        ((), []),
    ],
)
def test_strong_edges(skeleton: tuple[tuple[int, int, float], ...], edges: list[tuple[int, int]]) -> None:
    assert strong_edges(replace(make_header(), skeleton=skeleton)) == edges


@pytest.mark.parametrize(("name", "package"), [("sleap-h5", "h5py"), ("nwb", "pynwb"), ("nwb", "ndx_pose")])
def test_a_missing_package_is_told_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    check_format(name)
    monkeypatch.setitem(sys.modules, package, None)
    extra = name.removeprefix("sleap-")
    with pytest.raises(UsageError, match=rf'{name} needs {package}, .*pip install "dkpvid\[{extra}\]"$'):
        check_format(name)


def test_an_unknown_format_is_told_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="unknown format 'xml'; choose from json, jsonl, csv, coco,"):
        check_format("xml")
