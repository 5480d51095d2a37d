"""Which videos the words of the command line mean."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dkpvid.coordinates import Region
from dkpvid.errors import DataError, UsageError
from dkpvid.video.images import images_in
from dkpvid.video.reader import VIDEO_SUFFIXES, find_videos
from dkpvid.video.sources import Source, find_source

LIST_SUFFIXES = frozenset({".csv", ".txt"})
"""Of files that name an input a line."""

VIDEO_OUTPUT_SUFFIX = ".dkp.mp4"
"""What the name of an annotated video ends with."""
TRACK_REPORT_SUFFIX = ".dkp.html"
"""What the name of a video's report ends with."""


def expand_inputs(inputs: Sequence[str], recursive: bool = False) -> list[Source]:
    """The videos that inputs name, in order, each once, however it is spelled.

    A folder that holds pictures is one video; any other folder stands for the video files in it, and with
    `recursive` for everything below it, but not for the annotated videos that were written there. Names with
    wildcards may be quoted. A list, `.txt` or `.csv`, holds such words, one a line, relative to the list;
    lines that start with # are comments. What else is named outright is taken as it is, whatever its suffix:
    reading it will tell.

    Raises:
        DataError: a folder, a pattern or a list holds no video, or a list cannot be read.
    """
    found: list[Source] = []
    for text in inputs:
        path = Path(text)
        if path.is_file() and path.suffix.lower() in LIST_SUFFIXES:
            found += _videos_listed(path, recursive)
        else:
            found += _videos_named(text, recursive)
    first: dict[str, Source] = {}
    for source in found:
        first.setdefault(source.place, source)
    return list(first.values())


def _videos_named(text: str, recursive: bool) -> list[Source]:
    source = find_source(text)
    if source.file is None or source.kind == "pipe" or source.file.is_file():
        return [source]
    if source.file.is_dir():
        return _videos_in(source.file, recursive)
    found: list[Source] = []
    for match in sorted(glob.glob(text, recursive=True)):  # noqa: PTH207 (patterns may be absolute)
        found += _videos_in(Path(match), recursive) if Path(match).is_dir() else [find_source(Path(match))]
    if not found:
        raise DataError(f"{text}: no such file or folder; check the path, or quote the pattern")
    return found


def _videos_listed(path: Path, recursive: bool) -> list[Source]:
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a list of videos, one a line ({error})") from error
    found: list[Source] = []
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#"):
            continue
        is_path = find_source(line).kind == "file" and "://" not in line
        try:
            found += _videos_named(str(path.parent / line) if is_path else line, recursive)
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
    if not found:
        raise DataError(f"{path}: a list without videos; write one a line")
    return found


def _videos_in(folder: Path, recursive: bool) -> list[Source]:
    if images_in(folder):
        return [find_source(folder)]
    videos = [
        video
        for video in find_videos(folder)
        if (recursive or (video.parent == folder and video.suffix.lower() in VIDEO_SUFFIXES))
        and not video.name.endswith(VIDEO_OUTPUT_SUFFIX)
    ]
    if not videos:
        deeper = "" if recursive else "; -r also looks in its subfolders"
        raise DataError(f"{folder}: no videos in this folder{deeper}")
    return [find_source(video) for video in videos]


def parse_region(text: str) -> Region | Literal["auto"] | None:
    """Read `full` (None), `auto` or `x,y,width,height` in pixels of the upright frame.

    Raises:
        UsageError: it is none of them.

    >>> parse_region("10,20,300,200")
    Region(x=10, y=20, width=300, height=200)
    """
    if text == "full":
        return None
    if text == "auto":
        return "auto"
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"unknown region {text!r}; give full, auto, or x,y,width,height in pixels") from None
    if width < 1 or height < 1:
        raise UsageError(f"region {text} is empty; width and height must be at least 1")
    return Region(x, y, width, height)
