"""What a folder of labels says when it is read again."""

import json
from pathlib import Path

import pytest

from dkpvid.errors import DataError, UsageError
from dkpvid.labeling.folder import COCO, FRAMES, read_labeling
from tests.labeling.making import make_labeling

TABLE = "labeled-data/dots/CollectedData_dkpvid.csv"


def save(folder: Path) -> None:
    """Two joints: one frame with a place and a hidden one, one with a place, one with nothing."""
    rows = ["scorer,dkpvid,dkpvid,dkpvid,dkpvid", "bodyparts,nose,nose,tail,tail", "coords,x,y,x,y"]
    rows += [
        f"labeled-data/dots/img{index:05d}.png,{cells}"
        for index, cells in ((0, "1.5,2,,"), (10, ",,3,4"), (20, ",,,"))
    ]
    (folder / TABLE).write_text("\n".join(rows) + "\n")
    subject = {"image_id": 1, "attributes": {"not_visible": ["tail"]}}
    images = [{"id": 1, "file_name": "labeled-data/dots/img00000.png"}]
    (folder / COCO).write_text(json.dumps({"images": images, "annotations": [subject]}))


def test_a_new_folder_has_no_frames(tmp_path: Path) -> None:
    labeling = read_labeling(tmp_path / "new", ("nose",))
    assert (labeling.frames, labeling.names, labeling.num_rounds) == ((), ("nose",), 0)
    assert len(labeling.identity) == 16 and labeling.identity != read_labeling(tmp_path / "new").identity
    assert not (tmp_path / "new").exists()


def test_labels_that_were_saved_come_back(tmp_path: Path) -> None:
    made = make_labeling(tmp_path, names=("nose", "tail"))
    assert made == read_labeling(tmp_path) and made.num_untouched == 3
    save(tmp_path)
    labeling = read_labeling(tmp_path, ("tail", "paw"))
    assert labeling.names == ("nose", "tail", "paw")
    assert labeling.joints == (((1.5, 2), "hidden", None), (None, (3, 4), None), (None, None, None))
    assert labeling.num_untouched == 1


def test_a_joint_that_was_removed_in_the_page_stays_away(tmp_path: Path) -> None:
    make_labeling(tmp_path, names=("nose", "tail", "typo"))
    save(tmp_path)
    assert read_labeling(tmp_path).names == ("nose", "tail")


def test_labels_of_somebody_else_are_left_alone(tmp_path: Path) -> None:
    make_labeling(tmp_path)
    (tmp_path / TABLE).with_suffix(".h5").touch()
    assert len(read_labeling(tmp_path).frames) == 3
    (tmp_path / "labeled-data/dots/CollectedData_Ada.csv").touch()
    with pytest.raises(
        UsageError, match=r"holds labels of its own \(CollectedData_Ada.csv\); choose another"
    ):
        read_labeling(tmp_path)


@pytest.mark.parametrize(
    "image",
    [
        "/etc/passwd",
        "../../x.png",
        "labeled-data/../x.png",
        "labeled-data/a/b/c.png",
        "x.png",
        "labeled-data\\a\\x.png",
    ],
)
def test_a_frame_cannot_lead_out_of_the_folder(tmp_path: Path, image: str) -> None:
    make_labeling(tmp_path)
    content = json.loads((tmp_path / FRAMES).read_text())
    content["frames"][0]["image"] = image
    (tmp_path / FRAMES).write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"frames\.json is damaged .*is no picture of labeled-data"):
        read_labeling(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "else"}', "[" * 100_000])
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, text: str) -> None:
    make_labeling(tmp_path)
    (tmp_path / FRAMES).write_text(text)
    with pytest.raises(DataError, match=r"frames\.json is damaged"):
        read_labeling(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"images": [{}], "annotations": []}'])
def test_damaged_labels_are_one_clear_line(tmp_path: Path, text: str) -> None:
    make_labeling(tmp_path)
    save(tmp_path)
    (tmp_path / COCO).write_text(text)
    with pytest.raises(DataError, match=r"labels\.coco\.json cannot be read"):
        read_labeling(tmp_path)
