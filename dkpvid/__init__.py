"""Learn the keypoints of whatever moves in your videos without a label, and track them.

    model = dkpvid.load_model()
    track = dkpvid.track("clip.mp4", model)
    track.save("clip.dkp.json")

`dkpvid.api` describes the names below; they are loaded when they are first used, as torch takes seconds.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_OFFERED = ("Track", "distill", "load_model", "read_track", "track", "train")
__all__ = ["__version__", *_OFFERED]


def __getattr__(name: str) -> Any:
    if name in _OFFERED:
        return getattr(import_module("dkpvid.api"), name)
    raise AttributeError(f"module 'dkpvid' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
