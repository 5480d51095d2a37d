"""Reading annotations: DeepLabCut, Lightning Pose, COCO, and pose arrays beside clips.

The readers take the coordinates of each format's convention to dkpvid's: pixels, x right, y down, the centre
of the top-left pixel is (0, 0).
"""

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from dkpvid.annotations import Annotations, ImageSource, Pictures, body_length, joint_box
from dkpvid.errors import DataError
from dkpvid.files import parse_json
from dkpvid.pickles import unpickle_arrays
from dkpvid.video.images import images_in
from dkpvid.video.reader import find_videos

POSE_SUFFIX = ".pose.npz"
MIN_SCORE = 0.3
"""Joints of a pose array below it are not used."""
MAX_FLIP_DISTANCE = 0.05
"""Nor are those that move by more than this share of the person's length when the picture is mirrored."""


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
        tables = sorted(data.rglob("CollectedData_*.csv")) or sorted(data.rglob("CollectedData_*.h5"))
        if not tables:
            raise DataError(
                f"{data}: no annotations in this folder; expected *{POSE_SUFFIX}, or CollectedData_*.csv of "
                "DeepLabCut, or name the CSV, JSON or npz file"
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


# --- Pose arrays beside clips -------------------------------------------------------------------------------


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
    videos = find_videos(folder)
    return [*(strip for video in videos if video.is_dir() for strip in images_in(video)), *videos]


# --- DeepLabCut and Lightning Pose --------------------------------------------------------------------------


def read_tables(files: Sequence[Path], media: Path | None = None) -> Annotations:
    """Read label tables with three header rows (scorer, bodyparts, coords), then a row per picture.

    A picture may have another suffix than in the table. Its path is tried below `media`, below the table's
    folder and the folders above it. Pictures of one folder are a group.

    Args:
        files: CSV, or H5, which needs the package h5py; all with the same body parts.
        media: Where the pictures are, when not beside the table.

    Raises:
        DataError: a table has another layout, or a picture is missing.
    """
    names: tuple[str, ...] = ()
    pictures: list[Path] = []
    values: list[list[float]] = []
    for file in files:
        found_names, labels, numbers = (_read_h5 if file.suffix == ".h5" else _read_csv)(file)
        if names and found_names != names:
            raise DataError(f"{file} has other body parts than {files[0]}; evaluate them apart")
        names = found_names
        above = [folder for folder in (media, *file.resolve().parents[:4]) if folder]
        found = Pictures(above, media, file)
        pictures += [found.find(label) for label in labels]
        values += numbers
    xy = np.array(values, dtype=float).reshape(len(pictures), len(names), 2)
    folders = sorted({str(path.parent) for path in pictures})
    groups = np.array([folders.index(str(path.parent)) for path in pictures], dtype=int)
    body_size = np.full(len(pictures), np.nan)
    for group in range(len(folders)):
        body_size[groups == group] = body_length(xy[groups == group])
    return Annotations(
        sources=tuple(ImageSource(path) for path in pictures),
        xy=xy,
        names=names,
        group_names=tuple(Path(folder).name for folder in folders),
        groups=groups,
        body_size=body_size,
    )


_Table = tuple[tuple[str, ...], list[str], list[list[float]]]


def _read_csv(file: Path) -> _Table:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = [row for row in csv.reader(lines) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as CSV: {error}") from None
    heads = [row[0] for row in rows[:4]]
    if heads[1:2] == ["individuals"]:
        raise DataError(f"{file} holds several individuals; dkpvid follows one subject")
    if len(rows) < 4 or heads[:3] != ["scorer", "bodyparts", "coords"]:
        raise DataError(f"{file}: expected the header rows scorer, bodyparts, coords and a row per picture")
    # Newer DeepLabCut spreads the picture's path over three columns, whose headers are empty.
    first = next((i for i, cell in enumerate(rows[2]) if i and cell), len(rows[2]))
    columns = [i for i, cell in enumerate(rows[2]) if cell in ("x", "y")]
    if [rows[2][i] for i in columns] != ["x", "y"] * (len(columns) // 2) or not columns:
        raise DataError(f"{file}: the third row must say x, y for every body part")
    names = tuple(rows[1][i] for i in columns[::2])
    try:
        numbers = [[float(row[i]) if row[i].strip() else np.nan for i in columns] for row in rows[3:]]
    except (ValueError, IndexError) as error:
        raise DataError(f"{file}: a row is not complete, or holds a word for a number ({error})") from None
    return names, ["/".join(row[:first]) for row in rows[3:]], numbers


def _read_h5(file: Path) -> _Table:
    """Read DeepLabCut's H5, or rather the CSV of the same content that is always written beside it."""
    if (beside := file.with_suffix(".csv")).is_file():
        return _read_csv(beside)
    try:
        import h5py
    except ImportError:
        raise DataError(
            f"{file}: reading H5 needs h5py; install dkpvid[h5], or give the CSV of the same name"
        ) from None
    try:
        with h5py.File(file) as content:
            table = content["df_with_missing/table"]
            # HDF5 would follow links and storage to any other file.
            if Path(table.file.filename) != file or table.external or table.is_virtual:
                raise ValueError("it refers to another file")
            labels = [os.fsdecode(label) for label in table["index"]]
            numbers = table["values_block_0"].astype(float)
            kinds = bytes(table.attrs["values_block_0_kind"])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{file}: not in DeepLabCut's table format ({error}); give the CSV") from None
    columns = unpickle_arrays(kinds, f"{file}: its column names")
    if not isinstance(columns, list) or len(columns) != numbers.shape[1]:
        raise DataError(f"{file}: not in DeepLabCut's table format; give the CSV")
    return tuple(str(column[-2]) for column in columns[::2]), labels, numbers.tolist()


# --- COCO ---------------------------------------------------------------------------------------------------


def read_coco(file: Path, media: Path) -> Annotations:
    """Read a COCO keypoints JSON: one subject a picture, the largest where there are several.

    Pictures of one folder are a group, or those of one `vid_id`; where all share one folder, each is its own.
    Joints are taken to be measured from the centre of the top-left pixel, though annotators differ.

    Raises:
        DataError: the file has another layout, or a picture is missing.
    """
    try:
        content: Any = parse_json(file.read_text(encoding="utf-8"))
        images = {image["id"]: image for image in content["images"]}
        names = tuple(str(name) for name in content["categories"][0]["keypoints"])
        largest: dict[Any, Any] = {}
        for subject in content["annotations"]:
            kept = largest.get(subject["image_id"])
            if kept is None or _area(subject) > _area(kept):
                largest[subject["image_id"]] = subject
        triples = np.array([subject["keypoints"] for subject in largest.values()], dtype=float)
        triples = triples.reshape(-1, len(names), 3)
        boxes = [subject.get("bbox") for subject in largest.values()]
        files = [str(images[number]["file_name"]) for number in largest]
        folders = [
            str(images[number].get("vid_id", Path(images[number]["file_name"]).parent)) for number in largest
        ]
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError(f"{file} is no COCO keypoints file: {type(error).__name__} {error}") from None
    xy = np.where(triples[..., 2:] > 0, triples[..., :2], np.nan)
    own = np.ptp(joint_box(xy), axis=1).max(axis=1)
    pictures = Pictures([media], media, file)
    keys = folders if len(set(folders)) > 1 else files
    group_names = tuple(sorted(set(keys)))
    return Annotations(
        sources=tuple(ImageSource(pictures.find(name)) for name in files),
        xy=xy,
        names=names,
        group_names=group_names,
        groups=np.array([group_names.index(key) for key in keys], dtype=int),
        body_size=np.array([max(box[2:]) if box else size for box, size in zip(boxes, own, strict=True)]),
    )


def _area(subject: dict[str, Any]) -> float:
    box = subject.get("bbox") or [0, 0, 0, 0]
    return float(box[2] * box[3])
