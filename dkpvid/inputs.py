"""Which videos the words of the command line mean, and what their outputs are called."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dkpvid.coordinates import Region
from dkpvid.errors import DataError, UsageError
from dkpvid.video.images import images_in
from dkpvid.video.reader import VIDEO_SUFFIXES, find_videos

STDIN = "-"

VIDEO_OUTPUT_SUFFIX = ".dkp.mp4"
"""What the name of an annotated video ends with."""


def expand_inputs(inputs: Sequence[str], recursive: bool = False) -> list[str]:
    """The videos that inputs name, in order, each once.

    A folder that holds pictures is one video; any other folder stands for the video files in it, and with
    `recursive` for everything below it, but not for the annotated videos that were written there. Names with
    wildcards may be quoted. What is named outright is taken as it is, whatever its suffix: reading it will
    tell.

    Raises:
        DataError: a folder or a pattern holds no video.
    """
    found: list[str] = []
    for text in inputs:
        path = Path(text)
        if text == STDIN or "://" in text or path.is_file():
            found.append(text)
        elif path.is_dir():
            found += _videos_in(path, recursive)
        elif matches := sorted(glob.glob(text, recursive=True)):  # noqa: PTH207 (patterns may be absolute)
            for match in matches:
                found += _videos_in(Path(match), recursive) if Path(match).is_dir() else [match]
        else:
            raise DataError(f"{text}: no such file or folder; check the path, or quote the pattern")
    return list(dict.fromkeys(found))


def _videos_in(folder: Path, recursive: bool) -> list[str]:
    if images_in(folder):
        return [str(folder)]
    videos = [
        video
        for video in find_videos(folder)
        if (recursive or (video.parent == folder and video.suffix.lower() in VIDEO_SUFFIXES))
        and not video.name.endswith(VIDEO_OUTPUT_SUFFIX)
    ]
    if not videos:
        deeper = "" if recursive else "; -r also looks in its subfolders"
        raise DataError(f"{folder}: no videos in this folder{deeper}")
    return [str(video) for video in videos]


def output_stems(videos: Sequence[str]) -> list[str]:
    """What each video's outputs are called, before their suffixes: different for every video.

    >>> output_stems(["a/clip.mp4", "b/clip.avi", "-"])
    ['clip', 'clip-2', 'stdin']
    """
    stems: list[str] = []
    for video in videos:
        path = Path(video)
        # A folder may be given as "." or "..".
        stem = "stdin" if video == STDIN else (path.resolve().name if path.is_dir() else path.stem) or "video"
        candidate, number = stem, 1
        while candidate in stems:
            number += 1
            candidate = f"{stem}-{number}"
        stems.append(candidate)
    return stems


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
