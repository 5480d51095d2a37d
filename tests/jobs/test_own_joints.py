"""Weights that were taught joints: `track` gives, draws and writes them, `eval` scores them as they are."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from jsonschema import Draft202012Validator
from PIL import Image
from typer.testing import CliRunner, Result

from dkpvid.checkpoint import load_weights, save_weights
from dkpvid.cli import app
from dkpvid.config import EvalConfig, ModelConfig
from dkpvid.coordinates import Region, model_to_pixels
from dkpvid.formats.reading import read_track
from dkpvid.formats.schema import json_schema
from dkpvid.jobs.evaluate import evaluate_regression
from dkpvid.models.detector import KeypointDetector
from dkpvid.models.edge_map import EdgeMap
from dkpvid.tracking.joints import LIMBS, limbs
from dkpvid.video.reader import VideoReader
from dkpvid.video.resize import to_square
from tests.video.clips import HEIGHT, WIDTH

JOINTS = ("left_elbow", "left_wrist", "tail")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = ModelConfig(num_keypoints=4, image_size=64, detector_width=8, joints=JOINTS)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        detector = KeypointDetector(config)
        torch.nn.init.normal_(detector.head.weight, std=1.0)
        path = tmp_path_factory.mktemp("weights") / "taught.safetensors"
        save_weights(path, config, detector, EdgeMap(config))
    return path


def track(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, ["track", "--device", "cpu", "-q", *(str(word) for word in arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.stderr
    return result


def document(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    Draft202012Validator(json_schema()).validate(content)
    return content


def test_joints_are_those_that_the_network_finds(taught: Path, clip: Path, tmp_path: Path) -> None:
    track(clip, "-o", tmp_path, "--weights", taught, "--no-video", "--smooth", "none")
    found = document(tmp_path / "clip.dkp.json")
    assert found["joints"] == list(JOINTS) and found["joints_skeleton"] == [[0, 1]]
    assert found["keypoints"] == ["kp0", "kp1", "kp2", "kp3"]
    with VideoReader(clip) as reader:
        image = to_square(next(iter(reader)).image, 64).copy()
    with torch.no_grad():
        wanted = load_weights(taught).detector(torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1)
    frame = found["frames"][0]
    for name, part in (("keypoints", wanted), ("joints", wanted.joints)):
        places = [(point["x"], point["y"]) for point in frame[name]]
        expected = model_to_pixels(part.keypoints[0].numpy(), Region(0, 0, WIDTH, HEIGHT), 64)
        np.testing.assert_allclose(places, expected, atol=0.02)
    assert len(frame["joints_covariance"]) == 3
    assert [joint["name"] for joint in frame["joints"]] == list(JOINTS)


def test_they_are_smoothed_and_the_keypoints_stay_what_they_are(
    taught: Path, clip: Path, tmp_path: Path
) -> None:
    settings = ["--weights", taught, "--no-video", "--stride", "2", "--roi", "auto"]
    for name in ("default", "none"):
        track(clip, "-o", tmp_path / name, "--joints", name, *settings)
    ours, without = (document(tmp_path / name / "clip.dkp.json") for name in ("default", "none"))
    assert "joints" not in without and "joints_skeleton" not in without
    for frame, bare in zip(ours["frames"], without["frames"], strict=True):
        # What the smoother bridges has joints too.
        assert len(frame.pop("joints")) == len(frame.pop("joints_covariance")) == 3
        assert frame == bare
    assert ours["fingerprint"] != without["fingerprint"]
    header = read_track(tmp_path / "default" / "clip.dkp.json").header
    assert (header.joints, header.joints_skeleton) == (JOINTS, ((0, 1),))


def test_all_formats_have_them(taught: Path, clip: Path, tmp_path: Path) -> None:
    formats = "json,jsonl,csv,coco,openpose,sleap-h5"
    track(clip, "-o", tmp_path, "--weights", taught, "--no-video", "--report", "--format", formats)
    found = document(tmp_path / "clip.dkp.json")["frames"][0]
    points = [(point["x"], point["y"]) for point in found["keypoints"] + found["joints"]]
    table = pd.read_csv(tmp_path / "clip.dkp.csv", header=[1, 2], index_col=0)
    assert list(table.columns.get_level_values(0).unique())[4:] == list(JOINTS)
    np.testing.assert_allclose(table.iloc[0].to_numpy().reshape(-1, 3)[:, :2], points)
    entry = json.loads((tmp_path / "clip.dkp.coco.json").read_text())[0]
    np.testing.assert_allclose(np.reshape(entry["keypoints"], (-1, 3))[:, :2], points)
    with h5py.File(tmp_path / "clip.dkp.sleap.h5") as file:
        assert [name.decode() for name in file["node_names"]][4:] == list(JOINTS)
        assert [4, 5] in file["edge_inds"][()].tolist()
    assert "left_wrist" in (tmp_path / "clip.dkp.html").read_text()


def test_drawing_them_can_be_left_out(taught: Path, clip: Path, tmp_path: Path) -> None:
    for name, draw in (("with", "points,joints"), ("without", "points")):
        track(clip, "-o", tmp_path / name, "--weights", taught, "--draw", draw, "--crf", "1")
    pictures = []
    for name in ("with", "without"):
        with VideoReader(tmp_path / name / "clip.dkp.mp4") as reader:
            pictures.append(next(iter(reader)).image.astype(int))
    found = document(tmp_path / "with" / "clip.dkp.json")["frames"][0]["joints"]
    change = np.abs(pictures[0] - pictures[1]).max(axis=2)
    (x0, y0), (x1, y1) = ((joint["x"], joint["y"]) for joint in found[:2])
    # The limb is drawn: half-way between elbow and wrist something is new, and in the far corners nothing.
    assert change[round((y0 + y1) / 2), round((x0 + x1) / 2)] > 60
    assert min(change[:4, :4].max(), change[-4:, -4:].max()) < 20


def test_limbs_are_told_from_names_however_they_are_written() -> None:
    names = ["nose", "Left Shoulder", "left-elbow", "tail"]
    assert limbs(names) == ((1, 2),)
    everybody = sorted({name for limb in LIMBS for name in limb})
    assert len(everybody) == 17 and len(limbs(everybody)) == len(LIMBS) == 19


def test_eval_scores_them_by_name(taught: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    """The joints that it finds are the annotation, but for a known offset; the third has another name."""
    detector = load_weights(taught).detector
    for clip in range(3):
        frames = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
        Image.fromarray(np.concatenate(list(frames), axis=1)).save(tmp_path / f"clip{clip}.png")
        with torch.no_grad():
            joints = detector(torch.from_numpy(frames).permute(0, 3, 1, 2) / 127.5 - 1).joints
        # In these files the top-left pixel's corner is (0, 0).
        xy = model_to_pixels(joints.keypoints.numpy(), Region(0, 0, 64, 64), 64) + 0.5 + np.array([3.0, 0.0])
        np.savez(
            tmp_path / f"clip{clip}.pose.npz",
            keypoints=np.concatenate([xy, np.ones((4, 3, 1))], axis=2).astype(np.float32),
            names=np.array(["Left Elbow", "left_wrist", "ear"]),
            frames=np.arange(4),
        )
    config = EvalConfig(data=tmp_path, protocol="regression", weights=(str(taught),), folds=3)
    (scores,) = evaluate_regression(config)
    assert scores.by_name is not None
    assert [joint.count for joint in scores.by_name.joints] == [12, 12, 0]
    assert scores.by_name.total.error_px == pytest.approx(3, abs=0.02)
    result = CliRunner().invoke(app, ["eval", str(tmp_path), "--weights", str(taught), "--json"])
    assert result.exit_code == 0, result.stderr
    by_name = json.loads(result.stdout)["runs"][0]["by_name"]
    assert by_name["total"]["error_px"] == pytest.approx(3, abs=0.02)
    assert "joints by name" in result.stderr


def test_eval_without_a_common_name_says_nothing(tiny_weights: Path, taught: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((16, 16 * 4, 3), np.uint8)).save(tmp_path / "clip.png")
    keypoints = np.ones((4, 2, 3), np.float32) * np.arange(1, 5, dtype=np.float32)[:, None, None]
    np.savez(tmp_path / "clip.pose.npz", keypoints=keypoints, names=np.array(["a", "b"]), frames=np.arange(4))
    for weights in (tiny_weights, taught):
        config = EvalConfig(data=tmp_path, protocol="regression", weights=(str(weights),), folds=2)
        assert evaluate_regression(config)[0].by_name is None
