"""What the user named: a file, a folder, standard input, a camera, or an address in a network."""

import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

STDIN = "-"

TIMEOUT_SECONDS = 10.0
"""After so long without data a live stream counts as lost; opening one may take as long."""

_DOWNLOAD_TIMEOUT_SECONDS = 30.0
"""Longer than FFmpeg takes for the attempts below."""

_DOWNLOAD_OPTIONS = {
    # Microseconds without data, after which FFmpeg asks again for the rest: at once, after 1 s and after 3 s.
    "rw_timeout": "5000000",
    "reconnect": "1",
    "reconnect_streamed": "1",
    "reconnect_delay_max": "4",
}


Kind = Literal["file", "pipe", "download", "live"]
"""A live source has no end of its own: when it falls silent, it is opened again. A pipe comes once."""


@dataclass(frozen=True)
class Source:
    """An input: what it is called, how to open it, and how to know it again."""

    path: str
    """As the user gave it, but for a password in it."""
    name: str
    """What messages call it."""
    url: str
    """What FFmpeg calls it."""
    kind: Kind
    file: Path | None = None
    """Where it is on this machine: a file, a folder, or a named pipe; it need not exist."""
    format: str | None = None
    """FFmpeg's name for the format; None = by the content."""
    options: dict[str, str] = field(default_factory=dict)
    """FFmpeg's options."""
    timeout_seconds: float | None = None
    """How long to wait for data; None = for ever."""

    @property
    def comes_once(self) -> bool:
        """True for pipes, cameras and live streams, which cannot be read a second time."""
        return self.kind in ("pipe", "live")

    @property
    def place(self) -> str:
        """The same for every spelling of the same input: its full path, or its address without a password."""
        if self.file is None:
            return self.name
        # Folders may be links to each other; a link to a file is a name of its own.
        file = Path(os.path.abspath(self.file))  # noqa: PTH100 (resolves `..`, but no links)
        return str(file.parent.resolve() / file.name)

    @property
    def identity(self) -> tuple[str | int, ...] | None:
        """Tells whether it is still what it was, without reading it; None = never again.

        For a file its place, size and time of change in nanoseconds, for a folder also those of the files in
        it, for a download its address.
        """
        if self.comes_once:
            return None
        files = [self.file] if self.file else []
        if self.file and self.file.is_dir():
            files = sorted(self.file.iterdir())
        facts = [(file.name, file.stat()) for file in files if file.is_file()]
        known = (part for name, fact in facts for part in (name, fact.st_size, fact.st_mtime_ns))
        return (self.place, *known)

    @property
    def stem(self) -> str:
        """What its outputs are called, before their suffixes.

        >>> find_source("a/clip.mp4").stem, find_source("rtsp://me:secret@cam/door").stem
        ('clip', 'door')
        >>> find_source("-").stem, find_source("0").stem
        ('stdin', 'camera-0')
        """
        if self.file:
            # A folder may be given as "." or "..".
            return (self.file.resolve().name if self.file.is_dir() else self.file.stem) or "video"
        if "://" in self.path:
            parts = urlsplit(self.path)
            return Path(parts.path).stem or parts.hostname or "video"
        return self.name.replace(" ", "-")


def find_source(given: str | Path | Source) -> Source:
    """Tell what an input is; what was told already stays as it is.

    A number is a camera, unless there is a file of that name. Whatever has `://` in it is an address: what
    comes over HTTP is a download with an end, all else (rtsp, rtmp, srt, udp, tcp, ...) is live.
    """
    if isinstance(given, Source):
        return given
    text = str(given)
    if text == STDIN:
        # In contrast to `pipe:0`, this can go back where a file was redirected.
        return Source(path=text, name="stdin", url="fd:", kind="pipe")
    if (camera := re.fullmatch(r"(/dev/video)?([0-9]+)", text)) and (camera[1] or not Path(text).exists()):
        return _camera(text, int(camera[2]))
    if "://" in text:
        return _address(text)
    path = Path(text)
    is_pipe = path.exists() and not (path.is_file() or path.is_dir())
    # FFmpeg takes the name `concat:x.mp4` for a command, but no absolute path.
    url = str(path.absolute()) if path.exists() else text
    return Source(path=text, name=text, url=url, kind="pipe" if is_pipe else "file", file=path)


def _camera(text: str, number: int) -> Source:
    formats = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
    return Source(
        path=text,
        name=f"camera {number}",
        url=_camera_url(number),
        kind="live",
        format=formats.get(sys.platform, "v4l2"),
        # The default of avfoundation, 29.97, is one that hardly any camera offers.
        options={"framerate": "30"} if sys.platform == "darwin" else {},
        timeout_seconds=TIMEOUT_SECONDS,
    )


def _camera_url(number: int) -> str:
    if sys.platform == "darwin":
        return f"{number}:none"
    if sys.platform == "win32":
        import av  # cameras go by their names there, which only FFmpeg knows

        devices = getattr(av, "enumerate_input_devices", lambda name: [])("dshow")  # since PyAV 17
        cameras = [device for device in devices if "video" in device.media_types]
        return f"video={cameras[number].name if number < len(cameras) else number}"
    return f"/dev/video{number}"


def _address(text: str) -> Source:
    parts = urlsplit(text)
    host = parts.netloc.rpartition("@")[2]
    shown = text if host == parts.netloc else urlunsplit(parts._replace(netloc=f"***@{host}"))
    scheme = parts.scheme.lower()
    if scheme == "file":
        local = _local_path(parts.path)
        return Source(path=text, name=text, url=local, kind="file", file=Path(local))
    if scheme in ("http", "https"):
        return Source(
            path=shown,
            name=shown,
            url=text,
            kind="download",
            options=_DOWNLOAD_OPTIONS,
            timeout_seconds=_DOWNLOAD_TIMEOUT_SECONDS,
        )
    return Source(
        path=shown,
        name=shown,
        url=text,
        kind="live",
        # Over UDP, a busy machine loses packets, and firewalls stop them.
        options={"rtsp_flags": "prefer_tcp"} if scheme.startswith("rtsp") else {},
        timeout_seconds=TIMEOUT_SECONDS,
    )


def _local_path(path: str) -> str:
    """The path of a `file://` address; on Windows there is a slash before the drive."""
    return re.sub(r"^/([A-Za-z]:)", r"\1", unquote(path))
