"""Waiting for calls in another thread, and giving it up."""

import threading
from collections.abc import Iterator

import pytest

from dkpvid.video.background import BackgroundThread, StoppedError


def test_results_and_errors_come_back() -> None:
    thread = BackgroundThread(lambda: False)
    assert thread.run(lambda: 7) == 7
    assert thread.run(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        thread.run(lambda: 1 // 0)
    with pytest.raises(TimeoutError, match="of the call"):
        thread.run(lambda: (_ for _ in ()).throw(TimeoutError("of the call")))


def test_items_come_in_order() -> None:
    def items() -> Iterator[int | None]:
        yield from (1, None, 3)
        raise ValueError("at the end")

    seen = []
    with pytest.raises(ValueError, match="at the end"):
        for item in BackgroundThread(lambda: False).iterate(items()):
            seen.append(item)
    assert seen == [1, None, 3]


def test_a_call_that_does_not_return_is_given_up() -> None:
    stop, release = threading.Event(), threading.Event()
    thread = BackgroundThread(stop.is_set)
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(StoppedError):
        thread.run(release.wait)
    with pytest.raises(StoppedError):
        thread.sleep(60.0)
    finished = threading.Event()
    release.set()
    thread.finish(finished.set)
    assert finished.wait(10)


def test_finishing_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dkpvid.video.background._CLOSING_SECONDS", 0.1)
    release = threading.Event()
    thread = BackgroundThread(lambda: True)
    with pytest.raises(StoppedError):
        thread.run(release.wait)
    closed = threading.Event()
    thread.finish(closed.set)
    assert not closed.is_set()
    release.set()
    assert closed.wait(10)
