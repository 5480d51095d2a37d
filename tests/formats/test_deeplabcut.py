"""The CSV as pandas and movement read it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.formats.test_schema import make_track
from tests.formats.writing import NAMES, points_of, with_joints, write


def test_csv_loads_in_pandas(rng: np.random.Generator, tmp_path: Path) -> None:
    track = make_track(rng)
    path = write("csv", tmp_path, track)
    table = pd.read_csv(path, header=[0, 1, 2], index_col=0)
    assert table.columns.names == ["scorer", "bodyparts", "coords"]
    assert list(table.index) == [0, 1, 2, 3, 4]
    assert table.columns[0] == ("dkpvid-taichi-rgb", "k00", "x")
    values = table.to_numpy().reshape(5, 3, 3)
    np.testing.assert_allclose(values[..., :2], track.xy, rtol=0, atol=0.005001)
    np.testing.assert_allclose(values[..., 2], track.confidence, rtol=0, atol=0.5001e-4)
    assert np.isnan(values[3, :, :2]).all()
    first_cells = [line.split(",")[0] for line in path.read_text().splitlines()]
    assert first_cells == ["scorer", "bodyparts", "coords", "0", "1", "2", "3", "4"]


def test_csv_keeps_the_frame_numbers(rng: np.random.Generator, tmp_path: Path) -> None:
    table = pd.read_csv(write("csv", tmp_path, make_track(rng)[0:5][2:]), header=[0, 1, 2], index_col=0)
    assert list(table.index) == [2, 3, 4]


def test_movement_loads_the_csv(
    rng: np.random.Generator, tmp_path: Path, need_package: Callable[[str], Any]
) -> None:
    track, header = with_joints(rng, make_track(rng))
    path = write("csv", tmp_path, track, header=header)
    data = need_package("movement.io").load_dataset(path, source_software="DeepLabCut", fps=25)
    xy, confidence = points_of(track)
    assert list(data.keypoints.values) == NAMES
    assert data.sizes == {"time": 5, "space": 2, "keypoints": 5, "individuals": 1}
    np.testing.assert_allclose(data.time, np.arange(5) / 25)
    position = data.position.squeeze("individuals").transpose("time", "keypoints", "space")
    np.testing.assert_allclose(position, xy, rtol=0, atol=0.005001)
    likelihood = data.confidence.squeeze("individuals").transpose("time", "keypoints")
    np.testing.assert_allclose(likelihood, confidence, rtol=0, atol=0.5001e-4)
