"""docs/labeling.md as it stands: from a video to named joints, with somebody clicking."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dkpvid.formats.reading import read_track
from dkpvid.labeling.folder import read_labeling
from tests.browser import Browser, chromium, wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with chromium(tmp_path / "browser") as browser:
        yield browser


@pytest.mark.timeout(1800)  # seven programs and 130 clicks, which take half a minute of an idle processor
def test_the_page_leads_from_a_video_to_named_joints(browser: Browser, tmp_path: Path) -> None:
    from recipes.labeling_pictures import click_all, commands_of_docs, true_joints  # needs selenium

    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    commands = commands_of_docs()
    assert [words[0] for words in commands] == ["label", "eval", "track", "label", "eval"]
    names = commands[0][commands[0].index("--names") + 1].split(",")
    truth, labels = true_joints(tuple(names)), tmp_path / "labels"

    def label(served: subprocess.Popen[str]) -> None:
        assert served.stderr is not None
        told = []
        while not (told and told[-1].startswith("label at ")):
            told.append(served.stderr.readline())
            assert told[-1], "".join(told)
        browser.open(told[-1].split()[2])
        click_all(browser.driver, truth, [frame.index for frame in read_labeling(labels).frames])
        wait_for(lambda: read_labeling(labels).num_untouched == 0, "the page to save")
        served.send_signal(signal.SIGINT)
        assert served.wait(60) == 0

    told = ""
    for words in commands:
        with subprocess.Popen(
            [sys.executable, "-m", "dkpvid", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                if "--serve" in words:
                    label(process)
                else:
                    told = process.communicate()[1]
                    assert process.returncode == 0, told
            finally:
                process.kill()

    labeling = read_labeling(labels)
    assert len(labeling.frames) == 26 and labeling.num_rounds == 2
    indices = [frame.index for frame in labeling.frames]
    # What was clicked, at whole pixels of the screen, is where the joints are.
    np.testing.assert_allclose(np.array(labeling.joints, dtype=float), truth[indices], atol=0.6)
    track = read_track(tmp_path / "demo.dkp.json")
    assert track.header.joints == tuple(names) and track.track.joints is not None
    # The person is 288 pixels tall.
    assert np.median(np.linalg.norm(track.track.joints.xy - truth, axis=2)) < 20
    assert re.search(r"fitted on 20 frames, up to round 1: [\d.]+ % on all frames", told)
    assert json.loads((tmp_path / "joints.json").read_text())["joints"] == names
