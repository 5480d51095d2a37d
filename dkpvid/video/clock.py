"""When each picture is shown, in seconds that increase from picture to picture."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from av.video.frame import VideoFrame

FALLBACK_FPS = 25.0
"""Frames per second where the file tells none."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture with its time."""

    frame: VideoFrame
    time_seconds: float
    flags: tuple[str, ...] = ()
    """`time_estimated`, `reconnected` or nothing."""


def by_the_file(
    frames: Iterable[VideoFrame],
    time_base: Fraction,
    average_fps: float | None,
    *,
    has_decoding_times_only: bool = False,
) -> Iterator[Picture]:
    """Times of the file, as long as they are there and increase; the others are estimated and flagged.

    Args:
        frames: Decoded pictures.
        time_base: Seconds per tick of their clock.
        average_fps: How many of them a second, as far as known.
        has_decoding_times_only: As in an AVI: FFmpeg makes up presentation times there, which are scrambled
            where the encoder reordered the frames. The decoder hands out the decoding times in order.
    """
    last: float | None = None
    for frame in frames:
        ticks = frame.dts if has_decoding_times_only and frame.dts is not None else frame.pts
        is_estimated = ticks is None
        if ticks is not None:
            seconds = float(ticks * time_base)
        else:
            seconds = 0.0 if last is None else last + 1 / (average_fps or FALLBACK_FPS)
        # Speeds divide by the time between frames, so it must not be zero or less. The smallest step leaves
        # the times that follow as they are.
        if last is not None and seconds <= last:
            seconds, is_estimated = last + float(time_base), True
        last = seconds
        yield Picture(frame, seconds, ("time_estimated",) if is_estimated else ())


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
