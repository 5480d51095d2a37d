"""A dressed person with a clip and a style: where the bones are at any moment."""

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from dkpvid.shapes import Float
from recipes.people.assets import Assets
from recipes.people.bodies.acting import random_style
from recipes.people.bodies.body import turn
from recipes.people.bodies.motion import Clips, Style, clips, pose, skin
from recipes.people.clothes.wardrobe import dress
from recipes.people.pictures.raster import Actor, Renderer

CLIP_FILES = {"cmu_daz": 0.45, "cmu_asf": 0.45, "poses": 0.1}
"""Motion files and their odds; "poses" do not move."""
TAI_CHI_STYLE = 0.7
"""Share of the shots of people in tai-chi suits in which they do it."""
SPARSE = slice(None, None, 7)
"""Of the vertices: enough to find the lowest."""


class Performer:
    """Somebody dressed who acts. Call `act` before `bones`."""

    def __init__(self, rng: Generator, assets: Assets, renderer: Renderer, theme: str) -> None:
        self.assets, self.theme = assets, theme
        self._person = dress(rng, assets, theme)
        self.body = self._person.body
        self.actor = Actor(renderer, self._person.soup)
        self.place = np.zeros(3)
        """Where the hips are at the beginning, on the ground."""

    def act(self, rng: Generator, seconds: float) -> None:
        """Choose a clip, a moment and a style for a shot of that length; a still pose only if that is 0."""
        odds = np.array(list(CLIP_FILES.values())) * [1, 1, seconds == 0]
        source = clips(self.assets, str(rng.choice(list(CLIP_FILES), p=odds / odds.sum())))
        clip, pace = int(rng.choice(source.usable)), float(rng.choice([0.7, 1.0, 1.3]))
        begin = float(rng.uniform(0, max(source.seconds(clip) - seconds * pace, 0)))
        tai_chi = self.theme == "tai-chi" and rng.random() < TAI_CHI_STYLE
        style = random_style(rng, self.body, tai_chi, self._person.thickness)
        follow = float(rng.choice([0.0, 0.3, 1.0]))
        self.perform(source, clip, begin, pace, style, rng.uniform(0, 2 * np.pi), follow)

    def perform(
        self,
        source: Clips,
        clip: int,
        begin: float = 0.0,
        pace: float = 1.0,
        style: Style | None = None,
        heading: float = 0.0,
        follow: float = 1.0,
    ) -> None:
        """Play a clip.

        Args:
            source: Has it.
            clip: Its number.
            begin: Seconds into the clip at time 0.
            pace: How fast it is played.
            style: What is done on top of it.
            heading: Turn about the vertical, radians.
            follow: Share of the way that the clip walks.
        """
        self._source, self._clip, self._begin, self._pace = source, clip, begin, pace
        self._turn, self._follow, self.style = turn([0, 1, 0], heading), follow, style or Style()

    def bones(self, seconds: float) -> Float[ndarray, "bone 3 4"]:
        """Bone matrices in the world at a moment of the shot, the lowest point on the ground."""
        moment = self._begin + seconds * self._pace
        bones = self._turn @ pose(self.body, self._source, self._clip, moment, self.style)
        soup = self._person.soup
        low = skin(bones, soup.position[SPARSE], soup.bone[SPARSE], soup.weight[SPARSE])[:, 1].min()
        hips = bones[0, :, :3] @ self.body.heads[0] + bones[0, :, 3]
        way = self._source.hips(self._clip, moment) - self._source.hips(self._clip, self._begin)
        walked = self._follow * (self._turn @ way) * [1, 0, 1]
        bones[:, :, 3] += self.place - [hips[0], low, hips[2]] + walked
        return bones
