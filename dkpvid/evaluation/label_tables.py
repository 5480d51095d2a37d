"""Reading the label tables of DeepLabCut and Lightning Pose.

The coordinates become dkpvid's: pixels, x right, y down, the centre of the top-left pixel is (0, 0).
"""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dkpvid.errors import DataError
from dkpvid.evaluation.annotations import Annotations, ImageSource, Pictures, body_length
from dkpvid.untrusted.pickles import unpickle_arrays


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
    seen: set[Path] = set()
    for file in files:
        found_names, labels, numbers = (_read_h5 if file.suffix == ".h5" else _read_csv)(file)
        if names and found_names != names:
            raise DataError(f"{file} has other body parts than {files[0]}; evaluate them apart")
        names = found_names
        above = [folder for folder in (media, *file.resolve().parents[:4]) if folder]
        found = Pictures(above, media, file)
        for label, row in zip(labels, numbers, strict=True):
            if np.isnan(row).all():
                continue  # not labelled; pandas also writes the name of its index as such a row
            picture = found.find(label)
            # A project may hold several tables with the same pictures.
            if (place := picture.resolve()) not in seen:
                seen.add(place)
                pictures.append(picture)
                values.append(row)
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


def tables_in(folder: Path) -> list[Path]:
    """The label tables of a project: CSV, or H5 where there is no CSV beside it.

    DeepLabCut gathers copies of all of them under `training-datasets`, which are passed over.
    """
    tables: dict[Path, Path] = {}
    for suffix in (".h5", ".csv"):
        for path in sorted(folder.rglob(f"CollectedData*{suffix}")):
            if "training-datasets" not in path.relative_to(folder).parts:
                tables[path.with_suffix("")] = path
    return [tables[name] for name in sorted(tables)]


def _read_csv(file: Path) -> _Table:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            first_line = lines.readline()
            lines.seek(0)
            delimiter = ";" if "," not in first_line and ";" in first_line else ","
            rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as CSV: {error}") from None
    if len(rows) > 1 and rows[1][0] == "individuals":
        if len({cell for cell in rows[1][1:] if cell}) > 1:
            raise DataError(f"{file} holds several individuals; dkpvid follows one subject")
        del rows[1]
    heads = [row[0] for row in rows[:3]]
    if len(rows) < 4 or heads != ["scorer", "bodyparts", "coords"]:
        raise DataError(f"{file}: expected the header rows scorer, bodyparts, coords and a row per picture")
    if "likelihood" in rows[2]:
        raise DataError(
            f"{file}: predictions of a network, not labels (it has a likelihood); give a CollectedData table"
        )
    # Newer DeepLabCut spreads the picture's path over three columns, whose headers are empty.
    first = next((i for i, cell in enumerate(rows[2]) if i and cell), len(rows[2]))
    columns = [i for i, cell in enumerate(rows[2]) if cell in ("x", "y")]
    if [rows[2][i] for i in columns] != ["x", "y"] * (len(columns) // 2) or not columns:
        raise DataError(f"{file}: the third row must say x, y for every body part")
    names = tuple(rows[1][i] for i in columns[::2])
    try:
        numbers = [[_number(row[i], delimiter) for i in columns] for row in rows[3:]]
    except (ValueError, IndexError) as error:
        raise DataError(f"{file}: a row is not complete, or holds a word for a number ({error})") from None
    return names, ["/".join(row[:first]) for row in rows[3:]], numbers


def _number(cell: str, delimiter: str) -> float:
    """Where semicolons part the cells, a comma is a decimal point."""
    cell = cell.strip()
    return float(cell.replace(",", ".") if delimiter == ";" else cell) if cell else np.nan


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
    if len({column[1] for column in columns if len(column) == 4}) > 1:
        raise DataError(f"{file} holds several individuals; dkpvid follows one subject")
    return tuple(str(column[-2]) for column in columns[::2]), labels, numbers.tolist()
