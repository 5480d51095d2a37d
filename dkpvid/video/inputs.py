"""Which videos the words of the command line mean."""

import glob
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from dkpvid.coordinates import Region
from dkpvid.errors import DataError, UsageError
from dkpvid.video.folders import look_into
from dkpvid.video.lists import read_list
from dkpvid.video.sources import Source, find_source

LIST_SUFFIXES = frozenset({".csv", ".txt"})
"""Of files that name an input a line."""

VIDEO_OUTPUT_SUFFIX = ".dkp.mp4"
"""What the name of an annotated video ends with."""
TRACK_REPORT_SUFFIX = ".dkp.html"
"""What the name of a video's report ends with."""


def expand_inputs(
    inputs: Sequence[str], recursive: bool = False, on_remark: Callable[[str], None] = lambda line: None
) -> list[Source]:
    """The videos that inputs name, in order, each once, however it is spelled.

    A folder stands for the video files in it, and with `recursive` for everything below it, but not for the
    annotated videos that were written there; one that holds pictures and no videos is one video. Names with
    wildcards may be quoted. A list, `.txt` or `.csv`, holds such words, one a line, relative to the list; see
    `dkpvid.video.lists`. What else is named outright is taken as it is, whatever its suffix: reading it will
    tell.

    Args:
        inputs: Words of the command line.
        recursive: Look in subfolders too.
        on_remark: Told, a line each, what was passed over.

    Raises:
        DataError: a folder, a pattern or a list holds no video, or a list cannot be read.
    """
    found: list[Source] = []
    for text in inputs:
        path = Path(text)
        if path.is_file() and path.suffix.lower() in LIST_SUFFIXES:
            found += _videos_listed(path, recursive, on_remark)
        else:
            found += _videos_named(text, recursive, on_remark)
    first: dict[str, Source] = {}
    for source in found:
        first.setdefault(source.place, source)
    return list(first.values())


def _videos_named(text: str, recursive: bool, on_remark: Callable[[str], None]) -> list[Source]:
    source = find_source(text)
    if source.file is None or source.kind == "pipe" or source.file.is_file():
        return [source]
    if source.file.is_dir():
        return _videos_in(source.file, recursive, on_remark)
    found: list[Source] = []
    for match in map(Path, sorted(glob.glob(text, recursive=True))):  # noqa: PTH207 (patterns may be absolute)
        found += _videos_in(match, recursive, on_remark) if match.is_dir() else [find_source(match)]
    if not found:
        raise DataError(f"{text}: no such file or folder; check the path, or quote the pattern")
    return found


def _videos_listed(path: Path, recursive: bool, on_remark: Callable[[str], None]) -> list[Source]:
    found: list[Source] = []
    for number, word in read_list(path):
        is_path = find_source(word).kind == "file" and "://" not in word
        try:
            found += _videos_named(str(path.parent / word) if is_path else word, recursive, on_remark)
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
    if not found:
        raise DataError(f"{path}: a list without videos; write one a line")
    return found


def _videos_in(folder: Path, recursive: bool, on_remark: Callable[[str], None]) -> list[Source]:
    content = look_into(folder, recursive=recursive, strips=False)
    for line in content.remarks:
        on_remark(line)
    videos = [video for video in content.videos if not video.name.endswith(VIDEO_OUTPUT_SUFFIX)]
    if not videos:
        deeper = "" if recursive else "; -r also looks in its subfolders"
        raise DataError(f"{folder}: no videos in this folder{deeper}")
    return [find_source(video) for video in videos]


def parse_region(text: str) -> Region | Literal["follow", "auto"] | None:
    """Read `full` (None), `follow`, `auto` or `x,y,width,height` in pixels of the upright frame.

    Raises:
        UsageError: it is none of them.

    >>> parse_region("10,20,300,200")
    Region(x=10, y=20, width=300, height=200)
    """
    if text == "full":
        return None
    if text in ("follow", "auto"):
        return "follow" if text == "follow" else "auto"
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"unknown region {text!r}; give follow, auto, full, or x,y,width,height in pixels"
        ) from None
    if width < 1 or height < 1:
        raise UsageError(f"region {text} is empty; width and height must be at least 1")
    return Region(x, y, width, height)
