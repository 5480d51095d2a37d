"""Items made in another thread: in order, no further ahead than allowed, and no thread left behind."""

import threading
from collections.abc import Iterator

import pytest

from dkpvid.ahead import ahead


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ahead"]


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_all_items_come_in_order(limit: int) -> None:
    assert list(ahead(iter(range(50)), limit)) == list(range(50))
    assert threads() == []


def test_items_are_made_elsewhere_and_no_further_ahead_than_allowed() -> None:
    made: list[int] = []
    made_by: set[str] = set()
    enough = threading.Event()

    def source() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            made_by.add(threading.current_thread().name)
            if len(made) == 4:
                enough.set()
            yield number

    items = ahead(source(), limit=3)
    assert next(items) == 0
    assert enough.wait(10), "one is used and three are ready"
    assert not threading.Event().wait(0.1) and made == [0, 1, 2, 3]
    assert list(items) == list(range(1, 20))
    assert made_by == {"ahead"}


def test_an_error_comes_after_the_items_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError(28, "No space left on device")

    items = ahead(source(), limit=5)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(OSError, match="No space left"):
        next(items)
    assert threads() == []


def test_closing_it_ends_the_thread() -> None:
    closed: list[bool] = []

    def source() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    numbers = source()
    items = ahead(numbers, limit=2)
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert threads() == []
    numbers.close()  # nobody is using it any more
    assert closed == [True]


def test_nothing_runs_before_the_first_item_is_asked_for() -> None:
    items = ahead(iter([1]), limit=1)
    assert threads() == []
    assert list(items) == [1]
