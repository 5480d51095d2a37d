"""Follow a subject with a window that its own keypoints lead: what `--roi follow` does.

Some frames in a chunk are scouts: they are looked at, all in one batch, in windows that are predicted from
what was seen before. Where the window was off, the keypoints that were found in it place a better one for a
second look. The path through all scouts, averaged over the time before and after, gives every frame its
window; the final look at it is somebody else's (`dkpvid.tracking.detect`). At the start, after a cut, and
when certainty falls, the whole frame is searched. Equal frames give equal windows, however they are batched.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from dkpvid.coordinates import Region
from dkpvid.structures import Frame
from dkpvid.tracking.camera import Box
from dkpvid.tracking.cuts import CutFinder
from dkpvid.tracking.looks import Finder, Look, look, square, window_around
from dkpvid.tracking.path import LOOKAHEAD, Path
from dkpvid.tracking.search import FOUND, Looker, in_common, search

CHUNK = 16
"""Frames whose windows are predicted together."""
HELD_BACK = CHUNK + LOOKAHEAD
"""Frames held back, at most."""
SCOUT_SECONDS = 0.15
"""From one scout to the next; at least one frame."""
SCOUT_SHARE = 0.6
"""Share of a scout's window that the subject is expected to take up: less than of the final one's, since it
may have gone elsewhere."""
ROUNDS = 2
"""Further looks at a scout whose window was off."""
OFF = 0.55
"""A window is off when it has less in common (intersection over union) with the one its keypoints ask for."""
LOST = 0.6
"""A look is at the subject when it is so certain, compared with what is usual for this subject..."""
WHOLLY = 0.9
"""Below this share of the usual certainty parts may be hidden, or outside: it is as large as before."""
STRAY = 0.5
"""...and when what it saw is no further from where it should be than this share of the subject's size."""
MISSES = 2
"""Scouts in a row that do not see the subject before it is searched for."""
SEARCH_SECONDS = 0.5
"""From one search to the next while there is nothing to be found."""
CHECK_SECONDS = 1.0
"""From one search to the next while the subject is in sight, but its certainty is below `SURE`."""
SURE = 0.85
BETTER = 1.15
"""Something else is followed instead when it is so many times as certain."""
SAME_PLACE = 0.2
"""What is found there has so much in common (intersection over union) with where the subject should be."""
USUAL_SECONDS = 10.0
"""Time in which the usual certainty, the highest of late, is forgotten."""
SPEED_SECONDS = 0.4
"""Sightings of that time tell the speed..."""
FADE_SECONDS = 0.3
"""...which is trusted for so long."""


def follow_keypoints(frames: Iterable[Frame], finder: Finder, image_size: int) -> Iterator[Frame]:
    """Give each frame the window to look at, holding back `HELD_BACK` frames.

    Args:
        frames: Upright frames of one size, in order.
        finder: The detector.
        image_size: Side of its input, in pixels.

    Yields:
        The same frames, with their `region`; `relocated` is added to the flags of the first one after the
        window went to another place.
    """
    remaining = iter(frames)
    held: list[Frame] = []
    pursuit = _Pursuit(lambda places: look(finder, image_size, places))
    while chunk := list(islice(remaining, CHUNK)):
        pursuit.push(chunk)
        held += chunk
        del chunk  # or they would be held twice as long
        while len(held) > LOOKAHEAD:
            yield pursuit.path.place(held.pop(0))
    while held:
        yield pursuit.path.place(held.pop(0))


@dataclass(frozen=True, eq=False)
class _Sighting:
    frame_index: int
    time_seconds: float
    box: Box


class _Pursuit:
    """Keeps to the subject in chunk after chunk, and lays the path."""

    def __init__(self, looker: Looker) -> None:
        self.path = Path()
        self._looker = looker
        self._cuts = CutFinder()
        self._recent: list[_Sighting] = []
        """Of the subject that is followed now; empty while there is none."""
        self._usual = 0.0
        self._usually_seen = 0.0
        """Mean certainty of all points, of late."""
        self._misses = 0
        self._has_found = False
        """Whether the subject was seen since the last cut."""
        self._last_scout = -np.inf
        self._last_search = -np.inf

    def push(self, chunk: list[Frame]) -> None:
        """Take the next frames."""
        scene: list[Frame] = []
        for frame, is_cut in zip(chunk, map(self._cuts.is_cut, chunk), strict=True):
            if is_cut:
                self._scout(scene)
                scene = []
                self.path.begin_segment(frame)
                self._recent, self._last_search, self._has_found = [], -np.inf, False
            scene.append(frame)
        self._scout(scene)

    def _scout(self, scene: list[Frame]) -> None:
        """Look at some of the frames between which there is no cut, the last one among them."""
        scouts = self._due(scene)
        while scouts:
            if not self._recent:
                frame = scouts.pop(0)
                self._search(frame)
                # How fast it goes is best told from the very next frame.
                following = scene[scene.index(frame) + 1 :][:1]
                if self._recent and following != scouts[:1]:
                    scouts = following + scouts
                continue
            num_good = self._keep_up(scouts if len(self._recent) > 1 else scouts[:1])
            scouts = scouts[num_good:]
            if scouts and not num_good:
                scouts = self._missed(scene, scouts)

    def _due(self, scene: list[Frame]) -> list[Frame]:
        scouts: list[Frame] = []
        for frame in scene:
            is_due = frame.time_seconds >= self._last_scout + SCOUT_SECONDS - 1e-6
            is_first = frame is scene[0] and not self._has_found
            if is_due or is_first or frame is scene[-1]:
                scouts.append(frame)
                self._last_scout = frame.time_seconds
        return scouts

    def _keep_up(self, scouts: list[Frame]) -> int:
        """Look where the subject should be; returns how many scouts saw it before one did not."""
        for number, (frame, seen) in enumerate(zip(scouts, self._looks(scouts), strict=True)):
            if not (self._is_certain(seen) and self._is_near(seen, frame)):
                return number
            self._accept(frame, seen)
        is_due = scouts[-1].time_seconds >= self._last_search + CHECK_SECONDS
        if self._usual < SURE and is_due:
            self._search(scouts[-1])
        return len(scouts)

    def _missed(self, scene: list[Frame], scouts: list[Frame]) -> list[Frame]:
        """The first scout did not see the subject; returns those that are to be looked at now."""
        if between := self._between(scene, scouts[0]):
            return [between, *scouts]
        self._misses += 1
        if self._misses >= MISSES:
            self._search(scouts[0])
        return scouts[1:]

    def _between(self, scene: list[Frame], missed: Frame) -> Frame | None:
        """The frame halfway from where the subject was seen last to where it was missed: it may be fast."""
        last = self._recent[-1].frame_index
        between = [frame for frame in scene if last < frame.index < missed.index]
        return between[len(between) // 2] if between and not self._misses else None

    def _looks(self, scouts: list[Frame]) -> list[Look]:
        """A look at each where the subject should be, and further ones where that was off."""
        windows = [self._predicted(frame) for frame in scouts]
        looks = self._looker([(frame, [window]) for frame, window in zip(scouts, windows, strict=True)])
        for _ in range(ROUNDS):
            wanted = [window_around(seen.box, *frame.size) for frame, seen in zip(scouts, looks, strict=True)]
            off = [row for row, seen in enumerate(looks) if in_common(seen.region, wanted[row]) < OFF]
            if not off:
                break
            again = self._looker([(scouts[row], [wanted[row]]) for row in off])
            for row, seen in zip(off, again, strict=True):
                if self._is_certain(seen):
                    looks[row] = seen
        return looks

    def _is_certain(self, seen: Look) -> bool:
        return seen.score >= max(FOUND, LOST * self._usual)

    def _is_near(self, seen: Look, frame: Frame) -> bool:
        """Whether it can be the same subject: not where another one is, not twice as large."""
        expected = self._expected(frame)
        size = float(expected.size.max())
        stray = np.abs(seen.box.centre - expected.centre).max()
        return bool(stray <= STRAY * size and size / 2 <= seen.box.size.max() <= 2 * size)

    def _predicted(self, frame: Frame) -> Region:
        """Where a scout should look."""
        expected = self._expected(frame)
        return square(expected.centre, float(expected.size.max()) / SCOUT_SHARE, *frame.size)

    def _expected(self, frame: Frame) -> Box:
        """Where the subject should be, and how large."""
        last = self._recent[-1]
        centres = np.array([each.box.centre for each in self._recent])
        times = np.array([each.time_seconds for each in self._recent])
        span = times[-1] - times[0]
        speed = (centres[-1] - centres[0]) / span if span > 0 else np.zeros(2)
        ahead = FADE_SECONDS * (1 - np.exp(-(frame.time_seconds - last.time_seconds) / FADE_SECONDS))
        centre, half = (
            last.box.centre + ahead * speed,
            np.mean([each.box.size for each in self._recent], axis=0) / 2,
        )
        return Box(centre - half, centre + half)

    def _accept(self, frame: Frame, seen: Look) -> None:
        now, box, seen_of_it = frame.time_seconds, seen.box, float(seen.certainty.mean())
        if self._recent:
            if seen_of_it < WHOLLY * self._usually_seen:
                box = self._expected(frame).holding(box)
            kept = float(np.exp((self._recent[-1].time_seconds - now) / USUAL_SECONDS))
            self._usual = max(seen.score, kept * self._usual)
            self._usually_seen = max(seen_of_it, kept * self._usually_seen)
        else:
            self._usual, self._usually_seen = seen.score, seen_of_it
        recent = [each for each in self._recent if each.time_seconds >= now - SPEED_SECONDS]
        self._recent = [*recent, _Sighting(frame.index, now, box)]
        self._misses = 0
        self.path.add(frame, box)

    def _search(self, frame: Frame) -> None:
        """Look everywhere; what is found where the subject was is taken for the same one."""
        if frame.time_seconds < self._last_search + SEARCH_SECONDS:
            return
        self._last_search = frame.time_seconds
        guess = self._predicted(frame) if self._recent else None
        is_in_sight = guess is not None and not self._misses
        found = search(self._looker, frame, [guess] if guess else [])
        if not found:
            if not is_in_sight:
                self._recent = []
            return
        seen = found[0]
        is_same = guess is not None and in_common(seen.region, guess) >= SAME_PLACE
        if is_in_sight and (is_same or seen.score < BETTER * self._usual):
            return
        if not is_same:
            self._recent = []
            if self._has_found:
                self.path.begin_segment(frame)
        self._has_found = True
        self._accept(frame, seen)
