"""`export`: a trained detector as one ONNX file, from bytes to keypoints in pixels, for any program."""

import json
from pathlib import Path

import numpy as np
import onnx

from dkpvid.checkpoint import Weights
from dkpvid.errors import UsageError
from dkpvid.files import write_then_rename
from dkpvid.models.networks import fuse
from dkpvid.models.onnx_detector import DetectorGraph
from dkpvid.models.onnx_graph import floats
from dkpvid.tracking.detect import CONFIDENCE_RADIUS, NOISE_PER_SPREAD, keypoint_names

FORMAT = "dkpvid-onnx/1"
COORDINATES = "pixels of the input image; x right, y down; the centre of the top-left pixel is (0, 0)"


def onnx_model(weights: Weights) -> onnx.ModelProto:
    """The detector with all that `dkpvid.tracking.detect` does for a frame of the network's size.

    Input: `images`, uint8 [batch, size, size, 3] RGB. Outputs, float32: `keypoints` [batch, keypoint, 2], (x,
    y) in pixels of the input; `confidence` [batch, keypoint], see `confidence_from_covariance`; `covariance`
    [batch, keypoint, 3], (xx, xy, yy) in square pixels. Of a model that was taught joints by name, the same
    of these: `joints`, `joints_confidence`, `joints_covariance`. The metadata say what the numbers mean.

    Raises:
        UsageError: the model's backbone has a layer that cannot be written as ONNX.
    """
    graph = DetectorGraph(fuse(weights.detector))
    size, count = graph.image_size, graph.num_keypoints
    half = (size - 1) / 2  # pixels per unit of model space
    points = graph.op("Mul", graph.op("Add", graph.points, floats(1.0)), floats(half))
    covariance = graph.op("Mul", graph.covariance, floats((NOISE_PER_SPREAD * half) ** 2))
    # 1 - exp(-r^2 / (2 s^2)) with the mean variance s^2.
    variance = graph.op("MatMul", covariance, np.array([0.5, 0, 0.5], np.float32))
    variance = graph.op("Max", variance, floats(1e-12))
    exponent = graph.op("Div", floats(-((CONFIDENCE_RADIUS * size) ** 2) / 2), variance)
    confidence = graph.op("Sub", floats(1.0), graph.op("Exp", exponent))
    outputs = [("keypoints", "confidence", "covariance", 0, count)]
    joints = weights.config.joints
    if joints:
        outputs.append(("joints", "joints_confidence", "joints_covariance", count, graph.num_points))
    for place, chance, spread, first, end in outputs:
        graph.add_output(place, graph.some(points, first, end), end - first, 2)
        graph.add_output(chance, graph.some(confidence, first, end), end - first)
        graph.add_output(spread, graph.some(covariance, first, end), end - first, 3)
    model = graph.model()
    metadata = {
        "format": FORMAT,
        "model": weights.name,
        "sha256": weights.sha256,
        "input": f"uint8 [batch, {size}, {size}, 3], RGB; the whole picture, resized bilinearly",
        "coordinates": COORDINATES,
        "covariance": "(xx, xy, yy) of a keypoint's error, in square pixels of the input",
        "confidence": f"chance that the keypoint is within {CONFIDENCE_RADIUS:.0%} of the input's side",
        "names": json.dumps(keypoint_names(count)),
        "skeleton": json.dumps(weights.edge_map.skeleton),
        **({"joints": json.dumps(joints)} if joints else {}),
    }
    onnx.helper.set_model_props(model, metadata)
    return model


def export(weights: Weights, path: Path) -> None:
    """Write the model, at once or not at all, replacing what is there.

    Raises:
        UsageError: the file cannot be written.
    """
    model = onnx_model(weights)
    onnx.checker.check_model(model, full_check=True)
    try:
        with write_then_rename(path) as temporary:
            temporary.write_bytes(model.SerializeToString())
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror or error}); choose another place with -o"
        ) from None
