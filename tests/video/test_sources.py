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
