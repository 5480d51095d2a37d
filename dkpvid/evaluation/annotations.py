"""Annotated images as one value, whatever format they came in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray

from dkpvid.errors import DataError
from dkpvid.shapes import Bool, Float, Int
from dkpvid.video.images import IMAGE_SUFFIXES


@dataclass(frozen=True)
class ImageSource:
    """Where one annotated image is."""

    path: Path
    """A picture, or a video."""
    frame: int | None = None
    """Position among the video's decoded frames, from 0; None = the path is the picture itself."""
    mask: Path | None = None
    """A picture of what belongs to the subject; the rest is painted grey."""


@dataclass(frozen=True, eq=False)
class Annotations:
    """Images and where their joints are; the arrays share their first axis."""

    sources: tuple[ImageSource, ...]
    xy: Float[ndarray, "row joint 2"]
    """NaN = not annotated. In pixels; the papers' sets keep the units of their files."""
    names: tuple[str, ...]
    """Of the joints."""
    group_names: tuple[str, ...]
    groups: Int[ndarray, " row"]
    """Which of the groups, mostly videos, a row belongs to. Rows of one group are alike."""
    body_size: Float[ndarray, " row"]
    """Longer side of the subject's box, in pixels: the yardstick of errors."""
    is_test: Bool[ndarray, " row"] | None = None
    """The split, where the set comes with one."""

    def __post_init__(self) -> None:
        rows = len(self.sources)
        if self.xy.shape != (rows, len(self.names), 2):
            raise ValueError(f"xy must be {(rows, len(self.names), 2)}, got {self.xy.shape}")
        for name in ("groups", "body_size", "is_test"):
            value = getattr(self, name)
            if value is not None and value.shape != (rows,):
                raise ValueError(f"{name} must be {(rows,)}, got {value.shape}")

    def __len__(self) -> int:
        return len(self.sources)


class Pictures:
    """Finds the pictures that annotations name: their suffix, and the folders in front, may have changed.

    Args:
        folders: Where the names may start from.
        searched: A folder that is searched to any depth for a name that none of them has.
        annotations: For the error message.
    """

    def __init__(self, folders: Sequence[Path], searched: Path | None, annotations: Path) -> None:
        self._folders = folders
        self._annotations = annotations
        self._by_stem: dict[str, list[Path]] = {}
        for path in sorted(searched.rglob("*")) if searched else ():
            if path.suffix.lower() in IMAGE_SUFFIXES:
                self._by_stem.setdefault(path.stem, []).append(path)

    def find(self, label: str) -> Path:
        """The picture of that name.

        Raises:
            DataError: there is none, or the search finds several.
        """
        # Only downwards: a name in a file must not lead elsewhere.
        parts = [part for part in label.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        if not parts or len(label) > 1000 or "\0" in label:
            raise DataError(f"{self._annotations}: {label[:100]!r} names no picture")
        # The picture's own folder stays in the name: other folders have an img001 too.
        tails = [Path(*parts[start:]) for start in range(max(len(parts) - 1, 1))]
        for path in (folder / tail for tail in tails for folder in self._folders):
            for candidate in (path, *(path.with_suffix(suffix) for suffix in sorted(IMAGE_SUFFIXES))):
                if candidate.is_file():
                    return candidate
        found = self._by_stem.get(tails[0].stem, [])
        if len(found) == 1:
            return found[0]
        why = f"is there {len(found)} times, such as {found[0]}" if found else "is missing"
        raise DataError(
            f"{self._annotations}: its picture {label} {why}; say where the pictures are with --videos"
        )


def joint_box(xy: Float[ndarray, "row joint 2"]) -> Float[ndarray, "row 2 2"]:
    """The corners of the box around each row's joints; NaN where there are none."""
    is_empty = np.isnan(xy).all(axis=1, keepdims=True)
    filled = np.where(is_empty, 0.0, xy)
    box = np.stack([np.nanmin(filled, axis=1), np.nanmax(filled, axis=1)], axis=1)
    return np.where(is_empty, np.nan, box)


def body_length(xy: Float[ndarray, "row joint 2"]) -> Float[ndarray, " row"]:
    """How long the body of one video's subject is, in pixels: the 90th percentile of its box's longer side.

    So bending down, or a foot that is hidden now and then, does not shrink the yardstick.
    """
    sizes = np.ptp(joint_box(xy), axis=1).max(axis=1)
    known = sizes[~np.isnan(sizes)]
    return np.full(len(xy), np.percentile(known, 90) if len(known) else np.nan)
