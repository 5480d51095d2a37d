"""COCO results as pycocotools reads and scores them."""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.formats.test_schema import make_track
from tests.formats.writing import points_of, with_joints, write


def test_the_list_is_as_documented(rng: np.random.Generator, tmp_path: Path) -> None:
    track, header = with_joints(rng, make_track(rng))
    path = write("coco", tmp_path, track[0:5][1:], header=header)
    assert path.name == "clip.dkp.coco.json"
    entries = json.loads(path.read_text())
    assert [entry["image_id"] for entry in entries] == [1, 2, 4], "nothing was found in frame 3"
    assert {entry["category_id"] for entry in entries} == {1}
    xy, confidence = points_of(track)
    for entry in entries:
        assert list(entry) == ["image_id", "category_id", "keypoints", "score"]
        frame = entry["image_id"]
        found = np.isfinite(xy[frame, :, 0])
        expected = np.column_stack([np.nan_to_num(xy[frame]), found])
        np.testing.assert_allclose(np.reshape(entry["keypoints"], (5, 3)), expected, rtol=0, atol=0.005001)
        np.testing.assert_allclose(entry["score"], confidence[frame, found].mean(), rtol=0, atol=1.1e-4)
    assert entries[0]["keypoints"][3:6] == [0, 0, 0], "the keypoint that frame 1 lacks"


def test_a_track_without_anything_is_an_empty_list(rng: np.random.Generator, tmp_path: Path) -> None:
    track = make_track(rng)
    track.xy[:] = np.nan
    assert json.loads(write("coco", tmp_path, track).read_text()) == []


def test_pycocotools_finds_the_results_perfect(
    rng: np.random.Generator, tmp_path: Path, need_package: Callable[[str], Any]
) -> None:
    track = make_track(rng)
    path = write("coco", tmp_path, track)
    images = [0, 1, 2, 4]
    truth = need_package("pycocotools.coco").COCO()
    truth.dataset = {
        "images": [{"id": frame} for frame in images],
        "categories": [{"id": 1, "name": "subject"}],
        "annotations": [
            {
                "id": frame + 1,
                "image_id": frame,
                "category_id": 1,
                "keypoints": np.column_stack([np.nan_to_num(track.xy[frame]), [2, 2 * (frame != 1), 2]])
                .ravel()
                .tolist(),
                "num_keypoints": 3 - (frame == 1),
                "bbox": [0, 0, 700, 700],
                "area": 700 * 700,
                "iscrowd": 0,
            }
            for frame in images
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        truth.createIndex()
        evaluation = need_package("pycocotools.cocoeval").COCOeval(
            truth, truth.loadRes(str(path)), "keypoints"
        )
        evaluation.params.kpt_oks_sigmas = np.full(3, 0.05)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == 1.0  # average precision
    assert evaluation.stats[5] == 1.0  # average recall
