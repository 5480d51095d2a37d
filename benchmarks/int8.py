"""The detector in 8 bits; for `inference.py`, which tells why it was not kept."""

import tempfile
from collections.abc import Callable, Iterator

import numpy as np
import onnx
import torch
from numpy import ndarray
from onnxruntime import InferenceSession, SessionOptions
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from dkpvid.models.fused import FusedNetwork
from dkpvid.models.onnx_detector import DetectorGraph


class Frames(CalibrationDataReader):
    """Feeds the calibration, 16 frames at a time."""

    def __init__(self, frames: ndarray) -> None:
        self.batches: Iterator[ndarray] = iter(np.split(frames[: len(frames) // 16 * 16], len(frames) // 16))

    def get_next(self) -> dict[str, ndarray] | None:
        """The next batch."""
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch}


def int8(network: FusedNetwork, calibration: ndarray) -> Callable[[ndarray], ndarray]:
    """Convolutions in 8 bits, weights by channel, activations by their range over the calibration frames."""
    graph = DetectorGraph(network)
    graph.add_output("keypoints", graph.points, graph.num_points, 2)
    options = SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        exact, prepared, quantized = (f"{folder}/{name}.onnx" for name in ("exact", "prepared", "quantized"))
        onnx.save(graph.model(), exact)
        quant_pre_process(exact, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            Frames(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            op_types_to_quantize=["Conv"],
        )
        session = InferenceSession(quantized, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]
