"""Which videos a folder and a list hold, and what is said of the rest."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dkpvid.errors import DataError
from dkpvid.video.folders import look_into
from dkpvid.video.inputs import expand_inputs
from dkpvid.video.lists import read_list


def made(folder: Path, *names: str) -> Path:
    """Empty files; pictures are real, and no strips."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        if path.suffix in (".png", ".jpg"):
            Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(path)
    return folder


def names_of(folder: Path, **options: Any) -> list[str]:
    return [path.relative_to(folder).as_posix() or "." for path in look_into(folder, **options).videos]


@pytest.mark.parametrize("strips", [True, False])
def test_videos_win_over_a_poster(tmp_path: Path, strips: bool) -> None:
    folder = made(tmp_path, "a.mp4", "b.mkv", "poster.png", "m1/a.mp4", "m1/cover.png")
    content = look_into(folder, strips=strips)
    assert names_of(folder, strips=strips) == ["a.mp4", "b.mkv", "m1/a.mp4"]
    assert sorted(content.remarks) == sorted(
        [
            f"{folder}: 1 picture(s) beside videos passed over (poster.png)",
            f"{folder / 'm1'}: 1 picture(s) beside videos passed over (cover.png)",
        ]
    )


def test_strips_beside_videos_are_training_videos(tmp_path: Path) -> None:
    folder = made(tmp_path, "a.mp4")
    Image.fromarray(np.zeros((8, 32, 3), np.uint8)).save(folder / "strip.png")
    assert names_of(folder) == ["a.mp4", "strip.png"]
    assert names_of(folder, strips=False) == ["a.mp4"]


def test_a_cover_above_folders_of_videos(tmp_path: Path) -> None:
    folder = made(
        tmp_path, "set/cover.png", "set/day1/a.mp4", "set/day2/b.mp4", "frames/1.png", "frames/2.png"
    )
    made(tmp_path, "frames/masks/1.png", "frames/depth/1.png")
    assert names_of(folder) == ["frames", "set/day1/a.mp4", "set/day2/b.mp4"]
    assert look_into(folder).remarks == (
        f"{folder / 'set'}: 1 picture(s) beside videos passed over (cover.png)",
    )


def test_kinds_that_were_unknown(tmp_path: Path) -> None:
    suffixes = ("h264", "y4m", "dv", "mjpeg", "265", "m2v")
    folder = made(
        tmp_path, "a.mp4", *(f"b.{suffix}" for suffix in suffixes), "c.tif", "d.xyz", "e.csv", "README"
    )
    content = look_into(folder, strips=False)
    assert len(content.videos) == 1 + len(suffixes)
    assert content.remarks == (
        f"{folder}: 1 unknown file(s) passed over (d.xyz)",
        f"{folder}: 1 picture(s) beside videos passed over (c.tif)",
    )


def test_links_in_circles_end(tmp_path: Path) -> None:
    folder = made(tmp_path / "L", "real/a.mp4", "b.mp4")
    for name in ("x", "y", "real/up"):
        (folder / name).symlink_to(folder, target_is_directory=True)
    (folder / "also").symlink_to(folder / "real", target_is_directory=True)
    (folder / "self").symlink_to(folder / "self")
    assert names_of(folder) == ["b.mp4", "real/a.mp4"]
    assert [source.path for source in expand_inputs([str(folder)])] == [str(folder / "b.mp4")]


def test_an_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path, "a.mp4", "lost+found/b.mp4", "c/d.mp4")
    scandir = os.scandir

    def scan(path: Path) -> Any:
        if Path(path).name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert names_of(folder) == ["a.mp4", "c/d.mp4"]
    assert look_into(folder).remarks == (
        f"{folder / 'lost+found'}: cannot be read (Permission denied), passed over",
    )
    assert names_of(folder, recursive=False) == ["a.mp4"]
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\); check its rights"):
        look_into(folder / "lost+found")


def test_a_folder_of_pictures_is_one_video(tmp_path: Path) -> None:
    folder = made(tmp_path, "1.png", "2.jpg", "notes.txt")
    assert names_of(folder, strips=False) == ["."]
    assert names_of(folder) == ["1.png", "2.jpg"]


@pytest.mark.parametrize(
    "content",
    [
        b"a b.mp4\nc.mp4\n",
        b"\"a b.mp4\"\r\n'c.mp4'\r\n",
        b"file 'a b.mp4'\nduration 3\nfile c.mp4\n",
        b"ffconcat version 1.0\nfile 'a b.mp4'\ninpoint 2\nfile 'c.mp4'\n",
        b"filename\na b.mp4\nc.mp4\n",
        b"a b.mp4   # the first\n# nothing\n\nc.mp4\n",
        "a b.mp4\nc.mp4\n".encode("utf-16"),
        b"\xef\xbb\xbfa b.mp4\nc.mp4\n",
    ],
)
def test_lists_as_people_write_them(tmp_path: Path, content: bytes) -> None:
    made(tmp_path, "a b.mp4", "c.mp4")
    (tmp_path / "list.txt").write_bytes(content)
    assert [word for _, word in read_list(tmp_path / "list.txt")] == ["a b.mp4", "c.mp4"]


def test_other_words_of_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "odd #1.mp4", "caf\u00e9.mp4", "it's.mp4", "home/z.mp4")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = tmp_path / "list.txt"
    path.write_bytes("odd #1.mp4\ncaf\u00e9.mp4\nit's.mp4\n~/z.mp4\n".encode("latin-1"))
    assert [word for _, word in read_list(path)] == [
        "odd #1.mp4",
        "caf\u00e9.mp4",
        "it's.mp4",
        str(tmp_path / "home/z.mp4"),
    ]
    path.write_bytes(b"file 'it'\\''s.mp4'\n")
    assert [word for _, word in read_list(path)] == ["it's.mp4"]
    path.write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="it is no text"):
        list(read_list(path))
