"""Reading pose arrays beside clips.

The coordinates become dkpvid's: pixels, x right, y down, the centre of the top-left pixel is (0, 0).
"""

from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from dkpvid.errors import DataError
from dkpvid.evaluation.annotations import Annotations, ImageSource, body_length
from dkpvid.video.folders import look_into
from dkpvid.video.images import images_in

POSE_SUFFIX = ".pose.npz"
MIN_SCORE = 0.3
"""Joints of a pose array below it are not used."""
MAX_FLIP_DISTANCE = 0.05
"""Nor are those that move by more than this share of the person's length when the picture is mirrored."""


def read_poses(files: Sequence[Path], media: Path) -> Annotations:
    """Read `<clip>.pose.npz` files: keypoints [frame, joint, (x, y, score)], names, frames, flip_dist.

    Their (0, 0) is the top-left corner, half a pixel from dkpvid's. Joints with a low score, or that the
    network saw elsewhere in the mirrored picture, count as not annotated.

    Args:
        files: One per clip, all with the same joints.
        media: Holds, at any depth, a clip of the same stem for each.

    Raises:
        DataError: a clip is missing, or a file is damaged.
    """
    clips = {video.name if video.is_dir() else video.stem: video for video in _all_videos(media)}
    sources: list[ImageSource] = []
    xy, body_size, groups = [], [], []
    names: tuple[str, ...] = ()
    for group, file in enumerate(files):
        stem = _pose_stem(file)
        if stem not in clips:
            raise DataError(f"{file}: no video {stem}.* below {media}; say where it is with --videos")
        try:
            with np.load(file, allow_pickle=False) as content:
                keypoints = content["keypoints"].astype(float)
                frames = [int(frame) for frame in content["frames"]]
                found_names = tuple(str(name) for name in content["names"])
                flip_distance = content["flip_dist"].astype(float) if "flip_dist" in content else None
        except (OSError, ValueError, KeyError, EOFError, TypeError, OverflowError, BadZipFile) as error:
            raise DataError(f"{file} is no pose array: {error}") from None
        if keypoints.shape != (len(frames), len(found_names), 3):
            raise DataError(f"{file}: keypoints are {keypoints.shape}, not [frame, joint, 3]")
        if flip_distance is not None and flip_distance.shape != keypoints.shape[:2]:
            raise DataError(f"{file}: flip_dist is {flip_distance.shape}, not [frame, joint]")
        if names and found_names != names:
            raise DataError(f"{file} has other joints than {files[0]}; evaluate them apart")
        names = found_names
        points = np.where(keypoints[..., 2:] >= MIN_SCORE, keypoints[..., :2] - 0.5, np.nan)
        length = body_length(points)
        if flip_distance is not None:
            points[flip_distance >= MAX_FLIP_DISTANCE * length[:, None]] = np.nan
        sources += [ImageSource(clips[stem], frame) for frame in frames]
        xy.append(points)
        body_size.append(length)
        groups += [group] * len(frames)
    return Annotations(
        sources=tuple(sources),
        xy=np.concatenate(xy),
        names=names,
        group_names=tuple(_pose_stem(file) for file in files),
        groups=np.array(groups),
        body_size=np.concatenate(body_size),
    )


def _pose_stem(file: Path) -> str:
    return file.name.removesuffix(".npz").removesuffix(".pose")


def _all_videos(folder: Path) -> list[Path]:
    """Every video below a folder; a picture in a subfolder may be a strip, so each counts as one too."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give one that holds the videos with --videos")
    videos = look_into(folder).videos
    return [*(strip for video in videos if video.is_dir() for strip in images_in(video)), *videos]
