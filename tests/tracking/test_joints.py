"""Fitting named joints, their covariance, and the file they are kept in."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dkpvid.coordinates import Region
from dkpvid.errors import DataError, UsageError
from dkpvid.structures import Track
from dkpvid.tracking.joints import JointMap, fit_joints, from_shares, load_joints, split_folds, to_shares

MODEL = "ab" * 32


def make_set(rng: np.random.Generator, rows: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints, two joints that are mixtures of them, and the video of each row."""
    keypoints = rng.uniform(0.2, 0.8, (rows, 4, 2))
    joints = np.stack([keypoints[:, 0] * 0.5 + keypoints[:, 1] * 0.5 + 0.02, keypoints[:, 2] - 0.1], axis=1)
    return keypoints, joints, np.arange(rows) // 10


def fit(keypoints: np.ndarray, joints: np.ndarray, groups: np.ndarray) -> JointMap:
    names = tuple(f"joint{number}" for number in range(joints.shape[1]))
    return fit_joints(keypoints, joints, groups, names=names, model_sha256=MODEL, seed=0)


def make_track(xy: np.ndarray, covariance: np.ndarray) -> Track:
    frames, keypoints = xy.shape[:2]
    return Track(np.arange(frames), np.arange(frames) / 25, xy, np.ones((frames, keypoints)), covariance)


def test_a_linear_relation_is_found(rng: np.random.Generator) -> None:
    keypoints, joints, groups = make_set(rng)
    fitted = fit(keypoints, joints, groups)
    np.testing.assert_allclose(fitted.predict(keypoints), joints, atol=1e-5)
    assert fitted.penalty == 1e-6
    np.testing.assert_allclose(fitted.residual, 0, atol=1e-9)


def test_noise_is_answered_by_a_penalty(rng: np.random.Generator) -> None:
    """With little more rows than unknowns, the plain fit would do worse on other videos than the mean."""
    keypoints = rng.uniform(0, 1, (20, 9, 2))
    joints = rng.uniform(0, 1, (20, 1, 2))
    fitted = fit(keypoints, joints, np.arange(20) // 2)
    assert fitted.penalty >= 1
    other = rng.uniform(0, 1, (500, 9, 2))
    assert np.abs(fitted.predict(other) - joints.mean(axis=0)).mean() < 0.3


def test_the_fit_is_ridge_regression(rng: np.random.Generator) -> None:
    keypoints, joints, groups = make_set(rng)
    joints = joints + rng.normal(0, 0.05, joints.shape)
    joints[:7, 0] = np.nan
    fitted = fit(keypoints, joints, groups)
    x = keypoints[7:].reshape(-1, 8)
    x_mean, y_mean = x.mean(axis=0), joints[7:, 0].mean(axis=0)
    ridge = fitted.penalty * ((x - x_mean) ** 2).sum() / 8
    # The penalty as further rows: least squares on them is ridge regression.
    rows = np.concatenate([x - x_mean, np.sqrt(ridge) * np.eye(8)])
    truth = np.concatenate([joints[7:, 0] - y_mean, np.zeros((8, 2))])
    beta = np.linalg.lstsq(rows, truth, rcond=None)[0]
    np.testing.assert_allclose(fitted.weights[0].reshape(2, 8), beta.T, atol=1e-9)
    np.testing.assert_allclose(fitted.offset[0], y_mean - x_mean @ beta, atol=1e-9)


def test_keypoints_that_never_move_give_the_mean(rng: np.random.Generator) -> None:
    joints = rng.uniform(0, 1, (12, 3, 2))
    fitted = fit(np.full((12, 2, 2), 0.5), joints, np.arange(12))
    np.testing.assert_allclose(fitted.predict(np.full((1, 2, 2), 0.5))[0], joints.mean(axis=0))


def test_a_single_row_is_refused() -> None:
    with pytest.raises(DataError, match=r"1 annotated frame\(s\) to fit joints on"):
        fit(np.zeros((1, 2, 2)), np.zeros((1, 1, 2)), np.zeros(1, int))


def test_a_joint_of_one_video_has_no_known_residual(rng: np.random.Generator, tmp_path: Path) -> None:
    keypoints, joints, groups = make_set(rng)
    joints[10:, 1] = np.nan
    fitted = fit(keypoints, joints, groups)
    assert np.isfinite(fitted.predict(keypoints)).all()
    assert np.isnan(fitted.residual[1]).all() and np.isfinite(fitted.residual[0]).all()
    fitted.save(tmp_path / "joints.json")
    json.loads((tmp_path / "joints.json").read_text(), parse_constant=pytest.fail)
    assert np.isnan(load_joints(tmp_path / "joints.json", MODEL).residual[1]).all()


@pytest.mark.parametrize("region", [Region(0, 0, 300, 200), Region(40, 25, 120, 90)])
def test_joints_of_a_track_are_in_pixels_of_the_frame(rng: np.random.Generator, region: Region) -> None:
    keypoints, joints, groups = make_set(rng)
    fitted = fit(keypoints, joints, groups)
    track = make_track(from_shares(keypoints, region), np.zeros((80, 4, 3)))
    xy, _ = fitted.apply(track, region)
    np.testing.assert_allclose(xy, from_shares(joints, region), atol=1e-2)


def test_joints_in_a_moving_region(rng: np.random.Generator) -> None:
    """As if each frame were a track of its own."""
    fitted = fit(*make_set(rng))
    regions = [Region(0, 0, 90, 90), Region(30, -20, 60, 60), Region(5, 5, 120, 70)]
    xy, spread = rng.uniform(0, 90, (3, 4, 2)), np.tile([4.0, 1.0, 3.0], (3, 4, 1))
    rows = np.array([[region.x, region.y, region.width, region.height] for region in regions])
    joints, covariance = fitted.apply(make_track(xy, spread), rows)
    for t, region in enumerate(regions):
        alone, spread_alone = fitted.apply(make_track(xy[t : t + 1], spread[t : t + 1]), region)
        np.testing.assert_allclose(joints[t], alone[0])
        np.testing.assert_allclose(covariance[t], spread_alone[0])


def test_a_missing_keypoint_is_missing_joints(rng: np.random.Generator) -> None:
    fitted = fit(*make_set(rng))
    xy, covariance = rng.uniform(0, 90, (3, 4, 2)), np.ones((3, 4, 3))
    xy[1, 2], covariance[1, 2] = np.nan, np.nan
    joints, spread = fitted.apply(make_track(xy, covariance), Region(0, 0, 90, 90))
    assert np.isnan(joints).any(axis=(1, 2)).tolist() == [False, True, False]
    assert np.isnan(spread[1]).all() and np.isfinite(spread[[0, 2]]).all()


def test_covariance_is_what_sampling_gives(rng: np.random.Generator) -> None:
    keypoints, joints, groups = make_set(rng)
    joints = joints + rng.normal(0, 0.05, joints.shape)
    fitted = replace(fit(keypoints, joints, groups), residual=np.zeros((2, 3)))
    region = Region(10, 20, 400, 150)
    factors = rng.normal(0, 3, (4, 2, 2))
    spread = factors @ factors.transpose(0, 2, 1)
    packed = np.stack([spread[:, 0, 0], spread[:, 0, 1], spread[:, 1, 1]], axis=1)
    centre = from_shares(keypoints[:1], region)
    _, covariance = fitted.apply(make_track(centre, packed[None]), region)
    noise = np.einsum("kde,tke->tkd", factors, rng.normal(0, 1, (40_000, 4, 2)))
    sampled, _ = fitted.apply(make_track(centre + noise, np.zeros((40_000, 4, 3))), region)
    for joint in range(2):
        (xx, xy), (_, yy) = np.cov(sampled[:, joint].T)
        # Of 40 000 samples the covariance is known to about 1 %.
        np.testing.assert_allclose(covariance[0, joint], [xx, xy, yy], rtol=0.05, atol=0.03 * (xx + yy))


def test_covariance_holds_the_error_of_the_map_itself(rng: np.random.Generator) -> None:
    keypoints, joints, groups = make_set(rng, 400)
    noise = rng.normal(0, [0.02, 0.05], joints.shape)
    fitted = fit(keypoints, joints + noise, groups)
    track = make_track(from_shares(keypoints, Region(0, 0, 200, 100)), np.zeros((400, 4, 3)))
    _, covariance = fitted.apply(track, Region(0, 0, 200, 100))
    np.testing.assert_allclose(covariance[0, :, 0], (0.02 * 200) ** 2, rtol=0.2)
    np.testing.assert_allclose(covariance[0, :, 2], (0.05 * 100) ** 2, rtol=0.2)


def test_another_number_of_keypoints_is_refused(rng: np.random.Generator) -> None:
    track = make_track(np.zeros((1, 5, 2)), np.zeros((1, 5, 3)))
    with pytest.raises(UsageError, match="fitted on 4 keypoints, the track has 5"):
        fit(*make_set(rng)).apply(track, Region(0, 0, 9, 9))


def test_saved_and_loaded_it_is_the_same(rng: np.random.Generator, tmp_path: Path) -> None:
    fitted = fit(*make_set(rng))
    fitted.save(tmp_path / "joints.json")
    loaded = load_joints(tmp_path / "joints.json", MODEL)
    assert (loaded.names, loaded.penalty) == (fitted.names, fitted.penalty)
    for name in ("weights", "offset", "residual"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(fitted, name))
    with pytest.raises(UsageError, match="was fitted with model abababababab, got cd"):
        load_joints(tmp_path / "joints.json", "cd" * 32)


def test_a_place_that_cannot_be_written_is_one_clear_line(rng: np.random.Generator, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"joints\.json: cannot be written \(.+\); give another path"):
        fit(*make_set(rng)).save(tmp_path / "file" / "joints.json")


@pytest.mark.parametrize(
    "change",
    [
        {"format": "dkpvid-joints/9"},
        {"joints": ["one"]},
        {"weights": [1, 2]},
        {"offset": [[0, 0]]},
        {"residual": "x"},
        {"penalty": None},
    ],
)
def test_a_damaged_file_is_one_clear_line(
    rng: np.random.Generator, tmp_path: Path, change: dict[str, object]
) -> None:
    file = tmp_path / "joints.json"
    fit(*make_set(rng)).save(file)
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(DataError, match=r"joints\.json is no file of joints"):
        load_joints(file, MODEL)


def test_no_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        load_joints(tmp_path / "joints.json", MODEL)
    (tmp_path / "joints.json").write_text("{")
    with pytest.raises(DataError, match="is no file of joints"):
        load_joints(tmp_path / "joints.json", MODEL)
    (tmp_path / "joints.json").write_text("[]")
    with pytest.raises(DataError, match="is no file of joints"):
        load_joints(tmp_path / "joints.json", MODEL)


def test_folds_hold_out_whole_videos() -> None:
    groups = np.repeat([3, 5, 8, 9, 11], 4)
    folds = split_folds(groups, 3, seed=1)
    assert len(folds) == 3
    np.testing.assert_array_equal(np.sum(folds, axis=0), 1)
    for fold in folds:
        assert not set(groups[fold]) & set(groups[~fold])
    assert len(split_folds(groups, 9, seed=1)) == 5


def test_folds_of_one_video_are_stretches() -> None:
    folds = split_folds(np.zeros(10, int), 3, seed=1)
    np.testing.assert_array_equal(np.sum(folds, axis=0), 1)
    for fold in folds:
        assert np.ptp(np.flatnonzero(fold)) == fold.sum() - 1
    assert len(split_folds(np.zeros(2, int), 5, seed=1)) == 2


def test_shares_are_from_edge_to_edge() -> None:
    region = Region(10, 20, 100, 50)
    np.testing.assert_allclose(to_shares(np.array([[9.5, 19.5], [109.5, 69.5]]), region), [[0, 0], [1, 1]])
    xy = np.array([[3.0, 4.0]])
    np.testing.assert_allclose(from_shares(to_shares(xy, region), region), xy)
