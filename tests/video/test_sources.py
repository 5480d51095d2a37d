"""What an input is, and what it is called."""

import os
from pathlib import Path

import pytest

from dkpvid.video import sources
from dkpvid.video.sources import find_source


@pytest.mark.parametrize(
    ("given", "kind", "name", "url"),
    [
        ("clip.mp4", "file", "clip.mp4", "clip.mp4"),
        (Path("a folder/clip.mp4"), "file", "a folder/clip.mp4", "a folder/clip.mp4"),
        ("file:///a%20folder/clip.mp4", "file", "file:///a%20folder/clip.mp4", "/a folder/clip.mp4"),
        ("file:///C:/clip.mp4", "file", "file:///C:/clip.mp4", "C:/clip.mp4"),
        ("-", "pipe", "stdin", "fd:"),
        (
            "http://host/clip.mp4?key=1",
            "download",
            "http://host/clip.mp4?key=1",
            "http://host/clip.mp4?key=1",
        ),
        ("HTTPS://host/clip.mp4", "download", "HTTPS://host/clip.mp4", "HTTPS://host/clip.mp4"),
        ("rtsp://camera:554/1", "live", "rtsp://camera:554/1", "rtsp://camera:554/1"),
        ("rtsp://me:pass@camera/1", "live", "rtsp://***@camera/1", "rtsp://me:pass@camera/1"),
        ("udp://239.0.0.1:1234", "live", "udp://239.0.0.1:1234", "udp://239.0.0.1:1234"),
    ],
)
def test_kinds(given: str | Path, kind: str, name: str, url: str) -> None:
    source = find_source(given)
    assert (source.kind, source.name, source.url) == (kind, name, url)
    assert "pass" not in source.path
    assert (source.timeout_seconds is None) == (kind in ("file", "pipe"))


def test_a_password_is_never_shown() -> None:
    assert "pass" not in repr(find_source("rtsp://me:pass@camera/1").path)
    assert find_source("https://me:pass@host/clip.mp4").path == "https://***@host/clip.mp4"


@pytest.mark.parametrize(
    ("platform", "url", "name"),
    [("linux", "/dev/video2", "v4l2"), ("darwin", "2:none", "avfoundation")],
)
def test_a_number_is_a_camera(monkeypatch: pytest.MonkeyPatch, platform: str, url: str, name: str) -> None:
    monkeypatch.setattr(sources.sys, "platform", platform)
    source = find_source("2")
    assert (source.kind, source.name, source.url, source.format) == ("live", "camera 2", url, name)


def test_a_file_may_be_named_like_a_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("2").touch()
    assert find_source("2").kind == "file"
    Path("3").mkdir()
    assert find_source("3").kind == "file"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a matter of POSIX")
def test_a_named_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "named")
    assert find_source(tmp_path / "named").kind == "pipe"
    assert find_source(tmp_path).kind == "file"


def test_identity_tells_whether_a_file_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "clip.mp4").write_text("frames")
        os.utime(tmp_path / name / "clip.mp4", ns=(10, 10))
    monkeypatch.chdir(tmp_path)
    one = find_source("a/clip.mp4").identity
    assert one == find_source(f"file://{tmp_path}/a/clip.mp4").identity
    assert one != find_source("b/clip.mp4").identity, "of the same name, size and time, but another file"
    os.utime("a/clip.mp4", ns=(10, 11))
    assert one != find_source("a/clip.mp4").identity
    folder = find_source("a").identity
    (tmp_path / "a" / "more.png").touch()
    assert folder != find_source("a").identity


@pytest.mark.parametrize("given", ["-", "0", "rtsp://camera/1"])
def test_what_comes_once_has_no_identity(given: str) -> None:
    assert find_source(given).comes_once
    assert find_source(given).identity is None


def test_a_download_is_known_by_its_address_alone() -> None:
    one, same, other = (
        find_source(f"https://{address}")
        for address in ("me:pass@host/a/clip.mp4", "you:word@host/a/clip.mp4", "host/b/clip.mp4")
    )
    assert one.identity == same.identity != other.identity
    assert "pass" not in str(one.identity)


@pytest.mark.parametrize(
    ("given", "stem"),
    [
        ("my.clip.v2.mp4", "my.clip.v2"),
        ("https://host/a/clip.ts?key=1", "clip"),
        ("tcp://10.0.0.1:99", "10.0.0.1"),
        ("file:///a/b.mp4", "b"),
    ],
)
def test_names_of_outputs(given: str, stem: str) -> None:
    assert find_source(given).stem == stem


def test_outputs_of_the_current_folder_have_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_source(".").stem == tmp_path.name
