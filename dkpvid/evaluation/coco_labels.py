"""Reading COCO keypoints.

The coordinates become dkpvid's: pixels, x right, y down, the centre of the top-left pixel is (0, 0).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from dkpvid.errors import DataError
from dkpvid.evaluation.annotations import Annotations, ImageSource, Pictures, joint_box
from dkpvid.files import parse_json
from dkpvid.shapes import Float


def read_coco(file: Path, media: Path) -> Annotations:
    """Read a COCO keypoints JSON: one subject a picture, the largest labelled one where there are several.

    Crowds, subjects without a labelled keypoint and those of other categories count for nothing. Pictures of
    one folder are a group, or those of one `vid_id`; where all share one folder, each is its own. Joints are
    taken to be measured from the centre of the top-left pixel, though annotators differ.

    Raises:
        DataError: the file has another layout, an entry of it makes no sense, or a picture is missing.
    """
    content = _content(file)
    names, category = _category(content, file)
    images = {str(image.get("id")): image for image in content["images"]}
    largest: dict[str, _Subject] = {}
    for number, entry in enumerate(content["annotations"]):
        if entry.get("iscrowd") or (category is not None and str(entry.get("category_id")) != category):
            continue
        subject = _subject(entry, len(names), f"{file}: annotation {entry.get('id', f'no. {number}')}")
        if subject is None:
            continue
        image = str(entry.get("image_id"))
        if image not in images:
            raise DataError(f"{file}: annotation {entry.get('id', number)}: there is no image {image[:40]!r}")
        if image not in largest or subject.area > largest[image].area:
            largest[image] = subject
    if not largest:
        raise DataError(f"{file}: no subject in it has a labelled keypoint; label some, or give another file")
    files = [_file_name(images[image], file) for image in largest]
    folders = [
        str(images[image].get("vid_id", Path(name).parent))
        for image, name in zip(largest, files, strict=True)
    ]
    pictures = Pictures([media], media, file)
    keys = folders if len(set(folders)) > 1 else files
    group_names = tuple(sorted(set(keys)))
    return Annotations(
        sources=tuple(ImageSource(pictures.find(name)) for name in files),
        xy=np.stack([subject.xy for subject in largest.values()]),
        names=names,
        group_names=group_names,
        groups=np.array([group_names.index(key) for key in keys], dtype=int),
        body_size=np.array([subject.size for subject in largest.values()]),
    )


@dataclass(frozen=True, eq=False)
class _Subject:
    xy: Float[ndarray, "joint 2"]
    area: float
    size: float


def _content(file: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = parse_json(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise DataError(f"{file} is no COCO keypoints file: no JSON ({error})") from None
    parts = ("images", "annotations", "categories")
    for part in parts:
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"{file} is no COCO keypoints file: {part} is not a list of records")
    return dict(content)


def _category(content: dict[str, list[dict[str, Any]]], file: Path) -> tuple[tuple[str, ...], str | None]:
    """The joints' names, and the category that has them; None where the subjects name none."""
    named = [entry for entry in content["categories"] if isinstance(entry.get("keypoints"), list)]
    for category in (entry for entry in named if entry["keypoints"]):
        number = str(category.get("id"))
        names = tuple(str(name) for name in category["keypoints"])
        subjects = [entry for entry in content["annotations"] if entry.get("keypoints")]
        if any(str(entry.get("category_id")) == number for entry in subjects):
            return names, number
        if subjects and not any("category_id" in entry for entry in subjects):
            return names, None
    raise DataError(
        f"{file} is no COCO keypoints file: no category in it has named keypoints that are labelled; "
        "export keypoints, not boxes"
    )


def _subject(entry: dict[str, Any], num_joints: int, name: str) -> _Subject | None:
    """A subject; None when not one of its keypoints is labelled."""
    if not entry.get("keypoints"):
        return None
    try:
        values = np.array(entry["keypoints"], dtype=float).reshape(-1)
    except (ValueError, TypeError):
        raise DataError(f"{name}: its keypoints are no numbers") from None
    if values.size not in (2 * num_joints, 3 * num_joints):
        raise DataError(
            f"{name}: {values.size} numbers for {num_joints} keypoints; expected x, y, visibility for each"
        )
    table = values.reshape(num_joints, -1)
    is_known = np.isfinite(table[:, :2]).all(1)
    if table.shape[1] == 3:
        is_known &= table[:, 2] > 0
    if not is_known.any():
        return None
    xy = np.where(is_known[:, None], table[:, :2], np.nan)
    width, height = _box(entry) or np.ptp(joint_box(xy[None])[0], axis=0).tolist()
    return _Subject(xy, float(width * height), float(max(width, height)))


def _box(entry: dict[str, Any]) -> tuple[float, float] | None:
    """Width and height of a subject's box; None where it has none, or an empty one."""
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(x, int | float) for x in box):
        return None
    width, height = float(box[2]), float(box[3])
    return (width, height) if 0 < width < np.inf and 0 < height < np.inf else None


def _file_name(image: dict[str, Any], file: Path) -> str:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        raise DataError(f"{file}: image {image.get('id')!r} has no file_name")
    return name
