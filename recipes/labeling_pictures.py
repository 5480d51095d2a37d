"""Make the pictures of docs/labeling.md: label the demo clip in Chromium as that page says, and track it.

python -m recipes.labeling_pictures        needs chromium, chromedriver and selenium
"""

import re
import shlex
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import typer
from numpy import ndarray
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains

from dkpvid.labeling.folder import read_labeling
from dkpvid.labeling.page import write_label_page
from dkpvid.labeling.server import LabelServer
from dkpvid.video.reader import VideoReader
from recipes.figures import DEMO_FPS, JOINTS, demo_scene, render_clip

ROOT = Path(__file__).parents[1]
TRUTH = {"left_hand": "left_wrist", "right_hand": "right_wrist"}
"""What the renderer calls joints of docs/labeling.md."""
SHOWN = 60, 95, 118, 135
"""Frames in the picture of named joints."""


def true_joints(names: tuple[str, ...]) -> ndarray:
    """Where joints are in the demo clip: [frame, joint, (x, y)] in pixels."""
    columns = [JOINTS.index(TRUTH.get(name, name)) for name in names]
    return np.stack([frame.joints_xy[columns] for frame in render_clip(demo_scene(), 150, DEMO_FPS)])


def commands_of_docs() -> list[list[str]]:
    """What docs/labeling.md tells to run, as words after `dkpvid`."""
    text = (ROOT / "docs" / "labeling.md").read_text(encoding="utf-8")
    return [shlex.split(command) for command in re.findall(r"^\$ dkpvid (.*)$", text, re.M)]


def click_all(
    driver: webdriver.Chrome, truth: ndarray, indices: list[int], picture: Path | None = None
) -> None:
    """Place every joint of every frame that is not done, by the mouse.

    Args:
        driver: Has the labelling page open.
        truth: Where to click, [video frame, joint, (x, y)].
        indices: Of the page's frames in the video.
        picture: Where to put a picture of the page, with some frames done and another begun.
    """
    driver.execute_script("document.querySelector('dialog[open]')?.close()")
    corner = driver.execute_script("const b = stage.getBoundingClientRect(); return [b.left, b.top]")
    find_frame = "return frames.every((_, f) => isDone(f)) ? null : state.frame"
    clicks = 0
    while (frame := driver.execute_script(find_frame)) is not None:
        for x, y in truth[indices[frame]].tolist():
            at = np.add(driver.execute_script("return toScreen(arguments[0])", [x, y]), corner).round()
            chain = ActionChains(driver, duration=0)
            chain.w3c_actions.pointer_action.move_to_location(*map(int, at)).click()
            chain.perform()
            clicks += 1
            if picture and clicks == 6 * truth.shape[1] - 2:
                driver.save_screenshot(str(picture))
        ActionChains(driver, duration=0).send_keys("n").perform()


def main() -> None:
    """Walk through docs/labeling.md, and keep what is to be seen on the way."""
    label, evaluate, track, *_ = commands_of_docs()
    names = tuple(label[label.index("--names") + 1].split(","))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "benchmarks").symlink_to(ROOT / "benchmarks")
        run = [sys.executable, "-m", "dkpvid"]
        subprocess.run([*run, *(word for word in label if word != "--serve")], cwd=folder, check=True)
        labels = folder / "labels"
        labeling = read_labeling(labels)
        options = webdriver.ChromeOptions()
        for flag in ("headless", "no-sandbox", "disable-gpu", "window-size=1280,860", "hide-scrollbars"):
            options.add_argument(f"--{flag}")
        server = LabelServer(labels, labeling, lambda: write_label_page(labels, read_labeling(labels)))
        stop: list[int] = []
        thread = threading.Thread(target=server.serve_until, args=[lambda: bool(stop)])
        thread.start()
        with webdriver.Chrome(options=options) as driver:
            driver.get(server.address)
            indices = [frame.index for frame in labeling.frames]
            click_all(driver, true_joints(names), indices, ROOT / "docs" / "label.png")
            driver.execute_async_script("save(true).then(arguments[0])")
        stop.append(1)
        thread.join()
        server.server_close()
        for words in (evaluate, track):
            subprocess.run([*run, *words], cwd=folder, check=True)
        with VideoReader(folder / "demo.dkp.mp4") as reader:
            shown = [frame.image for frame in reader if frame.index in SHOWN]
    rows = [np.concatenate(shown[start : start + 2], axis=1) for start in (0, 2)]
    sheet = Image.fromarray(np.concatenate(rows))
    sheet.thumbnail((1000, 1000))
    sheet.save(ROOT / "docs" / "named_joints.png", optimize=True)


if __name__ == "__main__":
    typer.run(main)
