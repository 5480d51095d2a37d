"""`dkpvid label` from end to end, but for the clicks."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray
from PIL import Image
from typer.testing import CliRunner

from dkpvid.cli import app
from dkpvid.cli.label import HUMAN, parse_names
from dkpvid.errors import UsageError
from dkpvid.formats.reading import read_track
from dkpvid.labeling.folder import Labeling, read_labeling
from dkpvid.video.reader import VideoReader
from tests.labeling.making import dots_in, dots_video, grey


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dots_video(tmp_path_factory.mktemp("video") / "mouse.mp4", 40, 160, 96)


def label(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["label", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stderr


def page_data(folder: Path) -> dict[str, Any]:
    page = (folder / "labels.html").read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def save_dots(folder: Path, labeling: Labeling, names: Sequence[str] = ("a", "b", "c")) -> None:
    """What the page saves when the dots are clicked."""
    rows = [["scorer", *["dkpvid"] * 6], ["bodyparts", *np.repeat(names, 2)], ["coords", *["x", "y"] * 3]]
    for frame in labeling.frames:
        rows.append([frame.image, *map(str, dots_in(grey(folder / frame.image)).ravel())])
    (folder / labeling.tables[0]).write_text("".join(",".join(row) + "\n" for row in rows))


def test_frames_are_chosen_and_kept_as_they_are(clip: Path, tmp_path: Path, tiny_weights: Path) -> None:
    folder = tmp_path / "labels"
    said = label(clip, "-o", folder, "--frames", "5", "--names", "nose,tail", "--weights", tiny_weights)
    labeling = read_labeling(folder)
    assert labeling.names == ("nose", "tail") and labeling.num_untouched == 5
    indices = sorted(frame.index for frame in labeling.frames)
    assert np.diff(indices).min() >= 2
    with VideoReader(clip) as reader:
        images = {frame.index: frame.image for frame in reader}
    for frame in labeling.frames:
        assert frame.image == f"labeled-data/mouse/img{frame.index:05d}.png"
        np.testing.assert_array_equal(np.asarray(Image.open(folder / frame.image)), images[frame.index])
        assert frame.time_seconds == frame.index / 25 and (frame.width, frame.height) == (160, 96)
        assert len(frame.hints) == 6
        # The choice is explained, on the terminal and in the page.
        assert f"{clip} frame {frame.index}: {frame.reason}\n" in said
    confidences = [float(re.findall(r"confidence ([0-9.]+)", frame.reason)[0]) for frame in labeling.frames]
    assert confidences == sorted(confidences)
    data = page_data(folder)
    assert [entry["reason"] for entry in data["frames"]] == [frame.reason for frame in labeling.frames]
    assert said.endswith(f"open {folder / 'labels.html'} in a browser; with --serve it saves by itself\n")


def test_the_same_command_again_changes_no_frames_and_more_adds_some(
    clip: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    command = [clip, "-o", tmp_path, "--weights", tiny_weights, "--names", "a,b,c"]
    label(*command, "--frames", "4")
    first = read_labeling(tmp_path)
    unsaved = CliRunner().invoke(app, ["eval", str(tmp_path)])
    assert unsaved.exit_code == 4 and "its frames have no labels yet; open its labels.html" in unsaved.stderr
    save_dots(tmp_path, first)
    label(*command, "--frames", "4")
    assert read_labeling(tmp_path).frames == first.frames
    label(*command, "--frames", "7")
    more = read_labeling(tmp_path)
    assert more.frames[:4] == first.frames and len(more.frames) == 7
    assert [frame.round for frame in more.frames] == [1] * 4 + [2] * 3
    assert np.diff(sorted(frame.index for frame in more.frames)).min() >= 2
    assert more.num_untouched == 3 and None not in more.joints[0]
    # Without a video, the page is made of what is there.
    assert "7 frames, 3 of them without a label; joints: a, b, c" in label("-o", tmp_path)
    assert [entry["joints"][0] is None for entry in page_data(tmp_path)["frames"]] == [False] * 4 + [True] * 3


def test_videos_of_one_name_have_folders_of_their_own(tmp_path: Path, tiny_weights: Path) -> None:
    videos = [dots_video(tmp_path / name / "Mouse:1.mp4", 12, 96, 64) for name in "ab"]
    folder = tmp_path / "labels"
    said = label(*videos, "-o", folder, "--frames", "30", "--weights", tiny_weights)
    labeling = read_labeling(folder)
    assert "warning: " in said and "frames of 30: there are no more that are not neighbours" in said
    folders = {Path(table).parts[1] for table in labeling.tables}
    assert folders == {"Mouse_1", "Mouse_1-2"}
    assert {frame.video for frame in labeling.frames} == set(map(str, videos))


def test_a_large_page_is_warned_of(
    clip: Path, tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dkpvid.labeling.page.HEAVY_BYTES", 1000)
    said = label(clip, "-o", tmp_path, "--frames", "1", "--weights", tiny_weights)
    assert "warning: the page has 0 MB, which makes browsers slow; choose fewer" in said


def test_labels_become_joints_and_doubtful_joints_labels(
    clip: Path, tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rounds: label, eval, track, correct, eval."""
    monkeypatch.chdir(tmp_path)
    weights = ["--weights", str(tiny_weights)]
    label(clip, "-o", "labels", "--frames", "8", "--names", "a,b,c", *weights)
    save_dots(Path("labels"), read_labeling(Path("labels")))
    for command in (
        ["eval", "labels", "--save-joints", "joints.json", "-q"],
        ["track", str(clip), "--joints", "joints.json", "--no-video", "-q"],
    ):
        result = CliRunner().invoke(app, [*command, *weights])
        assert result.exit_code == 0, result.output

    said = label("--correct", "mouse.dkp.json", "-o", "labels", "--frames", "3")
    labeling = read_labeling(Path("labels"))
    added = labeling.frames[8:]
    assert len(added) == 3 and {frame.round for frame in added} == {2}
    track = read_track(Path("mouse.dkp.json")).track
    assert track.joints is not None
    for frame in added:
        assert re.search(r"; ([abc]) (jumps by \d+ px|has confidence 0\.\d\d only)$", frame.reason), said
        places: ndarray = np.array([frame.predicted[name] for name in "abc"])
        np.testing.assert_allclose(places, track.joints.xy[frame.index], atol=0.01)
    # What is predicted is no label.
    assert labeling.joints[8:] == ((None, None, None),) * 3
    assert page_data(Path("labels"))["frames"][8]["predicted"] == [
        list(added[0].predicted[name]) for name in "abc"
    ]
    # Frames that wait for their labels are not added to.
    label("--correct", "mouse.dkp.json", "-o", "labels", "--frames", "3")
    assert read_labeling(Path("labels")).frames == labeling.frames

    save_dots(Path("labels"), labeling)
    result = CliRunner().invoke(app, ["eval", "labels", "--json", *weights])
    rounds = json.loads(result.stdout)["runs"][0]["rounds"]
    assert [(part["name"], part["count"]) for part in rounds] == [("round 1", 8), ("round 2", 11)]
    total = json.loads(result.stdout)["runs"][0]["keypoints"]["total"]
    assert rounds[1]["error_percent"] == pytest.approx(total["error_percent"])
    assert re.search(r"fitted on 8 frames, up to round 1: [\d.]+ % on all frames", result.stderr)


def test_a_track_without_joints_or_video_is_one_clear_line(
    clip: Path, tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["track", str(clip), "--no-video", "-q", "--weights", str(tiny_weights)]
    assert CliRunner().invoke(app, command).exit_code == 0
    result = CliRunner().invoke(app, ["label", "--correct", "mouse.dkp.json"])
    assert result.exit_code == 2
    assert "has no named joints; make it with `dkpvid track --joints joints.json`" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["0"], 2, "cannot be read twice"),
        (["-"], 2, "cannot be read twice"),
        (["nothing.mp4"], 4, "no such file or folder"),
        ([], 4, "no frames to label; give the videos"),
        (["--names", "a,,b"], 2, "holds an empty name, or one twice"),
        (["--names", "a,a"], 2, "holds an empty name, or one twice"),
        (["--frames", "0", "x.mp4"], 2, "--frames must be at least 1, got 0"),
        (["--correct", "x.json", "a.mp4", "b.mp4"], 2, "takes one track, and at most one video"),
        (["--correct", "x.json"], 4, "cannot be read"),
    ],
)
def test_mistakes_are_one_clear_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_weights: Path,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["label", *arguments, "--weights", str(tiny_weights)])
    assert result.exit_code == code
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and words in result.stderr
    assert not (tmp_path / "labels").exists()


def test_names_may_hold_anything() -> None:
    assert parse_names(None) == ()
    assert parse_names('nose, "tail, base","say ""hi"""') == ("nose", "tail, base", 'say "hi"')
    assert parse_names("human") == HUMAN and len(HUMAN) == 17
    with pytest.raises(UsageError, match="holds an empty name"):
        parse_names("")
