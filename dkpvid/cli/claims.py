"""Whose the outputs under a name are: each source has names of its own in a folder, in all runs.

A hidden file beside the outputs tells their source. It is made before them, at once or not at all, so that
jobs that run at the same time cannot take the same name either.
"""

import os
from collections.abc import Container
from pathlib import Path

from dkpvid.errors import UsageError
from dkpvid.video.sources import Source


def owner(stem: Path) -> str | None:
    """The place of the source whose outputs have this path, before their suffixes; None = nobody's yet."""
    try:
        return _claim_of(stem).read_text("utf-8", "surrogateescape").rstrip("\n")
    except FileNotFoundError:
        return None


def own_stem(folder: Path, source: Source, taken: Container[Path]) -> Path:
    """The path for a source's outputs that no other source has: `clip`, or `clip-2`, and so on.

    Args:
        folder: Where the outputs go.
        source: What they are made from.
        taken: Paths that are promised to others.
    """
    stem, number = folder / source.stem, 1
    while stem in taken or owner(stem) not in (None, source.place):
        number += 1
        stem = folder / f"{source.stem}-{number}"
    return stem


def claim(stem: Path, source: Source) -> None:
    """Make a path a source's own.

    Raises:
        UsageError: another source took it in the meantime.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = os.open(_claim_of(stem), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        if (other := owner(stem)) != source.place:
            raise UsageError(
                f"{stem}.* belongs to {other or 'a video that is tracked right now'}; run it again, and "
                f"{source.name} gets a name of its own"
            ) from None
        return
    with os.fdopen(file, "wb") as content:
        content.write(os.fsencode(source.place) + b"\n")


def give_up(stem: Path) -> None:
    """Let others have a path at which nothing was written."""
    _claim_of(stem).unlink(missing_ok=True)


def _claim_of(stem: Path) -> Path:
    return stem.with_name(f".{stem.name}.dkp.source")
