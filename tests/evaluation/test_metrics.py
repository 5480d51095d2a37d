"""The papers' protocols against recorded results and slow loops; the other scores by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from dkpvid.evaluation.joint_metrics import bootstrap_interval, pck
from dkpvid.evaluation.paper_metrics import HUMAN36M_PAIRS, deepfashion_pck, human36m_error, taichi_error
from dkpvid.evaluation.track_metrics import dead_keypoints, foreground, jitter, share_on, swap_rate

# The recorded results were computed in float32, by normal equations.
GOLDEN_TOLERANCE = 1e-5


def golden(shared: Path) -> tuple[dict[str, np.ndarray], dict[str, float], np.ndarray]:
    arrays = dict(np.load(shared / "golden/protocols_k10_seed7.npz"))
    results = json.loads((shared / "golden/protocols_k10_seed7.json").read_text())
    return arrays, results, np.arange(len(arrays["taichi_det"])) >= int(arrays["split"])


@pytest.mark.shared
def test_human36m_gives_the_recorded_result(shared: Path) -> None:
    arrays, results, is_test = golden(shared)
    error = human36m_error(arrays["h36m_det"], arrays["h36m_gt"], is_test)
    assert error == pytest.approx(100 * results["h36m_l2"], rel=GOLDEN_TOLERANCE)


@pytest.mark.shared
def test_deepfashion_gives_the_recorded_result(shared: Path) -> None:
    arrays, results, is_test = golden(shared)
    share = deepfashion_pck(arrays["deepfashion_det"], arrays["deepfashion_gt"], is_test)
    assert share == pytest.approx(results["deepfashion_pck6"], rel=GOLDEN_TOLERANCE)


@pytest.mark.shared
def test_taichi_gives_the_recorded_result(shared: Path) -> None:
    arrays, results, is_test = golden(shared)
    annotated = np.where(arrays["taichi_gt"] == -1, np.nan, arrays["taichi_gt"])
    assert taichi_error(arrays["taichi_det"], annotated, is_test) == pytest.approx(
        results["taichi_mae"], rel=GOLDEN_TOLERANCE
    )


def make_set(
    rng: np.random.Generator, num_joints: int, rows: int = 150
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints, joints that depend on them in shares of the image, and the split."""
    detected = rng.uniform(-1, 1, (rows, 4, 2))
    mix = rng.normal(0, 0.3, (8, num_joints * 2))
    joints = (detected.reshape(rows, 8) @ mix).reshape(rows, num_joints, 2)
    return detected, joints + rng.normal(0, 0.05, joints.shape), np.arange(rows) >= 100


def swapped(row: np.ndarray) -> np.ndarray:
    turned, order = row.copy(), list(range(32))
    for a, b in HUMAN36M_PAIRS:
        order[a] = b
        order[b] = a
    for joint in range(32):
        turned[joint] = row[order[joint]]
    return turned


def mean_distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean([np.hypot(*(p - q)) for p, q in zip(a, b, strict=True)]))


def test_human36m_is_what_a_slow_loop_gives(rng: np.random.Generator) -> None:
    detected, annotated, is_test = make_set(rng, 32)
    for row in range(0, 150, 3):  # a third looks the other way
        annotated[row] = swapped(annotated[row])
    x = detected.reshape(150, 8) * 0.5 + 0.5
    train, test = list(np.flatnonzero(~is_test)), list(np.flatnonzero(is_test))
    truth = {row: annotated[row] for row in range(150)}
    while True:
        beta = np.linalg.lstsq(x[train], np.array([truth[row].ravel() for row in train]), rcond=None)[0]
        distance = {row: mean_distance((x[row] @ beta).reshape(32, 2), truth[row]) for row in train}
        turn = [
            row
            for row in train
            if mean_distance((x[row] @ beta).reshape(32, 2), swapped(truth[row])) < distance[row]
        ]
        if len(turn) <= 10:
            break
        truth |= {row: swapped(truth[row]) for row in turn}
    values = np.array(list(distance.values()))
    limit = values.mean() + 3 * np.sqrt(((values - values.mean()) ** 2).sum() / (len(values) - 1))
    train = [row for row in train if distance[row] < limit]
    beta = np.linalg.lstsq(x[train], np.array([truth[row].ravel() for row in train]), rcond=None)[0]
    while True:
        distance = {row: mean_distance((x[row] @ beta).reshape(32, 2), truth[row]) for row in test}
        turn = [
            row
            for row in test
            if mean_distance((x[row] @ beta).reshape(32, 2), swapped(truth[row])) < distance[row]
        ]
        if len(turn) <= 10:
            break
        truth |= {row: swapped(truth[row]) for row in turn}
    expected = 100 * np.mean(list(distance.values()))
    assert human36m_error(detected, annotated, is_test) == pytest.approx(expected, rel=1e-9)


def test_human36m_leaves_its_input_alone(rng: np.random.Generator) -> None:
    detected, annotated, is_test = make_set(rng, 32)
    before = annotated.copy()
    human36m_error(detected, annotated, is_test)
    np.testing.assert_array_equal(annotated, before)


def test_deepfashion_is_what_a_slow_loop_gives(rng: np.random.Generator) -> None:
    detected, joints, is_test = make_set(rng, 16)
    annotated = 128 + 60 * joints
    x = 255 * (detected.reshape(150, 8) * 0.5 + 0.5)
    beta = np.linalg.lstsq(x[:100], annotated[:100].reshape(100, 32), rcond=None)[0]
    near = 0
    for row in range(100, 150):
        for guess, truth in zip((x[row] @ beta).reshape(16, 2), annotated[row], strict=True):
            near += np.hypot(*(guess - truth)) < 6
    assert 0 < near < 800
    assert deepfashion_pck(detected, annotated, is_test) == pytest.approx(near / 800)


def test_a_keypoint_that_never_moves_does_not_break_the_protocols(rng: np.random.Generator) -> None:
    detected, joints, is_test = make_set(rng, 32)
    detected[:, 3] = detected[:, 2]
    for score in (human36m_error, deepfashion_pck, taichi_error):
        assert np.isfinite(score(detected, joints, is_test))


def test_taichi_is_what_a_slow_loop_gives(rng: np.random.Generator) -> None:
    detected, joints, is_test = make_set(rng, 18)
    annotated = 128 + 60 * joints
    annotated[rng.random((150, 18)) < 0.2] = np.nan
    annotated[:, 4] = np.nan  # never annotated: adds nothing
    x = np.column_stack([255 * (detected.reshape(150, 8) * 0.5 + 0.5), np.ones(150)])
    total = 0.0
    for joint in range(18):
        for axis in range(2):
            label = annotated[:, joint, axis]
            train = [row for row in range(100) if not np.isnan(label[row])]
            test = [row for row in range(100, 150) if not np.isnan(label[row])]
            if test:
                beta = np.linalg.lstsq(x[train], label[train], rcond=None)[0]
                total += np.mean([abs(x[row] @ beta - label[row]) for row in test])
    assert taichi_error(detected, annotated, is_test) == pytest.approx(total, rel=1e-7)


def test_pck_counts_known_errors_only() -> None:
    errors = np.array([[0.5, np.nan], [3.0, 9.0]])
    assert pck(errors, np.array([1.0, 3.0, 10.0])) == [1 / 3, 1 / 3, 1.0]
    assert pck(np.full((2, 2), np.nan), np.array([1.0])) == [0.0]


def test_bootstrap_draws_whole_videos(rng: np.random.Generator) -> None:
    """Two hundred equal frames in four videos are four measurements, not two hundred."""
    groups = np.repeat(np.arange(4), 50)
    errors = np.array([1.0, 2.0, 3.0, 4.0])[groups][:, None]
    low, high = bootstrap_interval(errors, groups, seed=0)
    assert low <= 1.5 and high >= 3.5
    assert bootstrap_interval(errors, groups, seed=0) == (low, high)
    low, high = bootstrap_interval(np.array([[2.0], [np.nan], [2.0]]), np.zeros(3, int), seed=0)
    assert (low, high) == (2.0, 2.0)


def test_bootstrap_covers_the_true_mean(rng: np.random.Generator) -> None:
    hits = 0
    for seed in range(100):
        errors = np.random.default_rng(seed).normal(5, 1, (40, 3))
        low, high = bootstrap_interval(errors, np.arange(40), seed)
        hits += low < 5 < high
    assert 85 <= hits <= 100


def test_jitter_is_the_jump_about_the_smooth_path() -> None:
    smooth = np.stack([np.arange(10.0), np.zeros(10)], axis=1)[:, None]
    raw = smooth + np.array([3.0, 4.0]) * np.array([0, 1] * 5)[:, None, None]
    assert jitter(raw, smooth) == pytest.approx(5)
    assert jitter(smooth, smooth) == 0
    raw[::2] = np.nan
    assert np.isnan(jitter(raw, smooth))


def test_dead_keypoints_stay_within_a_cell() -> None:
    xy = np.zeros((5, 4, 2))
    xy[:, 0, 0] = [0, 3, 9, 3, 0]
    xy[:, 1, 1] = [0, 1, 2, 1, 0]
    xy[:, 2] = np.nan
    xy[1:, 3] = [20, 20]
    assert dead_keypoints(xy, np.array([8.0, 4.0])).tolist() == [False, True, True, False]


def test_swap_rate_sees_two_keypoints_change_places() -> None:
    xy = np.tile([[0.0, 0.0], [50.0, 0.0], [100.0, 90.0]], (5, 1, 1))
    assert swap_rate(xy, np.array([4.0, 4.0])) == 0
    xy[3:, [0, 1]] = xy[3:, [1, 0]]
    assert swap_rate(xy, np.array([4.0, 4.0])) == 0.25
    assert swap_rate(xy[:1], np.array([4.0, 4.0])) == 0
    xy[3] = np.nan
    assert swap_rate(xy, np.array([4.0, 4.0])) == 0


def test_foreground_is_the_square_that_moves(rng: np.random.Generator) -> None:
    images = np.full((20, 64, 64, 3), 0.4) + rng.normal(0, 0.01, (20, 64, 64, 3))
    for frame in range(20):
        images[frame, 20:30, 3 * frame : 3 * frame + 6] = 0.9
    moving = foreground(images)
    for frame in range(20):
        assert moving[frame, 20:30, 3 * frame : 3 * frame + 6].all()
        assert moving[frame].sum() == moving[frame, 20:30, 3 * frame : 3 * frame + 6].size
    centres = np.stack([(3 * np.arange(20) + 3) / 64, np.full(20, 25 / 64)], axis=1)
    corner = np.full((20, 2), 0.99)
    share, chance = share_on(moving, np.stack([centres, corner], axis=1))
    assert share == 0.5
    # A square of 10 x 6 that may be missed by one cell, 2 pixels, on every side; less where the frame ends.
    assert 0.9 * 14 * 10 / 64**2 < chance <= 14 * 10 / 64**2


def test_share_on_is_what_a_slow_loop_gives(rng: np.random.Generator) -> None:
    mask = rng.random((6, 40, 70)) < 0.01
    xy = rng.uniform(0, 1, (6, 30, 2))
    xy[0, :5] = np.nan
    hits = []
    for frame in range(6):
        for x, y in xy[frame]:
            if not np.isnan(x):
                row, column = int(y * 40), int(x * 70)
                hits.append(mask[frame, max(row - 2, 0) : row + 3, max(column - 3, 0) : column + 4].any())
    assert share_on(mask, xy)[0] == pytest.approx(np.mean(hits))
    assert np.isnan(share_on(mask, np.full((6, 2, 2), np.nan))[0])
