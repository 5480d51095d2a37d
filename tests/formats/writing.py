"""Tracks and files for the tests of the formats."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from dkpvid.formats import FORMATS
from dkpvid.formats.schema import TrackHeader
from dkpvid.structures import Track
from tests.formats.test_schema import LOST, make_header, make_track

NAMES = ["k00", "k01", "k02", "left ear", "hip"]
"""Of the points of a track with joints."""


def with_joints(rng: np.random.Generator, track: Track) -> tuple[Track, TrackHeader]:
    """Add two named joints, and the header that tells of them."""
    joints = replace(make_track(rng, len(track), num_keypoints=2), raw_xy=None, flags=())
    return replace(track, joints=joints), replace(make_header(), joints=("left ear", "hip"))


def write(
    name: str, folder: Path, track: Track, num_parts: int = 2, header: TrackHeader | None = None
) -> Path:
    """Write a track in parts, as `dkpvid track` does."""
    path = folder / f"clip{FORMATS[name].suffix}"
    writer = FORMATS[name](path, header or make_header())
    for part in np.array_split(np.arange(len(track)), num_parts):
        writer.write(track[slice(part[0], part[-1] + 1)] if len(part) else track[0:0])
    writer.close(LOST)
    return path


def points_of(track: Track) -> tuple[np.ndarray, np.ndarray]:
    """What a reader should find: (frame, point, xy) and (frame, point), keypoints before joints."""
    assert track.joints is not None
    xy = np.concatenate([track.xy, track.joints.xy], axis=1)
    return xy, np.concatenate([track.confidence, track.joints.confidence], axis=1)
