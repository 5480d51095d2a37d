"""Progress on stderr: a line now and then, a bar on a terminal, and silence on request."""

import io
import sys

import pytest

from dkpvid.cli.progress import SECONDS_BETWEEN_LINES, ProgressReport


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


class Terminal(io.StringIO):
    """Takes what is written, and says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("dkpvid.cli.progress.time", clock)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return clock


def count(report: ProgressReport, clock: Clock, numbers: range, seconds_each: float) -> None:
    with report:
        for number in numbers:
            clock.seconds += seconds_each
            report.update(number, "loss 0.5")


def test_a_plain_line_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    count(ProgressReport("tracking clip.mp4", "frames", 100), clock, range(1, 51), SECONDS_BETWEEN_LINES / 20)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "tracking clip.mp4: 20/100 frames, 2 frames/s loss 0.5",
        "tracking clip.mp4: 40/100 frames, 2 frames/s loss 0.5",
    ]


def test_the_total_may_be_unknown_or_come_later(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    report = ProgressReport("reading", "videos", None)
    for done, total in ((1, None), (2, 7), (3, None)):
        clock.seconds += SECONDS_BETWEEN_LINES
        report.update(done, total=total)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "reading: 1 videos", "reading: 2/7 videos", "reading: 3/7 videos",
    ]  # fmt: skip


def test_the_rate_counts_from_where_a_resumed_loop_starts(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    count(ProgressReport("training", "steps", 9000), clock, range(8000, 8003), SECONDS_BETWEEN_LINES)
    assert capsys.readouterr().err.splitlines()[-1] == "training: 8002/9000 steps, 0.1 steps/s loss 0.5"


def test_quiet_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    count(ProgressReport("training", "steps", 9, quiet=True), clock, range(9), 2 * SECONDS_BETWEEN_LINES)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.parametrize("quiet", [False, True])
def test_a_terminal_gets_a_bar(clock: Clock, monkeypatch: pytest.MonkeyPatch, quiet: bool) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    report = ProgressReport("tracking [odd] name.mp4", "frames", 5, quiet)
    count(report, clock, range(1, 6), 1.0)
    shown = terminal.getvalue()
    if quiet:
        assert shown == ""
    else:
        assert "tracking [odd] name.mp4" in shown
        assert "5/5" in shown
