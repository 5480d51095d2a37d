"""Looking into a stranger's pickle without running anything: arrays and plain values come out."""

import pickle
from collections.abc import Iterator
from io import BytesIO
from typing import Any, ClassVar

import numpy as np
from numpy import ndarray

from dkpvid.errors import DataError


class StandIn:
    """Takes the place of any class or function that a pickle names: keeps what it is given, does nothing."""

    def __init__(self, *args: object) -> None:
        pass

    def __new__(cls, *args: object) -> "StandIn":
        """Keep the arguments even where the pickle does not call the constructor."""
        made = super().__new__(cls)
        made.content = [*args]
        return made

    content: list[object]
    """Everything that the pickle gave it."""

    def __setstate__(self, state: object) -> None:
        self.content.append(state)

    def __setitem__(self, key: object, value: object) -> None:
        self.content.append(value)

    def append(self, item: object) -> None:
        """Taken when the pickle fills a list-like object."""
        self.content.append(item)

    def extend(self, items: list[object]) -> None:
        """Taken when the pickle fills a list-like object."""
        self.content.extend(items)


def _to_bytes(text: str, encoding: str) -> bytes:
    """How pickles of protocol 2 and older write bytes."""
    return text.encode("latin1")


class _ArrayUnpickler(pickle.Unpickler):
    """Finds only what numpy arrays are made of; every other global becomes a `StandIn`."""

    # What this numpy builds its arrays with; older and newer versions wrote other module names.
    _builders: ClassVar[dict[tuple[str, str], Any]] = {
        ("_codecs", "encode"): _to_bytes,
        ("numpy", "ndarray"): ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): np.zeros(1).__reduce_ex__(2)[0],
        ("numpy._core.multiarray", "_reconstruct"): np.zeros(1).__reduce_ex__(2)[0],
        ("numpy.core.numeric", "_frombuffer"): np.zeros(1).__reduce_ex__(5)[0],
        ("numpy._core.numeric", "_frombuffer"): np.zeros(1).__reduce_ex__(5)[0],
    }

    def find_class(self, module: str, name: str) -> Any:
        return self._builders.get((module, name), StandIn)


def unpickle_arrays(data: bytes, name: str) -> object:
    """Unpickle without ever calling what the pickle asks for, numpy's own array builders aside.

    Args:
        data: The pickle.
        name: For the error message.

    Raises:
        DataError: these bytes are no pickle, or none that can be read so.
    """
    try:
        return _ArrayUnpickler(BytesIO(data)).load()
    except Exception as error:  # foreign bytes can fail in any way
        raise DataError(f"{name} cannot be read as a pickle of arrays: {error}") from None


def arrays_in(content: object) -> Iterator[ndarray]:
    """Every array in what was unpickled, at any depth, those of objects included but not looked into."""
    waiting, seen = [content], set()
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, ndarray):
            yield item
        elif isinstance(item, StandIn):
            waiting += item.content
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list | tuple):
            waiting += item
