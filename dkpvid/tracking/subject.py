"""Where the subject is: what moves against the background, once the camera's own motion is taken out.

Everything happens on small grey frames (see `reduce`), one at a time and in order. Foreground is what is
unlike most of a few frames around, which tells what moves just now and leaves no ghosts; and, while the
camera rests, what is unlike a slow running average, which tells the whole body of somebody who walked in and
now moves an arm only.
"""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from PIL import Image

from dkpvid.shapes import Bool, Float
from dkpvid.structures import Frame
from dkpvid.tracking.camera import TEXTURE, Box, camera_motion, scale, steepness, warped

SMALL_SIDE = 160
"""Longer side of a small frame, in pixels; of a frame that is smaller, its own."""
AHEAD = (3, 6)
"""Later frames that motion is told from; there must be as many before a frame's turn comes."""
PAST_SECONDS = (0.17, 0.33, 0.5)
"""How long ago the earlier frames were."""
MOST_PAST = 128
"""Earlier frames that are kept at most, were there more in that time, or did it stand still."""

LEAST_DIFFERENCE = 3.0
"""Grey levels by which a moving pixel differs at least from the background."""
NOISE_FACTOR = 5.0
"""How many times the median difference it must be, too."""
EDGE_FACTOR = 4.0
"""How many times the difference that is usual at edges of that steepness it must be when the camera moves."""
LEAST_AREA = 6
"""Moving pixels that are worth a look."""
REACH = 0.3
"""How far beyond the subject's box its body is looked for, in longer sides of the box."""
WATCH_SECONDS = 1.5
"""The running average is not used before. Until then the subject may still be in the place that it was first
seen in, which looks like somebody once it is gone."""
SETTLE_SECONDS = 0.2
"""Time in which the running average takes up what does not move, until then."""
ABSORB_SECONDS = 0.7
"""Time in which the background takes up what differs from it and does not move (a moved chair; the place that
somebody left)."""
FORGET_SECONDS = 60.0
"""The same for what lies in the subject's box: who stands still stays in view."""
SIZE_SECONDS = 3.0
"""For how long the subject is taken to be as large as it was seen."""
MOST_SIZES = 1024
"""Sizes that are remembered at most."""
SIZE_QUANTILE = 0.8
"""Of the sizes seen in that time; what is larger still is a passer-by, or a shadow, for some frames."""
MEMORY_SECONDS = 1.5
"""Time after which motion counts only a third in the choice of the subject."""
LEAST_HEAT = 60.0
"""Motion, in pixels times frames, that makes a subject: a leaf is none."""
LOYALTY = 3.0
"""The subject is given up for something that has moved so many times as much."""
AT_BORDER = 0.3
"""What the motion counts that the frame's border cuts off: it is seldom what the video is about."""


def reduce(frame: Frame) -> tuple[Float[ndarray, "row column"], Float[ndarray, "2"]]:
    """A small grey picture, and how many pixels of the frame each of its pixels is wide and high."""
    width, height = frame.size
    factor = max(1.0, max(width, height) / SMALL_SIDE)
    columns, rows = max(1, round(width / factor)), max(1, round(height / factor))
    grey = Image.fromarray(frame.reduced(4 * SMALL_SIDE)).convert("L")
    # A soft filter: what it leaves of finer detail would seem to move with the camera by other amounts.
    small = grey.resize((columns, rows), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(small, dtype=np.float32), np.array([width / columns, height / rows])


@dataclass(frozen=True, eq=False)
class _Small:
    grey: Float[ndarray, "row column"]
    time_seconds: float
    step: Float[ndarray, "3 3"]
    """The view that maps its places to the frame before."""


class SubjectFinder:
    """Finds the subject's box in frame after frame. `push` runs ahead of `find` by `AHEAD[-1]` frames."""

    def __init__(self) -> None:
        self._frames: list[_Small] = []
        self._turn = 0
        self._time = 0.0
        self._background: Float[ndarray, "row column"] = np.zeros((0, 0))
        self._heat: Float[ndarray, "row column"] = np.zeros((0, 0))
        self._box: Box | None = None
        self._sizes: list[tuple[float, ndarray]] = []
        self._own_heat = 0.0
        self._num_subjects = 0
        self._watched_seconds = 0.0

    def push(self, grey: Float[ndarray, "row column"], time_seconds: float) -> Float[ndarray, "3 3"]:
        """Take the next frame; returns the view that maps its places to the frame before."""
        step = camera_motion(self._frames[-1].grey, grey) if self._frames else np.eye(3)
        self._frames.append(_Small(grey, time_seconds, step))
        return step

    def find(self) -> tuple[Box | None, Box | None]:
        """What is seen of the subject in the next frame (None: it is still), and where all of it should be.

        The second box is as large as the subject was of late, and stays where it is while it holds what is
        seen. It is None before anything moved.
        """
        now = self._frames[self._turn]
        if not self._background.size:
            self._background, self._heat, self._time = now.grey, np.zeros_like(now.grey), now.time_seconds
        elif not np.array_equal(now.step, np.eye(3)):
            self._look_from(now)
        seconds, self._time = max(now.time_seconds - self._time, 0.0), now.time_seconds
        moving, threshold = self._moving(now)
        fading = 1 - _share(seconds, MEMORY_SECONDS)
        self._heat, self._own_heat = self._heat * fading + moving, self._own_heat * fading
        self._watched_seconds += seconds
        is_known = self._watched_seconds > WATCH_SECONDS
        is_foreground = moving | (is_known & (np.abs(now.grey - self._background) > threshold))
        if (seen := self._seen(is_foreground, moving)) is not None:
            self._place(seen)
        self._learn(now, is_foreground, moving, seconds)
        self._advance()
        return seen, self._box

    def _look_from(self, now: _Small) -> None:
        """Move all that is remembered to where the camera sees it now."""
        # Warped again and again, the old background would be a blur.
        self._background, self._watched_seconds = now.grey, 0.0
        self._heat = np.nan_to_num(warped(self._heat, now.step), nan=0.0)
        if self._box is None:
            return
        view = np.linalg.inv(now.step)
        self._box = self._box.seen_by(view)
        self._sizes = [(time, scale(view) * size) for time, size in self._sizes]
        frame = Box(np.zeros(2), np.array(now.grey.shape[::-1], dtype=float))
        is_lost = not _overlap(self._box.low[None], self._box.high[None], frame)[0]
        if is_lost or self._box.size.max() > 2 * frame.size.max():
            self._box, self._sizes = None, []
            self._num_subjects += 1

    def _moving(self, now: _Small) -> tuple[Bool[ndarray, "row column"], Float[ndarray, "row column"]]:
        """Which pixels are unlike most of the frames around, and the difference that it takes."""
        times = np.array([frame.time_seconds for frame in self._frames[: self._turn]])
        past = np.searchsorted(times, now.time_seconds - np.array(PAST_SECONDS) + 1e-6) - 1
        numbers = [*past.tolist(), *(self._turn + ahead for ahead in AHEAD)]
        numbers = [number for number in numbers if 0 <= number < len(self._frames)]
        if not numbers:
            return np.zeros(now.grey.shape, bool), np.full_like(now.grey, np.inf)
        views = [self._view_of(number) for number in numbers]
        seen = [warped(self._frames[n].grey, view) for n, view in zip(numbers, views, strict=True)]
        # Half of them at least must differ: the place where the subject was or will be does in the others.
        differences = np.sort(np.nan_to_num(np.abs(now.grey - seen), nan=0.0), axis=0)
        difference = differences[(len(seen) - 1) // 2]
        threshold = np.full_like(now.grey, max(LEAST_DIFFERENCE, NOISE_FACTOR * float(np.median(difference))))
        if any(not np.array_equal(view, np.eye(3)) for view in views):
            # Pictures never fit exactly, which shows at edges.
            steep = steepness(now.grey)
            is_edge = steep > TEXTURE
            misfit = float(np.median(difference[is_edge] / steep[is_edge])) if is_edge.any() else 0.0
            threshold = threshold + EDGE_FACTOR * misfit * steep
        return difference > threshold, threshold

    def _view_of(self, number: int) -> Float[ndarray, "3 3"]:
        """Maps places in the frame whose turn it is to another one."""
        low, high = sorted((number, self._turn))
        view = np.eye(3)
        for frame in self._frames[low + 1 : high + 1]:
            view = view @ frame.step
        return view if number == low else np.linalg.inv(view)

    def _seen(
        self, is_foreground: Bool[ndarray, "row column"], moving: Bool[ndarray, "row column"]
    ) -> Box | None:
        """The part of the foreground that is the subject; None when it does not move."""
        from scipy import ndimage  # takes its time to load: only when it is used

        # Parts of a body that a pixel or two keep apart belong together.
        near = ndimage.maximum_filter(is_foreground, 3)
        label, count = ndimage.label(near, np.ones((3, 3)))
        area, motion, heat = (
            np.bincount(label.ravel(), values.ravel(), count + 1)[1:]
            for values in (is_foreground, moving, self._heat)
        )
        is_alive = motion >= np.maximum(LEAST_AREA, 0.05 * area)
        if not is_alive.any():
            return None
        slices = ndimage.find_objects(label)
        low = np.array([[part.start for part in parts[::-1]] for parts in slices], dtype=float)
        high = np.array([[part.stop for part in parts[::-1]] for parts in slices], dtype=float)
        size = np.array(moving.shape[::-1], dtype=float)
        rank = np.where(is_alive, heat * _weight(low, high, size), -1.0)
        reach = Box(np.zeros(2), size)
        if self._box is not None:
            near_box = self._box.grown(REACH)
            is_own = is_alive & _overlap(low, high, near_box)
            own = self._own_heat * _weight(self._box.low[None], self._box.high[None], size)[0]
            if rank.max() < LOYALTY * max(own, rank[is_own].max(initial=LEAST_HEAT)):
                if not is_own.any():
                    return None
                rank, reach = np.where(is_own, rank, -1.0), near_box
            else:
                self._box, self._sizes, self._own_heat = None, [], float(rank.max())
                self._num_subjects += 1
        elif rank.max() < LEAST_HEAT:
            return None
        best = int(np.argmax(rank))
        belongs = is_alive & _overlap(low, high, Box(low[best], high[best]).grown(0.2))
        is_body = is_foreground & np.concatenate([[False], belongs])[label]
        window = _inside(reach, moving.shape)
        y, x = np.nonzero(is_body[window])
        if not len(x):
            return None
        points = np.stack([x + window[1].start, y + window[0].start], axis=1)
        self._own_heat += float(motion[belongs].sum())
        return Box(np.percentile(points, 1, axis=0), np.percentile(points, 99, axis=0) + 1)

    def _place(self, seen: Box) -> None:
        """Put the box, as large as the subject was of late, no further from where it was than it must be."""
        recent = [(time, size) for time, size in self._sizes if time >= self._time - SIZE_SECONDS]
        self._sizes = [*recent[-MOST_SIZES:], (self._time, seen.size)]
        half = np.quantile([size for _, size in self._sizes], SIZE_QUANTILE, axis=0) / 2
        centre = seen.centre if self._box is None else self._box.centre
        self._box = Box(centre - half, centre + half, self._num_subjects).holding(seen)

    def _learn(
        self,
        now: _Small,
        is_foreground: Bool[ndarray, "row column"],
        moving: Bool[ndarray, "row column"],
        seconds: float,
    ) -> None:
        is_known = self._watched_seconds > WATCH_SECONDS
        rate = np.full_like(now.grey, _share(seconds, ABSORB_SECONDS if is_known else SETTLE_SECONDS))
        rate[moving] = _share(seconds, FORGET_SECONDS)
        if self._box is not None and is_known:
            window = _inside(self._box.grown(0.1), moving.shape)
            rate[window][is_foreground[window]] = _share(seconds, FORGET_SECONDS)
        self._background = self._background + rate * (now.grey - self._background)

    def _advance(self) -> None:
        self._turn += 1
        while self._turn > 1 and (
            self._turn > MOST_PAST or self._frames[1].time_seconds <= self._time - PAST_SECONDS[-1]
        ):
            self._frames.pop(0)
            self._turn -= 1


def _share(seconds: float, time_constant: float) -> float:
    return float(1 - np.exp(-seconds / time_constant))


def _weight(
    low: Float[ndarray, "box 2"], high: Float[ndarray, "box 2"], size: Float[ndarray, "2"]
) -> Float[ndarray, " box"]:
    """What the motion in boxes counts, in a frame of a size."""
    is_cut = ((low <= 1) | (high >= size - 1)).any(axis=1)
    return np.where(is_cut, AT_BORDER, 1.0)


def _overlap(low: Float[ndarray, "box 2"], high: Float[ndarray, "box 2"], box: Box) -> Bool[ndarray, " box"]:
    """Which boxes have something in common with one."""
    return np.asarray(((low < box.high) & (high > box.low)).all(axis=1))


def _inside(box: Box, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The rows and columns of a box, as far as there are any."""
    left, top = np.floor(box.low).astype(int).clip(0, [shape[1], shape[0]]).tolist()
    right, bottom = np.ceil(box.high).astype(int).clip(0, [shape[1], shape[0]]).tolist()
    return slice(top, bottom), slice(left, right)
