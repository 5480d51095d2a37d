"""What a camera and a video make of light: exposure, tones, colours, blur, few pixels, compression, grain."""

from io import BytesIO

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from PIL import Image
from scipy.ndimage import gaussian_filter

from dkpvid.shapes import Bool, Float

BRIGHTEST = 0.9
"""Of a person, in units of light before the tone curve."""


class Lens:
    """How one shot is taken; the exposure is set by its first picture."""

    def __init__(self, rng: Generator, size: int, darkest: float) -> None:
        """Choose a camera.

        Args:
            rng: Decides, and makes the grain.
            size: Pixels a side.
            darkest: How dark a person may be, as BRIGHTEST; darker ones are lit.
        """
        self._rng, self._size, self._darkest = rng, size, darkest
        self._exposure = 0.22 * np.exp(rng.normal(0, 0.3))
        self._white = np.exp(rng.normal(0, 0.06, 3)).astype(np.float32)
        self._saturation, self._contrast = np.exp(rng.normal(0, [0.2, 0.1])).astype(np.float32)
        self._grain = np.float32(rng.choice([0.004, 0.01, 0.022], p=[0.4, 0.4, 0.2]))
        self._softness = float(rng.choice([0, 0.5, 0.9], p=[0.5, 0.35, 0.15]))
        self._pixels = int(size * rng.uniform(0.35, 0.8)) if rng.random() < 0.18 else 0
        self._gain: tuple[float, float] | None = None

    def take(
        self,
        behind: Float[ndarray, "size size 3"],
        front: Float[ndarray, "size size 3"],
        person: Bool[ndarray, "size size"],
    ) -> Float[ndarray, "size size 3"]:
        """A picture in 0..1 (sRGB).

        Args:
            behind: Linear light of the background, where it is seen.
            front: Of people and things.
            person: Where they are: they get a light of their own where they would be black or burnt.
        """
        if self._gain is None:
            gain = self._exposure / max(float(np.median((behind + front).mean(2))), 1e-4)
            light = gain * float(np.quantile(front.mean(2)[person], 0.85)) if person.any() else 0.3
            wanted = np.clip(light, self._darkest, BRIGHTEST)
            self._gain = gain, float(np.clip(wanted / max(light, 1e-4), 0.4, 2.5))
        return self._develop(self._gain[0] * (behind + front * self._gain[1]))

    def _develop(self, linear: ndarray) -> Float[ndarray, "size size 3"]:
        rgb = linear.astype(np.float32) * self._white
        rgb = np.clip(rgb * (1 + rgb / 9) / (1 + rgb) * 1.15, 0, 1) ** np.float32(1 / 2.2)
        grey = rgb.mean(2, keepdims=True)
        rgb = (grey + (rgb - grey) * self._saturation - 0.5) * self._contrast + 0.5
        if self._pixels:
            rgb = self._enlarge(rgb)
        if self._softness:
            rgb = gaussian_filter(rgb, (self._softness, self._softness, 0))
        shared = self._rng.standard_normal((*rgb.shape[:2], 1), np.float32)
        own = self._rng.standard_normal(rgb.shape, np.float32)
        return np.clip(rgb + self._grain * (shared + np.float32(0.4) * own), 0, 1)

    def _enlarge(self, rgb: ndarray) -> Float[ndarray, "size size 3"]:
        """Shrunk, compressed and enlarged again, as small videos are."""
        full = Image.fromarray((255 * rgb.clip(0, 1)).astype(np.uint8))
        coded = BytesIO()
        small = full.resize((self._pixels, self._pixels), Image.Resampling.BOX)
        small.save(coded, "JPEG", quality=int(self._rng.integers(30, 90)))
        smooth = Image.Resampling.BILINEAR if self._rng.random() < 0.5 else Image.Resampling.BICUBIC
        return np.asarray(Image.open(coded).resize((self._size, self._size), smooth), np.float32) / 255
