"""Where networks run, and in which precision."""

import pytest
import torch

from dkpvid.devices import computes_bfloat16, inference_dtype, precision_remarks

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("device", "precision", "dtype"),
    [
        (CPU, "32", torch.float32),
        (CPU, "auto", torch.float32),
        (CUDA, "auto", torch.bfloat16),
        (CUDA, "32", torch.float32),
    ],
)
def test_precision_by_device(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, precision: str, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert inference_dtype(device, precision) == dtype


@pytest.mark.parametrize("precision", ["bf16", "auto"])
@pytest.mark.parametrize(("has_bfloat16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_processor_without_bfloat16_is_never_made_to_compute_in_it(
    monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool, dtype: torch.dtype, precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": has_bfloat16}, raising=False)
    assert inference_dtype(CPU, precision) == dtype
    remarks = precision_remarks(CPU, precision)
    if precision == "bf16" and not has_bfloat16:
        assert remarks == ["this cpu has no instructions for bfloat16; going on as with --precision 32"]
    else:
        assert remarks == []


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
