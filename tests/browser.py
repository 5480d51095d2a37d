"""A real browser without a window, for the pages: what it says, what it asks for, what it shows."""

import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray
from PIL import Image

FLAGS = [
    "headless",
    "no-sandbox",
    "disable-gpu",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
    "disable-quic",
    "hide-scrollbars",
    "force-device-scale-factor=1",
]


class Browser:
    """A page in Chromium; `driver` is Selenium's."""

    def __init__(self, driver: Any, downloads: Path) -> None:
        self.driver = driver
        self.downloads = downloads

    def open(self, page: Path | str) -> None:
        """Load a page."""
        self.driver.get(page.as_uri() if isinstance(page, Path) else page)

    def forget(self) -> None:
        """Leave the page, and what was logged so far."""
        self.driver.get("about:blank")
        self.complaints()
        self.requests()

    def run(self, script: str, *values: Any) -> Any:
        """The result of JavaScript in the page."""
        return self.driver.execute_script(script, *values)

    def wait(self, script: str, seconds: float = 30.0) -> Any:
        """Wait until an expression is true, and return its value."""
        return wait_for(lambda: self.run(f"return {script}"), script, seconds)

    def picture(self) -> ndarray:
        """What is to be seen, as grey levels 0..1."""
        shot = Image.open(io.BytesIO(self.driver.get_screenshot_as_png()))
        return np.asarray(shot.convert("L")) / 255

    def complaints(self) -> list[str]:
        """What the page wrote to the console as a warning or an error since it was asked last."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]

    def requests(self) -> list[str]:
        """Addresses that the page has asked for since this was asked last, but for what is in itself."""
        entries = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in entries if e["method"] == "Network.requestWillBeSent"]
        return [address for address in asked if not address.startswith(("data:", "blob:"))]

    def click(self, x: float, y: float, button: str = "left") -> None:
        """Click at a place of the window, in CSS pixels; the mouse stops at whole ones."""
        chain = self._mouse(x, y)
        chain.w3c_actions.pointer_action.click(button={"left": 0, "right": 2}[button])
        chain.perform()

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press at one place, let go at another."""
        chain = self._mouse(*start)
        pointer = chain.w3c_actions.pointer_action
        pointer.pointer_down()
        pointer.move_to_location((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        pointer.move_to_location(*end)
        pointer.pointer_up()
        chain.perform()

    def wheel(self, x: float, y: float, down: int) -> None:
        """Turn the wheel there, down by so many pixels."""
        from selenium.webdriver.common.action_chains import ActionChains, ScrollOrigin

        ActionChains(self.driver).scroll_from_origin(
            ScrollOrigin.from_viewport(round(x), round(y)), 0, down
        ).perform()

    def keys(self, *keys: str) -> None:
        """Press keys one after the other: characters, or names of Selenium's `Keys`, such as SHIFT+d."""
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys

        chain = ActionChains(self.driver, duration=0)
        for key in keys:
            parts = key.split("+") if len(key) > 1 else [key]
            *held, last = [getattr(Keys, part, part) for part in parts]
            for modifier in held:
                chain.key_down(modifier)
            chain.send_keys(last)
            for modifier in held:
                chain.key_up(modifier)
        chain.perform()

    def touch(self, *strokes: list[tuple[float, float]]) -> None:
        """Fingers that come down together, follow their paths in step, and are lifted."""
        for step, places in enumerate(zip(*strokes, strict=True)):
            points = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(places)]
            kind = "touchMove" if step else "touchStart"
            self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def hover(self, x: float, y: float) -> None:
        """Move the mouse there."""
        self._mouse(x, y).perform()

    def text(self, name: str) -> str:
        """What is written in the element with this id."""
        found: str = self.run("return document.getElementById(arguments[0]).textContent", name)
        return found

    def press_button(self, name: str) -> None:
        """Click the middle of the element with this id, wherever it has to be scrolled to."""
        self.driver.find_element("id", name).click()

    def choose_file(self, name: str, path: Path) -> None:
        """Give a file to the input with this id."""
        self.driver.find_element("id", name).send_keys(str(path))

    @contextmanager
    def as_phone(self) -> Iterator[None]:
        """A small screen that is touched."""
        screen = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
        try:
            yield
        finally:
            self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
            self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def _mouse(self, x: float, y: float) -> Any:
        from selenium.webdriver.common.action_chains import ActionChains

        chain = ActionChains(self.driver, duration=0)
        chain.w3c_actions.pointer_action.move_to_location(round(x), round(y))
        return chain


def wait_for(found: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Ask until the answer is true."""
    end = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.05)
    return answer


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A new browser with a profile of its own; a missing one skips, or fails under DKPVID_REQUIRE=chromium.

    Args:
        folder: For the profile and downloads.
    """
    programs = shutil.which("chromium"), shutil.which("chromedriver")
    try:
        from selenium import webdriver
    except ImportError:
        webdriver = None
    if webdriver is None or None in programs:
        message = "chromium, chromedriver or selenium is missing: the pages cannot be tested in a browser"
        if "chromium" in os.environ.get("DKPVID_REQUIRE", "").split(","):
            pytest.fail(message)
        pytest.skip(message)
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in (*FLAGS, "window-size=1200,800", f"user-data-dir={folder / 'profile'}"):
        options.add_argument(f"--{flag}")
    downloads = folder / "downloads"
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=programs[1])
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield Browser(driver, downloads)
    finally:
        driver.quit()
