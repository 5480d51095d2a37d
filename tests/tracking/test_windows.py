"""The window that follows a subject: where it is, how large, how steady, and how many frames it waits for."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy import ndarray
from scipy.ndimage import zoom

from dkpvid.coordinates import Region
from dkpvid.structures import Frame, Track
from dkpvid.tracking.looks import square
from dkpvid.tracking.windows import LOOKAHEAD, cut_at_jumps, follow

WIDTH, HEIGHT = 480, 270
BODY = (24, 60)  # width and height of the figure


def room(rng: np.random.Generator, width: int = WIDTH, height: int = HEIGHT) -> ndarray:
    """A static background with detail of every size."""
    layers = [
        zoom(rng.normal(0, 1, (height // size + 2, width // size + 2)), size, order=1) for size in (8, 32)
    ]
    grey = 110 + 18 * sum(layer[:height, :width] for layer in layers)
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def draw_figure(image: ndarray, x: float, y: float, phase: float) -> None:
    """A body whose left leg swings; (x, y) is the middle of the figure."""
    width, height = BODY
    left, top = round(x - width / 2), round(y - height / 2)
    image[top : top + height // 5, left + width // 3 : left + 2 * width // 3] = (230, 200, 180)
    image[top + height // 5 : top + 3 * height // 5, left : left + width] = (20, 30, 160)
    swing = round(width / 4 * np.sin(phase))
    for foot in (left + swing, left + width - 8):
        image[top + 3 * height // 5 : top + height, max(0, foot) : foot + 8] = (15, 15, 15)


def clip(
    rng: np.random.Generator, places: ndarray, shifts: ndarray | None = None, others: ndarray | None = None
) -> list[Frame]:
    """Frames with a figure at places (and another one), seen by a camera at shifts, with some noise."""
    margin = 0 if shifts is None else int(np.abs(shifts).max())
    scene = room(rng, WIDTH + 2 * margin, HEIGHT + 2 * margin)
    frames = []
    for index, (x, y) in enumerate(places):
        image = scene.copy()
        draw_figure(image, x + margin, y + margin, index / 3)
        if others is not None:
            draw_figure(image, *others[index], index / 2)
        dx, dy = (0, 0) if shifts is None else shifts[index]
        seen = image[margin + dy : margin + dy + HEIGHT, margin + dx : margin + dx + WIDTH]
        noisy = seen + rng.normal(0, 2, seen.shape[:2])[..., None]
        frames.append(Frame(noisy.clip(0, 255).astype(np.uint8), index, index / 25))
    return frames


def walk(num_frames: int = 36, speed: float = 4.0) -> ndarray:
    t = np.arange(num_frames)
    return np.stack([100 + speed * t, 150 + 10 * np.sin(t / 8)], axis=1)


def regions_of(frames: list[Frame]) -> list[Region]:
    return [frame.region for frame in follow(frames) if frame.region is not None]


def share_inside(regions: list[Region], places: ndarray) -> float:
    """Of the frames: those whose window holds the whole figure."""
    low = np.array([[region.x, region.y] for region in regions])
    side = np.array([[region.width] for region in regions])
    half = np.array(BODY) / 2
    return float(((places - half >= low - 1) & (places + half <= low + side + 1)).all(axis=1).mean())


def assert_square_and_near_the_body(regions: list[Region]) -> None:
    for region in regions:
        assert region.width == region.height
        assert 1.1 * BODY[1] < region.width < 2.3 * BODY[1]


def test_a_walking_figure_is_in_every_window(rng: np.random.Generator) -> None:
    places = walk()
    regions = regions_of(clip(rng, places))
    assert share_inside(regions, places) == 1
    assert_square_and_near_the_body(regions)
    centre = np.array([[region.x + region.width / 2, region.y + region.height / 2] for region in regions])
    assert np.abs(centre - places).mean() < 6
    # As smooth as the walk: no jump is larger than twice its speed.
    assert np.abs(np.diff(centre, axis=0)).max() < 8


def test_a_large_frame_is_only_a_larger_small_one(rng: np.random.Generator) -> None:
    frames = clip(rng, walk(20))
    larger = [
        Frame(frame.image.repeat(2, 0).repeat(2, 1), frame.index, frame.time_seconds) for frame in frames
    ]
    for small, large in zip(regions_of(frames), regions_of(larger), strict=True):
        expected = 2 * np.array([small.x, small.y, small.width])
        np.testing.assert_allclose([large.x, large.y, large.width], expected, rtol=0, atol=8)


@pytest.mark.parametrize("kind", ["shaken", "panned"])
def test_a_moving_camera_does_not_matter(rng: np.random.Generator, kind: str) -> None:
    places = walk()
    shifts = rng.integers(-6, 7, (len(places), 2))
    if kind == "panned":
        shifts = np.stack([3 * np.arange(len(places)), np.zeros(len(places), int)], axis=1)
    regions = regions_of(clip(rng, places, shifts))
    assert share_inside(regions, places - shifts) > 0.95
    assert_square_and_near_the_body(regions)


def test_a_figure_that_pauses_keeps_its_window(rng: np.random.Generator) -> None:
    places = np.concatenate([walk(30), np.tile(walk(30)[-1:], (50, 1))])
    frames = clip(rng, places)
    still = frames[35]
    frames[35:] = [Frame(still.image, index, index / 25) for index in range(35, 80)]
    regions = regions_of(frames)
    assert share_inside(regions, places) == 1
    assert_square_and_near_the_body(regions)
    places_then = np.array([[region.x, region.y, region.width] for region in regions[55:]])
    assert np.ptp(places_then, axis=0).max() <= 1, "it stands still, too"


def test_of_two_that_move_one_is_followed(rng: np.random.Generator) -> None:
    """The other one, far away, starts later; the first one even stops for a second."""
    first = np.concatenate(
        [walk(40, 3), np.tile(walk(40, 3)[-1:], (25, 1)), walk(20, 3) + np.array([120, 0])]
    )
    t = np.arange(len(first))
    others = np.stack([410 + 20 * np.sin(t / 6), np.full(len(t), 50.0)], axis=1)
    others[:20] = others[20]
    regions = regions_of(clip(rng, first, others=others))
    assert share_inside(regions[:85], first[:85]) > 0.97
    far_right = [region.x > 300 for region in regions]
    assert not any(far_right)


@pytest.mark.parametrize("noise", [0, 3])
def test_until_something_moves_it_is_the_whole_frame(rng: np.random.Generator, noise: int) -> None:
    image = room(rng)
    frames = [
        Frame((image + rng.normal(0, noise, image.shape)).clip(0, 255).astype(np.uint8), index, index / 25)
        for index in range(20)
    ]
    assert set(regions_of(frames)) == {Region(0, 0, WIDTH, HEIGHT)}


def test_the_first_frames_know_what_moves_next(rng: np.random.Generator) -> None:
    places = walk(30)
    places[:8] = places[8]
    regions = regions_of(clip(rng, places))
    assert share_inside(regions[:10], places[:10]) == 1
    assert regions[0].width < WIDTH


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 5), (9, 200), (300, 11)])
@pytest.mark.parametrize("num_frames", [0, 1, 2, 25])
def test_tiny_and_narrow_frames(rng: np.random.Generator, shape: tuple[int, int], num_frames: int) -> None:
    height, width = shape
    images = rng.integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)
    frames = [Frame(image, index, index / 25) for index, image in enumerate(images)]
    placed = list(follow(frames))
    assert [frame.index for frame in placed] == list(range(num_frames))
    for frame in placed:
        assert frame.region is not None
        assert 1 <= frame.region.width <= max(shape)


def test_times_that_stand_still_or_run_back_are_no_trouble(rng: np.random.Generator) -> None:
    places = walk(30)
    frames = clip(rng, places)
    repeated = [Frame(frame.image, frame.index, max(0, frame.index - 3) // 4 / 5) for frame in frames]
    assert share_inside(regions_of(repeated), places) > 0.9
    backward = [Frame(frame.image, frame.index, -frame.time_seconds) for frame in frames[:20]]
    assert len(regions_of(backward)) == 20


def test_few_frames_are_held_and_later_ones_change_nothing(rng: np.random.Generator) -> None:
    frames = clip(rng, walk(40))
    num_read = 0

    def counted() -> Iterator[Frame]:
        nonlocal num_read
        for frame in frames:
            num_read += 1
            yield frame

    placed = []
    for frame in follow(counted()):
        placed.append(frame)
        assert num_read <= len(placed) + LOOKAHEAD
    assert LOOKAHEAD <= 16
    assert [frame.region for frame in placed] == regions_of(frames)
    early = regions_of(frames[:33])
    assert early[: 33 - LOOKAHEAD] == regions_of(frames)[: 33 - LOOKAHEAD]


@pytest.mark.parametrize("cuts", [[], [3], [5, 6], [1, 2, 3, 4, 5, 6, 7, 8]])
def test_smoothing_starts_anew_where_the_window_jumps(cuts: list[int]) -> None:
    """From the whole frame to a subject, along with it, and to another one that is farther away."""
    rows = [[0, 0, 640, 360]] * 3 + [[100, 80, 90, 90], [104, 80, 90, 90], [110, 78, 94, 94]]
    rows += [[400, 10, 80, 80], [404, 10, 80, 80], [408, 12, 80, 80]]
    track = Track(
        index=np.arange(9),
        time_seconds=np.arange(9) / 25,
        xy=np.zeros((9, 1, 2)),
        confidence=np.zeros((9, 1)),
        covariance=np.zeros((9, 1, 3)),
        region=np.array(rows),
    )
    pieces = [track[start:stop] for start, stop in pairwise([0, *cuts, 9])]
    found = list(cut_at_jumps(pieces))
    assert [int(piece.index[0]) for piece, is_start in found if is_start] == [3, 6]
    np.testing.assert_array_equal(np.concatenate([piece.index for piece, _ in found]), np.arange(9))
    fixed = [replace(piece, region=None) for piece in pieces]
    assert [is_start for _, is_start in cut_at_jumps(fixed)] == [False] * len(fixed)


def test_a_track_is_cut_where_its_window_was_relocated(rng: np.random.Generator) -> None:
    flags = tuple(("relocated",) if row == 4 else () for row in range(9))
    track = Track(
        index=np.arange(9),
        time_seconds=np.arange(9) / 25,
        xy=rng.uniform(0, 100, (9, 2, 2)),
        confidence=np.ones((9, 2)),
        covariance=np.ones((9, 2, 3)),
        region=np.tile([0, 0, 100, 100], (9, 1)),
        flags=flags,
    )
    found = list(cut_at_jumps([track[:3], track[3:]]))
    assert [int(piece.index[0]) for piece, is_start in found if is_start] == [4]


def test_a_window_is_inside_the_frame_where_it_fits() -> None:
    assert square(np.array([50.0, 60.0]), 40.0, 200, 100) == Region(30, 40, 40, 40)
    assert square(np.array([195.0, -5.0]), 40.0, 200, 100) == Region(160, 0, 40, 40)
    assert square(np.array([20.0, 50.0]), 150.0, 200, 100) == Region(0, -25, 150, 150)
    assert square(np.array([50.0, 150.0]), 900.0, 100, 200) == Region(-50, 0, 200, 200)
    assert square(np.array([50.0, 50.0]), 0.1, 200, 100).width == 16
