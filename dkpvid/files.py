"""Where files are kept, and writing them so that a crash never leaves half of one under its final name."""

import glob
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def cache_folder() -> Path:
    """Where decoded frames and downloaded networks are kept: DKPVID_CACHE, or the user's cache folder."""
    if custom := os.environ.get("DKPVID_CACHE"):
        return Path(custom)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dkpvid"


def temporary_beside(path: Path) -> Path:
    """A new, empty file in the same folder, to be given to `put_in_place` when it is written.

    It keeps the suffix, which tells some writers the format. The name starts with a dot: globs and file
    browsers pass over it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        temporary = _unused_name(path)
        with suppress(FileExistsError):
            # Not by tempfile, whose files are private: this one has the rights of any new file.
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            return temporary


def _unused_name(path: Path) -> Path:
    return path.with_name(f".{_short(path.stem)}.{secrets.token_hex(4)}.part{path.suffix}")


def _short(stem: str) -> str:
    """At most 200 bytes of a name: what is added to it must not make it too long for a file system."""
    return os.fsencode(stem)[:200].decode("utf-8", "ignore")


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files and folders that a killed process left for this path."""
    for leftover in path.parent.glob(f".{glob.escape(_short(path.stem))}.*.part{glob.escape(path.suffix)}"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a finished file, at once or not at all, replacing what is there.

    Its data is flushed to disk first, so that a power cut cannot leave an empty file under the final name.
    """
    with temporary.open("r+b") as file:  # Windows flushes only what it may write
        os.fsync(file.fileno())
    temporary.replace(path)


def temporary_folder_beside(path: Path) -> Path:
    """A new, empty folder in the same folder, to be given to `put_folder_in_place` when it is filled."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        temporary = _unused_name(path)
        with suppress(FileExistsError):
            temporary.mkdir()
            return temporary


def put_folder_in_place(temporary: Path, path: Path) -> None:
    """Rename a finished folder, replacing the folder that is there.

    The old folder steps aside for the new one, and is removed only when that has taken its place. Nothing is
    flushed to disk, which would take long for thousands of files.

    Raises:
        OSError: something that is not a folder has that name.
    """
    if not path.is_dir():
        temporary.rename(path)
        return
    aside = temporary_folder_beside(path)
    old = aside / path.name
    try:
        path.rename(old)
        temporary.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def write_then_rename(path: Path) -> Iterator[Path]:
    """Give a temporary path to write; rename it to `path` on success, remove it on any error."""
    temporary = temporary_beside(path)
    try:
        yield temporary
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def parse_json(text: str) -> Any:
    """Parse JSON of any origin.

    Raises:
        ValueError: it is no JSON, is nested too deeply, or holds a whole number of more than 300 digits.
    """
    try:
        return json.loads(text, parse_int=_parse_int)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _parse_int(digits: str) -> int:
    # A float takes no larger ones.
    if len(digits) > 300:
        raise ValueError(f"the number {digits[:18]}... is too large")
    return int(digits)
