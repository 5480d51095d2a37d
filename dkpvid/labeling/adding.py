"""Adding frames to a labelling: choose them, and keep their pictures."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from dkpvid.errors import UsageError, VideoError
from dkpvid.files import write_then_rename
from dkpvid.labeling.candidates import (
    Sighting,
    candidates_of,
    candidates_to_correct,
    look_through,
    read_doubts,
)
from dkpvid.labeling.choosing import Candidates, Choice, choose_frames
from dkpvid.labeling.folder import PICTURES, LabelFrame, Labeling, picture_path, write_frames
from dkpvid.structures import Frame
from dkpvid.tracking.detect import Detector
from dkpvid.video.reader import VideoReader
from dkpvid.video.sources import Source, find_source


def add_from_videos(
    folder: Path,
    labeling: Labeling,
    videos: Sequence[Source],
    count: int,
    detector: Detector,
    *,
    batch_size: int = 32,
    on_frame: Callable[[str, int, int | None], None] = lambda video, done, total: None,
) -> Labeling:
    """Choose the frames of videos that differ most, and keep their pictures in the folder.

    Args:
        folder: Of the labelling; made when it is not there.
        labeling: What the folder holds.
        videos: Files, folders of frames and the like, which can be read twice.
        count: How many frames to add, in all videos together.
        detector: Tells poses apart, and how sure it is of them.
        batch_size: Frames per forward pass.
        on_frame: Told the video, how many of its frames were looked at, and of about how many.

    Returns:
        The labelling with the new frames, which are fewer where that many without neighbours do not exist.

    Raises:
        UsageError: a video comes once, such as a camera.
        VideoError: a video cannot be read.
    """
    if count < 1:
        return labeling
    for video in videos:
        if video.comes_once:
            raise UsageError(f"{video.name} cannot be read twice, which choosing frames needs; give a file")
    sightings = [
        look_through(
            video,
            detector,
            num_videos=len(videos),
            batch_size=batch_size,
            on_frame=partial(on_frame, video.name),
        )
        for video in videos
    ]
    candidates = candidates_of(sightings)
    return _add(folder, labeling, sightings, candidates, count)


def add_corrections(folder: Path, labeling: Labeling, track: Path, video: str | None, count: int) -> Labeling:
    """Choose the frames where a track's named joints are least certain or jump most, to be corrected.

    Args:
        folder: Of the labelling; made when it is not there.
        labeling: What the folder holds. Its joints should include those of the track.
        track: JSON of `dkpvid track --joints`.
        video: Where its video is; None = where the track says, or beside the track.
        count: How many frames to add.

    Raises:
        UsageError: the track has no named joints, or is of another video.
        DataError: the track or its video cannot be read.
    """
    sighting = read_doubts(track, video)
    names = tuple(dict.fromkeys([*labeling.names, *sighting.names]))
    filled = tuple(row + (None,) * (len(names) - len(row)) for row in labeling.joints)
    labeling = replace(labeling, names=names, joints=filled)
    if count < 1:
        return labeling
    taken = [frame.index for frame in labeling.frames if _place(frame.video) == _place(sighting.video)]
    return _add(folder, labeling, [sighting], candidates_to_correct(sighting, count, taken), count)


def _add(
    folder: Path,
    labeling: Labeling,
    sightings: Sequence[Sighting],
    candidates: Candidates,
    count: int,
) -> Labeling:
    numbers = {_place(sighting.video): number for number, sighting in enumerate(sightings)}
    taken = [
        (numbers[_place(frame.video)], frame.index)
        for frame in labeling.frames
        if _place(frame.video) in numbers
    ]
    choices = choose_frames(candidates, count, taken)
    folders = _picture_folders(labeling, [sighting.video for sighting in sightings])
    added = [
        _label_frame(
            sightings[candidates.video[choice.row]], choice, candidates, folders, labeling.num_rounds
        )
        for choice in choices
    ]
    for sighting in sightings:
        _keep_pictures(folder, [frame for frame in added if frame.video == sighting.video], sighting)
    open_joints = (None,) * len(labeling.names)
    result = replace(
        labeling,
        frames=(*labeling.frames, *added),
        joints=(*labeling.joints, *[open_joints] * len(added)),
    )
    write_frames(folder, result)
    return result


def _label_frame(
    sighting: Sighting, choice: Choice, candidates: Candidates, folders: dict[str, str], num_rounds: int
) -> LabelFrame:
    index = int(candidates.index[choice.row])
    track, row = sighting.track, int(np.flatnonzero(sighting.track.index == index)[0])
    hints = np.concatenate([track.xy[row], track.confidence[row, :, None]], axis=1)
    joints = np.full((0, 2), np.nan) if track.joints is None else track.joints.xy[row]
    return LabelFrame(
        image=str(PurePosixPath(PICTURES, folders[sighting.video], f"img{index:05d}.png")),
        video=sighting.video,
        index=index,
        time_seconds=round(float(track.time_seconds[row]), 4),
        width=sighting.width,
        height=sighting.height,
        reason=choice.reason,
        round=num_rounds + 1,
        hints=tuple((x, y, c) for x, y, c in hints.round(2).tolist() if np.isfinite(x + y)),
        predicted={
            name: (x, y)
            for name, (x, y) in zip(sighting.names, joints.round(2).tolist(), strict=True)
            if np.isfinite(x + y)
        },
    )


def _picture_folders(labeling: Labeling, videos: Sequence[str]) -> dict[str, str]:
    """What the folder of each video's pictures is called: as before, or after the video, but never twice."""
    known = {_place(frame.video): PurePosixPath(frame.image).parts[1] for frame in labeling.frames}
    for video in videos:
        if _place(video) in known:
            continue
        # Folders travel to systems that know fewer characters than this one.
        stem = re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", find_source(video).stem).strip(" .") or "video"
        name, number = stem, 1
        while name.casefold() in {other.casefold() for other in known.values()}:
            number += 1
            name = f"{stem}-{number}"
        known[_place(video)] = name
    return {video: known[_place(video)] for video in videos}


def _place(video: str) -> str:
    """The same for all ways to name a video."""
    return find_source(video).place


def _keep_pictures(folder: Path, frames: Sequence[LabelFrame], sighting: Sighting) -> None:
    wanted = {frame.index: frame for frame in frames}
    for frame in _frames_of(sighting.video, set(wanted)) if wanted else ():
        if frame.size != (sighting.width, sighting.height):
            raise UsageError(
                f"{sighting.video} is {frame.size[0]} x {frame.size[1]}, but its track "
                f"{sighting.width} x {sighting.height}; give the video that was tracked"
            )
        path = picture_path(folder, wanted.pop(frame.index))
        with write_then_rename(path) as temporary:
            Image.fromarray(frame.image).save(temporary, format="PNG")
    if wanted:
        raise VideoError(f"{sighting.video} has no frame {min(wanted)}; was it changed since it was tracked?")


def _frames_of(video: str, wanted: set[int]) -> Iterator[Frame]:
    """The frames at some positions; the video is read up to the last of them."""
    with VideoReader(video) as reader:
        for frame in reader:
            if frame.index in wanted:
                yield frame
            if frame.index >= max(wanted):
                return
