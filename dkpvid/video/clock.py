"""When each picture is shown, in seconds that increase from picture to picture."""

import math
import statistics
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from av.video.frame import VideoFrame

from dkpvid.structures import CLOCK_JUMP, TIME_ESTIMATED

FALLBACK_FPS = 25.0
"""Frames per second where the file tells none."""

LONGEST_BROADCAST_GAP = 10.0
"""In seconds. In formats whose clock may start anew anywhere (MPEG-TS and -PS) a longer step forward is that,
not a pause; the ffmpeg program draws the line there too."""
LONGEST_GAP = 30 * 3600.0
"""The same for all other formats, where recordings of a still scene may have long pauses."""

_PATIENCE = 16
"""Pictures that are waited for to see whether the clock comes back from a wrong time."""
_SURE_STEP = 1.8
"""A step of so many frames needs no witness; for a longer one the pictures after it must be later still."""
_WITNESSES = 4
_DOUBTFUL_SECONDS = 1.0
"""A step of more, and of more than ten frames, needs as many witnesses as there is patience."""
_TIGHTEST = 0.8
"""Pictures without a usable time fit between two others where that leaves them this much of a usual step,
give or take a tick."""
_COUNTER_BITS = (33, 32)
"""Sizes of the counters that start at 0 again when they are full: those of MPEG, and of many others."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture with its time."""

    frame: VideoFrame
    time_seconds: float
    flags: tuple[str, ...] = ()
    """`time_estimated`, `clock_jump`, `reconnected` or nothing."""


def by_the_rate(frames: Iterable[VideoFrame], fps: float, *, is_guess: bool) -> Iterator[Picture]:
    """Times of pictures that are evenly spaced.

    Args:
        frames: Decoded pictures.
        fps: How many of them a second.
        is_guess: Flag the times as estimated.
    """
    for index, frame in enumerate(frames):
        yield Picture(frame, index / fps, (TIME_ESTIMATED,) if is_guess else ())


def by_the_file(
    frames: Iterable[VideoFrame],
    time_base: Fraction,
    average_fps: float | None,
    *,
    has_decoding_times_only: bool = False,
    longest_gap: float = LONGEST_GAP,
) -> Iterator[Picture]:
    """Times of the file, as long as they make sense; the others are estimated and flagged.

    A picture whose time is missing, repeated or wrong lies between its neighbours, whose times stay as they
    are. Where the clock starts anew, the first picture follows the one before by the usual step and is
    flagged `clock_jump`; those after it keep their distances.

    Args:
        frames: Decoded pictures.
        time_base: Seconds per tick of their clock.
        average_fps: How many of them a second, as far as known.
        has_decoding_times_only: As in an AVI: FFmpeg makes up presentation times there, which are scrambled
            where the encoder reordered the frames. The decoder hands out the decoding times in order.
        longest_gap: Seconds; a longer step is a clock that starts anew.
    """
    clock = _FileClock(float(time_base), average_fps, longest_gap)
    for frame in frames:
        ticks = frame.dts if has_decoding_times_only and frame.dts is not None else frame.pts
        clock.waiting.append((frame, None if ticks is None else float(ticks * time_base)))
        yield from clock.settle(is_end=False)
    yield from clock.settle(is_end=True)


class _FileClock:
    """Tells right times from wrong ones, by the pictures around.

    Args:
        tick: Seconds.
        average_fps: By the header.
        longest_gap: See `by_the_file`.
    """

    def __init__(self, tick: float, average_fps: float | None, longest_gap: float) -> None:
        self.waiting: deque[tuple[VideoFrame, float | None]] = deque()
        """Pictures whose times are not settled, with those that the file gives."""
        self._tick = tick
        self._longest_gap = longest_gap
        self._usual_step = 1 / (average_fps or FALLBACK_FPS)
        self._recent_steps: deque[float] = deque(maxlen=9)
        self._last: float | None = None
        self._last_right: float | None = None
        """The last one that was not estimated."""
        self._shift = 0.0
        """Added to the file's times."""
        self._is_shift_known = True

    def settle(self, *, is_end: bool) -> Iterator[Picture]:
        """The pictures whose times are certain by now; all of them at the end."""
        while self.waiting:
            place = self._first_right(is_end)
            if place is None:
                if not is_end and len(self.waiting) < _PATIENCE:
                    return
                yield self._go_on()
                continue
            right = self._shifted(place)
            assert right is not None
            spacing = self._usual_step
            start = right - (place + 1) * spacing
            if self._last is not None:
                step = (right - self._last) / (place + 1)
                spacing, start = min(spacing, step), self._last
                self._learn(step)
            for number in range(place):
                yield self._next(start + (number + 1) * spacing, TIME_ESTIMATED)
            yield self._next(right, *(() if self._is_shift_known else (TIME_ESTIMATED,)))

    def _first_right(self, is_end: bool) -> int | None:
        """Which of the waiting pictures is the first with a time to trust; None = not one, so far."""
        for place in range(len(self.waiting)):
            seconds = self._shifted(place)
            if seconds is None:
                continue
            step = self._usual_step if self._last is None else seconds - self._last
            if not 0 < step <= self._longest_gap:
                continue
            needed = _TIGHTEST * (place + 1) * self._usual_step - self._tick
            if place and self._last is not None and step < needed:
                continue
            num_witnesses = self._num_witnesses(step, place)
            witnesses = [self._shifted(later) for later in range(place + 1, len(self.waiting))]
            if any(self._speaks_against(seconds, later) for later in witnesses[:num_witnesses]):
                continue
            if len(witnesses) < num_witnesses and not is_end and len(self.waiting) < _PATIENCE:
                return None
            return place
        return None

    def _speaks_against(self, seconds: float, later: float | None) -> bool:
        """Whether a time is too late by that of a later picture, which must not be wrong itself."""
        if later is None:
            return False
        # Nothing is wrong with a first time that is repeated.
        return later < seconds if self._last is None else self._last < later <= seconds

    def _num_witnesses(self, step: float, place: int) -> int:
        """How many later pictures are asked about one that is a step from the last settled one."""
        if self._last is not None and step <= _SURE_STEP * (place + 1) * self._usual_step:
            return 0
        return _WITNESSES if step <= self._doubtful_step else _PATIENCE

    def _go_on(self) -> Picture:
        """The first waiting picture, where its time is of no use, nor is any that follows soon."""
        given = self.waiting[0][1]
        last = self._last
        if last is None or given is None or given + self._shift == self._last_right:
            seconds = (given or 0.0) if last is None else last + self._usual_step
            return self._next(seconds, TIME_ESTIMATED)
        if not self._is_shift_known and 0 < given - last <= self._doubtful_step:
            # It was away, and is back.
            self._shift, self._is_shift_known = 0.0, True
            return self._next(given)
        for bits in _COUNTER_BITS:
            turn = 2**bits * self._tick
            if 0 < given + self._shift + turn - last <= LONGEST_BROADCAST_GAP:
                self._shift += turn
                return self._next(given + self._shift, *(() if self._is_shift_known else (TIME_ESTIMATED,)))
        self._shift, self._is_shift_known = last + self._usual_step - given, False
        return self._next(last + self._usual_step, TIME_ESTIMATED, CLOCK_JUMP)

    @property
    def _doubtful_step(self) -> float:
        return max(_DOUBTFUL_SECONDS, 10 * self._usual_step)

    def _shifted(self, place: int) -> float | None:
        given = self.waiting[place][1]
        return None if given is None else given + self._shift

    def _learn(self, step: float) -> None:
        self._recent_steps.append(step)
        if len(self._recent_steps) >= 3:
            self._usual_step = statistics.median(self._recent_steps)

    def _next(self, seconds: float, *flags: str) -> Picture:
        if TIME_ESTIMATED not in flags or not self._is_shift_known:
            self._last_right = seconds
        # Rounding must not make two times of one.
        self._last = (
            seconds if self._last is None or seconds > self._last else math.nextafter(self._last, math.inf)
        )
        return Picture(self.waiting.popleft()[0], self._last, flags)


def by_the_wall(frames: Iterable[VideoFrame | None], time_base: Fraction) -> Iterator[Picture]:
    """Times of a live stream: its own, counted from its first picture, as long as it keeps counting.

    Where it starts to count anew, or does not tell, the time on the wall since the picture before is added.

    Args:
        frames: Decoded pictures as they arrive; None where the stream was lost and came back.
        time_base: Seconds per tick of their clock.
    """
    last, last_arrival = 0.0, 0.0
    shift, last_given = 0.0, None
    is_first, is_back = True, False
    for frame in frames:
        if frame is None:
            is_back = True
            continue
        arrival = time.monotonic()
        given = None if frame.pts is None else float(frame.pts * time_base)
        is_estimated = given is None
        if is_first:
            seconds = 0.0
        elif given is None or last_given is None or is_back or given <= last_given:
            seconds, is_estimated = last + max(arrival - last_arrival, float(time_base)), True
        else:
            seconds = given + shift
        if given is not None:
            shift = seconds - given
        flags = (("reconnected",) if is_back else ()) + (("time_estimated",) if is_estimated else ())
        last, last_arrival, last_given = seconds, arrival, given
        is_first = is_back = False
        yield Picture(frame, seconds, flags)
