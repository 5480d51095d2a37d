"""Writing HDF5 so that a full disk is an error like any other."""

import io
from pathlib import Path
from typing import Any


class _Storage(io.FileIO):
    """Where h5py puts its bytes. An error of writing is kept, not raised, and nothing is written after it.

    HDF5 does not get over a failed write: it tries again whenever an object is freed, complains on stderr
    each time, and crashes at exit.
    """

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write all of the data, unless there was an error before."""
        rest = memoryview(data)
        try:
            while rest and self.error is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return len(data)

    def truncate(self, size: int | None = None, /) -> int:
        """Change the file's size, unless there was an error before."""
        try:
            if self.error is None:
                return super().truncate(size)
        except OSError as error:
            self.error = error
        return size or 0


class Hdf5File:
    """A new HDF5 file; `root` is its root group."""

    def __init__(self, path: Path) -> None:
        import h5py

        self._storage = _Storage(path, "w+")
        self.root = h5py.File(self._storage, "w")

    def reopen(self) -> None:
        """Go on with a file that another library has filled and closed.

        Raises:
            OSError: something could not be written.
        """
        import h5py

        self.check()
        self.root = h5py.File(self._storage, "r+")

    def check(self) -> None:
        """See that all went well so far.

        Raises:
            OSError: something could not be written.
        """
        if self._storage.error is not None:
            raise self._storage.error

    def close(self) -> None:
        """Complete the file.

        Raises:
            OSError: something could not be written.
        """
        self.root.close()
        self._storage.close()
        self.check()
