"""What runs the detector: PyTorch on any device, or ONNX Runtime on the CPU."""

from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec

import torch
from numpy import ndarray

from dkpvid.devices import inference_dtype
from dkpvid.errors import UsageError
from dkpvid.models.fused import FusedNetwork
from dkpvid.models.networks import Detector, fuse
from dkpvid.shapes import Float, UInt8

Points = Float[ndarray, "batch point 2"]
Covariance = Float[ndarray, "batch point 3"]
Runtime = Callable[[ndarray], tuple[ndarray, ndarray]]
"""From uint8 [batch, size, size, 3] RGB to float32 points in model space, keypoints and then joints of
their own, and their heatmaps' (xx, xy, yy) covariance in squared model units."""


def make_runtime(
    detector: Detector, device: torch.device, precision: str = "32", name: str = "torch"
) -> Runtime:
    """Make a trained detector ready for images.

    Args:
        detector: In eval mode; it is copied, not changed.
        device: Where it shall run.
        precision: 32, bf16 or auto; see `dkpvid.devices.inference_dtype`.
        name: torch, onnx (always 32 bits), or auto: onnx where it is installed and can do what is asked.

    Raises:
        UsageError: ONNX Runtime is asked for, and is not installed or cannot run there.
    """
    dtype = inference_dtype(device, precision)
    if name == "onnx":
        if device.type != "cpu":
            raise UsageError(
                f"runtime onnx runs on the CPU, not on {device}; use --device cpu or --runtime torch"
            )
        require_onnx("runtime onnx")
    network = fuse(detector)
    if name == "onnx":
        return OnnxRuntime(network)
    if name == "auto" and device.type == "cpu" and dtype == torch.float32 and has_onnx():
        with suppress(UsageError):  # a backbone that cannot be written as ONNX
            return OnnxRuntime(network)
    return TorchRuntime(network, device, dtype)


class TorchRuntime:
    """PyTorch on a device.

    Args:
        network: What to run; it is moved to the device.
        device: Where.
        dtype: Of weights and activations; heatmaps are float32 always.
    """

    def __init__(self, network: FusedNetwork, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.network = network.to(device, dtype)

    @torch.inference_mode()
    def __call__(self, images: UInt8[ndarray, "batch size size 3"]) -> tuple[Points, Covariance]:
        """See `Runtime`."""
        points, covariance = self.network(torch.from_numpy(images).to(self.device))
        return points.cpu().numpy(), covariance.cpu().numpy()


class OnnxRuntime:
    """ONNX Runtime on as many threads as PyTorch would use.

    Args:
        network: What to run.
    """

    def __init__(self, network: FusedNetwork) -> None:
        import onnxruntime

        from dkpvid.models.onnx_detector import DetectorGraph

        graph = DetectorGraph(network)
        graph.add_output("points", graph.points, graph.num_points, 2)
        graph.add_output("covariance", graph.covariance, graph.num_points, 3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(
            graph.model().SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, images: UInt8[ndarray, "batch size size 3"]) -> tuple[Points, Covariance]:
        """See `Runtime`."""
        points, covariance = self.session.run(None, {"images": images})
        return points, covariance


def has_onnx() -> bool:
    """Whether the packages of the extra `onnx` are installed."""
    return all(find_spec(name) is not None for name in ("onnx", "onnxruntime"))


def require_onnx(user: str) -> None:
    """See that the packages of the extra `onnx` are installed.

    Args:
        user: What needs them.

    Raises:
        UsageError: they are not.
    """
    if not has_onnx():
        raise UsageError(f'{user} needs the packages onnx and onnxruntime: pip install "dkpvid[onnx]"')
