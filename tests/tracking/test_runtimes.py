"""Both runtimes give the same, and `auto` picks what is there."""

import importlib.util

import numpy as np
import onnx
import pytest
import torch
from numpy import ndarray

from dkpvid.config import ModelConfig
from dkpvid.devices import computes_bfloat16
from dkpvid.errors import UsageError
from dkpvid.models.detector import KeypointDetector
from dkpvid.models.fused import FusedDetector
from dkpvid.models.onnx_detector import DetectorGraph
from dkpvid.tracking import runtimes
from dkpvid.tracking.runtimes import OnnxRuntime, TorchRuntime, make_runtime
from tests.filled import filled_detector

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def detector() -> KeypointDetector:
    return filled_detector(ModelConfig(num_keypoints=6, image_size=64, detector_width=16))


@pytest.fixture
def images(rng: np.random.Generator) -> ndarray:
    blocks = rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    return blocks.repeat(8, axis=1).repeat(8, axis=2)


def test_onnx_gives_what_torch_gives(detector: KeypointDetector, images: ndarray) -> None:
    torch_runtime, onnx_runtime = (make_runtime(detector, CPU, name=name) for name in ("torch", "onnx"))
    assert isinstance(torch_runtime, TorchRuntime) and isinstance(onnx_runtime, OnnxRuntime)
    for batch in (images, images[:1], images[3:]):
        wanted, got = torch_runtime(batch), onnx_runtime(batch)
        for want, have in zip(wanted, got, strict=True):
            assert have.dtype == want.dtype == np.float32
            np.testing.assert_allclose(have, want, rtol=0, atol=1e-5)
    assert np.ptp(torch_runtime(images)[0], axis=0).max() > 0.1, "the images are told apart"


def test_onnx_is_as_sure_of_sharp_heatmaps(images: ndarray) -> None:
    # A difference of large moments would lose a variance that is a millionth of the squared frame.
    detector = filled_detector(ModelConfig(num_keypoints=6, image_size=64, detector_width=16))
    detector.head.weight.data *= 8
    _, want = make_runtime(detector, CPU, name="torch")(images)
    _, got = make_runtime(detector, CPU, name="onnx")(images)
    assert np.abs(want).min() < 1e-4
    np.testing.assert_allclose(got, want, rtol=0.02, atol=1e-8)


def test_the_graph_is_valid_and_takes_any_batch(detector: KeypointDetector) -> None:
    graph = DetectorGraph(FusedDetector(detector))
    graph.add_output("keypoints", graph.points, 6, 2)
    model = graph.model()
    onnx.checker.check_model(model, full_check=True)
    (images,) = model.graph.input
    axes = [axis.dim_param or axis.dim_value for axis in images.type.tensor_type.shape.dim]
    assert axes == ["batch", 64, 64, 3]


def test_onnx_runs_on_as_many_threads_as_torch(detector: KeypointDetector) -> None:
    runtime = make_runtime(detector, CPU, name="onnx")
    assert isinstance(runtime, OnnxRuntime)
    assert runtime.session.get_session_options().intra_op_num_threads == torch.get_num_threads()


def test_auto_is_onnx_where_that_is_installed(
    detector: KeypointDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(make_runtime(detector, CPU, name="auto"), OnnxRuntime)
    if computes_bfloat16(CPU):
        assert isinstance(make_runtime(detector, CPU, "bf16", "auto"), TorchRuntime)
    assert isinstance(make_runtime(detector, CPU, "bf16", "onnx"), OnnxRuntime)
    find = importlib.util.find_spec
    for missing in ("onnx", "onnxruntime"):
        monkeypatch.setattr(
            runtimes, "find_spec", lambda name, missing=missing: None if name == missing else find(name)
        )
        assert isinstance(make_runtime(detector, CPU, name="auto"), TorchRuntime)
        with pytest.raises(UsageError, match=r'pip install "dkpvid\[onnx\]"'):
            make_runtime(detector, CPU, name="onnx")


def test_onnx_is_for_the_cpu(detector: KeypointDetector) -> None:
    with pytest.raises(UsageError, match="not on cuda; use --device cpu or --runtime torch"):
        make_runtime(detector, CUDA, name="onnx")


def test_bfloat16_is_near(detector: KeypointDetector, images: ndarray) -> None:
    exact, half = make_runtime(detector, CPU), make_runtime(detector, CPU, "bf16")
    keypoints, covariance = half(images)
    assert keypoints.dtype == covariance.dtype == np.float32
    np.testing.assert_allclose(keypoints, exact(images)[0], rtol=0, atol=0.05)
