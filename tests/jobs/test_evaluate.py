"""`dkpvid eval` from the command line to the files, with a tiny detector on made-up sets."""

import importlib.util
import json
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from dkpvid.checkpoint import load_weights, save_weights
from dkpvid.cli import app
from dkpvid.config import EvalConfig, ModelConfig
from dkpvid.coordinates import Region, model_to_pixels
from dkpvid.errors import DataError
from dkpvid.evaluation.annotations import ImageSource
from dkpvid.evaluation.labels import read_annotations
from dkpvid.evaluation.motion import NUM_SAMPLES, evaluate_motion
from dkpvid.evaluation.pictures import read_rows
from dkpvid.evaluation.regression import regress, regress_to_mean, score_regression
from dkpvid.jobs.evaluate import Found, evaluate_regression
from dkpvid.models.detector import KeypointDetector
from dkpvid.models.edge_map import EdgeMap
from dkpvid.tracking.joints import load_joints, to_shares
from tests.evaluation.test_annotations import put_deepfashion, put_human36m, put_taichi

runner = CliRunner()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors", seed=4)


def make_weights(path: Path, seed: int) -> Path:
    config = ModelConfig(num_keypoints=6, image_size=64, detector_width=8)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        save_weights(path, config, KeypointDetector(config), EdgeMap(config))
    return path


@pytest.fixture(scope="module")
def poses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six strips of a bright square that wanders, its centre and a corner annotated on every other frame."""
    folder = tmp_path_factory.mktemp("poses")
    rng = np.random.default_rng(3)
    for clip in range(6):
        strip = np.zeros((48, 48 * 12, 3), np.uint8)
        corner = np.cumsum(rng.integers(-3, 4, (12, 2)), axis=0) + 18
        for frame, (x, y) in enumerate(corner := np.clip(corner, 0, 35)):
            strip[y : y + 12, 48 * frame + x : 48 * frame + x + 12] = [255, 200, 40]
        Image.fromarray(strip).save(folder / f"clip{clip}.png")
        points = np.stack([corner, corner + 6], axis=1)[::2].astype(np.float32)
        np.savez(
            folder / f"clip{clip}.pose.npz",
            keypoints=np.concatenate([points, np.ones((6, 2, 1), np.float32)], axis=2),
            names=np.array(["corner", "middle"]),
            frames=np.arange(0, 12, 2),
        )
    return folder


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = runner.invoke(app, ["eval", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


# --- Regression ---------------------------------------------------------------------------------------------


def test_regression_from_the_command_line(poses: Path, weights: Path, tmp_path: Path) -> None:
    code, stdout, stderr = invoke(
        poses, "--weights", weights, "--json", "--save-joints", tmp_path / "joints.json"
    )
    assert code == 0, stderr
    report = json.loads(stdout, parse_constant=pytest.fail)
    assert report["protocol"] == "regression" and report["rows"] == 36
    run = report["runs"][0]
    assert run["model"] == "tiny" and run["sha256"] == load_weights(weights).sha256
    scored = run["keypoints"]
    assert [joint["name"] for joint in scored["joints"]] == ["corner", "middle"]
    assert [joint["name"] for joint in scored["groups"]] == [f"clip{number}" for number in range(6)]
    assert scored["total"]["count"] == 72
    low, high = scored["total"]["interval_percent"]
    assert low < scored["total"]["error_percent"] < high
    assert len(scored["pck"]) == len(report["pck_thresholds_percent"])
    # Even random features tell where a bright square is, better than a mean does.
    assert scored["total"]["error_px"] < run["mean_pose"]["total"]["error_px"]
    assert report["summary"] == {"mean": scored["total"]["error_percent"], "std": None, "num_runs": 1}
    assert "middle" in stderr and "mean pose" in stderr
    joints = load_joints(tmp_path / "joints.json", run["sha256"])
    assert joints.names == ("corner", "middle") and joints.weights.shape == (2, 2, 6, 2)


def test_without_json_stdout_is_empty(poses: Path, weights: Path) -> None:
    code, stdout, stderr = invoke(poses, "--weights", weights)
    assert (code, stdout) == (0, "") and "middle" in stderr
    assert invoke(poses, "--weights", weights, "--quiet") == (0, "", "")


def test_errors_are_those_of_the_held_out_predictions(poses: Path, weights: Path) -> None:
    config = EvalConfig(data=poses, protocol="regression", weights=(str(weights),), folds=3)
    (scores,) = evaluate_regression(config)
    error = np.linalg.norm(scores.predicted - scores.annotations.xy, axis=2)
    assert scores.keypoints.total.error_px == pytest.approx(error.mean())
    percent = 100 * error / scores.annotations.body_size[:, None]
    assert scores.keypoints.joints[1].error_percent == pytest.approx(percent[:, 1].mean())
    assert scores.keypoints.groups[4].error_percent == pytest.approx(
        percent[scores.annotations.groups == 4].mean()
    )
    assert scores.untrained.total != scores.keypoints.total
    assert evaluate_regression(config)[0].keypoints == scores.keypoints


def test_several_runs_are_averaged(poses: Path, weights: Path, tmp_path: Path) -> None:
    other = make_weights(tmp_path / "other.safetensors", seed=1)
    code, stdout, stderr = invoke(poses, "--runs", weights, "--runs", other, "--json")
    assert code == 0
    report = json.loads(stdout)
    errors = [run["keypoints"]["total"]["error_percent"] for run in report["runs"]]
    assert errors[0] != errors[1]
    assert report["summary"]["mean"] == pytest.approx(statistics.fmean(errors))
    assert report["summary"]["std"] == pytest.approx(statistics.stdev(errors))
    assert "mean of 2 runs" in stderr


def test_plots(poses: Path, weights: Path, tmp_path: Path) -> None:
    code, _, stderr = invoke(poses, "--weights", weights, "--plots", tmp_path / "plots")
    assert code == 0, stderr
    for name in ("joints", "pck", "samples"):
        with Image.open(tmp_path / "plots" / f"{name}.png") as picture:
            assert len(picture.convert("L").getcolors() or range(999)) > 10


def test_plots_without_matplotlib_fail_before_the_work(
    poses: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dkpvid.evaluation.plots.find_spec", lambda name: None)
    code, _, stderr = invoke(poses, "--weights", weights, "--plots", tmp_path / "plots")
    assert code == 2 and "install dkpvid[plots]" in stderr
    assert importlib.util.find_spec("matplotlib") and not (tmp_path / "plots").exists()


def test_shares_are_pixels_over_the_frame_whatever_its_size(rng: np.random.Generator) -> None:
    keypoints = rng.uniform(-1, 1, (5, 6, 2))
    frame = Region(0, 0, 321, 77)
    expected = to_shares(model_to_pixels(keypoints, frame, 64), frame)
    np.testing.assert_allclose(Found(keypoints, np.zeros((5, 0, 2)), 64, np.ones((5, 2))).shares, expected)


# --- Reading images -----------------------------------------------------------------------------------------


def test_every_row_gets_its_own_frame(poses: Path, tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), (9, 8, 7)).save(tmp_path / "wide.png")  # no strip: a picture of two squares
    strip = poses / "clip0.png"
    sources = (
        ImageSource(strip, 5),
        ImageSource(tmp_path / "wide.png"),
        ImageSource(strip, 2),
        ImageSource(strip, 5),
    )
    images = dict(read_rows(sources))
    whole = np.asarray(Image.open(strip))
    np.testing.assert_array_equal(images[0], whole[:, 240:288])
    np.testing.assert_array_equal(images[2], whole[:, 96:144])
    np.testing.assert_array_equal(images[0], images[3])
    assert images[1].shape == (10, 20, 3)


def test_a_frame_beyond_the_end_is_named(poses: Path) -> None:
    with pytest.raises(DataError, match=r"clip0\.png has no frame 12"):
        list(read_rows((ImageSource(poses / "clip0.png", 12),)))


def test_a_picture_is_read_as_track_reads_it(tmp_path: Path) -> None:
    deep = np.full((4, 6), 257 * 100, np.uint16)
    deep[0, 0] = 0
    Image.fromarray(deep).save(tmp_path / "deep.png")
    turned = Image.fromarray(np.zeros((4, 6, 3), np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    turned.save(tmp_path / "turned.jpg", exif=exif)
    sources = tuple(ImageSource(tmp_path / name) for name in ("deep.png", "turned.jpg"))
    images = [image for _, image in read_rows(sources)]
    assert [image.shape for image in images] == [(4, 6, 3), (6, 4, 3)]
    assert (images[0][0, 0] == 0).all() and (images[0][1:] == 100).all(), "not white"


def test_a_mask_leaves_grey(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (200, 0, 0)).save(tmp_path / "a.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[:, :4] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    ((_, image),) = read_rows((ImageSource(tmp_path / "a.png", mask=tmp_path / "mask.png"),))
    assert image[0, 0].tolist() == [200, 0, 0] and image[0, 7].tolist() == [128, 128, 128]
    (tmp_path / "mask.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"mask\.png cannot be read"):
        list(read_rows((ImageSource(tmp_path / "a.png", mask=tmp_path / "mask.png"),)))


# --- The papers' protocols ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "papers"),
    [("human36m", "6.85"), ("deepfashion", "65.00 ± 1.2"), ("taichi", "306.90 ± 3.7")],
)
def test_a_protocol_stands_beside_the_papers(
    weights: Path, tmp_path: Path, protocol: str, papers: str
) -> None:
    if protocol == "human36m":
        put_human36m(tmp_path)
    elif protocol == "deepfashion":
        put_deepfashion(tmp_path)
    else:
        put_taichi(tmp_path, ".pkl")
    code, stdout, stderr = invoke(tmp_path, "--protocol", protocol, "--weights", weights, "--json")
    assert code == 0, stderr
    report = json.loads(stdout, parse_constant=pytest.fail)
    assert report["runs"][0]["value"] == report["summary"]["mean"] >= 0
    assert papers in stderr and "tiny" in stderr
    assert any(method["method"] == "Distill-DKP" for method in report["papers"])


def test_human36m_without_background_has_its_own_column(weights: Path, tmp_path: Path) -> None:
    put_human36m(tmp_path)
    _, stdout, stderr = invoke(
        tmp_path, "--protocol", "human36m", "--no-background", "--weights", weights, "--json"
    )
    assert "2.68 ± 0.04" in stderr and "without background" in json.loads(stdout)["unit"]


# --- Motion -------------------------------------------------------------------------------------------------


def test_motion_from_the_command_line(poses: Path, weights: Path) -> None:
    code, stdout, stderr = invoke(poses / "clip0.png", "--protocol", "motion", "--weights", weights, "--json")
    assert code == 0, stderr
    report = json.loads(stdout, parse_constant=pytest.fail)
    (video,) = report["runs"][0]["videos"]
    assert video["num_frames"] == 12 and 0 <= video["on_foreground"] <= 1
    assert video["num_dead"] == len(report["runs"][0]["dead_everywhere"])
    assert report["summary"]["jitter_px"]["mean"] == video["jitter_px"]
    assert "clip0.png" in stderr


def test_a_video_of_one_frame_has_no_jitter(weights: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "one.png")
    config = EvalConfig(data=tmp_path / "one.png", protocol="motion", weights=(str(weights),))
    (video,) = evaluate_motion(config)[0].videos
    assert video.jitter_px is None and video.num_dead == 6 and video.foreground_area == 0
    assert invoke(tmp_path / "one.png", "--protocol", "motion", "--weights", weights, "--json")[0] == 0


def test_a_long_video_is_sampled_evenly(weights: Path, tmp_path: Path) -> None:
    """The right half brightens for the last frames only: seen when samples reach to the end of the video."""
    frames = np.zeros((3 * NUM_SAMPLES, 16, 16, 3), np.uint8)
    frames[-40:, :, 8:] = 255
    Image.fromarray(np.concatenate(list(frames), axis=1)).save(tmp_path / "long.png")
    config = EvalConfig(data=tmp_path / "long.png", protocol="motion", weights=(str(weights),))
    (video,) = evaluate_motion(config)[0].videos
    expected = 40 / (3 * NUM_SAMPLES) * (0.5 + 4 / 128)  # one cell, 4 of 128 columns, beyond the edge
    assert video.foreground_area == pytest.approx(expected, rel=0.1)


# --- What can go wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--protocol", "mpii"], 2, "unknown protocol 'mpii'"),
        (["--folds", "1"], 2, "folds must be 2 to 1000, got 1"),
        (["--batch-size", "0"], 2, "batch size must be at least 1"),
        (["--runs", "a"], 2, "not both"),
        (["--protocol", "taichi", "--plots", "x"], 2, "--plots goes with --protocol regression"),
        (["--protocol", "motion", "--save-joints", "x"], 2, "--save-joints goes with"),
        (["--protocol", "taichi"], 4, "landmark/taichi_train_gt.pkl is missing"),
        (["--protocol", "human36m"], 4, "S1/WithBackground is missing"),
        (["--protocol", "deepfashion"], 4, "data_train.csv is missing"),
        (["--device", "abacus"], 2, "unknown device 'abacus'"),
    ],
)
def test_a_mistake_is_one_line_and_its_exit_code(
    poses: Path, weights: Path, arguments: list[str], code: int, message: str
) -> None:
    result = invoke(poses, "--weights", weights, "--json", *arguments)
    assert result[:2] == (code, "")
    assert message in result[2] and len(result[2].splitlines()) == 1


@pytest.mark.parametrize("option", ["--save-joints", "--plots"])
def test_a_place_that_cannot_be_written_is_named_before_the_work(
    poses: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("dkpvid.jobs.evaluate.detect_rows", None)
    code, _, stderr = invoke(poses, "--weights", weights, option, tmp_path / "file" / "joints.json")
    assert (code, stderr) == (2, f"error: {tmp_path / 'file'} is not a folder; choose another one\n")


def test_joints_of_two_runs_are_refused(poses: Path, weights: Path, tmp_path: Path) -> None:
    code, _, stderr = invoke(
        poses, "--runs", weights, "--runs", weights, "--save-joints", tmp_path / "joints.json"
    )
    assert code == 2 and "--save-joints takes one model" in stderr


def test_missing_things_are_named(poses: Path, weights: Path, tmp_path: Path) -> None:
    assert invoke(tmp_path / "gone", "--weights", weights)[0] == 4
    assert invoke(tmp_path / "gone", "--weights", weights, "--protocol", "motion")[0] == 4
    assert invoke(poses, "--weights", tmp_path / "gone")[0] == 2
    code, _, stderr = invoke(poses, "--weights", weights, "--videos", tmp_path)
    assert code == 4 and "no video clip0.* below" in stderr


def test_a_given_split_is_kept(poses: Path, rng: np.random.Generator) -> None:
    annotations = read_annotations(poses)
    is_test = annotations.groups >= 4
    split = replace(annotations, is_test=is_test)
    size = np.full((36, 2), 48.0)
    predicted = regress(rng.uniform(0, 1, (36, 3, 2)), split, size, folds=5, seed=0)
    assert np.isnan(predicted[~is_test]).all() and np.isfinite(predicted[is_test]).all()
    mean = regress_to_mean(split, size, folds=5, seed=0)
    np.testing.assert_allclose(mean[is_test], np.tile(annotations.xy[~is_test].mean(axis=0), (12, 1, 1)))
    scored = score_regression(split, predicted, seed=0)
    assert scored.total.count == 24 and scored.groups[0].error_px is None


def test_a_single_joint_has_no_body_to_measure_by(poses: Path) -> None:
    annotations = read_annotations(poses)
    one = replace(annotations, xy=annotations.xy[:, :1], names=("corner",), body_size=np.zeros(36))
    scored = score_regression(one, one.xy + 3, seed=0)
    assert scored.total.error_px == pytest.approx(3 * np.sqrt(2))
    assert scored.total.error_percent is None and scored.total.count == 36
