"""The errors a user can cause, and the exit code each leads to.

    DkpvidError            exit 2   base class: one line saying what, got, allowed, what to do
    ├── UsageError         exit 2   an option or a combination of options is wrong
    ├── DataError          exit 4   nothing usable in what was given to read
    │   └── VideoError     exit 4   this video cannot be read (or written)
    ├── WeightsError       exit 2   a weights file is missing, damaged, or of another model
    └── TrainingError      exit 1   training cannot go on, or a full disk (the last good state is kept)

Anything else that escapes is a bug and keeps its traceback (exit 1).
"""

import warnings
from importlib import import_module
from typing import Any


class DkpvidError(Exception):
    """A user's mistake or a broken input; `str(error)` is the one line to show."""

    exit_code = 2

    def __str__(self) -> str:
        return printable(super().__str__())


class UsageError(DkpvidError):
    """An option, or a combination of options, that cannot work."""


class DataError(DkpvidError):
    """There is nothing usable in what was given to read."""

    exit_code = 4


class VideoError(DataError):
    """A video that cannot be opened, decoded or written."""


class WeightsError(DkpvidError):
    """A weights file that is missing, damaged, or made for another model."""


class TrainingError(DkpvidError):
    """Training cannot go on; the last good state stays on disk."""

    exit_code = 1


def printable(text: str) -> str:
    r"""The text on one line, with nothing that a terminal obeys: file names may hold line ends and escapes.

    >>> print(printable("two\nlines.mp4"))
    two\nlines.mp4
    """
    return "".join(part if part.isprintable() else part.encode("unicode_escape").decode() for part in text)


def need_extra(what: str, package: str, install: str) -> Any:
    """Import a package that not everybody has.

    Args:
        what: What needs it, as the user calls it.
        package: The module to import.
        install: What `pip install` is to be given.

    Raises:
        UsageError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(package)
    except ImportError:
        name = package.partition(".")[0]
        raise UsageError(
            f'{what} needs {name}, which is not installed; run: pip install "{install}"'
        ) from None
