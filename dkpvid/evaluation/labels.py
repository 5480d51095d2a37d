"""Reading an annotated set, in whatever format it is: pose arrays, DeepLabCut, Lightning Pose, COCO."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from dkpvid.errors import DataError
from dkpvid.evaluation.annotations import Annotations
from dkpvid.evaluation.coco_labels import read_coco
from dkpvid.evaluation.label_tables import read_tables, tables_in
from dkpvid.evaluation.pose_arrays import POSE_SUFFIX, read_poses


def read_annotations(data: Path, media: Path | None = None) -> Annotations:
    """Read an annotated set, in whatever format it is.

    Args:
        data: A folder of `.pose.npz` files, or one; a DeepLabCut project or its CollectedData CSV or H5; a
            Lightning Pose CSV; a COCO keypoints JSON.
        media: Where the videos or pictures are, when not beside the annotations; its subfolders are searched.

    Raises:
        DataError: nothing usable is there, or an image is missing.
    """
    if data.is_dir():
        if poses := sorted(data.glob(f"*{POSE_SUFFIX}")):
            return _usable(read_poses(poses, media or data), data)
        tables = tables_in(data)
        if not tables and (data / "labels.html").is_file():
            raise DataError(f"{data}: its frames have no labels yet; open its labels.html, label and save")
        if not tables:
            raise DataError(
                f"{data}: no annotations in this folder; expected *{POSE_SUFFIX}, or CollectedData*.csv of "
                "DeepLabCut or Lightning Pose, or name the CSV, JSON or npz file"
            )
        return _usable(read_tables(tables, media), data)
    if not data.is_file():
        raise DataError(f"{data}: no such file or folder; give annotations")
    readers: dict[str, Callable[[], Annotations]] = {
        ".npz": lambda: read_poses([data], media or data.parent),
        ".csv": lambda: read_tables([data], media),
        ".h5": lambda: read_tables([data], media),
        ".json": lambda: read_coco(data, media or data.parent),
    }
    if data.suffix.lower() not in readers:
        raise DataError(f"{data}: unknown kind of annotations; give a folder, or {', '.join(readers)}")
    return _usable(readers[data.suffix.lower()](), data)


def _usable(annotations: Annotations, data: Path) -> Annotations:
    """Without the rows that have no joint, and without the joints that no row has."""
    known = ~np.isnan(annotations.xy).any(axis=2)
    rows, joints = np.flatnonzero(known.any(axis=1)), np.flatnonzero(known.any(axis=0))
    if not len(rows):
        raise DataError(f"{data}: not a single joint is annotated")
    return replace(
        annotations,
        sources=tuple(annotations.sources[row] for row in rows),
        xy=annotations.xy[np.ix_(rows, joints)],
        names=tuple(annotations.names[joint] for joint in joints),
        groups=annotations.groups[rows],
        body_size=annotations.body_size[rows],
        is_test=None if annotations.is_test is None else annotations.is_test[rows],
    )
