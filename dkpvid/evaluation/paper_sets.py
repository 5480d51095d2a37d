"""The annotated sets of the papers, in the folders that the reference code of AutoLink reads."""

from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy import ndarray
from scipy.io import loadmat

from dkpvid.errors import DataError
from dkpvid.evaluation.annotations import Annotations, ImageSource
from dkpvid.files import parse_json
from dkpvid.shapes import Float
from dkpvid.untrusted.pickles import arrays_in, unpickle_arrays
from dkpvid.video.images import natural_order

HUMAN36M_TRAIN = (1, 5, 6, 7, 8, 9)
"""Subjects."""
HUMAN36M_TEST = (11,)
HUMAN36M_ACTIONS = ("Directions", "Discussion", "Posing", "Waiting", "Greeting", "Walking")
_MASKS = "BackgroudMask"  # spelt so in the data set

_Part = tuple[list[ImageSource], Float[ndarray, "row joint 2"]]


def read_paper_set(data: Path, protocol: str, with_background: bool = True) -> Annotations:
    """Read the training and the test split of one of the papers' sets.

    Args:
        data: The set's folder.
        protocol: human36m, deepfashion or taichi.
        with_background: human36m only: False paints grey what the set's masks leave out.

    Returns:
        Coordinates in the unit of the files: shares of the image's side for human36m, pixels of 256 x 256
        images for the others.

    Raises:
        DataError: a file or folder is missing, or is not what it should be; the message names it.
    """
    _need(data)
    if protocol == "human36m":
        parts = [_human36m(data, subjects, with_background) for subjects in (HUMAN36M_TRAIN, HUMAN36M_TEST)]
    elif protocol == "deepfashion":
        parts = [_deepfashion(data, split) for split in ("train", "test")]
    else:
        parts = [_taichi(data, split) for split in ("train", "test")]
    (train, train_xy), (test, test_xy) = parts
    if train_xy.shape[1:] != test_xy.shape[1:]:
        raise DataError(
            f"{data}: {train_xy.shape[1]} joints in the training split, {test_xy.shape[1]} in the test"
        )
    rows, joints = len(train) + len(test), train_xy.shape[1]
    return Annotations(
        sources=(*train, *test),
        xy=np.concatenate([train_xy, test_xy]),
        names=tuple(str(joint) for joint in range(joints)),
        group_names=("train", "test"),
        groups=(np.arange(rows) >= len(train)).astype(int),
        body_size=np.ones(rows),
        is_test=np.arange(rows) >= len(train),
    )


def _need(path: Path) -> Path:
    if not path.exists():
        raise DataError(f"{path} is missing; `dkpvid eval --help` says what the set's folder must hold")
    return path


def _picture(folder: Path, name: str) -> Path:
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError(f"{folder}: the annotations name a picture outside of it, {name}")
    return _need(folder / name)


def _human36m(data: Path, subjects: Sequence[int], with_background: bool) -> _Part:
    """`S<n>/WithBackground/<action>/<i>.jpg`, `S<n>/BackgroudMask/...png`, `S<n>/Landmarks/...mat`."""
    sources, xy = [], []
    for subject in subjects:
        folder = data / f"S{subject}"
        for action in natural_order(_need(folder / "WithBackground").iterdir()):
            if not action.name.startswith(HUMAN36M_ACTIONS):
                continue
            for picture in natural_order(action.glob("*.jpg")):
                place = Path(action.name, picture.stem)
                mask = None if with_background else _need(folder / _MASKS / place.with_suffix(".png"))
                sources.append(ImageSource(picture, mask=mask))
                xy.append(_mat_keypoints(_need(folder / "Landmarks" / place.with_suffix(".mat"))))
        if not any(source.path.is_relative_to(folder) for source in sources):
            raise DataError(f"{folder / 'WithBackground'} holds no <action>/<number>.jpg")
    return sources, np.stack(xy)


def _mat_keypoints(file: Path) -> Float[ndarray, "32 2"]:
    try:
        keypoints: ndarray = np.asarray(loadmat(file)["keypoints_2d"], dtype=float)
    except Exception as error:  # scipy parses foreign bytes, which can fail in any way
        raise DataError(f"{file} holds no keypoints_2d: {error}") from None
    if keypoints.shape != (32, 2):
        raise DataError(f"{file}: keypoints_2d is {keypoints.shape}, not (32, 2)")
    return keypoints


def _deepfashion(data: Path, split: str) -> _Part:
    """`data_<split>.csv` with the picture in its second column, `data_<split>.json`, and `img/`."""
    table, labels = _need(data / f"data_{split}.csv"), _need(data / f"data_{split}.json")
    _need(data / "img")
    try:
        names = [line.split(",")[1].strip() for line in table.read_text().splitlines()[1:] if line.strip()]
        xy = np.array([entry["keypoints"] for entry in parse_json(labels.read_text())], dtype=float)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise DataError(f"{table} or {labels.name} is damaged: {error!r}") from None
    if xy.ndim != 3 or xy.shape[2] != 2 or len(xy) != len(names):
        raise DataError(f"{labels}: keypoints are {xy.shape}, not ({len(names)} pictures, joint, 2)")
    return [ImageSource(_picture(data / "img", name)) for name in names], xy


def _taichi(data: Path, split: str) -> _Part:
    """`eval_images/taichi-256/<split>/`, and `landmark/taichi_<split>_gt` as .npz, .csv or pandas' .pkl."""
    stem = data / "landmark" / f"taichi_{split}_gt"
    file = next(
        (path for suffix in (".npz", ".csv", ".pkl") if (path := stem.with_suffix(suffix)).is_file()), None
    )
    names, xy = _read_landmarks(file or _need(stem.with_suffix(".pkl")))
    folder = data / "eval_images" / "taichi-256" / split
    return [ImageSource(_picture(folder, name)) for name in names], np.where(xy < 0, np.nan, xy)


def _read_landmarks(file: Path) -> tuple[list[str], Float[ndarray, "row joint 2"]]:
    try:
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as content:
                return [str(name) for name in content["file_name"]], content["keypoints_xy"].astype(float)
        if file.suffix == ".csv":
            lines = [line.split(",") for line in file.read_text().splitlines()[1:] if line.strip()]
            return [line[1] for line in lines], np.array([line[2:] for line in lines], float).reshape(
                len(lines), -1, 2
            )
        return _read_data_frame(file)
    except (OSError, ValueError, KeyError, IndexError, TypeError, BadZipFile) as error:
        raise DataError(f"{file} holds no Taichi landmarks: {error!r}") from None


def _read_data_frame(file: Path) -> tuple[list[str], Float[ndarray, "row joint 2"]]:
    """The columns `file_name` and `value` of a pickled data frame, known by what is in them.

    The pickle is searched for its arrays, whatever version of pandas wrote it; nothing in it is run.
    """
    names: list[str] = []
    values: list[ndarray] = []
    for array in arrays_in(unpickle_arrays(file.read_bytes(), str(file))):
        for column in array.reshape(-1, array.shape[-1]) if array.dtype == object and array.size else ():
            if all(isinstance(item, ndarray) and item.shape[1:] == (2,) for item in column):
                values = list(column)
            elif all(isinstance(item, str) and "." in item for item in column):
                names = list(column)
    if not names or len(names) != len(values):
        raise DataError(
            f"{file}: its columns file_name and value cannot be read without running pandas; convert it to "
            f"{file.with_suffix('.npz').name} with arrays file_name and keypoints_xy"
        )
    return names, np.stack(values).astype(float)
