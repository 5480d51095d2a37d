"""Reading a PyTorch checkpoint of any origin without running anything in it.

`torch.load` with `weights_only` refuses the classes that training frameworks leave in their checkpoints.
Without it, whatever the unpickler allows, a TorchScript archive runs as it is loaded, and a crafted file of
the old format writes where it likes. So the pickle is only taken apart, and tensors are made of their bytes.
"""

import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dkpvid.errors import DataError, WeightsError
from dkpvid.untrusted.pickles import StandIn, unpickle

_DTYPES = {
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.BoolStorage": torch.bool,
    "torch.ByteStorage": torch.uint8,
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.IntStorage": torch.int32,
    "torch.LongStorage": torch.int64,
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001


@dataclass(frozen=True, eq=False)
class TorchFile:
    """What is in a checkpoint."""

    content: object
    """Plain containers and values; everything else is a `dkpvid.untrusted.pickles.StandIn`."""
    read_storage: Callable[[str], bytes]

    def tensor(self, value: object) -> Tensor | None:
        """The tensor that a stand-in was to become; None when it is something else.

        Raises:
            KeyError: its numbers are missing.
            ValueError: it is damaged otherwise.
        """
        if not isinstance(value, StandIn):
            return None
        if value.global_name == "torch._utils._rebuild_parameter" and value.content:
            value = value.content[0]
        if not isinstance(value, StandIn) or value.global_name != "torch._utils._rebuild_tensor_v2":
            return None
        match value.content:
            case [StandIn(content=[("storage", kind, str(key), *_)]), int(offset), tuple(), tuple(), *_]:
                dtype = _dtype(kind)
            case _:
                raise ValueError("a tensor without its numbers")
        size, stride = _lengths(value.content[2]), _lengths(value.content[3])
        data = self.read_storage(key)
        # Strides of 0 make a tensor of any size from one number.
        if math.prod(size) * dtype.itemsize > len(data):
            raise ValueError(f"a tensor of {size} with {len(data)} bytes")
        if not math.prod(size):
            return torch.empty(size, dtype=dtype)
        flat = torch.frombuffer(bytearray(data), dtype=dtype, count=len(data) // dtype.itemsize)
        try:
            return flat.as_strided(size, stride, offset)
        except RuntimeError as error:
            raise ValueError(str(error)) from None


def as_mapping(value: object) -> dict[str, Any]:
    """The texts and what belongs to them in a dictionary, or in an object that holds settings or tensors.

    Empty for all else.
    """
    if isinstance(value, StandIn):
        states = [part for part in value.content if isinstance(part, dict)]
        value = value.items or (states[0] if states else {})
    return (
        {key: part for key, part in value.items() if isinstance(key, str)} if isinstance(value, dict) else {}
    )


def _lengths(value: Any) -> tuple[int, ...]:
    for part in value:
        if not isinstance(part, int) or not 0 <= part < 2**40:
            raise ValueError(f"a tensor with a side of {part!r}")
    return tuple(value)


def read_torch_file(path: Path) -> TorchFile:
    """Open a checkpoint, in today's zip format or in that of PyTorch before 1.6.

    Raises:
        WeightsError: the file cannot be read, or is something else, such as a TorchScript program.
    """
    try:
        return _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
    except (OSError, EOFError, KeyError, TypeError, ValueError, NotImplementedError, RuntimeError) as error:
        raise WeightsError(f"{path} cannot be read as a checkpoint: {error}") from None
    except (DataError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise WeightsError(f"{path} is damaged or no checkpoint: {error}") from None


def _read_zip(path: Path) -> TorchFile:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1 or any(name.endswith("/constants.pkl") for name in names):
            raise ValueError("a program of TorchScript or another archive, not written by torch.save")
        content, _ = unpickle(BytesIO(_read_record(archive, pickles[0])), "data.pkl")
    folder = pickles[0].removesuffix("data.pkl")

    def read_storage(key: str) -> bytes:
        with zipfile.ZipFile(path) as archive:
            return _read_record(archive, f"{folder}data/{key}")

    return TorchFile(content, read_storage)


def _read_record(archive: zipfile.ZipFile, name: str) -> bytes:
    # torch.save compresses nothing; what is compressed may grow without limit.
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed, not written by torch.save")
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, EOFError, RuntimeError) as error:
        raise ValueError(str(error)) from None


def _read_legacy(path: Path) -> TorchFile:
    """Five pickles: magic number, version, system, content, the storages' keys. Then the storages' bytes."""
    with path.open("rb") as file:
        parts = [unpickle(file, "it") for _ in range(5)]
        (magic, _), (version, _), _, (content, stored), (keys, _) = parts
        if (magic, version) != (_LEGACY_MAGIC, _LEGACY_VERSION) or not isinstance(keys, list):
            raise ValueError("not written by torch.save")
        dtypes = {pid[2]: _dtype(pid[1]) for pid in stored if isinstance(pid, tuple) and len(pid) > 2}
        storages = {}
        for key in keys:
            count = int.from_bytes(file.read(8), "little")
            storages[key] = file.read(count * dtypes[key].itemsize)
    return TorchFile(content, storages.__getitem__)


def _dtype(kind: object) -> torch.dtype:
    return _DTYPES[getattr(kind, "global_name", "")]
