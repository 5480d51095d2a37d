"""What the words of the command line stand for."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dkpvid.coordinates import Region
from dkpvid.errors import DataError, UsageError
from dkpvid.video.inputs import expand_inputs, parse_region


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with videos here and there; they are never opened, only named."""
    for name in (
        "b10.mp4", "b9.MP4", "notes.md", "empty.txt", "strip.png.txt", ".hidden.mp4", "b9.dkp.mp4",
        "sub/c.avi", "sub/deep/d.mkv", "texts/readme.md", "[odd] name.mp4",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text("# mine\nb10.mp4\n\n sub \nframes\nrtsp://camera/1\nb9.*\n")
    (tmp_path / "sub/list.CSV").write_bytes(b"\xef\xbb\xbfc.avi\r\n../b10.mp4\r\n1\r\n")
    (tmp_path / "wrong.txt").write_text("b10.mp4\nmissing.mp4\n")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)))
    (tmp_path / "frames").mkdir()
    for name in ("1.png", "2.png"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "frames" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("inputs", "recursive", "videos"),
    [
        (["b10.mp4", "b9.MP4"], False, ["b10.mp4", "b9.MP4"]),
        (["b10.mp4", "b10.mp4", "-", "-"], False, ["b10.mp4", "-"]),
        (["notes.md"], False, ["notes.md"]),
        (["0", "00", "1"], False, ["0", "1"]),
        (["list.txt"], False, ["b10.mp4", "sub/c.avi", "frames", "rtsp://camera/1", "b9.MP4", "b9.dkp.mp4"]),
        (
            ["list.txt"],
            True,
            ["b10.mp4", "sub/c.avi", "sub/deep/d.mkv", "frames", "rtsp://camera/1", "b9.MP4", "b9.dkp.mp4"],
        ),
        (["sub/list.CSV", "sub/c.avi"], False, ["sub/c.avi", "sub/../b10.mp4", "1"]),
        (["b9.dkp.mp4"], False, ["b9.dkp.mp4"]),
        (["rtsp://camera/1"], False, ["rtsp://camera/1"]),
        (["."], False, ["[odd] name.mp4", "b9.MP4", "b10.mp4"]),
        (["."], True, ["[odd] name.mp4", "b9.MP4", "b10.mp4", "frames", "sub/c.avi", "sub/deep/d.mkv"]),
        (["sub"], False, ["sub/c.avi"]),
        (["sub"], True, ["sub/c.avi", "sub/deep/d.mkv"]),
        (["frames"], False, ["frames"]),
        (["b*.[mM]*4"], False, ["b10.mp4", "b9.MP4", "b9.dkp.mp4"]),
        (["[odd] name.mp4"], False, ["[odd] name.mp4"]),
        (["**/*.mkv"], False, ["sub/deep/d.mkv"]),
        (["s*"], False, ["strip.png.txt", "sub/c.avi"]),
    ],
)
def test_inputs_stand_for_videos(folder: Path, inputs: list[str], recursive: bool, videos: list[str]) -> None:
    assert sorted(source.path for source in expand_inputs(inputs, recursive)) == sorted(videos)


def test_a_folder_is_read_in_natural_order(folder: Path) -> None:
    assert [source.path for source in expand_inputs(["."])[-2:]] == ["b9.MP4", "b10.mp4"]


@pytest.mark.parametrize(
    ("text", "recursive", "words"),
    [
        ("missing.mp4", False, "missing.mp4: no such file or folder; check the path"),
        ("*.xyz", False, r"\*\.xyz: no such file or folder; .*quote the pattern"),
        ("empty.txt", False, "empty.txt: a list without videos; write one a line"),
        ("wrong.txt", False, "wrong.txt, line 2: missing.mp4: no such file or folder"),
        ("binary.txt", False, "binary.txt: not a list of videos, one a line"),
        ("texts", False, "texts: no videos in this folder; -r also looks in its subfolders"),
        ("texts", True, "texts: no videos in this folder$"),
    ],
)
def test_what_stands_for_nothing_is_refused(folder: Path, text: str, recursive: bool, words: str) -> None:
    with pytest.raises(DataError, match=words):
        expand_inputs(["b9.MP4", text], recursive)


def test_three_spellings_are_one_video(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "sub")
    spellings = ["sub/c.avi", str(folder / "sub/c.avi"), "sub/../sub/c.avi", f"file://{folder}/sub/c.avi"]
    assert [source.path for source in expand_inputs([*spellings, "link/c.avi", "link"])] == ["sub/c.avi"]


def test_regions_are_read() -> None:
    assert parse_region("full") is None
    assert parse_region("auto") == "auto"
    assert parse_region(" 1, -2,3,4") == Region(1, -2, 3, 4)


@pytest.mark.parametrize("text", ["", "Auto", "1,2,3", "1,2,3,4,5", "1,2,3,x", "1.5,2,3,4"])
def test_what_is_no_region_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="give follow, auto, full, or x,y,width,height in pixels"):
        parse_region(text)


@pytest.mark.parametrize("text", ["1,2,0,4", "1,2,3,-4"])
def test_empty_regions_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="width and height must be at least 1"):
        parse_region(text)
