"""Doing the next thing in a thread of its own while the last one is used."""

import ctypes
import queue
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import TypeVar

Item = TypeVar("Item")

_ARENAS = -8, 2
"""glibc's number for that setting, M_ARENA_MAX, and its value."""


def share_memory_between_threads() -> None:
    """Let the C library give memory that one thread frees to the others; without effect but on glibc.

    It keeps up to eight pools a core apart: frames that are made in one thread and freed in another pile up.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(*_ARENAS)


def ahead(items: Iterator[Item], limit: int) -> Generator[Item, None, None]:
    """The items of an iterator, in order, made in another thread before they are asked for.

    Worth it where making them and using them both leave Python's lock alone, as decoding, scaling, networks
    and encoding do. An error of the iterator comes out where its next item would have. The thread has ended
    when this iterator is exhausted or closed.

    Args:
        items: Used by that thread alone from now on.
        limit: Most items that are ready and not yet asked for, at least 1.

    >>> list(ahead(iter("abc"), limit=2))
    ['a', 'b', 'c']
    """
    ready: queue.SimpleQueue[tuple[Item] | None] = queue.SimpleQueue()
    room = threading.Semaphore(limit)
    is_given_up = threading.Event()
    errors: list[BaseException] = []

    def make() -> None:
        try:
            while True:
                room.acquire()
                if is_given_up.is_set():
                    return
                ready.put((next(items),))
        except StopIteration:
            pass
        except BaseException as error:
            errors.append(error)
        finally:
            ready.put(None)

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            room.release()
            yield item[0]
    finally:
        is_given_up.set()
        room.release()
        thread.join()
    if errors:
        raise errors[0]
