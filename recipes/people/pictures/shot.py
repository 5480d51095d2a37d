"""Shots: a person acts in a place before a camera -> pictures with depth, silhouette and joints."""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from dkpvid.shapes import Bool, Float
from recipes.people.assets import Assets
from recipes.people.pictures.lens import Lens
from recipes.people.pictures.performer import Performer
from recipes.people.pictures.raster import Actor, Light, Renderer
from recipes.people.scenes.camera import Camera, random_camera
from recipes.people.scenes.place import Place
from recipes.people.scenes.things import Things, random_things

COVER = np.array([0.12] * 5 + [0.2] * 2 + [0.12] * 4 + [0.25] * 2 + [0.15] * 4)
"""Metres by which the drawn surface may lie before a joint, which is inside the body, without hiding it."""
LEAST_JOINTS = 7
"""In the picture, and not hidden."""
TRIES = 40
GREEN = {"tai-chi": 0.65, "sport": 0.4}
OTHER_GREEN = 0.15
"""Share of the shots before trees and meadows, by theme."""
BLURRED = 0.2
"""Share of the shots with motion blur."""
BLUR_STEPS = (-0.5, -0.25, 0.25, 0.5, 0.0)
"""When the shutter is open, in exposure times; the truth is that of the last."""
HEAD_TOP = np.where(np.arange(17) < 5, 0.1, 0)[:, None] * [0, 1, 0]
"""From the joints of the face to the top of the head, metres."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture and its truth."""

    rgb: Float[ndarray, "size size 3"]
    """In 0..1 (sRGB)."""
    inverse_depth: Float[ndarray, "size size"]
    """1/m."""
    mask: Bool[ndarray, "size size"]
    """The annotated person."""
    joints: Float[ndarray, "17 2"]
    """x, y in pixels; integers are pixel centres."""
    visible: Bool[ndarray, " 17"]
    """Inside the picture and not hidden."""


class Shot:
    """One person, sometimes a second one and things about, in one place before one camera."""

    def __init__(
        self,
        rng: Generator,
        assets: Assets,
        renderer: Renderer,
        performer: Performer,
        second: Performer | None = None,
        seconds: float = 0.0,
    ) -> None:
        """Choose all that fixes a shot of that length; `close` it after its frames."""
        self.performer, self.second, self._renderer = performer, second, renderer
        self._things: tuple[Things, Actor] | None = None
        performer.act(rng, seconds)
        bones = performer.bones(0)
        joints, later = (performer.body.joints(performer.bones(time)) for time in (0, seconds))
        self.camera, share = _frame_person(rng, joints, later)
        reach = float(np.linalg.norm(self.camera.eye - joints.mean(0)))
        self.place = Place(rng, assets, 1.2 * reach, rng.random() < GREEN.get(performer.theme, OTHER_GREEN))
        if second:
            second.act(rng, seconds)
            self._stand_beside(rng, second)
        seat = joints[11:13].mean(0) - [0, 0.12, 0] if performer.style.seat else None
        before, behind = (
            rng.integers(1, 3) * (rng.random() < 0.25),
            rng.integers(1, 4) * (rng.random() < 0.25),
        )
        for count in (before, 0):  # What hides too much goes away again.
            self.close()
            found = random_things(rng, assets, self.camera, joints, share, count, behind, seat)
            self._things = (found, Actor(renderer, found.soup)) if found else None
            if (count == 0 and not second) or self._count_seen(bones) >= LEAST_JOINTS:
                break
            if second:
                self._step_back(second)
        self._drift = rng.normal(0, 0.02 * reach, 3) * rng.choice([0, 1, 3], p=[0.4, 0.4, 0.2])
        self._exposure_seconds = rng.uniform(0.03, 0.16) if rng.random() < BLURRED else 0.0
        darkest = 0.035 if performer.theme == "dark" else float(rng.choice([0.12, 0.06]))
        self._lens = Lens(rng, renderer.size, darkest)

    def close(self) -> None:
        """Free what was made for this shot."""
        if self._things:
            self._things[1].release()
            self._things = None

    def _away(self) -> tuple[ndarray, ndarray]:
        """Level unit vectors: away from the camera, and to its right."""
        back, right = self.camera.axes[2] * [1, 0, 1], self.camera.axes[0] * [1, 0, 1]
        return -back / np.linalg.norm(back), right / np.linalg.norm(right)

    def _stand_beside(self, rng: Generator, second: Performer) -> None:
        """Half of them near, so that one hides parts of the other."""
        away, right = self._away()
        if rng.random() < 0.5:
            deep, aside = rng.uniform(-0.6, 0.9), rng.uniform(0.2, 0.8)
        else:
            deep, aside = rng.uniform(-0.1, 3), rng.uniform(0.6, 2)
        second.place = deep * away + rng.choice([-1, 1]) * aside * right

    def _step_back(self, second: Performer) -> None:
        away, _ = self._away()
        second.place = second.place + (1 + 2 * max(-float(second.place @ away), 0)) * away

    def _count_seen(self, bones: ndarray) -> int:
        """How many joints are to be seen at the beginning."""
        self._draw(self.camera, 0)
        return int(self._joints(self.camera, bones)[1].sum())

    def frame(self, time: float) -> Frame:
        """The picture at a time in seconds."""
        eye = np.maximum(self.camera.eye + self._drift * time, [-99, min(0.25, self.camera.eye[1]), -99])
        camera = Camera(eye, self.camera.axes, self.camera.focal)
        steps = BLUR_STEPS if self._exposure_seconds else (0.0,)
        layers = [self._draw(camera, time + self._exposure_seconds * step) for step in steps]
        front, truth = np.mean([layer[0] for layer in layers], 0), layers[-1][1]
        shadow = np.mean([layer[1][..., 2] for layer in layers], 0)
        joints, visible = self._joints(camera, self.performer.bones(time))
        behind, depth = self._renderer.background(self.place, camera)
        colour, cover = front[..., :3], front[..., 3]
        rest = behind * ((1 - shadow) * (1 - cover))[..., None]
        return Frame(
            rgb=self._lens.take(rest, colour, cover > 0.5),
            inverse_depth=truth[..., 0] + (1 - layers[-1][0][..., 3]) / depth,
            mask=truth[..., 1] > 0.5,
            joints=joints,
            visible=visible,
        )

    def _draw(self, camera: Camera, time: float) -> tuple[ndarray, ndarray]:
        bones = self.performer.bones(time)
        actors = [(self.performer.actor, bones)]
        if self.second:
            actors.append((self.second.actor, self.second.bones(time)))
        if self._things:
            actors.append((self._things[1], self._things[0].bones))
        return self._renderer.draw(actors, camera, self._light(self.performer.body.joints(bones)))

    def _light(self, joints: Float[ndarray, "17 3"]) -> Light:
        """Of the place; soft shadows below feet, hips and the second person."""
        blobs = np.zeros((4, 4))
        blobs[:, 2] = 1
        feet = joints[15:17] if joints[11, 1] > 0.5 else joints[[11, 15]]
        on_ground = 0.75 * np.exp(-4 * (feet[:, 1] - 0.1).clip(0))
        blobs[:2] = np.c_[feet[:, [0, 2]], [0.22, 0.22], on_ground]
        blobs[2] = *joints[11:13, [0, 2]].mean(0), 0.5, 0.5
        if self.second:
            blobs[3] = self.second.place[0], self.second.place[2], 0.4, 0.8
        place = self.place
        sun, sky = place.sun_colour.mean(), (place.harmonics[0] + place.harmonics[1]).mean()
        strength = (float(min(0.75, sun / (sun + sky + 1e-6))), 0.5)
        radius = 2.4 if self.second else 1.4
        return Light(place.sun, place.sun_colour, place.harmonics, joints.mean(0), radius, blobs, strength)

    def _joints(self, camera: Camera, bones: ndarray) -> tuple[Float[ndarray, "17 2"], Bool[ndarray, " 17"]]:
        """Where the joints are in what was drawn last, and which of them are seen."""
        size, times = self._renderer.size, self._renderer.times
        pixels, depth = camera.project(self.performer.body.joints(bones), size)
        column, row = np.round((pixels + 0.5) * times - 0.5).astype(int).clip(0, size * times - 1).T
        inside = (pixels > -0.5).all(1) & (pixels < size - 0.5).all(1)
        surface = self._renderer.surface_depth()[row, column]
        return pixels.astype(np.float32), inside & ((surface == 0) | (surface > depth - COVER))


def _frame_person(rng: Generator, joints: ndarray, later: ndarray) -> tuple[Camera, float]:
    """A camera that sees enough of a person at the beginning, and mostly at the end of a shot too."""
    for attempt in range(TRIES):
        camera, share = random_camera(rng, joints + HEAD_TOP)
        first, last = (int((np.abs(camera.project(j, 1)[0]) < 0.5).all(1).sum()) for j in (joints, later))
        if first >= LEAST_JOINTS and (last >= LEAST_JOINTS or attempt > TRIES // 2):
            return camera, share
    return _frame_person(rng, joints, joints)
