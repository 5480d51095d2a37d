"""Where networks run, and in which precision."""

import pytest
import torch

from dkpvid.devices import computes_bfloat16, inference_dtype

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("device", "precision", "dtype"),
    [
        (CPU, "32", torch.float32),
        (CPU, "auto", torch.float32),
        (CPU, "bf16", torch.bfloat16),
        (CUDA, "auto", torch.bfloat16),
        (CUDA, "32", torch.float32),
    ],
)
def test_precision_by_device(device: torch.device, precision: str, dtype: torch.dtype) -> None:
    assert inference_dtype(device, precision) == dtype


@pytest.mark.parametrize(
    ("capabilities", "is_there"),
    [({}, False), ({"avx2": True, "avx512_bf16": False}, False), ({"amx_bf16": True}, True)],
)
def test_bfloat16_is_for_processors_that_have_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], is_there: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert computes_bfloat16(CPU) == is_there
    assert computes_bfloat16(CUDA)
    assert not computes_bfloat16(torch.device("mps"))


def test_an_older_pytorch_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not computes_bfloat16(CPU)
