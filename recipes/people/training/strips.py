"""Rendered strips in memory: pictures, depth maps, silhouettes and joints, one row a frame."""

from pathlib import Path

import numpy as np
from numpy import ndarray
from PIL import Image

from dkpvid.errors import DataError
from dkpvid.shapes import Bool, Float, Int, UInt8

MARGIN = 3.0
"""A joint so many pixels outside its picture still counts as drawn: clothes and hair show where it is."""
MIN_VISIBLE = 6
"""Joints that have to be seen for a frame to be used."""


class RenderedStrips:
    """Frames of one or more folders that `recipes.people.render` fills, maybe while they are read.

    Args:
        folders: Hold strips, `.depth.png` and `.joints.npz`.
        capacity: Frames that fit; more are passed over.
        side: Of a frame, in pixels.
    """

    def __init__(self, folders: list[Path], capacity: int, side: int = 128) -> None:
        self.side = side
        self.pictures: UInt8[ndarray, "frame 3 side side"] = np.zeros((capacity, 3, side, side), np.uint8)
        self.depth: UInt8[ndarray, "frame side side"] = np.zeros((capacity, side, side), np.uint8)
        """Near = bright, each frame from its farthest to its nearest."""
        self.silhouettes: Bool[ndarray, "frame side side"] = np.zeros((capacity, side, side), bool)
        self.joints: Float[ndarray, "frame joint 2"] = np.zeros((capacity, 17, 2), np.float32)
        """(x, y) in pixels."""
        self.visible: Bool[ndarray, "frame joint"] = np.zeros((capacity, 17), bool)
        self.whole: Int[ndarray, " whole"] = np.zeros(0, np.int64)
        """Numbers of the frames that show nearly all of their person."""
        self.count = 0
        self._folders = folders
        self._seen: set[Path] = set()
        self.read_new()
        if not self.count:
            raise DataError(f"{folders[0]}: no rendered strips; make some with recipes.people.render")

    def read_new(self, limit: int | None = None) -> None:
        """Take up strips that have come since.

        Args:
            limit: Of them, at most so many; None = all.
        """
        paths = [path for folder in self._folders for path in sorted(folder.glob("*.jpg"))]
        for path in [path for path in paths if path not in self._seen][:limit]:
            self._seen.add(path)
            self._read(path)
        joints = self.joints[: self.count]
        inside = ((joints > -MARGIN) & (joints < self.side - 1 + MARGIN)).all(axis=2)
        is_whole = (inside.mean(axis=1) > 0.85) & (self.visible[: self.count].sum(axis=1) > 8)
        self.whole = np.flatnonzero(is_whole)

    def _read(self, path: Path) -> None:
        with np.load(path.with_suffix(".joints.npz"), allow_pickle=False) as truth:
            joints, visible, silhouettes = truth["joints"], truth["visible"], truth["mask"]
        usable = np.flatnonzero(visible.sum(axis=1) >= MIN_VISIBLE)[: len(self.joints) - self.count]
        rows = slice(self.count, self.count + len(usable))
        strip = np.asarray(Image.open(path)).reshape(self.side, -1, self.side, 3)
        depth = np.asarray(Image.open(path.with_suffix(".depth.png"))).reshape(self.side, -1, self.side)
        self.pictures[rows] = strip.transpose(1, 3, 0, 2)[usable]
        self.depth[rows] = depth.transpose(1, 0, 2)[usable]
        self.silhouettes[rows] = silhouettes[usable]
        self.joints[rows], self.visible[rows] = joints[usable], visible[usable]
        self.count += len(usable)
