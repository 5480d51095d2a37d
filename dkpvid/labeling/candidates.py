"""Looking for frames to label: through videos with the detector, or through a track for doubtful joints."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray

from dkpvid.errors import DataError, UsageError, VideoError
from dkpvid.formats.reading import read_track
from dkpvid.labeling.choosing import SMALLEST_GAP, Candidates, combined
from dkpvid.shapes import Float
from dkpvid.structures import Frame, Track
from dkpvid.tracking.detect import Detector, detect
from dkpvid.video.reader import VideoReader
from dkpvid.video.resize import frame_to_square, to_square
from dkpvid.video.sources import Source

MOST_CANDIDATES = 3000
"""Frames that are looked at in all videos together, evenly spread: more would not differ more."""
_FEWEST_OF_A_VIDEO = 30
"""But so many of each."""
_THUMBNAIL = 16
"""Side of the pictures whose appearance is compared, in pixels."""
_SHARE_IN_DOUBT = 0.34
"""Of a track's frames, the most doubtful are what corrections are chosen from."""
_FEWEST_IN_DOUBT = 5
"""But so many times as many as are wanted, that there is something to choose."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """What was seen of one video."""

    video: str
    """As the user named it."""
    width: int
    height: int
    """In pixels."""
    track: Track
    """Frames that may be chosen, with their keypoints."""
    names: tuple[str, ...] = ()
    """Of the joints in the track."""
    thumbnails: Float[ndarray, "frame value"] | None = None
    """Small pictures of the frames, flat."""


def look_through(
    video: Source,
    detector: Detector,
    *,
    num_videos: int = 1,
    batch_size: int = 32,
    on_frame: Callable[[int, int | None], None] = lambda done, total: None,
) -> Sighting:
    """Find the keypoints in a video's frames, or in an evenly spread part of them when there are very many.

    Args:
        video: Can be read more than once.
        detector: The model.
        num_videos: How many videos share the candidates.
        batch_size: Frames per forward pass.
        on_frame: Told how many frames were looked at, and of about how many.

    Raises:
        VideoError: the video cannot be read, or holds no frame.
    """
    thumbnails: list[ndarray] = []
    with VideoReader(video) as reader:
        info = reader.info
        most = max(MOST_CANDIDATES // num_videos, _FEWEST_OF_A_VIDEO)
        stride = -(-(info.num_frames_estimate or 0) // most) or 1
        about = info.num_frames_estimate and -(-info.num_frames_estimate // stride)

        def looked_at() -> Iterator[Frame]:
            for frame in reader:
                if frame.index % stride == 0:
                    square = frame_to_square(frame, detector.image_size)
                    thumbnails.append(to_square(square, _THUMBNAIL).ravel().astype(float))
                    yield frame

        pieces = []
        for piece in detect(detector, looked_at(), batch_size=batch_size):
            pieces.append(piece)
            on_frame(sum(map(len, pieces)), about)
    if not pieces:
        raise VideoError(f"{video.name}: no frame could be decoded")
    return Sighting(
        video.path, info.width, info.height, Track.concatenate(pieces), thumbnails=np.stack(thumbnails)
    )


def read_doubts(path: Path, video: str | None) -> Sighting:
    """What a track of named joints offers for correction.

    Args:
        path: What `dkpvid track --joints` wrote, as JSON or JSON Lines.
        video: Where the video is; None = where the track says, or beside the track.

    Raises:
        UsageError: the track has no joints.
        DataError: the track cannot be read, or its video is not there.
    """
    file = read_track(path)
    if not file.header.joints or file.track.joints is None:
        raise UsageError(f"{path} has no named joints; make it with `dkpvid track --joints joints.json`")
    source = file.header.source
    told = Path(source.path)
    places = [Path(video)] if video else [told, path.parent / told.name]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise DataError(f"{places[0]}: the video of {path} is not there; name it: --correct TRACK VIDEO")
    return Sighting(str(found), source.width, source.height, file.track, file.header.joints)


def candidates_of(sightings: Sequence[Sighting]) -> Candidates:
    """The frames of videos that were looked through, alike by keypoints and appearance."""
    shares = np.concatenate([_shares(sighting.track.xy, sighting) for sighting in sightings])
    thumbnails = [sighting.thumbnails for sighting in sightings if sighting.thumbnails is not None]
    confidence = np.nan_to_num(np.concatenate([sighting.track.confidence for sighting in sightings]))
    doubt = 1 - confidence.mean(axis=1)
    return Candidates(
        video=np.repeat(np.arange(len(sightings)), [len(sighting.track) for sighting in sightings]),
        index=np.concatenate([sighting.track.index for sighting in sightings]),
        features=combined(shares, np.concatenate(thumbnails)),
        doubt=doubt,
        notes=tuple(
            f"mean confidence {1 - value:.2f}, lower than in {100 * rank:.0f} % of the frames"
            for value, rank in zip(doubt, _rank(doubt), strict=True)
        ),
    )


def candidates_to_correct(sighting: Sighting, count: int, taken: Sequence[int] = ()) -> Candidates:
    """The frames of a track whose joints are least certain or jump most, alike by the joints' places.

    Args:
        sighting: By `read_doubts`.
        count: How many are to be chosen of them.
        taken: Frames that are labelled already; neither they nor their neighbours are offered.
    """
    joints = sighting.track.joints
    assert joints is not None  # read_doubts saw to it
    confidence, jump = np.nan_to_num(joints.confidence), jumps(joints)
    uncertain, jumping = _rank(1 - confidence.min(axis=1)), _rank(jump.max(axis=1))
    doubt = np.maximum(uncertain, jumping)
    away = abs(joints.index[:, None] - np.array(taken, dtype=np.int64)).min(axis=1, initial=SMALLEST_GAP)
    free = np.flatnonzero(away >= SMALLEST_GAP)
    wanted = max(round(_SHARE_IN_DOUBT * len(free)), _FEWEST_IN_DOUBT * count)
    rows = np.sort(free[np.argsort(-doubt[free], kind="stable")[:wanted]])
    return Candidates(
        video=np.zeros(len(rows), dtype=np.int64),
        index=joints.index[rows],
        features=combined(_shares(joints.xy[rows], sighting), None),
        doubt=doubt[rows],
        notes=tuple(
            f"{sighting.names[jump[row].argmax()]} jumps by {jump[row].max():.0f} px"
            if jumping[row] > uncertain[row]
            else f"{sighting.names[confidence[row].argmin()]} has confidence {confidence[row].min():.2f} only"
            for row in rows
        ),
    )


def jumps(track: Track) -> Float[ndarray, "frame point"]:
    """How far each point lies from halfway between its places in the frames before and after, in pixels."""
    off = np.zeros(track.confidence.shape)
    off[1:-1] = np.linalg.norm(track.xy[1:-1] - (track.xy[:-2] + track.xy[2:]) / 2, axis=2)
    return np.nan_to_num(off)


def _rank(values: Float[ndarray, " frame"]) -> Float[ndarray, " frame"]:
    """0 for the smallest, 1 for the largest; ties share the rank of the first of them."""
    ranks: ndarray = np.searchsorted(np.sort(values), values) / max(len(values) - 1, 1)
    return ranks


def _shares(xy: Float[ndarray, "frame point 2"], sighting: Sighting) -> Float[ndarray, "frame point 2"]:
    shares: ndarray = (xy + 0.5) / [sighting.width, sighting.height]
    return shares
