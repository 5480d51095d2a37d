"""The analysis file of SLEAP."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from dkpvid.formats.base import TrackWriter, UnfinishedFile, point_arrays, point_names, strong_edges
from dkpvid.formats.hdf5 import Hdf5File
from dkpvid.formats.schema import TrackHeader
from dkpvid.structures import LostPacket, Track

_LAYOUT = {
    "tracks": ("track", "xy", "node", "frame"),
    "point_scores": ("track", "node", "frame"),
    "instance_scores": ("track", "frame"),
    "tracking_scores": ("track", "frame"),
    "track_occupancy": ("frame", "track"),
}


class SleapAnalysis(TrackWriter):
    """SLEAP's analysis HDF5, in the axis order that SLEAP writes for MATLAB; NaN = not observed.

    A position on the frame axis is the frame's number in the video, so with a later start the file begins
    with NaN (which takes no room). There is one track; nodes are the keypoints, then the named joints;
    edges are the learned ones that are also drawn. `point_scores` are confidences, `instance_scores` their
    mean over the observed points; `tracking_scores` are NaN, as no identities are matched.

    It has no room for times, covariances, flags or lost packets. Needs the extra `h5`.

    Source: `write_tracking_h5.py` of SLEAP, `analysis_h5.py` of sleap-io.
    """

    suffix: ClassVar[str] = ".dkp.sleap.h5"

    def __init__(self, path: Path, header: TrackHeader) -> None:
        self._file = UnfinishedFile(path, lambda temporary: _begin(temporary, header))

    def write(self, track: Track) -> None:
        """Append the frames that follow the ones written before."""
        xy, confidence = point_arrays(track)
        observed = np.isfinite(xy).all(axis=2)
        num_observed = observed.sum(axis=1)
        sum_scores = np.where(observed, confidence, 0).sum(axis=1)
        instance_scores = np.where(num_observed > 0, sum_scores / np.maximum(num_observed, 1), np.nan)

        file = self._file.content.root
        frames = slice(int(track.index[0]), int(track.index[-1]) + 1) if len(track) else slice(0, 0)
        for name, axes in _LAYOUT.items():
            file[name].resize(max(frames.stop, file[name].shape[axes.index("frame")]), axes.index("frame"))
        file["tracks"][0, :, :, frames] = xy.transpose(2, 1, 0)
        file["point_scores"][0, :, frames] = confidence.T
        file["instance_scores"][0, frames] = instance_scores
        file["track_occupancy"][frames, 0] = num_observed > 0
        self._file.content.check()

    def close(self, lost: Sequence[LostPacket]) -> None:
        """Complete the file and give it its final name, replacing what is there."""
        self._file.close()

    def abort(self) -> None:
        """Remove the unfinished file. Does nothing after `close`."""
        self._file.abort()


def _begin(path: Path, header: TrackHeader) -> Hdf5File:
    """The file, complete but for the frames."""
    names, edges = point_names(header), strong_edges(header)
    sizes = {"track": 1, "xy": 2, "node": len(names), "frame": 0}
    whole = Hdf5File(path)
    file = whole.root
    file.attrs["format"] = "analysis"
    file.attrs["preset"] = "matlab"
    for name, axes in _LAYOUT.items():
        is_flag = name == "track_occupancy"
        dataset = file.create_dataset(
            name,
            shape=tuple(sizes[axis] for axis in axes),
            maxshape=tuple(sizes[axis] or None for axis in axes),
            dtype=np.uint8 if is_flag else np.float64,
            fillvalue=0 if is_flag else np.nan,
        )
        dataset.attrs["dims"] = json.dumps(axes)
    encoded = np.array([name.encode() for name in names])
    file["track_names"] = np.array([b"track_0"])
    file["node_names"] = encoded
    file["edge_inds"] = np.array(edges, dtype=np.int64).reshape(-1, 2)
    file["edge_names"] = encoded[file["edge_inds"][:]]
    file["labels_path"] = ""
    file["video_path"] = header.source.path
    file["video_ind"] = 0
    about = {"created_by": header.created_by, "model": header.model_name, "sha256": header.model_sha256}
    file["provenance"] = json.dumps(about)
    return whole
