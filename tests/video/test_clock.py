"""Times of pictures: those of the file, those of a live stream, and what is made up where there are none."""

from fractions import Fraction

import pytest
from av.video.frame import VideoFrame

from dkpvid.video import clock
from dkpvid.video.clock import Picture, by_the_file, by_the_wall

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


@pytest.mark.parametrize(("fps", "step"), [(10.0, 0.1), (None, 0.04)])
def test_missing_times_of_a_file_are_estimated(fps: float | None, step: float) -> None:
    pictures = list(by_the_file(shown(None, None, 100, None), TICK, fps))
    guess = "time_estimated"
    assert told(pictures) == [(0.0, guess), (step, guess), (1.0, ""), (1.0 + step, guess)]


def test_times_of_a_file_that_step_back_move_on_by_a_tick() -> None:
    pictures = list(by_the_file(shown(100, 40, 100, 103), TICK, 25.0))
    guess = "time_estimated"
    assert told(pictures) == [(1.0, ""), (1.01, guess), (1.02, guess), (1.03, "")]


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
