"""Where files are kept, and writing them so that a crash never leaves half of one under its final name."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def cache_folder() -> Path:
    """Where decoded frames and downloaded networks are kept: DKPVID_CACHE, or the user's cache folder."""
    if custom := os.environ.get("DKPVID_CACHE"):
        return Path(custom)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dkpvid"


def temporary_beside(path: Path) -> Path:
    """A new, empty file in the same folder, so that renaming it to `path` is atomic.

    It keeps the suffix, which tells some writers the format. The name starts with a dot: globs and file
    browsers pass over it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=f".part{path.suffix}", dir=path.parent)
    os.close(handle)
    # mkstemp makes private files; the result should have the rights of any new file.
    umask = os.umask(0)
    os.umask(umask)
    Path(name).chmod(0o666 & ~umask)
    return Path(name)


@contextmanager
def write_then_rename(path: Path) -> Iterator[Path]:
    """Give a temporary path to write; rename it to `path` on success, remove it on any error.

    The data is flushed to disk before the rename, so that a power cut cannot swap in an empty file.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
