"""Which videos a folder holds, and what in it is passed over."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from dkpvid.errors import DataError
from dkpvid.video.images import IMAGE_FORMATS, IMAGE_SUFFIXES, UNREADABLE, natural_order

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".264", ".265", ".3g2", ".3gp", ".amv", ".apng", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif",
    ".h264", ".h265", ".hevc", ".ivf", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv",
    ".mov", ".mp4", ".mpeg", ".mpg", ".mpv", ".mts", ".mxf", ".nut", ".ogv", ".qt", ".rm", ".rmvb", ".tod",
    ".ts", ".vob", ".webm", ".wmv", ".wtv", ".y4m",
})
_COMPANIONS = frozenset({
    ".aac", ".ass", ".bib", ".cfg", ".ckpt", ".csv", ".db", ".gpx", ".h5", ".hdf5", ".html", ".ini",
    ".json", ".jsonl", ".log", ".m4a", ".mat", ".md", ".mp3", ".npy", ".npz", ".nwb", ".onnx", ".pdf",
    ".pickle", ".pkl", ".pt", ".pth", ".py", ".rst", ".safetensors", ".sh", ".slp", ".sqlite", ".srt",
    ".toml", ".tsv", ".txt", ".vtt", ".wav", ".xls", ".xlsx", ".xml", ".yaml", ".yml",
})
"""What lies beside videos everywhere, and is not worth a word."""
# fmt: on

_NAMES_SHOWN = 3


@dataclass(frozen=True)
class FolderContent:
    """What was found in a folder."""

    videos: tuple[Path, ...]
    """Files, and folders of frames, in natural order."""
    remarks: tuple[str, ...]
    """A line for each folder in which something was passed over."""


def look_into(folder: Path, *, recursive: bool = True, strips: bool = True) -> FolderContent:
    """Find what `VideoReader` can read in a folder.

    Each video file and GIF is a video. Where there are none, the pictures in a folder are the frames of one
    video. Pictures beside videos, covers and posters that is, are passed over. So are hidden files and
    folders, and depth maps: `x.depth.png`, and a folder `depth` beside pictures. Links to folders that were
    seen already are not followed.

    Args:
        folder: Where to look.
        recursive: Look in its subfolders too.
        strips: Each picture that lies directly in the folder is a video of its own, a strip of frames.

    Raises:
        DataError: the folder cannot be read.
    """
    walk = _Walk(recursive)
    try:
        videos = walk.look(folder, strips=strips)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror or error}); check its rights") from None
    return FolderContent(tuple(videos), tuple(walk.remarks))


class _Walk:
    """Goes through folders, each once."""

    def __init__(self, recursive: bool) -> None:
        self.remarks: list[str] = []
        self._recursive = recursive
        self._seen: set[str] = set()

    def look(self, folder: Path, *, strips: bool) -> list[Path]:
        """The videos in a folder."""
        self._seen.add(os.path.realpath(folder))
        files, folders = _entries(folder)
        videos = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
        pictures = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
        known = VIDEO_SUFFIXES | IMAGE_SUFFIXES | _COMPANIONS | {""}
        strange = [path for path in files if path.suffix.lower() not in known]
        self._pass_over(folder, strange, "unknown file(s)")
        if pictures:
            folders = [path for path in folders if path.name != "depth"]
        found = self._below(folders) if self._recursive else {}
        below = [path for paths in found.values() for path in paths]
        own = [folder] if pictures and not strips else pictures
        if videos:
            own = [picture for picture in pictures if strips and is_strip(picture)]
        elif pictures and not strips:
            # Beside frames there are folders of masks and the like, but no videos.
            if not any(path.suffix.lower() in VIDEO_SUFFIXES for path in below):
                found, below = {}, []
            own = [] if below and len(pictures) == 1 else own
        if folder not in own:
            self._pass_over(
                folder, [path for path in pictures if path not in own], "picture(s) beside videos"
            )
        found |= {path: [path] for path in [*videos, *own]}
        return [path for place in natural_order(found) for path in found[place]]

    def _below(self, folders: list[Path]) -> dict[Path, list[Path]]:
        """The videos in each of several folders."""
        found: dict[Path, list[Path]] = {}
        # Links last: a folder goes by its own name where it has one here.
        for path in sorted(folders, key=lambda path: path.is_symlink()):
            if os.path.realpath(path) in self._seen:
                continue
            try:
                found[path] = self.look(path, strips=False)
            except OSError as error:
                self.remarks.append(f"{path}: cannot be read ({error.strerror or error}), passed over")
        return found

    def _pass_over(self, folder: Path, paths: list[Path], what: str) -> None:
        if paths:
            names = ", ".join(path.name for path in paths[:_NAMES_SHOWN])
            more = ", ..." if len(paths) > _NAMES_SHOWN else ""
            self.remarks.append(f"{folder}: {len(paths)} {what} passed over ({names}{more})")


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files and folders that are not hidden, in natural order."""
    files, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name.endswith(".depth.png"):
                continue
            path = folder / entry.name
            if _holds(entry.is_dir):
                folders.append(path)
            elif _holds(entry.is_file):
                files.append(path)
    return natural_order(files), natural_order(folders)


def _holds(question: Callable[[], bool]) -> bool:
    """False also for a link in a circle, or to where nobody may look."""
    try:
        return question()
    except OSError:
        return False


def is_strip(picture: Path) -> bool:
    """Whether a picture is a row of square frames: its width is a multiple, at least two, of its height."""
    try:
        with Image.open(picture, formats=IMAGE_FORMATS) as stored:
            width, height = stored.size
    except UNREADABLE:
        return False
    return width > height and width % height == 0
