"""Readers of annotated sets, each on a tiny one made here; and pickles that would do harm."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import savemat

from dkpvid.errors import DataError
from dkpvid.evaluation.annotations import ImageSource, body_length, joint_box
from dkpvid.evaluation.labels import read_annotations
from dkpvid.evaluation.paper_sets import read_paper_set
from dkpvid.untrusted.pickles import arrays_in, unpickle_arrays


def put_picture(path: Path, width: int = 8, height: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(path)
    return path


# --- Pose arrays --------------------------------------------------------------------------------------------


def put_poses(path: Path, **changes: np.ndarray) -> None:
    keypoints = np.array([[[10.5, 20.5, 0.9], [14.5, 60.5, 0.9], [12.0, 40.0, 0.2]]] * 2, dtype=np.float32)
    content = {
        "keypoints": keypoints,
        "names": np.array(["head", "foot", "hand"]),
        "frames": np.array([0, 4]),
        "flip_dist": np.zeros((2, 3), np.float32),
    }
    np.savez(path, **(content | changes))


def test_poses_are_moved_to_pixel_centres_and_the_doubtful_left_out(tmp_path: Path) -> None:
    clip = put_picture(tmp_path / "clips" / "walk" / "strip_1.png", 40, 8)
    flip = np.array([[0, 1.9, 0], [0, 2.1, 0]], np.float32)  # the body is 40 high: 5 % are 2
    put_poses(tmp_path / "strip_1.pose.npz", flip_dist=flip)
    read = read_annotations(tmp_path, tmp_path / "clips")
    assert read.names == ("head", "foot")  # the hand is never sure
    assert read.sources == (ImageSource(clip, 0), ImageSource(clip, 4))
    np.testing.assert_allclose(read.xy[0], [[10, 20], [14, 60]])
    assert np.isnan(read.xy[1, 1]).all()
    np.testing.assert_allclose(read.body_size, 40)
    assert read.group_names == ("strip_1",) and read.groups.tolist() == [0, 0]


def test_one_pose_file_can_be_named_outright(tmp_path: Path) -> None:
    put_picture(tmp_path / "a.png")
    put_poses(tmp_path / "a.pose.npz")
    put_poses(tmp_path / "b.pose.npz")
    assert read_annotations(tmp_path / "a.pose.npz").group_names == ("a",)
    with pytest.raises(DataError, match=r"b\.pose\.npz: no video b\.\*"):
        read_annotations(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [{"keypoints": np.zeros((2, 3, 2))}, {"frames": np.arange(3)}, {"names": np.array(["a"])}],
)
def test_poses_of_another_shape_are_refused(tmp_path: Path, changes: dict[str, np.ndarray]) -> None:
    put_picture(tmp_path / "a.png")
    put_poses(tmp_path / "a.pose.npz", **changes)
    with pytest.raises(DataError, match=r"a\.pose\.npz: keypoints are"):
        read_annotations(tmp_path)


def test_an_array_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    put_picture(tmp_path / "a.png")
    put_poses(tmp_path / "a.pose.npz", names=np.array([Mark(tmp_path / "mark")] * 3, dtype=object))
    with pytest.raises(DataError, match="no pose array"):
        read_annotations(tmp_path)
    assert not (tmp_path / "mark").exists()


@pytest.mark.shared
def test_real_poses(shared: Path) -> None:
    read = read_annotations(shared / "data/annotated/pseudo_pose", shared / "data/human")
    assert len(read) == 1217 and len(read.group_names) == 35 and len(read.names) == 17
    assert np.isfinite(read.body_size).all() and (read.body_size > 10).all()


# --- Tables -------------------------------------------------------------------------------------------------

TABLE = """\
scorer,me,me,me,me
bodyparts,snout,snout,tail,tail
coords,x,y,x,y
labeled-data/day1/img1.png,1.5,2.5,4.5,6.5
labeled-data/day1/img2.png,,,5,7
labeled-data/day2/img1.png,3,3,,
"""


def put_project(folder: Path, table: str = TABLE) -> Path:
    for name in ("day1/img1.jpg", "day1/img2.png", "day2/img1.png"):
        put_picture(folder / "labeled-data" / name)
    path = folder / "labeled-data" / "day1" / "CollectedData_me.csv"
    path.write_text(table)
    return path


def test_a_deeplabcut_project(tmp_path: Path) -> None:
    put_project(tmp_path)
    read = read_annotations(tmp_path)
    assert read.names == ("snout", "tail")
    assert [source.path.name for source in read.sources] == ["img1.jpg", "img2.png", "img1.png"]
    assert read.group_names == ("day1", "day2") and read.groups.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(read.xy[0], [[1.5, 2.5], [4.5, 6.5]])
    assert np.isnan(read.xy[1, 0]).all() and np.isnan(read.xy[2, 1]).all()
    assert read.body_size.tolist() == [3.6, 3.6, 0]  # of a box 4 high and a point; of a point


def test_the_path_may_be_spread_over_three_columns(tmp_path: Path) -> None:
    lines = TABLE.replace("labeled-data/", "labeled-data,").replace("/img", ",img").splitlines()
    table = [line.replace(",", ",,,", 1) for line in lines[:3]] + lines[3:]
    file = put_project(tmp_path, "\n".join(table))
    read = read_annotations(file)
    assert len(read) == 3 and read.names == ("snout", "tail")
    np.testing.assert_array_equal(read.xy[0], [[1.5, 2.5], [4.5, 6.5]])


def test_lightning_pose_with_its_pictures_elsewhere(tmp_path: Path) -> None:
    put_project(tmp_path / "elsewhere")
    (tmp_path / "labels.csv").write_text(TABLE)
    assert len(read_annotations(tmp_path / "labels.csv", tmp_path / "elsewhere")) == 3
    with pytest.raises(DataError, match=r"its picture labeled-data/day1/img1\.png is missing"):
        read_annotations(tmp_path / "labels.csv")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bodyparts", "individuals", "several individuals"),
        ("coords,x,y,x,y", "coords,x,y,x", "x, y for every body part"),
        ("coords", "xy", "expected the header rows"),
        ("4.5", "four", "a word for a number"),
        (",3,3,,", "", "not complete"),
    ],
)
def test_a_damaged_table_is_one_clear_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = put_project(tmp_path, TABLE.replace(old, new))
    with pytest.raises(DataError, match=message) as raised:
        read_annotations(file)
    assert str(file) in str(raised.value) and "\n" not in str(raised.value)


def test_copies_of_a_training_data_set_are_not_read_again(tmp_path: Path) -> None:
    put_project(tmp_path)
    copy = tmp_path / "training-datasets/iteration-0/U/CollectedData_me.csv"
    copy.parent.mkdir(parents=True)
    copy.write_text(TABLE)
    (tmp_path / "labeled-data/day2/CollectedData_you.csv").write_text(TABLE)
    read = read_annotations(tmp_path)
    assert len(read) == len({source.path for source in read.sources}) == 3


def test_folders_with_csv_and_with_h5_are_all_read(tmp_path: Path) -> None:
    lines = [line for line in TABLE.splitlines() if "day1" not in line]
    put_project(tmp_path, "\n".join(lines)).rename(tmp_path / "labeled-data/day2/CollectedData_me.csv")
    put_h5(tmp_path / "labeled-data/day1/CollectedData_me.h5", pickle.dumps(COLUMNS, protocol=0))
    read = read_annotations(tmp_path)
    assert [source.path.name for source in read.sources] == ["img1.jpg", "img1.png"]
    assert read.group_names == ("day1", "day2")


@pytest.mark.parametrize(
    "table",
    [
        TABLE.replace("bodyparts", "individuals,one,one,one,one\nbodyparts"),
        TABLE.replace("coords,x,y,x,y", "coords,x,y,x,y\nimage,,,,"),
        TABLE.replace(".5", ",5").replace(",", ";").replace("1;5;2;5;4;5;6;5", "1,5;2,5;4,5;6,5"),
    ],
)
def test_other_dialects_of_tables(tmp_path: Path, table: str) -> None:
    read = read_annotations(put_project(tmp_path, table))
    assert (read.names, len(read)) == (("snout", "tail"), 3)
    np.testing.assert_array_equal(read.xy[0], [[1.5, 2.5], [4.5, 6.5]])


def test_a_lightning_pose_folder(tmp_path: Path) -> None:
    put_project(tmp_path).rename(tmp_path / "CollectedData.csv")
    assert len(read_annotations(tmp_path)) == 3


def test_predictions_are_called_so(tmp_path: Path) -> None:
    table = "scorer,net,net,net\nbodyparts,a,a,a\ncoords,x,y,likelihood\n0,1,2,0.9\n"
    (tmp_path / "clipDLC_resnet50.csv").write_text(table)
    with pytest.raises(DataError, match="predictions of a network, not labels"):
        read_annotations(tmp_path / "clipDLC_resnet50.csv")


def put_h5(file: Path, kinds: bytes) -> None:
    """As pandas writes it in its table format."""
    kind = np.dtype([("index", "S40"), ("values_block_0", "<f8", (4,))])
    rows = [
        (b"labeled-data/day1/img1.png", [1.5, 2.5, 4.5, 6.5]),
        (b"labeled-data/day1/img2.png", [np.nan] * 4),
    ]
    with h5py.File(file, "w") as content:
        table = content.create_dataset("df_with_missing/table", data=np.array(rows, dtype=kind))
        table.attrs["values_block_0_kind"] = np.bytes_(kinds)


COLUMNS = [("me", part, axis) for part in ("snout", "tail") for axis in "xy"]


def test_h5_is_read_when_its_csv_is_gone(tmp_path: Path) -> None:
    file = put_project(tmp_path).with_suffix(".h5")
    file.with_suffix(".csv").unlink()
    put_h5(file, pickle.dumps(COLUMNS, protocol=0))
    read = read_annotations(tmp_path)
    assert read.names == ("snout", "tail") and len(read) == 1
    np.testing.assert_array_equal(read.xy[0], [[1.5, 2.5], [4.5, 6.5]])


def test_h5_cannot_run_code(tmp_path: Path) -> None:
    file = put_project(tmp_path).with_suffix(".h5")
    file.with_suffix(".csv").unlink()
    put_h5(file, pickle.dumps(Mark(tmp_path / "mark"), protocol=0))
    with pytest.raises(DataError, match="not in DeepLabCut's table format"):
        read_annotations(file)
    assert not (tmp_path / "mark").exists()


@pytest.mark.shared
def test_a_real_deeplabcut_set(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data/annotated/dlc_openfield"
    read = read_annotations(folder)
    assert len(read) == 116 and read.names == ("snout", "leftear", "rightear", "tailbase")
    h5 = tmp_path / "CollectedData_Pranav.h5"
    h5.write_bytes((folder / "labeled-data/m4s1" / h5.name).read_bytes())
    np.testing.assert_allclose(read_annotations(h5, folder).xy, read.xy)


# --- COCO ---------------------------------------------------------------------------------------------------


def coco(names: list[str]) -> dict[str, object]:
    return {
        "categories": [{"keypoints": ["nose", "toe"]}],
        "images": [{"id": 7 + number, "file_name": name} for number, name in enumerate(names)],
        "annotations": [
            {"image_id": 7, "keypoints": [0, 0, 0, 5, 6, 1], "bbox": [0, 0, 3, 10]},
            {"image_id": 7, "keypoints": [1, 2, 2, 5, 6, 1], "bbox": [0, 0, 20, 30]},
            {"image_id": 8, "keypoints": [1, 2, 2, 5, 9, 2]},
        ],
    }


def test_coco_takes_the_largest_subject(tmp_path: Path) -> None:
    put_picture(tmp_path / "deep" / "a.png")
    put_picture(tmp_path / "b.jpg")
    (tmp_path / "set.json").write_text(json.dumps(coco(["a.jpg", "b.jpg"])))
    read = read_annotations(tmp_path / "set.json")
    assert [source.path.name for source in read.sources] == ["a.png", "b.jpg"]
    np.testing.assert_array_equal(read.xy, [[[1, 2], [5, 6]], [[1, 2], [5, 9]]])
    assert read.body_size.tolist() == [30, 7]
    assert read.groups.tolist() == [0, 1]  # of one folder, so each picture for itself


def put_coco(folder: Path, changes: Callable[[Any], object]) -> Path:
    """A set with one subject in each of two pictures, changed."""
    put_picture(folder / "a.png")
    put_picture(folder / "b.jpg")
    content: Any = coco(["a.png", "b.jpg"])
    content["categories"] = [{"id": 1, "name": "box"}, {"id": 2, "keypoints": ["nose", "toe"]}]
    content["annotations"] = [
        {"id": 31, "image_id": 7, "category_id": 2, "keypoints": [1, 2, 2, 5, 6, 1], "bbox": [0, 0, 20, 30]},
        {"id": 32, "image_id": 8, "category_id": 2, "keypoints": [1, 2, 2, 5, 9, 2]},
    ]
    changes(content)
    file = folder / "set.json"
    file.write_text(json.dumps(content), encoding="utf-8-sig")
    return file


PERSON = {"image_id": 7, "category_id": 2, "bbox": [0, 0, 999, 999]}


@pytest.mark.parametrize(
    "changes",
    [
        lambda content: None,
        lambda content: content["annotations"].append(PERSON | {"iscrowd": 1, "keypoints": [0] * 6}),
        lambda content: content["annotations"].append(PERSON | {"keypoints": [0] * 6}),
        lambda content: content["annotations"].append(PERSON | {"keypoints": []}),
        lambda content: content["annotations"].append(PERSON | {"keypoints": None}),
        lambda content: content["annotations"].append(PERSON | {"category_id": 1, "keypoints": [3] * 9}),
        lambda content: content["annotations"][1].update(bbox=[0, 0, 0, 0]),
        lambda content: content["annotations"][1].update(bbox=None),
        lambda content: content["annotations"][0].update(keypoints=[1, 2, 5, 6]),
        lambda content: content["annotations"][0].update(keypoints=[[1, 2, 2], [5, 6, 2]]),
        lambda content: content["annotations"][0].update(image_id="7"),
        lambda content: content["categories"].append({"id": 3, "keypoints": ["wheel"]}),
    ],
)
def test_coco_as_programs_write_it(tmp_path: Path, changes: Callable[[Any], object]) -> None:
    read = read_annotations(put_coco(tmp_path, changes))
    np.testing.assert_array_equal(read.xy, [[[1, 2], [5, 6]], [[1, 2], [5, 9]]])
    assert read.body_size.tolist() == [30, 7]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            lambda content: content["annotations"][0].update(keypoints=[1, 2, 3, 4, 5]),
            "annotation 31: 5 numbers",
        ),
        (
            lambda content: content["annotations"][0].update(keypoints=["x"] * 6),
            "annotation 31: its keypoints",
        ),
        (lambda content: content["annotations"][0].update(image_id=99), "31: there is no image '99'"),
        (lambda content: content["images"][0].pop("file_name"), "image 7 has no file_name"),
        (lambda content: content["categories"].pop(), "no category in it has named keypoints"),
        (lambda content: content.update(images=None), "images is not a list of records"),
        (lambda content: content["annotations"].append(None), "annotations is not a list of records"),
        (lambda content: content["annotations"].clear(), "no category in it"),
    ],
)
def test_what_coco_has_wrong_is_named(tmp_path: Path, changes: Callable[[Any], object], message: str) -> None:
    file = put_coco(tmp_path, changes)
    with pytest.raises(DataError, match=message) as raised:
        read_annotations(file)
    assert str(raised.value).startswith(str(file)) and "\n" not in str(raised.value)


def test_a_picture_that_two_folders_have_is_not_guessed(tmp_path: Path) -> None:
    put_picture(tmp_path / "one" / "a.png")
    put_picture(tmp_path / "two" / "a.png")
    (tmp_path / "set.json").write_text(json.dumps(coco(["a.jpg", "b.jpg"])))
    with pytest.raises(DataError, match=r"its picture a\.jpg is there 2 times"):
        read_annotations(tmp_path / "set.json")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"images": [], "annotations": [], "categories": []}'])
def test_other_json_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "set.json").write_text(text)
    with pytest.raises(DataError, match=r"set\.json is no COCO keypoints file"):
        read_annotations(tmp_path / "set.json")


def test_nothing_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no annotations in this folder"):
        read_annotations(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        read_annotations(tmp_path / "gone")
    (tmp_path / "x.txt").touch()
    with pytest.raises(DataError, match="unknown kind of annotations"):
        read_annotations(tmp_path / "x.txt")
    put_project(tmp_path, TABLE.split("\nlabeled")[0] + "\nlabeled-data/day1/img2.png,,,,\n")
    with pytest.raises(DataError, match="not a single joint"):
        read_annotations(tmp_path)


def test_sizes_leave_out_what_is_missing() -> None:
    xy = np.array([[[0.0, 0], [3, 4]], [[0, 0], [np.nan, np.nan]], [[np.nan] * 2] * 2])
    np.testing.assert_array_equal(joint_box(xy)[0], [[0, 0], [3, 4]])
    assert np.isnan(joint_box(xy)[2]).all()
    assert body_length(xy).tolist() == [3.6, 3.6, 3.6]
    assert np.isnan(body_length(xy[2:])).all()


# --- The papers' sets ---------------------------------------------------------------------------------------


def put_human36m(data: Path) -> None:
    for subject in (1, 5, 6, 7, 8, 9, 11):
        for action in ("Walking-1", "Eating"):
            folder = data / f"S{subject}"
            for number in (1, 2, 10):
                put_picture(folder / "WithBackground" / action / f"{number}.jpg")
                put_picture(folder / "BackgroudMask" / action / f"{number}.png")
                file = folder / "Landmarks" / action / f"{number}.mat"
                file.parent.mkdir(parents=True, exist_ok=True)
                savemat(file, {"keypoints_2d": np.full((32, 2), subject + number / 100)})


def test_human36m(tmp_path: Path) -> None:
    put_human36m(tmp_path)
    read = read_paper_set(tmp_path, "human36m")
    assert len(read) == 21 and read.is_test is not None
    assert read.is_test.tolist() == [False] * 18 + [True] * 3  # Eating is not among the actions
    np.testing.assert_allclose(read.xy[-3:, 0, 0], [11.01, 11.02, 11.10])
    assert read.sources[0] == ImageSource(tmp_path / "S1/WithBackground/Walking-1/1.jpg")
    masked = read_paper_set(tmp_path, "human36m", with_background=False)
    assert masked.sources[0].mask == tmp_path / "S1/BackgroudMask/Walking-1/1.png"


@pytest.mark.parametrize(
    "missing",
    ["S9/WithBackground", "S11/Landmarks/Walking-1/2.mat", "S1/BackgroudMask/Walking-1/10.png"],
)
def test_a_half_present_human36m_names_what_is_missing(tmp_path: Path, missing: str) -> None:
    put_human36m(tmp_path)
    (tmp_path / missing).rename(tmp_path / "away")
    with pytest.raises(DataError, match=f"{missing} is missing"):
        read_paper_set(tmp_path, "human36m", with_background=False)


def test_human36m_without_pictures_or_keypoints(tmp_path: Path) -> None:
    put_human36m(tmp_path)
    savemat(tmp_path / "S5/Landmarks/Walking-1/1.mat", {"other": np.zeros(3)})
    with pytest.raises(DataError, match=r"S5/Landmarks/Walking-1/1\.mat holds no keypoints_2d"):
        read_paper_set(tmp_path, "human36m")
    (tmp_path / "S1/WithBackground/Walking-1").rename(tmp_path / "away")
    with pytest.raises(DataError, match=r"S1/WithBackground holds no"):
        read_paper_set(tmp_path, "human36m")


def put_deepfashion(data: Path) -> None:
    for split, count in (("train", 4), ("test", 2)):
        names = [f"{split}{number}.jpg" for number in range(count)]
        for name in names:
            put_picture(data / "img" / name)
        (data / f"data_{split}.csv").write_text(
            "\n".join(["index,file", *(f"{i}, {n} " for i, n in enumerate(names))])
        )
        entries = [{"keypoints": [[i, 10 * j] for j in range(16)]} for i in range(count)]
        (data / f"data_{split}.json").write_text(json.dumps(entries))


def test_deepfashion(tmp_path: Path) -> None:
    put_deepfashion(tmp_path)
    read = read_paper_set(tmp_path, "deepfashion")
    assert read.is_test is not None and read.is_test.tolist() == [False] * 4 + [True] * 2
    assert read.sources[4].path == tmp_path / "img/test0.jpg"
    assert read.xy[5, 3].tolist() == [1, 30]
    (tmp_path / "img/train2.jpg").unlink()
    with pytest.raises(DataError, match=r"img/train2\.jpg is missing"):
        read_paper_set(tmp_path, "deepfashion")
    (tmp_path / "data_test.json").write_text("[]")
    with pytest.raises(DataError, match=r"img/train2\.jpg|data_test"):
        read_paper_set(tmp_path, "deepfashion")


def landmarks(count: int) -> tuple[list[str], np.ndarray]:
    values = np.arange(count * 36, dtype=float).reshape(count, 18, 2)
    values[0, 3] = -1
    return [f"{number:05d}.png" for number in range(count)], values


def put_taichi(data: Path, suffix: str) -> None:
    (data / "landmark").mkdir(parents=True)
    for split, count in (("train", 3), ("test", 2)):
        names, values = landmarks(count)
        for name in names:
            put_picture(data / "eval_images/taichi-256" / split / name)
        file = data / "landmark" / f"taichi_{split}_gt{suffix}"
        if suffix == ".npz":
            np.savez(file, file_name=names, keypoints_xy=values.astype(np.float32))
        elif suffix == ".csv":
            head = ["row", "file_name", *(f"{axis}{joint}" for joint in range(18) for axis in "xy")]
            rows = [[i, name, *values[i].ravel()] for i, name in enumerate(names)]
            file.write_text("\n".join(",".join(map(str, row)) for row in [head, *rows]) + "\n")
        else:
            # As older pandas stored strings, and with them the published files.
            frame = pd.DataFrame({"file_name": pd.Series(names, dtype=object), "frame_number": 0})
            frame["value"] = pd.Series(list(values), dtype=object)
            frame.to_pickle(file)


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".pkl"])
def test_taichi(tmp_path: Path, suffix: str) -> None:
    put_taichi(tmp_path, suffix)
    read = read_paper_set(tmp_path, "taichi")
    assert read.is_test is not None and read.is_test.tolist() == [False] * 3 + [True] * 2
    assert read.sources[4].path == tmp_path / "eval_images/taichi-256/test/00001.png"
    expected = landmarks(3)[1]
    expected[0, 3] = np.nan
    np.testing.assert_array_equal(read.xy[:3], expected)
    (tmp_path / "eval_images/taichi-256/test/00001.png").unlink()
    with pytest.raises(DataError, match=r"taichi-256/test/00001\.png is missing"):
        read_paper_set(tmp_path, "taichi")


def test_taichi_without_landmarks(tmp_path: Path) -> None:
    put_taichi(tmp_path, ".npz")
    (tmp_path / "landmark/taichi_test_gt.npz").unlink()
    with pytest.raises(DataError, match=r"landmark/taichi_test_gt\.pkl is missing"):
        read_paper_set(tmp_path, "taichi")


@pytest.mark.shared
def test_the_published_pickle_holds_what_its_plain_form_holds(shared: Path) -> None:
    folder = shared / "data/annotated/taichi_landmarks"
    arrays = list(arrays_in(unpickle_arrays((folder / "taichi_train_gt.pkl").read_bytes(), "landmarks")))
    names, values = next(array for array in arrays if array.shape == (2, 5000))
    plain = np.load(folder / "taichi_train_gt.npz")
    np.testing.assert_array_equal(np.stack(values), plain["keypoints_xy"])
    assert names.tolist() == plain["file_name"].tolist()


# --- Hostile pickles ----------------------------------------------------------------------------------------


class Mark:
    """Leaves a file behind when a pickle of it is loaded the usual way."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_the_mark_would_be_left(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Mark(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_leaves_no_mark(tmp_path: Path, protocol: int) -> None:
    put_taichi(tmp_path, ".pkl")
    content = {
        "data": [np.arange(3), Mark(tmp_path / "mark"), np.array([Mark(tmp_path / "mark")], dtype=object)]
    }
    file = tmp_path / "landmark/taichi_train_gt.pkl"
    file.write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(DataError, match="cannot be read without running pandas"):
        read_paper_set(tmp_path, "taichi")
    assert not (tmp_path / "mark").exists()
    arrays = list(arrays_in(unpickle_arrays(file.read_bytes(), "it")))
    assert any(array.tolist() == [0, 1, 2] for array in arrays) or protocol < 2


@pytest.mark.parametrize(
    "data", [b"", b"cos\nsystem\n", b"\x80\x04N", b"not a pickle", b"\x80\x04]\x94h\x05."]
)
def test_a_broken_pickle_is_one_clear_line(data: bytes) -> None:
    with pytest.raises(DataError, match=r"^it cannot be read as a pickle"):
        unpickle_arrays(data, "it")
