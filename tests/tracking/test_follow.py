"""A window that the keypoints lead: it finds its subject, keeps to it, and says when it goes elsewhere."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy import ndarray

from dkpvid.coordinates import Region
from dkpvid.structures import Frame
from dkpvid.tracking.follow import CHUNK, HELD_BACK, follow_keypoints
from tests.tracking.painted import HEIGHT, SIZE, WIDTH, SpotFinder, painted

WHOLE = Region(0, 0, WIDTH, HEIGHT)


def walk(num_frames: int, speed: float = 5.0, height: float = 60.0) -> ndarray:
    """Places and heights of a figure that goes to the right."""
    t = np.arange(num_frames)
    return np.stack([60 + speed * t, 140 + 10 * np.sin(t / 8), np.full(num_frames, height)], axis=1)


def clip(*figures: ndarray) -> list[Frame]:
    """A frame each, with all figures in it; NaN = not there."""
    return [
        painted([tuple(place) for place in places if np.isfinite(place).all()], index)
        for index, places in enumerate(zip(*figures, strict=True))
    ]


def followed(frames: list[Frame], finder: SpotFinder | None = None) -> list[Frame]:
    return list(follow_keypoints(frames, finder or SpotFinder(), SIZE))


def holds(frame: Frame, place: ndarray) -> bool:
    """Whether a window has all of a figure, and is about as large as it should be."""
    region, (x, y, height) = frame.region, place
    assert region is not None
    inside = region.x <= x - height / 2 and x + height / 2 <= region.x + region.width
    inside = inside and region.y <= y - height / 2 and y + height / 2 <= region.y + region.height
    return bool(inside and region.width <= 2.2 * height)


def relocated(frames: list[Frame]) -> list[int]:
    return [frame.index for frame in frames if "relocated" in frame.flags]


@pytest.mark.parametrize("speed", [0.0, 5.0, -3.0])
@pytest.mark.parametrize("height", [36.0, 90.0])
def test_a_walking_figure_is_in_every_window(speed: float, height: float) -> None:
    places = walk(60, speed, height)
    if speed < 0:
        places[:, 0] += 200
    frames = clip(places)
    result = followed(frames)
    assert [frame.index for frame in result] == list(range(60))
    assert all(holds(frame, place) for frame, place in zip(result, places, strict=True))
    assert all(frame.region is not None and frame.region.width == frame.region.height for frame in result)
    assert not relocated(result)


def test_the_window_moves_as_smoothly_as_the_figure() -> None:
    result = followed(clip(walk(60)))
    x = np.array([frame.region.x + frame.region.width / 2 for frame in result if frame.region])
    steps = np.diff(x)[4:-4]
    assert np.abs(steps - 5).max() < 2.5


def test_a_figure_that_turns_round_is_not_lost() -> None:
    places = walk(90)
    places[:, 0] = 240 + 120 * np.sin(np.arange(90) / 12)  # up to 10 pixels a frame, four heights a second
    result = followed(clip(places))
    assert np.mean([holds(frame, place) for frame, place in zip(result, places, strict=True)]) > 0.97
    assert not relocated(result)


def test_scouts_are_few_and_looked_at_together() -> None:
    finder = SpotFinder()
    followed(clip(walk(80)), finder)
    later = finder.looks[4:]  # after the search, which takes three closer looks
    assert sum(later) < 0.5 * 80
    assert len(later) < 2.5 * 80 / CHUNK


def test_a_cut_is_noticed_and_the_figure_found_at_once() -> None:
    before, after = walk(40), walk(40) + np.array([150, -40, 30])
    frames = clip(before) + [painted([tuple(place)], 40 + t, ground=190) for t, place in enumerate(after)]
    result = followed(frames)
    assert all(holds(frame, place) for frame, place in zip(result, [*before, *after], strict=True))
    assert relocated(result) == [40]


def test_a_figure_that_is_elsewhere_all_at_once_is_found_and_flagged() -> None:
    places = walk(60, 1.0)
    places[30:, 0] += 280
    result = followed(clip(places))
    (moment,) = relocated(result)
    assert 30 <= moment < 30 + 25, "within a second"
    assert all(holds(frame, place) for frame, place in zip(result, places, strict=True) if frame.index < 26)
    later = [holds(frame, places[frame.index]) for frame in result if frame.index >= moment]
    assert all(later)


def test_until_somebody_comes_it_is_the_whole_frame() -> None:
    places = walk(90, 1.0)
    places[:50] = np.nan
    result = followed(clip(places))
    assert {frame.region for frame in result[:20]} == {WHOLE}
    assert all(holds(frame, place) for frame, place in zip(result[65:], places[65:], strict=True))
    assert len(relocated(result)) == 0, "there was nothing before"


def test_who_is_gone_leaves_the_whole_frame_after_a_second() -> None:
    places = walk(90, 1.0)
    places[30:] = np.nan
    result = followed(clip(places))
    assert {frame.region for frame in result[62:]} == {WHOLE}
    assert result[40].region != WHOLE


def test_of_two_the_larger_is_followed_though_they_meet() -> None:
    large, small = walk(70, 5.0, 80.0), walk(70, -5.0, 50.0) + np.array([350, -45, 0])
    result = followed(clip(small, large))
    moments = relocated(result)
    before = [frame for frame in result if not moments or frame.index < moments[0]]
    assert np.mean([holds(frame, large[frame.index]) for frame in before]) > 0.97
    assert len(before) > 25, "at least until they meet"


def test_few_frames_are_held_back() -> None:
    taken = 0

    def frames() -> Iterator[Frame]:
        nonlocal taken
        for frame in clip(walk(70)):
            taken += 1
            yield frame

    for done, _ in enumerate(follow_keypoints(frames(), SpotFinder(), SIZE), start=1):
        assert taken - done < HELD_BACK


def test_no_frames_give_none_and_one_gives_one() -> None:
    assert followed([]) == []
    (only,) = followed(clip(walk(1)))
    assert holds(only, walk(1)[0])


def test_remarks_are_kept() -> None:
    frames = [Frame(frame.image, frame.index, frame.time_seconds, ("corrupt",)) for frame in clip(walk(3))]
    assert [frame.flags for frame in followed(frames)] == [("corrupt",)] * 3
