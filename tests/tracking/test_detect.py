"""Detection: where a dot is found, how sure that is, and that batches and sizes do not matter."""

import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy import ndarray

from dkpvid.checkpoint import Weights, load_weights
from dkpvid.config import ModelConfig
from dkpvid.coordinates import Region
from dkpvid.models.detector import KeypointDetector, heatmap_covariance, soft_argmax
from dkpvid.models.edge_map import EdgeMap
from dkpvid.structures import Frame, Track
from dkpvid.tracking.detect import (
    NOISE_PER_SPREAD,
    Detector,
    confidence_from_covariance,
    detect,
)

CPU = torch.device("cpu")


def brightest_spots(images: ndarray) -> tuple[ndarray, ndarray]:
    """Stands in for a runtime, and finds the spot of each colour: its heatmaps are the picture itself."""
    logits = torch.from_numpy(images).permute(0, 3, 1, 2) / 12.75
    heatmaps = logits.flatten(2).softmax(dim=2).view_as(logits)
    keypoints = soft_argmax(heatmaps)
    return keypoints.numpy(), heatmap_covariance(heatmaps, keypoints).numpy()


@pytest.fixture(scope="module")
def spots() -> Detector:
    config = ModelConfig(num_keypoints=3, image_size=64, detector_width=4)
    weights = Weights("spots", "0" * 64, config, KeypointDetector(config), EdgeMap(config))
    detector = Detector(weights, CPU)
    detector.runtime = brightest_spots
    return detector


@pytest.fixture(scope="module")
def tiny(tiny_weights: Path) -> Detector:
    return Detector(load_weights(tiny_weights), CPU)


def spot_frame(xy: ndarray, index: int = 0, width: int = 320, height: int = 192) -> Frame:
    """A soft spot of each colour at three places in pixels; a cell of its heatmap is 5 x 3 px."""
    rows, columns = np.mgrid[:height, :width]
    squared = [(columns - x) ** 2 + (rows - y) ** 2 for x, y in xy]
    image = 255 * np.exp(-np.stack(squared, axis=-1) / (2 * 22.0**2))
    return Frame(image.round().astype(np.uint8), index, index / 25)


def noise_frames(rng: np.random.Generator, count: int, width: int = 90, height: int = 70) -> list[Frame]:
    """Blocks of random colours."""
    images = rng.integers(0, 256, (count, height // 10, width // 10, 3), dtype=np.uint8)
    return [
        Frame(image.repeat(10, axis=0).repeat(10, axis=1), index, index / 25)
        for index, image in enumerate(images)
    ]


def found_in(detector: Detector, frames: list[Frame], **settings: object) -> Track:
    return Track.concatenate(list(detect(detector, frames, **settings)))  # type: ignore[arg-type]


def spread(track: Track) -> ndarray:
    """Covariance of the heatmaps in square pixels."""
    return track.covariance / NOISE_PER_SPREAD**2


PLACES = np.array([[50.0, 40.0], [160.0, 100.0], [250.5, 130.25]])
MOVED = PLACES + np.array([12, -3])


def test_spots_are_found_where_they_are(spots: Detector) -> None:
    track = found_in(spots, [spot_frame(PLACES), spot_frame(MOVED, index=1)])
    np.testing.assert_allclose(track.xy, [PLACES, MOVED], rtol=0, atol=0.25)
    np.testing.assert_array_equal(track.index, [0, 1])
    np.testing.assert_array_equal(track.time_seconds, [0, 1 / 25])
    assert track.raw_xy is None


def test_a_region_gives_places_in_the_whole_frame(spots: Detector) -> None:
    region = Region(20, 10, 280, 160)
    track = found_in(spots, [spot_frame(PLACES)], region=region)
    np.testing.assert_allclose(track.xy[0], PLACES, rtol=0, atol=0.25)


def test_a_region_is_the_same_as_a_smaller_frame(tiny: Detector, rng: np.random.Generator) -> None:
    frames = noise_frames(rng, 3)
    region = Region(7, 3, 64, 64)  # of the network's size: nothing is resized, so nothing beyond it is seen
    cropped = [replace(frame, picture=frame.image[3:67, 7:71].copy()) for frame in frames]
    within, alone = found_in(tiny, frames, region=region), found_in(tiny, cropped)
    np.testing.assert_allclose(within.xy, alone.xy + np.array([7, 3]), rtol=0, atol=1e-4)
    np.testing.assert_allclose(within.covariance, alone.covariance, rtol=1e-5, atol=0)
    np.testing.assert_allclose(within.confidence, alone.confidence, rtol=1e-5, atol=0)


def test_each_frame_may_have_its_own_region(tiny: Detector, rng: np.random.Generator) -> None:
    frames = noise_frames(rng, 4)
    regions = [Region(7, 3, 64, 64), Region(20, -10, 40, 40), Region(-5, 60, 100, 100), Region(0, 0, 90, 70)]
    placed = [replace(frame, region=region) for frame, region in zip(frames, regions, strict=True)]
    together = found_in(tiny, placed)
    rows = [[region.x, region.y, region.width, region.height] for region in regions]
    np.testing.assert_array_equal(together.region, rows)
    alone = [found_in(tiny, [frame], region=region) for frame, region in zip(frames, regions, strict=True)]
    expected = Track.concatenate(alone)
    assert expected.region is None
    # In pixels of the frame; float32 in batches of different sizes rounds differently.
    np.testing.assert_allclose(together.xy, expected.xy, rtol=0, atol=1e-3)
    np.testing.assert_allclose(together.covariance, expected.covariance, rtol=1e-3)
    np.testing.assert_allclose(together.confidence, expected.confidence, rtol=0, atol=1e-5)


def test_what_lies_beyond_the_frame_repeats_its_border(tiny: Detector, rng: np.random.Generator) -> None:
    (frame,) = noise_frames(rng, 1)
    larger = replace(frame, picture=np.pad(frame.image, ((20, 0), (10, 40), (0, 0)), mode="edge"))
    beyond = found_in(tiny, [frame], region=Region(-10, -20, 128, 64))
    within = found_in(tiny, [larger], region=Region(0, 0, 128, 64))
    np.testing.assert_allclose(beyond.xy + np.array([10, 20]), within.xy, rtol=0, atol=1e-3)


def test_a_shift_of_the_picture_moves_keypoints_by_as_much(spots: Detector) -> None:
    image = spot_frame(PLACES[:3] * [0.8, 0.8]).image
    shifted = np.roll(image, (4 * 3, 6 * 5), axis=(0, 1))  # whole pixels of the network's input
    track = found_in(spots, [Frame(image, 0, 0.0), Frame(shifted, 1, 0.04)])
    np.testing.assert_allclose(track.xy[1] - track.xy[0], np.tile([30.0, 12.0], (3, 1)), rtol=0, atol=1e-3)
    np.testing.assert_allclose(spread(track)[1], spread(track)[0], rtol=0, atol=0.03)


def test_a_mirrored_picture_has_mirrored_keypoints(spots: Detector, rng: np.random.Generator) -> None:
    image = np.maximum(spot_frame(PLACES).image, spot_frame(MOVED[::-1]).image)
    mirrored = np.ascontiguousarray(image[:, ::-1])
    track = found_in(spots, [Frame(image, 0, 0.0), Frame(mirrored, 1, 0.04)])
    x, y = track.xy[..., 0], track.xy[..., 1]
    np.testing.assert_allclose(x[1], 319 - x[0], rtol=0, atol=1e-3)
    np.testing.assert_allclose(y[1], y[0], rtol=0, atol=1e-3)
    assert (np.abs(spread(track)[0, :, 1]) > 1).all()
    np.testing.assert_allclose(spread(track)[1], spread(track)[0] * [1, -1, 1], rtol=1e-3)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 32])
def test_batches_do_not_change_the_result(tiny: Detector, rng: np.random.Generator, batch_size: int) -> None:
    frames = noise_frames(rng, 7)
    pieces = list(detect(tiny, iter(frames), batch_size=batch_size))
    assert [len(piece) for piece in pieces] == {1: [1] * 7, 3: [3, 3, 1], 7: [7], 32: [7]}[batch_size]
    alone = [found_in(tiny, [frame]) for frame in frames]
    assert np.ptp([track.xy for track in alone], axis=0).max() > 1, "the frames are told apart"
    joined, expected = Track.concatenate(pieces), Track.concatenate(alone)
    np.testing.assert_array_equal(joined.index, np.arange(7))
    np.testing.assert_allclose(joined.xy, expected.xy, rtol=0, atol=1e-4)
    np.testing.assert_allclose(joined.covariance, expected.covariance, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(joined.confidence, expected.confidence, rtol=0, atol=1e-5)


def test_no_frames_give_no_track(tiny: Detector) -> None:
    assert list(detect(tiny, [])) == []


@pytest.mark.parametrize("batch_size", [1, 4])
def test_no_frames_are_held(tiny: Detector, rng: np.random.Generator, batch_size: int) -> None:
    alive: weakref.WeakSet[Frame] = weakref.WeakSet()
    most = 0

    def frames() -> Iterator[Frame]:
        nonlocal most
        for index in range(16):
            image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            frame = Frame(image, index, index / 25)
            alive.add(frame)
            most = max(most, len(alive))
            yield frame
            del frame

    assert sum(len(piece) for piece in detect(tiny, frames(), batch_size=batch_size)) == 16
    # The one that is being made, and the one before it; of the others only what the network sees.
    assert most <= 2


@pytest.mark.parametrize("batch_size", [2, 5])
def test_a_stride_leaves_frames_out(tiny: Detector, rng: np.random.Generator, batch_size: int) -> None:
    frames = noise_frames(rng, 12)[2:]  # counted by the video, not by where tracking starts
    every, some = (found_in(tiny, frames, stride=stride, batch_size=batch_size) for stride in (1, 3))
    is_looked_at = some.index % 3 == 0
    np.testing.assert_array_equal(some.index, np.arange(2, 12))
    np.testing.assert_allclose(some.xy[is_looked_at], every.xy[is_looked_at], rtol=0, atol=1e-4)
    assert np.isnan(some.xy[~is_looked_at]).all()
    assert np.isnan(some.covariance[~is_looked_at]).all()
    assert (some.confidence[~is_looked_at] == 0).all()
    assert (some.confidence[is_looked_at] > 0).all()


def test_unsure_keypoints_count_as_not_observed(spots: Detector) -> None:
    image = spot_frame(PLACES).image.copy()
    image[..., 1] = 128  # nothing to be found: the heatmap is flat
    frame = Frame(image, 0, 0.0, ("corrupt",))
    every = found_in(spots, [frame])
    limit = float(every.confidence[0, [0, 2]].min())
    assert every.confidence[0, 1] < limit
    sure = found_in(spots, [frame], min_confidence=limit)
    assert np.isnan(sure.xy[0, 1]).all()
    np.testing.assert_array_equal(sure.xy[0, [0, 2]], every.xy[0, [0, 2]])
    np.testing.assert_array_equal(sure.confidence, every.confidence)
    assert sure.flags == (("corrupt",),)


def test_covariance_is_in_frame_pixels(spots: Detector) -> None:
    rows, columns = np.mgrid[:192, :320]
    across, down = columns - 150, rows - 100
    image = 255 * np.exp(-(across**2 + 4 * down**2 - 2 * across * down) / (2 * 60.0**2))
    image = np.repeat(image.round().astype(np.uint8)[..., None], 3, axis=2)
    # What the detector's softmax would be on the frame itself.
    mass = np.exp(image[..., 0] / 255 * 20)
    x, y = columns.ravel(), rows.ravel()
    expected = np.cov(x, y, aweights=mass.ravel())
    track = found_in(spots, [Frame(image, 0, 0.0)])
    expected = [expected[0, 0], expected[0, 1], expected[1, 1]]
    assert expected[0] > 2 * expected[2] and expected[1] > 10
    np.testing.assert_allclose(spread(track)[0], [expected] * 3, rtol=0.03)


def test_confidence_is_a_function_of_the_covariance(tiny: Detector, rng: np.random.Generator) -> None:
    track = found_in(tiny, noise_frames(rng, 2))
    expected = confidence_from_covariance(track.covariance, Region(0, 0, 90, 70))
    np.testing.assert_allclose(track.confidence, expected, rtol=1e-12)
    assert np.ptp(track.confidence) > 0.5


def test_confidence_is_the_share_of_detections_nearby(rng: np.random.Generator) -> None:
    region, std = Region(5, 5, 200, 50), 4.0  # 5 % of the mean side of 100: within 5 px
    errors = rng.normal(0, std, (200_000, 2))
    share = (np.hypot(*errors.T) < 5).mean()
    confidence = confidence_from_covariance(np.array([[[std**2, 0.0, std**2]]]), region)
    assert confidence.shape == (1, 1)
    np.testing.assert_allclose(confidence, share, rtol=0, atol=0.005)


def test_confidence_falls_from_one_to_zero() -> None:
    variance = np.array([0.0, 1.0, 10.0, 100.0, 1e9, np.nan])
    covariance = np.stack([variance, np.zeros(6), variance], axis=-1)[None]
    confidence = confidence_from_covariance(covariance, Region(0, 0, 100, 100))[0]
    assert confidence[0] == 1
    assert (np.diff(confidence[:5]) < 0).all()
    assert confidence[4] == pytest.approx(0, abs=1e-6)
    assert confidence[5] == 0
