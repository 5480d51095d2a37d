"""The folder of a labelling: which frames, their pictures, and what was saved about them.

    labels/
      labels.html                                   the page
      frames.json                                   which frames of which videos, and why
      labeled-data/VIDEO/img0042.png                a frame, as large as in the video
      labeled-data/VIDEO/CollectedData_dkpvid.csv   its joints, as DeepLabCut keeps them
      labels.coco.json                              all joints as COCO keypoints

The page writes the last two, by `dkpvid.labeling.server` or as a download.
"""

import json
import math
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy import ndarray

from dkpvid.errors import DataError, UsageError
from dkpvid.evaluation.label_tables import read_tables
from dkpvid.files import parse_json, write_then_rename
from dkpvid.shapes import Int

SCORER = "dkpvid"
"""What DeepLabCut calls the person who labelled; part of the tables' names."""
PAGE = "labels.html"
FRAMES = "frames.json"
COCO = "labels.coco.json"
PICTURES = "labeled-data"
_FORMAT = "dkpvid-labeling/1"

JointState = tuple[float, float] | Literal["hidden"] | None
"""(x, y) in pixels of the frame; not visible; not labelled yet."""


@dataclass(frozen=True)
class LabelFrame:
    """A frame to label."""

    image: str
    """Its picture, relative to the folder, with forward slashes."""
    video: str
    """As the user named it."""
    index: int
    """Position among the video's decoded frames, from 0."""
    time_seconds: float
    width: int
    height: int
    """In pixels."""
    reason: str
    """Why it was chosen."""
    round: int = 1
    """Which choice it came with, from 1."""
    hints: tuple[tuple[float, float, float], ...] = ()
    """(x, y, confidence) of tracked keypoints, in pixels."""
    predicted: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Named joints that are to be corrected, in pixels."""

    @property
    def table(self) -> str:
        """The CSV that holds its joints, relative to the folder."""
        return str(PurePosixPath(self.image).parent / f"CollectedData_{SCORER}.csv")


@dataclass(frozen=True)
class Labeling:
    """What is to be labelled, and what was labelled so far."""

    identity: str
    """Tells this labelling from others in the browser's memory."""
    names: tuple[str, ...]
    """Of the joints."""
    frames: tuple[LabelFrame, ...]
    joints: tuple[tuple[JointState, ...], ...]
    """What was saved: one entry per frame, of one per name."""

    @property
    def num_rounds(self) -> int:
        """How often frames were chosen."""
        return max((frame.round for frame in self.frames), default=0)

    @property
    def num_untouched(self) -> int:
        """Frames without a single label."""
        return sum(all(joint is None for joint in row) for row in self.joints)

    @property
    def tables(self) -> list[str]:
        """The CSV files that hold the joints, relative to the folder."""
        return sorted({frame.table for frame in self.frames})


def read_labeling(folder: Path, names: tuple[str, ...] = ()) -> Labeling:
    """Read what is there; a folder that does not exist is a new labelling without frames.

    Args:
        folder: Of a labelling.
        names: Of joints to label besides those that the folder knows.

    Raises:
        UsageError: the folder holds the labels of somebody else.
        DataError: a file in it is damaged.
    """
    # DeepLabCut may have put its H5 beside our CSV.
    tables = sorted(folder.rglob("CollectedData_*"))
    if foreign := [path for path in tables if not path.name.startswith(f"CollectedData_{SCORER}.")]:
        raise UsageError(
            f"{folder} holds labels of its own ({foreign[0].name}); choose another folder with -o"
        )
    if not (folder / FRAMES).is_file():
        return Labeling(secrets.token_hex(8), names, (), ())
    identity, known, frames = _read_frames(folder / FRAMES)
    places = _saved_places(folder, frames)
    hidden = _saved_as_hidden(folder / COCO)
    saved = tuple(dict.fromkeys(name for row in places.values() for name in row))
    all_names = tuple(dict.fromkeys([*(saved or known), *names]))

    def state(frame: LabelFrame, name: str) -> JointState:
        place = places.get(frame.image, {}).get(name)
        return place or ("hidden" if name in hidden.get(frame.image, ()) else None)

    joints = tuple(tuple(state(frame, name) for name in all_names) for frame in frames)
    return Labeling(identity, all_names, frames, joints)


def write_frames(folder: Path, labeling: Labeling) -> None:
    """Write frames.json; the pictures must be there."""
    content = {
        "format": _FORMAT,
        "id": labeling.identity,
        "names": list(labeling.names),
        "frames": [asdict(frame) for frame in labeling.frames],
    }
    with write_then_rename(folder / FRAMES) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def rounds_of(pictures: Sequence[Path], folder: Path) -> Int[ndarray, " picture"]:
    """The round that each picture of a labelling came with; 1 for all in any other folder.

    Raises:
        DataError: the folder's frames.json is damaged.
    """
    frames = _read_frames(folder / FRAMES)[2] if (folder / FRAMES).is_file() else ()
    rounds = {picture_path(folder.resolve(), frame): frame.round for frame in frames}
    return np.array([rounds.get(picture.resolve(), 1) for picture in pictures], dtype=np.int64)


def picture_path(folder: Path, frame: LabelFrame) -> Path:
    """Where a frame's picture is."""
    return folder.joinpath(*PurePosixPath(frame.image).parts)


def _read_frames(path: Path) -> tuple[str, tuple[str, ...], tuple[LabelFrame, ...]]:
    """Identity, names of joints, and frames."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"its format is {content['format']!r}, not {_FORMAT!r}")
        names = tuple(str(name) for name in content["names"])
        return str(content["id"]), names, tuple(_frame(entry) for entry in content["frames"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error}); label into another folder with -o") from None


def _frame(entry: dict[str, Any]) -> LabelFrame:
    image = PurePosixPath(str(entry["image"]))
    # A folder may come from somebody else: its names must not lead out of it.
    if len(image.parts) != 3 or image.parts[0] != PICTURES or ".." in image.parts or "\\" in str(image):
        raise ValueError(f"{str(image)[:100]!r} is no picture of {PICTURES}")
    return LabelFrame(
        image=str(image),
        video=str(entry["video"]),
        index=int(entry["index"]),
        time_seconds=float(entry["time_seconds"]),
        width=int(entry["width"]),
        height=int(entry["height"]),
        reason=str(entry["reason"]),
        round=int(entry["round"]),
        hints=tuple((float(x), float(y), float(confidence)) for x, y, confidence in entry["hints"]),
        predicted={str(name): (float(x), float(y)) for name, (x, y) in entry["predicted"].items()},
    )


def _saved_places(folder: Path, frames: tuple[LabelFrame, ...]) -> dict[str, dict[str, JointState]]:
    """By picture and joint; None where there is no place."""
    tables = sorted({folder / frame.table for frame in frames})
    if not (there := [table for table in tables if table.is_file()]):
        return {}
    saved = read_tables(there)
    images = [source.path.relative_to(folder.resolve()).as_posix() for source in saved.sources]
    return {
        image: {
            name: None if math.isnan(x + y) else (x, y) for name, (x, y) in zip(saved.names, row, strict=True)
        }
        for image, row in zip(images, saved.xy.tolist(), strict=True)
    }


def _saved_as_hidden(path: Path) -> dict[str, set[str]]:
    """The joints of each picture that are not visible; the CSV does not tell them from those to be done."""
    if not path.is_file():
        return {}
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        images = {image["id"]: str(image["file_name"]) for image in content["images"]}
        return {
            images[subject["image_id"]]: {str(name) for name in subject["attributes"]["not_visible"]}
            for subject in content["annotations"]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}); save the labels again") from None
