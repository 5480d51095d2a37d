"""Damaged files of every kind but videos: each is read, or refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dkpvid.checkpoint import load_weights
from dkpvid.errors import DkpvidError
from dkpvid.evaluation.labels import read_annotations
from dkpvid.evaluation.pictures import read_rows
from dkpvid.formats.reading import read_track
from dkpvid.tracking.joints import load_joints
from dkpvid.video.inputs import expand_inputs
from dkpvid.video.reader import VideoReader
from tests.fuzzing import EXTREMES
from tests.video.clips import dot_frame


def mutated(content: bytes, seed: int) -> bytes:
    """The content with one to five places damaged."""
    rng = np.random.default_rng(seed)
    changed = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(0, max(len(changed), 1)))
        match rng.integers(6):
            case 0:
                changed[place : place + 1] = rng.bytes(1)
            case 1:
                changed[place : place + 4] = EXTREMES[rng.integers(len(EXTREMES))]
            case 2:
                del changed[place : place + int(rng.integers(1, 40))]
            case 3:
                changed[place:place] = changed[place : place + 30]
            case 4:
                words = (b"null", b"-1", b"1e999", b"[]", b'""', b"nan", b",", b"\n", b"{", b"9" * 30)
                changed[place : place + 2] = words[rng.integers(len(words))]
            case _:
                del changed[place + len(changed) // 4 :]
    return bytes(changed)


TABLE = b"scorer,me,me,me,me\nbodyparts,a,a,b,b\ncoords,x,y,x,y\na.png,1,2,3,4\nb.png,2,3,,\n"
COCO = {
    "categories": [{"id": 1, "keypoints": ["nose", "toe"]}],
    "images": [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "b.png"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "keypoints": [0, 0, 0, 5, 6, 1], "bbox": [0, 0, 3, 10]},
        {"id": 2, "image_id": 8, "category_id": 1, "keypoints": [1, 2, 2, 5, 9, 2]},
    ],
}
JOINTS = {
    "format": "dkpvid-joints/1",
    "model_sha256": "0" * 64,
    "joints": ["nose"],
    "penalty": 1.0,
    "weights": [[0.5, 0.1]],
    "offset": [0.1, 0.2],
    "residual": [[0.1, 0.2, 0.3]],
}


def annotated(path: Path) -> None:
    list(read_rows(read_annotations(path).sources))


def frames_of(path: Path) -> None:
    with VideoReader(path) as video:
        list(video)


READERS: dict[str, Callable[[Path], object]] = {
    "CollectedData_me.csv": annotated,
    "set.json": annotated,
    "clip.pose.npz": annotated,
    "list.txt": lambda path: expand_inputs([str(path)]),
    "picture.png": frames_of,
    "animation.gif": frames_of,
    "animation.webp": frames_of,
    "stack.tif": frames_of,
    "picture.jpg": frames_of,
    "clip.dkp.json": read_track,
    "joints.json": lambda path: load_joints(path, "0" * 64),
    "tiny.safetensors": lambda path: load_weights(str(path)),
}


def original(name: str, folder: Path, weights: Path) -> bytes:
    """A good file of that kind."""
    path = folder / name
    pictures = [Image.fromarray(dot_frame(index, 48, 32)) for index in range(3)]
    match name:
        case "CollectedData_me.csv":
            return TABLE
        case "set.json":
            return json.dumps(COCO).encode()
        case "list.txt":
            return b"# mine\n'a.png'\nb.png  # two\n"
        case "joints.json":
            return json.dumps(JOINTS).encode()
        case "clip.dkp.json":
            return b'{"schema":"dkpvid/1","source":{"path":"a"},"model":{},"frames":[{"type":"frame"}]}'
        case "tiny.safetensors":
            return weights.read_bytes()[:4000]
        case "clip.pose.npz":
            values = np.zeros((2, 1, 3))
            np.savez(path, keypoints=values, frames=np.arange(2), names=np.array(["nose"]))
        case "picture.png" | "picture.jpg":
            pictures[0].save(path)
        case _:
            pictures[0].save(path, save_all=True, append_images=pictures[1:])
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore")  # of what is damaged: they are no errors to a user
@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(("first", "last"), [(0, 40), pytest.param(40, 540, marks=pytest.mark.slow)])
def test_damaged_files(tiny_weights: Path, tmp_path: Path, name: str, first: int, last: int) -> None:
    content = original(name, tmp_path, tiny_weights)
    for picture in ("a.png", "b.png", "clip/1.png", "clip/2.png"):
        (tmp_path / picture).parent.mkdir(exist_ok=True)
        Image.fromarray(dot_frame(0, 48, 32)).save(tmp_path / picture)
    for seed in range(first, last):
        (tmp_path / name).write_bytes(mutated(content, seed))
        try:
            READERS[name](tmp_path / name)
        except DkpvidError as error:
            assert "\n" not in str(error) and str(error), f"seed {seed}"
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
