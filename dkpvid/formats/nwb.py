"""Neurodata Without Borders, with its extension for poses."""

import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy import ndarray

from dkpvid import __version__
from dkpvid.formats.base import TrackWriter, UnfinishedFile, point_arrays, point_names, scorer, strong_edges
from dkpvid.formats.hdf5 import Hdf5File
from dkpvid.formats.schema import COORDINATES, TrackHeader, header_record, to_json
from dkpvid.structures import LostPacket, Track

_CONFIDENCE = "chance that the point lies within 5 % of the tracked region's side of the place given"
_FRAMES_PER_CHUNK = 1024


class NwbFile(TrackWriter):
    """An NWB file with a `PoseEstimation` of ndx-pose in the processing module `behavior`.

    It holds a series per keypoint, then per named joint: places in pixels (NaN = not observed), confidence,
    and the frames' own times, which all series share. Its skeleton has the learned edges that are also drawn.
    The video is linked as an external file, by its path from the NWB file's folder.

    What NWB asks for and a video does not tell: the session starts when the video file was last modified, or
    at the start of 1970 (UTC) where there is no such file; the identifier is made of the file's name and a
    hash of the track's header, so the same job gives the same one.

    It has no room for covariances, flags or lost packets. Needs the extra `nwb`.
    """

    suffix: ClassVar[str] = ".dkp.nwb"

    def __init__(self, path: Path, header: TrackHeader) -> None:
        self._file = UnfinishedFile(path, lambda temporary: _begin(temporary, header, path.parent))
        # Held, as looking them up for every few frames would take longer than filling them.
        root = self._file.content.root
        self._times = root["acquisition/source_video/timestamps"]
        poses = root["processing/behavior/PoseEstimation"]
        self._series = [(poses[name]["data"], poses[name]["confidence"]) for name in _series_names(header)]

    def write(self, track: Track) -> None:
        """Append the frames that follow the ones written before."""
        xy, confidence = point_arrays(track)
        _extend(self._times, track.time_seconds)
        for point, (places, confidences) in enumerate(self._series):
            _extend(places, xy[:, point])
            _extend(confidences, confidence[:, point])
        self._file.content.check()

    def close(self, lost: Sequence[LostPacket]) -> None:
        """Complete the file and give it its final name, replacing what is there."""
        self._file.close()

    def abort(self) -> None:
        """Remove the unfinished file. Does nothing after `close`."""
        self._file.abort()


def _extend(dataset: Any, values: ndarray) -> None:
    start = dataset.shape[0]
    dataset.resize(start + len(values), axis=0)
    dataset[start:] = values


def _series_names(header: TrackHeader) -> list[str]:
    """The points' names without what NWB does not allow in them."""
    return [name.replace("/", "_").replace(":", "_") for name in point_names(header)]


def _begin(path: Path, header: TrackHeader, folder: Path) -> Hdf5File:
    """The file, complete but for the frames: pynwb itself would want all of them at once."""
    from pynwb import NWBHDF5IO

    contents = _contents(header, folder)  # first: it registers ndx-pose, which a file opened before misses
    file = Hdf5File(path)
    try:
        with NWBHDF5IO(file=file.root, mode="w") as writer:
            writer.write(contents)
        file.reopen()
    except OSError:
        file.close()  # raises what came first, such as a full disk, rather than what followed from it
        raise
    return file


def _contents(header: TrackHeader, folder: Path) -> Any:
    from ndx_pose import PoseEstimation, PoseEstimationSeries, Skeleton, Skeletons
    from pynwb import H5DataIO, NWBFile
    from pynwb.image import ImageSeries

    def growing(dtype: type, *shape: int) -> Any:
        empty: ndarray = np.empty((0, *shape), dtype)
        return H5DataIO(empty, maxshape=(None, *shape), chunks=(_FRAMES_PER_CHUNK, *shape))

    source, names = header.source, _series_names(header)
    video = Path(source.path)
    start = datetime.fromtimestamp(video.stat().st_mtime if video.exists() else 0, UTC)
    digest = hashlib.sha256(to_json(header_record(header)).encode()).hexdigest()
    nwb = NWBFile(
        session_description=f"keypoints of {video.name}",
        identifier=f"{video.stem}-{digest[:12]}",
        session_start_time=start,
    )
    images = ImageSeries(
        name="source_video",
        description="The video; the timestamps are those of the frames that were tracked.",
        external_file=[_relative(video, folder)],
        dimension=[source.width, source.height],
        timestamps=growing(np.float64),
        unit="n.a.",
    )
    series = [
        PoseEstimationSeries(
            name=name,
            data=growing(np.float32, 2),
            confidence=growing(np.float32),
            timestamps=images,  # a link
            reference_frame=COORDINATES,
            confidence_definition=_CONFIDENCE,
            description=f"Place of {name}.",
        )
        for name in names
    ]
    nwb.add_acquisition(images)
    edges = np.array(strong_edges(header), dtype=np.uint8).reshape(-1, 2)
    skeleton = Skeleton(name="keypoints", nodes=names, edges=edges)
    poses = PoseEstimation(
        pose_estimation_series=series,
        description=f"Smoothing: {header.smoothing.method}. Weights: sha256 {header.model_sha256}.",
        scorer=scorer(header),
        source_software="dkpvid",
        source_software_version=__version__,
        skeleton=skeleton,
        source_video=images,
    )
    behavior = nwb.create_processing_module("behavior", "Keypoints, learned without labels, over time.")
    behavior.add(Skeletons(skeletons=[skeleton]))
    behavior.add(poses)
    return nwb


def _relative(path: Path, folder: Path) -> str:
    """The path from a folder, as NWB recommends; unchanged where there is no such file."""
    if not path.exists():
        return str(path)
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # on another drive of Windows
        return str(path)
