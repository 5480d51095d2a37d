"""Times of pictures: those of the file, those of a live stream, and what is made up where there are none."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from av.video.frame import VideoFrame

from dkpvid.video import clock
from dkpvid.video.clock import Picture, by_the_file, by_the_rate, by_the_wall

TICK = Fraction(1, 100)


def shown(*all_pts: int | None) -> list[VideoFrame]:
    frames = []
    for pts in all_pts:
        frames.append(VideoFrame(4, 4, "gray"))
        frames[-1].pts = pts
    return frames


def told(pictures: list[Picture]) -> list[tuple[float, str]]:
    return [(round(picture.time_seconds, 6), " ".join(picture.flags)) for picture in pictures]


def test_a_file_keeps_its_times() -> None:
    pictures = list(by_the_file(shown(-50, 0, 5, 300), TICK, 25.0))
    assert told(pictures) == [(-0.5, ""), (0.0, ""), (0.05, ""), (3.0, "")]


GUESS, JUMP = "time_estimated", "time_estimated clock_jump"


@pytest.mark.parametrize(("fps", "step"), [(10.0, 0.1), (None, 0.04)])
def test_missing_times_of_a_file_are_estimated(fps: float | None, step: float) -> None:
    pictures = list(by_the_file(shown(None, None, 100, None, 200), TICK, fps))
    assert told(pictures) == [
        (1 - 2 * step, GUESS),
        (1 - step, GUESS),
        (1.0, ""),
        (1 + step, GUESS),
        (2.0, ""),
    ]


def test_a_file_without_times_goes_by_its_rate() -> None:
    pictures = list(by_the_file(shown(*[None] * 40), TICK, 10.0))
    assert told(pictures) == [(round(index / 10, 6), GUESS) for index in range(40)]


REGULAR = tuple(range(0, 400, 4))
"""A hundred pictures, 25 a second."""


@pytest.mark.parametrize(
    ("wrong", "count"),
    [
        *((wrong, 1) for wrong in (0, 41, 196, 204, 207, 250, 5_000, 10**9, -(10**9), None)),
        *((wrong, 3) for wrong in (0, 41, 250, 5_000, 10**9, -(10**9), None)),
    ],
)
def test_single_wrong_times_do_not_move_the_right_ones(wrong: int | None, count: int) -> None:
    all_pts: list[int | None] = list(REGULAR)
    all_pts[50 : 50 + count] = [wrong if wrong is None else wrong + number for number in range(count)]
    pictures = list(by_the_file(shown(*all_pts), TICK, 25.0))
    assert told(pictures) == [
        (pts / 100, GUESS if 50 <= index < 50 + count else "") for index, pts in enumerate(REGULAR)
    ]


@pytest.mark.parametrize("place", [0, 99])
def test_wrong_times_at_the_ends(place: int) -> None:
    all_pts = list(REGULAR)
    all_pts[place] = 10**6 if place == 0 else -(10**6)
    times = told(list(by_the_file(shown(*all_pts), TICK, 25.0)))
    assert [seconds for seconds, _ in times] == [pts / 100 for pts in REGULAR]
    assert [index for index, (_, flags) in enumerate(times) if flags] == [place]


@pytest.mark.parametrize("start", [0, 100, 380, -90_000, 10**6])
def test_a_clock_that_starts_anew_goes_on_by_the_rate(start: int) -> None:
    all_pts = (*REGULAR, *(start + pts for pts in REGULAR))
    pictures = list(by_the_file(shown(*all_pts), TICK, 25.0, longest_gap=10.0))
    flags = [""] * 100 + [JUMP] + [GUESS] * 99
    assert told(pictures) == [(round(0.04 * index, 6), flags[index]) for index in range(200)]


def test_the_last_time_before_a_jump_is_right() -> None:
    pictures = list(by_the_file(shown(*REGULAR, 410, *REGULAR), TICK, 25.0))
    assert told(pictures[99:102]) == [(3.96, ""), (4.1, ""), (4.14, JUMP)]


def test_after_a_foreign_piece_the_clock_is_what_it_was() -> None:
    all_pts = (*REGULAR[:40], *(10**6 + pts for pts in REGULAR[40:70]), *REGULAR[70:])
    times = told(list(by_the_file(shown(*all_pts), TICK, 25.0, longest_gap=10.0)))
    assert [seconds for seconds, _ in times] == [round(0.04 * index, 6) for index in range(100)]
    assert [flags for _, flags in times] == [""] * 40 + [JUMP] + [GUESS] * 29 + [""] * 30


@pytest.mark.parametrize("gap", [5, 20, 900, 60_000])
def test_a_pause_of_a_recording_is_kept(gap: int) -> None:
    all_pts = (*REGULAR, *(396 + gap + pts for pts in REGULAR))
    assert told(list(by_the_file(shown(*all_pts), TICK, 25.0))) == [(pts / 100, "") for pts in all_pts]


@pytest.mark.parametrize("bits", [32, 33])
def test_a_counter_that_is_full_starts_at_0(bits: int) -> None:
    first = 2**bits - 50 * 3600
    all_pts = [(first + 3600 * index) % 2**bits for index in range(100)]
    pictures = list(by_the_file(shown(*all_pts), Fraction(1, 90000), 25.0, longest_gap=10.0))
    assert told(pictures) == [(round(first / 90000 + index / 25, 6), "") for index in range(100)]


@pytest.mark.parametrize("fps", [1200.0, 2500.0, 4000.0])
def test_more_pictures_than_ticks_share_them(fps: float) -> None:
    ticks = [int(1000 * index / fps) for index in range(60)]
    pictures = list(by_the_file(shown(*ticks), Fraction(1, 1000), fps))
    for index, (picture, tick) in enumerate(zip(pictures, ticks, strict=True)):
        is_first = index == 0 or ticks[index - 1] < tick
        assert picture.flags == (() if is_first else (GUESS,))
        if is_first:
            assert picture.time_seconds == pytest.approx(tick / 1000, abs=1e-9)
        assert picture.time_seconds == pytest.approx(index / fps, abs=1.01e-3)
    steps = [b.time_seconds - a.time_seconds for a, b in pairwise(pictures)]
    assert min(steps) > 0.2 / fps


def test_times_that_vary_are_taken_as_they_are(rng: np.random.Generator) -> None:
    ticks = np.cumsum(rng.choice([3, 4, 5, 8, 40, 300, 3000], 300, p=[0.3, 0.3, 0.3, 0.04, 0.03, 0.02, 0.01]))
    assert told(list(by_the_file(shown(*ticks.tolist()), TICK, None))) == [(tick / 100, "") for tick in ticks]


def test_no_more_pictures_are_held_than_needed() -> None:
    handed_out = 0

    def frames() -> Iterator[VideoFrame]:
        nonlocal handed_out
        for frame in shown(*REGULAR, *REGULAR):
            handed_out += 1
            yield frame

    held = [handed_out - index - 1 for index, _ in enumerate(by_the_file(frames(), TICK, 25.0))]
    assert max(held) <= 16
    assert max(held[4:90]) == 0


def test_pictures_by_a_rate() -> None:
    assert told(list(by_the_rate(shown(7, None, 9), 50.0, is_guess=False))) == [
        (0, ""),
        (0.02, ""),
        (0.04, ""),
    ]
    assert told(list(by_the_rate(shown(7, None), 50.0, is_guess=True))) == [(0, GUESS), (0.02, GUESS)]


def test_decoding_times_where_they_are_all_there_is() -> None:
    frames = shown(8, 4, None)
    for dts, frame in enumerate(frames):
        frame.dts = 4 * dts
    pictures = list(by_the_file(frames, TICK, 25.0, has_decoding_times_only=True))
    assert told(pictures) == [(0.0, ""), (0.04, ""), (0.08, "")]


def test_a_live_stream_counts_from_its_first_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    # It arrives in bursts, which do not matter as long as it tells its times.
    on_the_wall = iter([1000.0, 1000.0, 1000.0, 1003.0])
    monkeypatch.setattr(clock.time, "monotonic", lambda: next(on_the_wall))
    pictures = list(by_the_wall(shown(5000, 5004, 5008, 5012), TICK))
    assert told(pictures) == [(0.0, ""), (0.04, ""), (0.08, ""), (0.12, "")]


def test_a_live_stream_that_is_lost_counts_anew_or_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_wall = iter([0.0, 0.1, 2.1, 2.2, 2.7, 3.0, 3.0])
    monkeypatch.setattr(clock.time, "monotonic", lambda: next(on_the_wall))
    lost = [None]
    frames = [*shown(700, 704), *lost, *lost, *shown(900, 904, 0, None, None)]
    guess = "time_estimated"
    assert told(list(by_the_wall(frames, TICK))) == [
        (0.0, ""),
        (0.04, ""),
        (2.04, f"reconnected {guess}"),
        (2.08, ""),
        (2.58, guess),
        (2.88, guess),
        (2.89, guess),
    ]
