"""The folder of packed assets: motion, garments, textures, skins, panoramas. Its README says more."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy import ndarray
from PIL import Image

from dkpvid.errors import UsageError
from dkpvid.shapes import UInt8

TEXTURE = 256
"""Pixels a side of every texture of a person."""


@dataclass(frozen=True)
class Assets:
    """A folder of assets; files are read once."""

    root: Path

    def __post_init__(self) -> None:
        missing = [name for name in ("meshes", "motion", "panoramas") if not (self.root / name).is_dir()]
        if missing:
            raise UsageError(
                f"{self.root} has no folder {missing[0]!r}: "
                "name the folder of the packed assets (meshes, motion, panoramas, skins, textures)"
            )

    def arrays(self, folder: str, name: str) -> dict[str, ndarray]:
        """All arrays of an .npz file."""
        return _arrays(self.root / folder / f"{name}.npz")

    def texture(self, folder: str, name: str) -> UInt8[ndarray, "256 256 4"]:
        """A picture as RGBA texture, the bottom row first."""
        return _texture(self.root / folder / name)

    def texture_name(self, garment: str) -> str | None:
        """File name of a garment's texture: its colours, or (`_ao`) only how it is shaded; some have none."""
        names = (garment + end for end in (".jpg", ".png", "_ao.jpg"))
        return next((name for name in names if (self.root / "textures" / name).exists()), None)

    def skins(self) -> list[str]:
        """File names of all skins, which tell age, tone and sex."""
        return sorted(path.name for path in (self.root / "skins").glob("*.jpg"))


@lru_cache(None)
def _arrays(path: Path) -> dict[str, ndarray]:
    with np.load(path) as packed:
        return dict(packed)


@lru_cache(None)
def _texture(path: Path) -> ndarray:
    picture = Image.open(path).convert("RGBA").resize((TEXTURE, TEXTURE), Image.Resampling.BOX)
    return np.asarray(picture)[::-1].copy()
