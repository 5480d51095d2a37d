"""The reports in a real browser: no complaint, no request to anywhere, and controls that work."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dkpvid.cli import app
from dkpvid.pages.run import write_run_report
from tests.browser import Browser, chromium
from tests.pages.test_pages import HOSTILE, SKELETON, hostile_page
from tests.video.clips import make_clip

# Of a copy: browsers warn of canvases that are read again and again.
INK = """
const {width, height} = arguments[0], copy = new OffscreenCanvas(width, height).getContext("2d");
copy.drawImage(arguments[0], 0, 0);
return copy.getImageData(0, 0, width, height).data.filter(Boolean).length;
"""


@pytest.fixture(scope="module")
def one_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def browser(one_browser: Browser) -> Iterator[Browser]:
    """The browser; afterwards the page must have complained of nothing and asked for local files only."""
    one_browser.forget()
    yield one_browser
    assert one_browser.complaints() == []
    assert [address for address in one_browser.requests() if not address.startswith("file://")] == []


def ink(browser: Browser, canvas: str) -> int:
    """How much is drawn on a canvas: its colour values that are not zero."""
    amount: int = browser.run(INK, browser.driver.find_element("css selector", canvas))
    return amount


@pytest.fixture
def clip_page(tmp_path: Path, tiny_weights: Path) -> Path:
    """The page of a tracked video."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(make_clip())
    words = ["track", clip, "--report", "-o", tmp_path / "out", "--weights", tiny_weights, "--device", "cpu"]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.stderr
    assert "clip.dkp.html" in done.stderr
    return tmp_path / "out" / "clip.dkp.html"


def test_the_video_and_its_keypoints_show_the_same_frame(browser: Browser, clip_page: Path) -> None:
    for video in (clip_page.parents[1] / "clip.mp4", clip_page.parent / "clip.dkp.mp4"):
        browser.open(clip_page)
        browser.wait("video?.readyState > 1")
        browser.run("goTo(13)")
        browser.wait("!video.seeking && 13 / 25 < video.currentTime && video.currentTime < 14 / 25")
        assert browser.run("return [video.currentSrc, frame]") == [video.as_uri(), 13]
        for canvas in ("#stage canvas", *(f'[data-of="{of}"] canvas' for of in ("x", "y", "confidence"))):
            assert ink(browser, canvas) > 200
        if video.name == "clip.mp4":
            assert browser.complaints() == []
            video.unlink()  # then the annotated video is shown, and the browser says what is missing
    assert all("clip.mp4 - Failed to load resource" in line for line in browser.complaints())


def test_the_controls_of_a_track_work(browser: Browser, clip_page: Path) -> None:
    browser.open(clip_page)
    browser.wait("video?.readyState > 1")
    browser.run("goTo(0)")
    browser.press_button("seek")
    browser.wait("frame >= 10 && frame <= 13 && !video.seeking")
    browser.keys("ARROW_RIGHT")
    at = browser.run("return frame")
    assert browser.text("clock").startswith(f"frame {at} of 24, ")
    # A click in a chart goes there.
    browser.run("document.querySelector('.chart').scrollIntoView({block: 'center'})")
    box = browser.run("return document.querySelector('.chart').getBoundingClientRect().toJSON()")
    browser.click(box["left"] + 46, box["top"] + 50)
    browser.wait("frame === 0 && !video.seeking")
    everything = ink(browser, "#stage canvas")
    browser.press_button("points")
    without_points = ink(browser, "#stage canvas")
    browser.press_button("skeleton")
    assert everything > without_points > ink(browser, "#stage canvas") == 0
    browser.press_button("labels")
    names = ink(browser, "#stage canvas")
    browser.driver.find_element("css selector", "#names input").click()
    assert 0 < ink(browser, "#stage canvas") < names
    browser.press_button("play")
    browser.wait("frame > 3")
    browser.wait("document.getElementById('play').textContent === 'Play'")
    assert browser.run("return frame") == 23


def test_hostile_names_do_nothing_in_a_browser(
    one_browser: Browser, rng: np.random.Generator, tmp_path: Path
) -> None:
    path = tmp_path / "clip.dkp.html"
    hostile_page(rng, path, source=tmp_path / "gone.mp4")
    one_browser.forget()
    one_browser.open(path)
    one_browser.wait("!document.getElementById('missing').hidden")
    one_browser.press_button("labels")
    assert one_browser.run("return [window.harm ?? 0, labels[0]]") == [0, HOSTILE]
    assert ink(one_browser, "#stage canvas") > 0
    assert [line for line in one_browser.complaints() if "ERR_FILE_NOT_FOUND" not in line] == []
    assert {address.rpartition("/")[2] for address in one_browser.requests()} <= {path.name, "gone.mp4"}


def test_the_page_of_a_run_is_drawn(browser: Browser, run: Path) -> None:
    write_run_report(run, SKELETON)
    browser.open(run / "report.html")
    shown = browser.run(
        """return [...document.querySelectorAll("img, svg")].map((item) => {
             const box = item.getBoundingClientRect();
             return [item.tagName, box.width > 100 && box.height > 20, (item.naturalWidth ?? 16) === 16];
           })"""
    )
    assert sorted(shown) == [["IMG", True, True]] * 3 + [["svg", True, True]] * 3
    browser.driver.find_element("css selector", "summary").click()
    assert browser.run("return document.querySelector('details').open")
