"""The errors a user can cause, and the exit code each leads to.

    DkpvidError            exit 2   base class: one line saying what, got, allowed, what to do
    ├── UsageError         exit 2   an option or a combination of options is wrong
    ├── DataError          exit 4   nothing usable in what was given to read
    │   └── VideoError     exit 4   this video cannot be read (or written)
    ├── WeightsError       exit 2   a weights file is missing, damaged, or of another model
    └── TrainingError      exit 1   training cannot go on, or a full disk (the last good state is kept)

Anything else that escapes is a bug and keeps its traceback (exit 1).
"""


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
