"""What all commands share: how they fail, and how they are interrupted."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from dkpvid.errors import DkpvidError, UsageError, printable

EXIT_BUG = 1
EXIT_PARTIAL = 3
"""Some input failed or lost frames; the outputs for the rest are complete."""
EXIT_INTERRUPTED = 130


def say(line: str) -> None:
    """Print one line on stderr, whatever the names in it hold."""
    typer.echo(printable(line), err=True)


def print_result(text: str) -> None:
    """Print to stdout, which may be a full disk.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        # Python would complain at exit if it could still flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UsageError(f"stdout cannot be written ({error.strerror or error}); write elsewhere") from None


@contextmanager
def reported_errors() -> Iterator[None]:
    """Turn a user's mistake into one line on stderr and its exit code; a bug keeps its traceback."""
    try:
        yield
    except DkpvidError as error:
        say(f"error: {error}")
        raise typer.Exit(error.exit_code) from None


@contextmanager
def interrupt_request() -> Iterator[list[int]]:
    """Let a loop end its step before it stops: the list is empty until Ctrl-C or SIGTERM arrives.

    A second Ctrl-C stops at once.
    """
    received: list[int] = []

    def remember(number: int, frame: object) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    previous = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def check_folder(folder: Path) -> None:
    """See that outputs can be written to a folder, or that it can be made, before hours of work.

    Raises:
        UsageError: they cannot.
    """
    existing = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    if not existing.is_dir():
        raise UsageError(f"{existing} is not a folder; choose another one")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"{existing} is read-only; choose another folder")
