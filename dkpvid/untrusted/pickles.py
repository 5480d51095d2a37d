"""Looking into a stranger's pickle without running anything: arrays and plain values come out."""

import math
import pickle
import re
from collections.abc import Iterator
from io import BufferedIOBase, BytesIO
from typing import Any

import numpy as np
from numpy import ndarray

from dkpvid.errors import DataError


class StandIn:
    """Takes the place of whatever a pickle names: keeps what it is given, does nothing."""

    def __init__(self, *args: object) -> None:
        pass

    def __new__(cls, *args: object) -> "StandIn":
        """Keep the arguments even where the pickle does not call the constructor."""
        made = super().__new__(cls)
        made.content, made.items = [*args], {}
        return made

    global_name = ""
    """What the pickle asked for, as `module.name`."""
    content: list[object]
    """The arguments, states and list items that the pickle gave it."""
    items: dict[object, object]
    """Those that it was given under keys."""

    def __setstate__(self, state: object) -> None:
        self.content.append(state)

    def __setitem__(self, key: object, value: object) -> None:
        self.items[key] = value

    def append(self, item: object) -> None:
        """Taken when the pickle fills a list-like object."""
        self.content.append(item)

    def extend(self, items: list[object]) -> None:
        """Taken when the pickle fills a list-like object."""
        self.content.extend(items)


def _to_bytes(text: str, encoding: str) -> bytes:
    """How pickles of protocol 2 and older write bytes."""
    return text.encode("latin1")


class _InertUnpickler(pickle.Unpickler):
    """Puts a `StandIn` where the pickle asks for a class or a function, whatever it is.

    Not even numpy's own builders are called: they would take bytes of the file for pointers to objects. A
    pickle may also set attributes of what it names: here only those of a class that nobody else has.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _to_bytes
        return type("StandIn", (StandIn,), {"global_name": f"{module}.{name}"})

    def __init__(self, file: BufferedIOBase) -> None:
        super().__init__(file)
        self.stored_beside: list[object] = []

    def persistent_load(self, pid: Any) -> StandIn:
        """What is stored beside the pickle, such as a tensor's numbers, is left to the caller."""
        self.stored_beside.append(pid)
        return StandIn(pid)


def unpickle(file: BufferedIOBase, name: str) -> tuple[object, list[object]]:
    """Unpickle without ever calling what the pickle asks for.

    Args:
        file: At the start of the pickle; afterwards behind its end.
        name: For the error message.

    Returns:
        The content, and how it names what is stored beside the pickle.

    Raises:
        DataError: these bytes are no pickle.
    """
    unpickler = _InertUnpickler(file)
    try:
        return unpickler.load(), unpickler.stored_beside
    except Exception as error:  # foreign bytes can fail in any way
        raise DataError(f"{name} cannot be read as a pickle: {error}") from None


def unpickle_arrays(data: bytes, name: str) -> object:
    """The content of a pickle that stands alone; `arrays_in` finds the arrays in it."""
    return unpickle(BytesIO(data), name)[0]


def arrays_in(content: object) -> Iterator[ndarray]:
    """Every array in what was unpickled, at any depth; in arrays of objects, arrays of numbers are built too.

    Raises:
        ValueError: an array is damaged.
    """
    waiting, seen = [content], set()
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, StandIn):
            array = _build(item)
            if array is None:
                waiting += [*item.content, *item.items.values()]
            elif array.dtype.hasobject:
                yield _filled([_numbers(element) for element in array.ravel()], array.shape)
            else:
                yield array
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list | tuple):
            waiting += item


def _numbers(item: object) -> object:
    array = _build(item) if isinstance(item, StandIn) else None
    return item if array is None or array.dtype.hasobject else array


def _build(item: StandIn) -> ndarray | None:
    """The array that a stand-in was to become; None when it is something else."""
    order: Any
    match item.global_name.rpartition(".")[2], item.content:
        case "_reconstruct", [_, _, _, (_, shape, StandIn() as kind, is_fortran, values)]:
            order = "F" if is_fortran else "C"
        case "_frombuffer", [values, StandIn() as kind, shape, order]:
            pass
        case _:
            return None
    dtype = _dtype(kind)
    if dtype is None or not isinstance(shape, tuple):
        return None
    if isinstance(values, list):
        return _filled(values, shape, order)
    if dtype.hasobject or not isinstance(values, bytes | bytearray):
        raise ValueError("an array's numbers are missing")
    count = len(values) // dtype.itemsize if dtype.itemsize else 0
    array: ndarray = np.frombuffer(values, dtype, count).reshape(shape, order=order)
    return array


def _filled(values: list[object], shape: tuple[int, ...], order: Any = "C") -> ndarray:
    """An array of objects; numpy would look into them for more axes."""
    if math.prod(shape) != len(values):
        raise ValueError(f"an array of {shape} with {len(values)} values")
    array = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        array[position] = value
    return array.reshape(shape, order=order)


def _dtype(kind: StandIn) -> np.dtype[Any] | None:
    """Numbers, texts or objects; None for all else."""
    if kind.global_name != "numpy.dtype" or not kind.content:
        return None
    code, state = kind.content[0], kind.content[-1]
    if not isinstance(code, str) or not re.fullmatch(r"[biuf][1-8]|O8?|[SU][0-9]{1,6}", code):
        return None
    is_swapped = isinstance(state, tuple) and len(state) > 1 and state[1] == ">"
    return np.dtype(code).newbyteorder(">" if is_swapped else "<")
