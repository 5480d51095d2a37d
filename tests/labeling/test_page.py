"""The labelling page in a real browser: what is clicked is what `dkpvid eval` reads."""

import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from numpy import ndarray
from typer.testing import CliRunner

from dkpvid.cli import app
from dkpvid.evaluation.coco_labels import read_coco
from dkpvid.evaluation.labels import read_annotations
from dkpvid.labeling.folder import read_labeling
from dkpvid.labeling.page import write_label_page
from tests.browser import Browser, chromium, wait_for
from tests.labeling.making import NAMES, dots_in, dots_video, grey, make_labeling
from tests.video.clips import with_display_matrix


@pytest.fixture(scope="module")
def one_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def browser(one_browser: Browser) -> Iterator[Browser]:
    """The browser; no page may have complained or asked for anything but itself."""
    one_browser.forget()
    yield one_browser
    assert one_browser.complaints() == []
    assert [address for address in one_browser.requests() if not address.endswith("labels.html")] == []


def start(browser: Browser, folder: Path) -> None:
    """Open the page and leave its help; switch off what hides the dots."""
    browser.open(folder / "labels.html")
    assert browser.run("return document.querySelector('dialog[open]')?.id") == "help"
    browser.keys("ENTER", *"hgl")


def dots_on_stage(browser: Browser) -> ndarray:
    """Centres of the white dots in the window, from left to right; (0, 0) is the window's corner."""
    browser.wait("imageOf(state.frame) !== null")
    box = browser.run("return stage.getBoundingClientRect().toJSON()")
    left, top, right, bottom = (round(box[side]) for side in ("left", "top", "right", "bottom"))
    # A pixel's centre lies half a pixel right of and below its corner.
    return dots_in(browser.picture()[top:bottom, left:right]) + np.array([left + 0.5, top + 0.5])


def click_closely(browser: Browser, at: ndarray) -> None:
    """Enlarge the picture around a dot until a pixel of the screen is small, and click the dot's centre."""
    browser.hover(*at)
    browser.keys(*"++++++")
    dots = dots_on_stage(browser)
    browser.click(*dots[np.linalg.norm(dots - at, axis=1).argmin()])
    browser.keys("0")


def unpack(browser: Browser, folder: Path) -> None:
    """Save, and do with the download what the page says."""
    browser.keys("CONTROL+s")
    archive = browser.downloads / "labels.zip"
    wait_for(archive.exists, "the download")
    assert browser.run("return document.querySelector('dialog[open]')?.id") == "saved"
    with zipfile.ZipFile(archive) as packed:
        assert packed.testzip() is None
        packed.extractall(folder)
    archive.unlink()
    browser.keys("ENTER")


@pytest.mark.parametrize(
    ("size", "shown", "matrix"),
    [((1280, 720), 320, None), ((480, 320), 1920, (0, 1, -1, 0))],
    ids=["shrunken", "rotated"],
)
def test_clicks_are_what_eval_reads(
    browser: Browser,
    tmp_path: Path,
    tiny_weights: Path,
    size: tuple[int, int],
    shown: int,
    matrix: tuple[int, int, int, int] | None,
) -> None:
    video = dots_video(tmp_path / 'a, "b" <i>.mp4', 9, *size)
    if matrix:
        video.write_bytes(with_display_matrix(video.read_bytes(), matrix))
    labels = tmp_path / "labels"
    names = ",".join('"' + name.replace('"', '""') + '"' for name in NAMES)
    weights = ["--weights", str(tiny_weights), "-q"]
    command = ["label", str(video), "-o", str(labels), "--frames", "3", "--names", names]
    result = CliRunner().invoke(app, [*command, "--shown-size", str(shown), *weights])
    assert result.exit_code == 0, result.output

    start(browser, labels)
    for _ in range(3):
        for dot in dots_on_stage(browser):
            click_closely(browser, dot)
        browser.keys("n")
    assert browser.text("count") == "9 of 9 joints, 3 of 3 frames"
    assert browser.run("return document.title") == "Label 3 frames - dkpvid"
    unpack(browser, labels)

    annotations = read_annotations(labels)
    assert annotations.names == NAMES and len(annotations) == 3
    for source, joints in zip(annotations.sources, annotations.xy, strict=True):
        picture = grey(source.path)
        assert picture.shape == (size[::-1] if matrix is None else size)
        np.testing.assert_allclose(joints, dots_in(picture), atol=0.5)
    as_coco = read_coco(labels / "labels.coco.json", labels)
    assert as_coco.names == NAMES
    np.testing.assert_allclose(np.sort(as_coco.xy, axis=0), np.sort(annotations.xy, axis=0), atol=1e-3)
    result = CliRunner().invoke(
        app, ["eval", str(labels), "--save-joints", str(tmp_path / "j.json"), *weights]
    )
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "j.json").read_text())["joints"] == list(NAMES)


def test_keys_alone_label_to_the_pixel(browser: Browser, tmp_path: Path) -> None:
    make_labeling(tmp_path)
    start(browser, tmp_path)
    # The cross starts in the middle, (160, 100). With Shift, a step is one pixel.
    browser.keys(*["SHIFT+d"] * 3, "SHIFT+s", "SPACE")
    assert browser.text("status") == 'Click tail, "base", or press X if it is not visible.'
    browser.keys("ARROW_UP", *["SHIFT+w"] * 4, "ARROW_DOWN", "x", "SHIFT+a", "SPACE")
    # It stays where it is for a joint that nothing is known of; on another frame it starts at the ghost.
    browser.keys("ARROW_RIGHT", "SHIFT+s", "SPACE", "ARROW_RIGHT", "x", "x", "DELETE")
    assert browser.text("count") == "6 of 9 joints, 1 of 3 frames"
    unpack(browser, tmp_path)
    assert read_labeling(tmp_path).joints == (
        ((163, 97), "hidden", (162, 97)),
        ((163, 98), None, None),
        ("hidden", "hidden", None),
    )


def test_the_mouse_moves_hides_and_undoes(browser: Browser, tmp_path: Path) -> None:
    make_labeling(tmp_path)
    start(browser, tmp_path)
    first, second, third = dots_on_stage(browser)
    scale = browser.run("return view.scale")
    browser.click(*first)
    browser.click(*second)
    placed = browser.run("return current()")
    taken = first.round() + 4
    browser.drag(tuple(taken), tuple(taken + 60))
    moved = browser.run("return current()")
    # As far as the mouse went, wherever in the mark it took it.
    np.testing.assert_allclose(np.array(moved[0]) - placed[0], 60 / scale, atol=1e-6)
    assert moved[1:] == [placed[1], None]
    browser.click(*second, button="right")
    assert browser.run("return current()") == [moved[0], "hidden", None]
    browser.keys("CONTROL+z")
    assert browser.run("return current()") == moved
    browser.keys("CONTROL+z")
    assert browser.run("return current()") == placed
    browser.keys("CONTROL+y")
    assert browser.run("return current()") == moved
    # Beside joints the picture itself is moved; the wheel enlarges what is under the mouse.
    browser.keys("ARROW_DOWN")
    before = dots_on_stage(browser)
    away = np.array([-50, 30])
    browser.drag(tuple(third), tuple(third + away))
    np.testing.assert_allclose(dots_on_stage(browser)[2] - before[2], away, atol=0.2)
    browser.wheel(*(third + away), -300)
    assert browser.run("return view.scale") > 1.5 * scale
    assert browser.run("return current()") == moved


def test_fingers_place_move_and_zoom(browser: Browser, tmp_path: Path) -> None:
    make_labeling(tmp_path)
    with browser.as_phone():
        start(browser, tmp_path)
        first, second, _ = dots_on_stage(browser)
        scale = browser.run("return view.scale")
        browser.touch([tuple(first)])
        browser.touch([tuple(second)])
        placed = browser.run("return current()")
        np.testing.assert_allclose(
            placed[:2], dots_in(grey(next(tmp_path.rglob("img00000.png"))))[:2], atol=1
        )
        up = np.array([0, -15])
        browser.touch([tuple(second), tuple(second + up), tuple(second + 2 * up)])
        np.testing.assert_allclose(browser.run("return current()[1]"), placed[1] - np.array([0, 30]) / scale)
        browser.touch([(150, 300), (100, 300)], [(200, 300), (250, 300)])
        assert browser.run("return view.scale") == pytest.approx(3 * scale, rel=0.01)
        assert browser.run("return current()[2]") is None
        # Everything is reached without a keyboard.
        browser.press_button("hide")
        assert browser.run("return current()[2]") == "hidden"


def test_the_browser_remembers(browser: Browser, tmp_path: Path) -> None:
    make_labeling(tmp_path)
    start(browser, tmp_path)
    browser.click(*dots_on_stage(browser)[0])
    kept = browser.run("return state.joints")
    browser.open(tmp_path / "labels.html")
    assert browser.run("return state.joints") == kept
    assert not browser.run("return document.querySelector('dialog[open]')")
    # The folder knows better when it was written later.
    labeling = make_labeling(tmp_path)
    place = (7.0, 9.0)
    known = replace(labeling, joints=((place, None, None), *labeling.joints[1:]))
    write_label_page(tmp_path, known)
    browser.open(tmp_path / "labels.html")
    assert browser.run("return state.joints[0]") == [[7, 9], None, None]


def test_labels_come_back_by_import(browser: Browser, tmp_path: Path) -> None:
    make_labeling(tmp_path / "a")
    start(browser, tmp_path / "a")
    dots = dots_on_stage(browser)
    browser.click(*dots[0])
    browser.keys("x")
    browser.click(*dots[2])
    unpack(browser, tmp_path / "a")
    expected = browser.run("return [state.names, state.joints]")
    browser.run("state.joints = frames.map(() => []); state.names = []; keep()")
    files = tmp_path / "a/labels.coco.json", tmp_path / "a/labeled-data/dots/CollectedData_dkpvid.csv"
    browser.choose_file("import", files[1])
    browser.wait("state.names.length")
    names, joints = browser.run("return [state.names, state.joints]")
    assert names == expected[0]
    np.testing.assert_allclose(joints[0][0], expected[1][0][0], atol=1e-3)
    assert joints[0][1] is None  # the CSV of DeepLabCut does not tell
    assert browser.text("status") == "CollectedData_dkpvid.csv: labels of 3 of these frames."
    browser.choose_file("import", files[0])
    browser.wait("current()[1] === 'hidden'")
    # What a file says nothing of stays.
    browser.choose_file("import", files[1])
    browser.wait("document.getElementById('status').textContent.startsWith('CollectedData')")
    assert browser.run("return current()[1]") == "hidden"
    (tmp_path / "broken.csv").write_text("a,b\n1,2\n3,4\n")
    browser.choose_file("import", tmp_path / "broken.csv")
    browser.wait("document.getElementById('status').className === 'bad'")
    assert browser.text("status").startswith("broken.csv holds no labels that can be read")


def test_joints_are_named_in_the_page(browser: Browser, tmp_path: Path) -> None:
    make_labeling(tmp_path, names=())
    start(browser, tmp_path)
    assert browser.text("status").startswith("Add the names of the joints")
    browser.click(*dots_on_stage(browser)[0])
    browser.press_button("new-joint")
    browser.keys(*"paw, left", "ENTER", *"typo", "ENTER", *"paw, left", "ENTER")
    assert browser.run("return state.names") == ["paw, left", "typo"]
    browser.run("document.querySelectorAll('#joints .remove')[1].click()")
    browser.click(*dots_on_stage(browser)[0])
    unpack(browser, tmp_path)
    assert read_labeling(tmp_path).names == ("paw, left",)


def test_predicted_joints_count_when_they_are_accepted(browser: Browser, tmp_path: Path) -> None:
    labeling = make_labeling(tmp_path)
    predicted = {NAMES[0]: (40.0, 50.0), NAMES[2]: (200.0, 90.0)}
    frames = (replace(labeling.frames[0], predicted=predicted), *labeling.frames[1:])
    write_label_page(tmp_path, replace(labeling, frames=frames))
    start(browser, tmp_path)
    assert browser.run("return current()") == [None, None, None]
    box = browser.run("return stage.getBoundingClientRect().toJSON()")
    x, y = np.add(browser.run("return toScreen([40, 50])"), [box["left"], box["top"]]).round()
    browser.drag((x, y), (x + 30, y))
    moved = browser.run("return current()")
    assert moved[0][0] == pytest.approx(40 + 30 / browser.run("return view.scale")) and moved[0][1] == 50
    assert moved[1:] == [None, None]
    browser.keys("p")
    assert browser.run("return current()") == [moved[0], None, [200, 90]]
    browser.keys("CONTROL+z")
    assert browser.run("return current()") == moved


def test_views_can_be_changed(browser: Browser, tmp_path: Path) -> None:
    make_labeling(tmp_path)
    start(browser, tmp_path)
    first = dots_on_stage(browser)[0]
    browser.hover(*first)
    plain = browser.picture().copy()
    browser.keys(*"]]]]")
    assert browser.picture().mean() > 1.1 * plain.mean()
    browser.keys(*"[[[[[[[[")
    assert browser.picture().mean() < 0.95 * plain.mean()
    for key in "hl":
        before = browser.picture().copy()
        browser.keys(key)
        assert np.abs(browser.picture() - before).max() > 0.2, key
    browser.click(*first)
    browser.keys("ARROW_RIGHT")
    before = browser.picture().copy()
    browser.keys("g")
    assert np.abs(browser.picture() - before).max() > 0.2


def test_served_it_saves_by_itself(browser: Browser, tmp_path: Path) -> None:
    make_labeling(tmp_path)
    command = [sys.executable, "-m", "dkpvid", "label", "-o", str(tmp_path), "--serve"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as served:
        try:
            assert served.stderr is not None
            address = next(line.split()[2] for line in served.stderr if line.startswith("label at "))
            browser.open(address)
            browser.keys("ENTER", "h", "g", "l")
            dots = dots_on_stage(browser)
            browser.click(*dots[0])
            browser.keys("x", "CONTROL+s")
            browser.wait("document.getElementById('status').textContent.startsWith('Saved in ')")
            saved = read_labeling(tmp_path)
            assert saved.joints[0][1] == "hidden" and isinstance(saved.joints[0][0], tuple)
            browser.click(*dots[2])
            wait_for(lambda: read_labeling(tmp_path).joints[0][2], "the page to save by itself")
            # The page on the disk has it too, once the server ends.
            served.send_signal(signal.SIGINT)
            assert served.wait(60) == 0
            assert json.dumps(list(saved.joints[0][0])) in (tmp_path / "labels.html").read_text()
            browser.click(*dots[1])
            browser.wait("document.getElementById('status').className === 'bad'")
            assert "is dkpvid label --serve still running?" in browser.text("status")
            browser.run("isUnsaved = false; clearTimeout(saveTimer)")
        finally:
            served.kill()
    assert any("ERR_CONNECTION_REFUSED" in line for line in browser.complaints())
    assert {asked.removeprefix(address) for asked in browser.requests()} == {"", "save"}


def test_other_tools_read_what_is_saved(
    browser: Browser, tmp_path: Path, need_package: Callable[[str], Any]
) -> None:
    make_labeling(tmp_path, names=("nose", "tail"))
    start(browser, tmp_path)
    browser.run("state.joints = [[[1.25, 2], 'hidden'], [[3, 4], [5, 6.5]], [null, null]]; keep()")
    unpack(browser, tmp_path)
    browser.run("state.joints = frames.map(() => [null, null]); keep()")
    table = tmp_path / "labeled-data/dots/CollectedData_dkpvid.csv"

    # DeepLabCut: what convertcsv2h5 reads, and the columns that its training sets are made of.
    read = pandas.read_csv(table, header=[0, 1, 2], index_col=0)
    assert read.columns.names == ["scorer", "bodyparts", "coords"]
    assert list(read.columns) == [("dkpvid", name, axis) for name in ("nose", "tail") for axis in "xy"]
    assert [Path(image).parts[:2] for image in read.index] == [("labeled-data", "dots")] * 3
    assert all((tmp_path / image).is_file() for image in read.index)
    expected = [[1.25, 2, np.nan, np.nan], [3, 4, 5, 6.5], [np.nan] * 4]
    np.testing.assert_array_equal(read.to_numpy(), expected)

    # movement takes its CSV files for predictions, which have numbers for pictures, but not the table.
    dataset = need_package("movement.io.load_poses").from_dlc_style_df(read)
    assert dataset.keypoints.values.tolist() == ["nose", "tail"]
    np.testing.assert_array_equal(dataset.position.values[:, 0, 1, 0], [np.nan, 5, np.nan])

    labels = need_package("sleap_io").load_file(str(table))
    assert labels.skeleton.node_names == ["nose", "tail"]
    points = [frame.instances[0].numpy() for frame in labels.labeled_frames if frame.instances]
    np.testing.assert_array_equal(points, np.reshape(expected[:2], (2, 2, 2)))
    pycoco = need_package("pycocotools.coco").COCO(str(tmp_path / "labels.coco.json"))
    assert [pycoco.anns[k]["num_keypoints"] for k in (1, 2)] == [1, 2]
