from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
from numpy import ndarray

import dkpvid.tracking.kalman as kalman
from benchmarks import smoothing as benchmark
from dkpvid.config import SmoothingConfig, SmoothingMethod
from dkpvid.shapes import Float
from dkpvid.structures import Track
from dkpvid.tracking.smoothing import kept_back, make_smoother, smooth

METHODS = get_args(SmoothingMethod)
SCALE = 200.0


def track_of(xy: Float[ndarray, "frame keypoint 2"], time: object = None, std: float = 1.0) -> Track:
    """Detections at 25 frames per second, or at the given times, with noise of `std` pixels."""
    frames, keypoints = xy.shape[:2]
    return Track(
        index=np.arange(frames),
        time_seconds=np.arange(frames) / 25 if time is None else np.asarray(time, float),
        xy=np.asarray(xy, float),
        confidence=np.linspace(0, 1, frames * keypoints).reshape(frames, keypoints),
        covariance=np.full((frames, keypoints, 3), (1.0, 0.0, 1.0)) * std**2,
    )


@pytest.fixture
def swinging(rng: np.random.Generator) -> Track:
    """600 uneven frames of three swinging keypoints with noise, uneven certainty, gaps and remarks."""
    time = np.cumsum(rng.uniform(0.01, 0.07, 600))
    phase = 2 * np.pi * time[:, None, None] + rng.uniform(0, 6, (3, 2))
    track = track_of(100 + 15 * np.sin(phase) + rng.normal(0, 1, (600, 3, 2)), time)
    track.xy[rng.random((600, 3)) < 0.1] = np.nan
    track.covariance[...] *= rng.uniform(0.5, 3, (600, 3, 1))
    track.covariance[..., 1] = rng.uniform(-0.4, 0.4, (600, 3))
    return replace(track, flags=tuple(("corrupt",) if i == 300 else () for i in range(600)))


def jitter(xy: Float[ndarray, "frame keypoint 2"]) -> float:
    return float(np.nanstd(np.diff(xy, 2, axis=0)))


# Every method


@pytest.mark.parametrize("method", METHODS)
def test_the_rest_of_the_track_is_kept(swinging, method):
    before = replace(swinging, xy=swinging.xy.copy(), covariance=swinging.covariance.copy())
    after = smooth(swinging, SmoothingConfig(method), SCALE)
    for name in ("index", "time_seconds", "confidence"):
        np.testing.assert_array_equal(getattr(after, name), getattr(swinging, name))
    assert after.flags == swinging.flags
    np.testing.assert_array_equal(after.raw_xy, before.xy)
    np.testing.assert_array_equal(swinging.xy, before.xy)  # the input is not touched
    np.testing.assert_array_equal(swinging.covariance, before.covariance)
    if method != "kalman":
        np.testing.assert_array_equal(after.covariance, before.covariance)
        np.testing.assert_array_equal(np.isnan(after.xy), np.isnan(before.xy))
    if method == "none":
        np.testing.assert_array_equal(after.xy, before.xy)


@pytest.mark.parametrize("strength", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("method", METHODS)
def test_result_does_not_depend_on_how_frames_arrive(swinging, method, strength):
    config = SmoothingConfig(method, strength)
    whole = smooth(swinging, config, SCALE)
    for size in (1, 7, 64):
        smoother = make_smoother(config, SCALE)
        parts = [smoother.push(swinging[start : start + size]) for start in range(0, 600, size)]
        parts.append(smoother.finish())
        joined = Track.concatenate([part for part in parts if part is not None])
        np.testing.assert_array_equal(joined.index, whole.index)
        np.testing.assert_array_equal(joined.xy, whole.xy)
        np.testing.assert_array_equal(joined.covariance, whole.covariance)


@pytest.mark.parametrize(
    ("method", "strength", "fps", "kept", "at_first"),
    [
        ("none", 1.0, 25.0, 0, 0),
        ("one-euro", 1.0, 25.0, 0, 0),
        ("savgol", 1.0, 25.0, 4, 8),
        ("median", 3.0, 25.0, 6, 12),
        ("kalman", 1.0, 25.0, 127, 127),
        ("kalman", 1.0, 60.0, 239, 239),
        ("kalman", 1.0, None, 511, 511),
    ],
)
def test_frames_are_given_back_before_the_end(swinging, method, strength, fps, kept, at_first):
    config = SmoothingConfig(method, strength)
    smoother = make_smoother(config, SCALE, fps)
    given, waiting = 0, []
    for t in range(600):
        part = smoother.push(swinging[t : t + 1])
        given += 0 if part is None else len(part)
        waiting.append(t + 1 - given)
    # Windows wait until the first one is full.
    assert (max(waiting), max(waiting[2 * at_first + 1 :] or waiting)) == (at_first, kept)
    assert kept_back(config, fps) == at_first


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("strength", [0.01, 1.0, 1000.0])
@pytest.mark.parametrize("frames", [0, 1, 2, 3, 8])
def test_short_tracks(method, strength, frames):
    xy = 50 + np.arange(frames * 4.0).reshape(frames, 2, 2)
    after = smooth(track_of(xy), SmoothingConfig(method, strength), SCALE)
    assert after.xy.shape == xy.shape
    assert np.isfinite(after.xy).all()
    np.testing.assert_array_equal(after.raw_xy, xy)
    if frames == 1:
        np.testing.assert_allclose(after.xy, xy)


def test_finishing_without_a_frame_gives_nothing():
    for method in METHODS:
        smoother = make_smoother(SmoothingConfig(method), SCALE)
        assert smoother.finish() is None


@pytest.mark.parametrize("method", METHODS)
def test_a_keypoint_never_seen_stays_missing(rng, method):
    xy = rng.normal(50, 1, (40, 2, 2))
    xy[:, 1] = np.nan
    after = smooth(track_of(xy), SmoothingConfig(method), SCALE)
    assert np.isnan(after.xy[:, 1]).all()
    alone = smooth(track_of(xy[:, :1]), SmoothingConfig(method), SCALE)
    np.testing.assert_allclose(after.xy[:, :1], alone.xy)


@pytest.mark.parametrize("method", METHODS)
def test_missing_at_both_ends(rng, method):
    xy = rng.normal(50, 1, (40, 1, 2))
    xy[:5], xy[-5:] = np.nan, np.nan
    after = smooth(track_of(xy), SmoothingConfig(method), SCALE).xy
    assert np.isnan(after[:5]).all()
    assert np.isfinite(after[5:-5]).all()
    assert np.abs(after[5:-5] - 50).max() < 4
    # kalman predicts for a while; the others have nothing to say.
    assert np.isfinite(after[-5:]).all() == (method == "kalman")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("time", [[0, 0.1, 0.1, 0.2, 0.3], [0, 0, 0, 0, 0], [0, 0.2, 0.1, 0.3, 0.4]])
def test_repeated_and_reversed_times(method, time):
    xy = np.array([50.0, 51, 52, 53, 54])[:, None, None] * np.ones((1, 2, 2))
    after = smooth(track_of(xy, time), SmoothingConfig(method), SCALE)
    assert ((after.xy >= 49) & (after.xy <= 55)).all()


@pytest.mark.parametrize("method", [method for method in METHODS if method != "none"])
def test_stronger_is_calmer(rng, method):
    track = track_of(rng.normal(50, 1, (300, 4, 2)))
    shakes = [jitter(smooth(track, SmoothingConfig(method, s), SCALE).xy) for s in (0.01, 0.5, 1.0, 2.0, 4.0)]
    assert shakes == sorted(shakes, reverse=True)
    assert shakes[-1] < 0.5 * shakes[0]


@pytest.mark.parametrize("method", METHODS)
def test_resolution_does_not_matter(swinging, method):
    large = replace(swinging, xy=3 * swinging.xy, covariance=9 * swinging.covariance)
    small = smooth(swinging, SmoothingConfig(method), SCALE)
    np.testing.assert_allclose(smooth(large, SmoothingConfig(method), 3 * SCALE).xy, 3 * small.xy, rtol=1e-9)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_scale_must_be_positive(scale):
    with pytest.raises(ValueError, match=r"scale_px must be above 0, got"):
        make_smoother(SmoothingConfig(), scale)


@pytest.mark.parametrize("method", METHODS)
def test_single_precision_stays(rng, method):
    track = track_of(rng.normal(50, 1, (40, 2, 2)))
    track = replace(track, xy=track.xy.astype(np.float32), covariance=track.covariance.astype(np.float32))
    after = smooth(track, SmoothingConfig(method), SCALE)
    assert after.xy.dtype == after.covariance.dtype == np.float32


# Kalman


def textbook_smoother(track: Track, k: int, start: int) -> tuple[ndarray, ndarray]:
    """Kalman filter and Rauch-Tung-Striebel smoother of one keypoint, step by step, from frame `start`."""
    observe = np.eye(2, 4)
    means, covariances, predicted_means, predicted_covariances, moves = [], [], [], [], []
    for t in range(start, len(track)):
        xx, xy, yy = track.covariance[t, k]
        noise = np.array([[xx, xy], [xy, yy]])
        noise = noise + (kalman.NOISE_FLOOR * SCALE) ** 2 * np.eye(2)
        move = np.eye(4)
        if t == start:
            mean = predicted_mean = np.array([*track.xy[t, k], 0, 0])
            covariance = predicted_covariance = np.zeros((4, 4))
            covariance[:2, :2] = noise
            covariance[2:, 2:] = (kalman.INITIAL_SPEED * SCALE) ** 2 * np.eye(2)
        else:
            dt = track.time_seconds[t] - track.time_seconds[t - 1]
            move[0, 2] = move[1, 3] = dt
            density = kalman.SPEED_DIFFUSION * SCALE**2
            process_noise = density * np.kron([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]], np.eye(2))
            mean = predicted_mean = move @ mean
            covariance = predicted_covariance = move @ covariance @ move.T + process_noise
            if not np.isnan(track.xy[t, k]).any():
                difference = track.xy[t, k] - observe @ mean
                total = observe @ covariance @ observe.T + noise
                assert difference @ np.linalg.inv(total) @ difference < kalman.OUTLIER_DISTANCE**2
                gain = covariance @ observe.T @ np.linalg.inv(total)
                mean = mean + gain @ difference
                covariance = (np.eye(4) - gain @ observe) @ covariance
        for values, value in zip(
            (means, covariances, predicted_means, predicted_covariances, moves),
            (mean, covariance, predicted_mean, predicted_covariance, move),
            strict=True,
        ):
            values.append(value)
    for t in reversed(range(len(means) - 1)):
        back = covariances[t] @ moves[t + 1].T @ np.linalg.inv(predicted_covariances[t + 1])
        means[t] = means[t] + back @ (means[t + 1] - predicted_means[t + 1])
        change = covariances[t + 1] - predicted_covariances[t + 1]
        covariances[t] = covariances[t] + back @ change @ back.T
    upper = np.array([[c[0, 0], c[0, 1], c[1, 1]] for c in covariances])
    return np.array(means)[:, :2], upper


def test_kalman_is_the_textbook_smoother(swinging):
    track = swinging[:256]
    track.xy[:20, 1] = np.nan
    after = smooth(track, SmoothingConfig(), SCALE)
    for k in range(3):
        start = int(np.flatnonzero(~np.isnan(track.xy[:, k, 0]))[0])
        xy, covariance = textbook_smoother(track, k, start)
        np.testing.assert_allclose(after.xy[start:, k], xy, rtol=0, atol=1e-9)
        np.testing.assert_allclose(after.covariance[start:, k], covariance, rtol=0, atol=1e-9)
        assert np.isnan(after.xy[:start, k]).all()


@pytest.mark.parametrize(("fps", "strength"), [(10.0, 1.0), (25.0, 1.0), (25.0, 4.0), (120.0, 1.0)])
def test_kalman_lag_is_as_good_as_the_whole_track(rng, fps, strength):
    time = np.arange(1500) / fps
    truth = 100 + 15 * np.sin(time * 2 * np.pi)[:, None, None] * np.ones((1, 2, 2))
    track = replace(track_of(truth + rng.normal(0, 1, truth.shape)), time_seconds=time)
    block = kalman.lag(strength, fps)
    track.xy[4 * block - 10 : 4 * block + 10, 0] = np.nan  # across the edge of a block
    tracks = []
    for smoother in (
        make_smoother(SmoothingConfig("kalman", strength), SCALE, fps),
        kalman.KalmanSmoother(strength, SCALE, lag=10_000),
    ):
        parts = [smoother.push(track), smoother.finish()]
        tracks.append(Track.concatenate([part for part in parts if part is not None]))
    lagged, whole = tracks
    np.testing.assert_allclose(lagged.xy, whole.xy, rtol=0, atol=0.01)
    np.testing.assert_allclose(lagged.covariance, whole.covariance, rtol=0, atol=0.01)


def test_kalman_follows_the_certain_and_interpolates_the_uncertain():
    xy = np.full((41, 2, 2), 50.0)
    xy[20] += 6.0
    track = track_of(xy)
    track.covariance[20, 0] *= 100
    track.covariance[20, 1] /= 100
    after = smooth(track, SmoothingConfig(), SCALE)
    pull = (after.xy[20] - 50) / 6
    assert (pull[0] < 0.05).all()
    assert (pull[1] > 0.9).all()
    assert after.covariance[20, 0, 0] > after.covariance[20, 1, 0]


def test_kalman_uncertainty_has_a_direction():
    xy = np.full((41, 1, 2), 50.0)
    xy[20] += 4.0
    track = track_of(xy)
    track.covariance[20, 0] = (100.0, 0.0, 0.04)  # x unknown, y known
    pull = smooth(track, SmoothingConfig(), SCALE).xy[20, 0] - 50
    assert pull[0] < 0.3
    assert pull[1] > 3.0


def test_kalman_bridges_a_gap_with_growing_covariance():
    time = np.arange(100) / 25
    xy = np.stack([30 + 20 * time, 90 - 10 * time], axis=-1)[:, None]
    truth = xy.copy()
    xy[50:60] = np.nan
    after = smooth(track_of(xy), SmoothingConfig(), SCALE)
    np.testing.assert_allclose(after.xy[40:70], truth[40:70], atol=0.05)
    variance = after.covariance[:, 0, 0]
    assert (np.diff(variance[49:55]) > 0).all()
    assert (np.diff(variance[55:61]) < 0).all()


def test_kalman_gives_up_in_a_long_gap_and_starts_again(rng):
    xy = 50 + rng.normal(0, 1, (400, 1, 2))
    xy[100:300] = np.nan  # 8 seconds
    xy[300:] += 80
    after = smooth(track_of(xy), SmoothingConfig(), SCALE)
    is_lost = np.isnan(after.xy[:, 0, 0])
    assert is_lost[115:300].all()
    assert not is_lost[:105].any()
    assert not is_lost[300:].any()
    np.testing.assert_array_equal(np.isnan(after.covariance[:, 0, 0]), is_lost)
    assert np.abs(after.xy[300:] - 130).max() < 4
    # The second part knows nothing of the first.
    alone = smooth(track_of(xy[300:]), SmoothingConfig(), SCALE)
    np.testing.assert_allclose(after.xy[300:], alone.xy)


def test_kalman_leaves_a_time_lapse_alone(rng):
    track = track_of(rng.uniform(0, 200, (20, 2, 2)), time=5.0 * np.arange(20))
    np.testing.assert_allclose(smooth(track, SmoothingConfig(), SCALE).xy, track.xy)


def test_kalman_ignores_a_swap_of_one_frame(rng):
    time = np.arange(120) / 25
    left = np.stack([50 + 10 * np.sin(3 * time), 50 + 0 * time], axis=-1)
    xy = np.stack([left, left + np.array([60, 0])], axis=1) + rng.normal(0, 1, (120, 2, 2))
    expected = smooth(track_of(xy), SmoothingConfig(), SCALE).xy
    xy[60] = xy[60, ::-1].copy()
    after = smooth(track_of(xy), SmoothingConfig(), SCALE).xy
    assert np.abs(after - expected).max() < 0.1 * 60


def test_kalman_follows_a_lasting_jump(rng):
    xy = 50 + rng.normal(0, 1, (100, 1, 2))
    xy[50:] += 80
    after = smooth(track_of(xy), SmoothingConfig(), SCALE).xy
    assert np.abs(after[:46] - 50).max() < 5
    assert np.abs(after[54:] - 130).max() < 5


def test_kalman_covariance_is_honest():
    track, truth = benchmark.detections(0, benchmark.Scene())
    after = smooth(track, SmoothingConfig(), benchmark.REGION_PX)
    squared_error = ((after.xy - truth) ** 2).sum(-1)
    claimed = after.covariance[..., 0] + after.covariance[..., 2]
    assert 0.6 < np.nanmean(squared_error / claimed) < 1.2


# The other filters


@pytest.mark.parametrize("half", [1, 4, 7])
@pytest.mark.parametrize("frames", [15, 16, 50])
def test_savgol_is_scipys_on_even_times(rng, half, frames):
    xy = rng.normal(50, 5, (frames, 2, 2))
    after = smooth(track_of(xy), SmoothingConfig("savgol", half / 4), SCALE)
    expected = scipy.signal.savgol_filter(xy, 2 * half + 1, 2, axis=0, mode="interp")
    np.testing.assert_allclose(after.xy, expected, atol=1e-9)


def test_savgol_keeps_parabolas_in_real_time(rng):
    time = np.cumsum(rng.uniform(0.01, 0.1, 60))
    xy = (3 + 5 * time - 20 * time**2)[:, None, None] * np.ones((1, 2, 2))
    xy[rng.random((60, 2)) < 0.2] = np.nan
    np.testing.assert_allclose(smooth(track_of(xy, time), SmoothingConfig("savgol"), SCALE).xy, xy, atol=1e-9)


def test_savgol_neighbours_ignore_missing(rng):
    xy = rng.normal(50, 1, (30, 1, 2))
    xy[12] = np.nan
    after = smooth(track_of(xy), SmoothingConfig("savgol"), SCALE).xy
    around = np.array([t for t in range(6, 15) if t != 12])
    expected = np.polyval(np.polyfit(around / 25, xy[around, 0, 0], 2), 10 / 25)
    np.testing.assert_allclose(after[10, 0, 0], expected)


@pytest.mark.parametrize("half", [1, 2, 5])
def test_median_is_scipys_inside(rng, half):
    xy = rng.normal(50, 5, (40, 2, 2))
    after = smooth(track_of(xy), SmoothingConfig("median", half / 2), SCALE).xy
    expected = scipy.ndimage.median_filter(xy, (2 * half + 1, 1, 1))
    np.testing.assert_array_equal(after[half:-half], expected[half:-half])
    # At the ends the window shrinks on both sides.
    np.testing.assert_array_equal(after[[0, -1]], xy[[0, -1]])
    np.testing.assert_array_equal(after[1], np.median(xy[:3], axis=0))
    np.testing.assert_array_equal(after[-2], np.median(xy[-3:], axis=0))


def test_median_neighbours_ignore_missing():
    xy = np.array([1.0, 2, np.nan, 10, 11, 30, 7])[:, None, None] * np.ones((1, 1, 2))
    after = smooth(track_of(xy), SmoothingConfig("median"), SCALE).xy[:, 0, 0]
    np.testing.assert_array_equal(after, [1.0, 1.5, np.nan, 10.5, 10.5, 11, 7])


@pytest.mark.parametrize(("method", "smallest"), [("savgol", 0.5), ("median", 0.5)])
def test_a_window_of_one_frame_changes_nothing(swinging, method, smallest):
    narrow = smooth(swinging, SmoothingConfig(method, 0.1), SCALE)
    np.testing.assert_allclose(narrow.xy, swinging.xy, rtol=1e-12)
    wider = smooth(swinging, SmoothingConfig(method, smallest), SCALE)
    assert np.nanmax(np.abs(wider.xy - swinging.xy)) > 0.1


def test_one_euro_is_the_papers():
    """The reference pseudo-code, for a point that moves along x."""
    time = np.cumsum(np.random.default_rng(3).uniform(0.01, 0.05, 50))
    x = 50 + 30 * np.sin(4 * time)
    xy = np.stack([x, np.full(50, 7.0)], axis=-1)[:, None]
    after = smooth(track_of(xy, time), SmoothingConfig("one-euro", 2.0), SCALE).xy[:, 0]

    def alpha(cutoff: float, dt: float) -> float:
        return 1 / (1 + 1 / (2 * np.pi * cutoff) / dt)

    value, speed, expected = x[0], 0.0, [x[0]]
    for t in range(1, 50):
        dt = time[t] - time[t - 1]
        a = alpha(1.0, dt)
        speed = a * (x[t] - value) / dt + (1 - a) * speed
        a = alpha((3.0 + 10.0 * abs(speed) / SCALE) / 2.0, dt)
        value = a * x[t] + (1 - a) * value
        expected.append(value)
    np.testing.assert_allclose(after[:, 0], expected)
    np.testing.assert_allclose(after[:, 1], 7.0)


def test_one_euro_is_calm_at_rest_and_quick_in_motion(rng):
    noise = rng.normal(0, 1, (100, 1, 2))
    rest = smooth(track_of(50 + noise), SmoothingConfig("one-euro"), SCALE).xy
    assert jitter(rest) < 0.5 * jitter(noise)
    moving = 50 + np.arange(100)[:, None, None] * np.full((1, 1, 2), 20.0)
    trail = (moving - smooth(track_of(moving), SmoothingConfig("one-euro"), SCALE).xy)[50:]
    assert (trail < 20).all()  # less than a frame


# The claim


@pytest.mark.parametrize("scene", [0, 1])
def test_kalman_beats_the_others_at_equal_jitter(scene):
    scene = list(benchmark.SCENES.values())[scene]
    scenes = [benchmark.detections(seed, scene, num_keypoints=8) for seed in (0, 1)]
    error, target, _ = benchmark.measure("kalman", 1.0, scenes)
    raw_error, raw_jitter, _ = benchmark.measure("none", 1.0, scenes)
    assert error < 0.6 * raw_error
    assert target < 0.2 * raw_jitter
    for method in ("one-euro", "savgol", "median"):
        curve = [benchmark.measure(method, strength, scenes) for strength in (0.25, 0.5, 1.0, 2.0, 4.0)]
        matched = benchmark.error_at_jitter(curve, target)
        # Where no strength is as calm, not even the most accurate one may be better.
        assert error < (min(curve)[0] if matched is None else matched)
