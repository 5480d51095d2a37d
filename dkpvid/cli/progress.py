"""Progress on stderr: a bar on a terminal, a plain line every ten seconds elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0


class ProgressReport:
    """Shows how far a long loop has come, and how fast it goes.

    Args:
        title: What is being done, such as the name of a video.
        unit: What is counted, in the plural.
        total: How many there will be; None when nobody knows.
        quiet: Show nothing.
    """

    def __init__(self, title: str, unit: str, total: int | None, quiet: bool = False) -> None:
        self.title, self.unit, self.total = title, unit, total
        self._quiet = quiet
        self._console = Console(stderr=True)
        self._started = self._last_line = time.monotonic()
        self._first: int | None = None
        self._bar: Progress | None = None
        if self._console.is_terminal and not quiet:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(title, total=total, rate="")

    def __enter__(self) -> "ProgressReport":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, done: int, note: str = "", total: int | None = None) -> None:
        """Tell how many are done by now, with a few words more, and how many there are if that is news."""
        if self._quiet:
            return
        self.total = total or self.total
        now = time.monotonic()
        if self._first is None:
            # The first call says where a resumed loop started: that part took no time.
            self._first, self._started = done, now
        rate = (done - self._first) / (now - self._started) if now > self._started else 0.0
        words = f"{rate:.4g} {self.unit}/s {note}".rstrip()
        if self._bar:
            self._bar.update(self._task, completed=done, total=self.total, rate=words)
        elif now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            of_total = f"/{self.total}" if self.total else ""
            print(f"{self.title}: {done}{of_total} {self.unit}, {words}", file=sys.stderr, flush=True)
