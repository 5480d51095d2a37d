"""Reading COCO keypoints.

The coordinates become dkpvid's: pixels, x right, y down, the centre of the top-left pixel is (0, 0).
"""

from pathlib import Path
from typing import Any

import numpy as np

from dkpvid.errors import DataError
from dkpvid.evaluation.annotations import Annotations, ImageSource, Pictures, joint_box
from dkpvid.files import parse_json


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
