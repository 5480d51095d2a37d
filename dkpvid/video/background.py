"""Calls that may never return, such as reading from a camera that was unplugged."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

_PATIENCE_SECONDS = 0.1
"""How often to ask whether to give up."""

_CLOSING_SECONDS = 1.0
"""How long to wait for the last call."""


class StoppedError(Exception):
    """Waiting was given up."""


class BackgroundThread:
    """Makes calls in a thread of its own, one after the other, so that waiting for one can be given up.

    Python handles Ctrl-C between its own steps only: in the main thread, a call of FFmpeg that waits for data
    would hold it off. A call that was given up goes on by itself, and does not keep the process from ending.

    Args:
        should_stop: Asked, while a call lasts, whether to give up.
    """

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def _start(self, call: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def perform() -> None:
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)

        self._calls.put(perform)
        return future

    def run(self, call: Callable[[], T]) -> T:
        """What a call returns, or raises.

        Raises:
            StoppedError: it was not waited for.
        """
        future = self._start(call)
        while not wait([future], _PATIENCE_SECONDS).done:
            self._raise_if_stopped()
        return future.result()

    def iterate(self, items: Iterator[T]) -> Iterator[T]:
        """The items of an iterator that is run in the thread.

        Raises:
            StoppedError: an item was not waited for.
        """
        end = object()
        while (item := self.run(lambda: next(items, end))) is not end:
            yield item  # type: ignore[misc]

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            StoppedError: the time was not waited for.
        """
        for _ in range(math.ceil(seconds / _PATIENCE_SECONDS)):
            time.sleep(_PATIENCE_SECONDS)
            self._raise_if_stopped()

    def finish(self, call: Callable[[], None]) -> None:
        """Make a last call, as soon as the one before it is over, which is not waited for very long."""
        self._start(call)
        self._calls.put(None)
        self._thread.join(_CLOSING_SECONDS)

    def _raise_if_stopped(self) -> None:
        if self._should_stop():
            raise StoppedError
