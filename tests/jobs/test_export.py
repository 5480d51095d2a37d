"""`dkpvid export`: the file gives what `track` gives, in a program that knows nothing of dkpvid."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner, Result

from dkpvid.checkpoint import load_weights
from dkpvid.cli import app
from dkpvid.structures import Frame, Track
from dkpvid.tracking import runtimes
from dkpvid.tracking.detect import Detector, detect
from dkpvid.video.reader import VideoReader
from dkpvid.video.resize import to_square


def run(*words: str | Path) -> Result:
    result = CliRunner().invoke(app, ["export", *(str(word) for word in words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception  # a bug, not a user's mistake
    return result


@pytest.fixture
def exported(tiny_weights: Path, tmp_path: Path) -> Path:
    path = tmp_path / "new" / "tiny.onnx"
    result = run("--weights", tiny_weights, "-o", path)
    assert (result.exit_code, result.output) == (0, f"model -> {path}\n")
    return path


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("count", [1, 4])
def test_keypoints_are_those_of_track(
    exported: Path, tiny_weights: Path, rng: np.random.Generator, count: int
) -> None:
    images = rng.integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    detector = Detector(load_weights(tiny_weights), torch.device("cpu"))
    frames = [Frame(image, index, index / 25) for index, image in enumerate(images)]
    track = Track.concatenate(list(detect(detector, frames)))
    keypoints, confidence, covariance = session(exported).run(None, {"images": images})
    assert np.ptp(track.xy, axis=1).max() > 1
    np.testing.assert_allclose(keypoints, track.xy, rtol=0, atol=0.01)
    np.testing.assert_allclose(covariance, track.covariance, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(confidence, track.confidence, rtol=0, atol=1e-4)


def test_the_default_weights_on_a_real_frame(shared: Path, tmp_path: Path) -> None:
    path = tmp_path / "default.onnx"
    assert run("-o", path, "--quiet").output == ""
    weights = load_weights(None)
    with VideoReader(shared / "data" / "human" / "weizmann" / "test" / "00000002.jpg") as reader:
        squares = [
            Frame(to_square(frame.image, weights.config.image_size), frame.index, 0.0) for frame in reader
        ][:8]
    track = Track.concatenate(list(detect(Detector(weights, torch.device("cpu")), squares)))
    keypoints, confidence = session(path).run(
        ["keypoints", "confidence"], {"images": np.stack([f.image for f in squares])}
    )
    np.testing.assert_allclose(keypoints, track.xy, rtol=0, atol=0.01)
    np.testing.assert_allclose(confidence, track.confidence, rtol=0, atol=1e-4)


def test_the_file_describes_itself(exported: Path, tiny_weights: Path) -> None:
    onnx.checker.check_model(str(exported), full_check=True)
    weights = load_weights(tiny_weights)
    metadata = session(exported).get_modelmeta().custom_metadata_map
    assert metadata["format"] == "dkpvid-onnx/1"
    assert metadata["sha256"] == weights.sha256
    assert json.loads(metadata["names"]) == ["kp0", "kp1", "kp2", "kp3", "kp4", "kp5"]
    skeleton = json.loads(metadata["skeleton"])
    assert [tuple(edge[:2]) for edge in skeleton] == [(i, j) for i in range(6) for j in range(i + 1, 6)]
    assert [edge[2] for edge in skeleton] == weights.edge_map.weights.tolist()
    assert "top-left pixel is (0, 0)" in metadata["coordinates"]
    assert metadata["input"].startswith("uint8 [batch, 64, 64, 3], RGB")
    shapes = {output.name: output.shape for output in session(exported).get_outputs()}
    assert shapes == {"keypoints": ["batch", 6, 2], "confidence": ["batch", 6], "covariance": ["batch", 6, 3]}


def test_an_existing_file_is_kept(tiny_weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("precious")
    result = run("--weights", tiny_weights, "-o", path)
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: {path} exists; pass --overwrite to replace it, or choose another name with -o\n"
    )
    assert path.read_text() == "precious"
    assert run("--weights", tiny_weights, "-o", path, "--overwrite").exit_code == 0
    onnx.checker.check_model(str(path))
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "model.pt"], "the output must end in .onnx, got model.pt"),
        (["-o", "/dev/null/model.onnx"], "/dev/null/model.onnx cannot be written ("),
        (["-o", "new.onnx", "--weights", "missing"], "no weights at missing"),
    ],
)
def test_a_mistake_is_told_in_one_line(words: list[str], message: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {message}") and result.stderr.count("\n") == 1


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    result = run("-o", tmp_path / "model.onnx")
    assert result.exit_code == 2
    assert result.stderr == (
        'error: export needs the packages onnx and onnxruntime: pip install "dkpvid[onnx]"\n'
    )
