"""The pages: all in one file, nothing fetched, nothing from outside taken for markup, and they work."""

import json
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch

from dkpvid.config import ModelConfig, TrainConfig
from dkpvid.models.autolink import AutoLink
from dkpvid.pages.run import _ticks, write_run_report
from dkpvid.pages.track import write_track_report
from dkpvid.structures import LostPacket, Track
from dkpvid.training.fitting import reconstruct
from dkpvid.training.runs import Run
from tests.formats.test_schema import make_header, make_track

HOSTILE = "</script><script>window.harm = 1</script><img src=x onerror='window.harm=1'>\"&'"
SKELETON = [(0, 1, 1.0), (0, 2, 0.1), (1, 2, 0.5)]


class Page(HTMLParser):
    """What a browser would make of a file: its tags, and its texts by the tag around them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open = ["html"]
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input", "line", "polyline", "circle"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            assert self._open.pop() == tag, f"</{tag}> does not close the last tag"

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.setdefault(self._open[-1], []).append(data.strip())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    @property
    def data(self) -> dict[str, Any]:
        """The JSON that the page of a video carries."""
        content: dict[str, Any] = json.loads(self.texts["script"][0])
        return content


def assert_fetches_nothing(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset", "action", "xlink:href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert not re.search(r"url\(|@import", " ".join(page.texts["style"]))


def test_a_run_is_seen_in_one_file(run: Path) -> None:
    write_run_report(run, SKELETON)
    page = Page(run / "report.html")
    assert_fetches_nothing(page)
    assert page.texts["h1"] == ["mice"]
    assert "step 300 of 300" in page.texts["div"]
    assert page.texts["h2"][:2] == ["loss", "perceptual"]
    assert page.count("img") == 3 and page.count("polyline") == 4
    # The edge of a tenth of the strongest is left out.
    assert page.count("circle") == 3 and page.count("line") - len(grid_lines(page)) == 2
    cells = page.texts["td"]
    assert [cells[cells.index(name) + 1] for name in ("kp0", "kp1", "kp2")] == ["4.8", "14.4", "1.0"]
    assert page.texts["span"].count("dead") == 1
    assert cells[cells.index("model.num_keypoints") + 1] == "3"


def grid_lines(page: Page) -> list[dict[str, str | None]]:
    return [attributes for tag, attributes in page.tags if tag == "line" and attributes["class"] == "rule"]


def test_the_curve_is_what_was_logged(run: Path) -> None:
    write_run_report(run, SKELETON)
    lines = [attributes for tag, attributes in Page(run / "report.html").tags if tag == "polyline"]
    places = np.array([pair.split(",") for pair in (lines[2]["points"] or "").split()], dtype=float)
    assert places.shape == (30, 2)
    # "perceptual" grows linearly, so its curve is straight up to the share that may leave the chart.
    np.testing.assert_allclose(np.diff(places[:, 0]), np.ptp(places[:, 0]) / 29, atol=0.11)
    assert (np.diff(places[:-1, 1]) < 0).all()
    assert places[:, 0].min() >= 56 and places[:, 0].max() <= 552


@pytest.mark.parametrize("missing", ["config.json", "metrics.jsonl", "preview"])
def test_what_is_missing_is_left_out(run: Path, missing: str) -> None:
    shutil.rmtree(run / missing) if missing == "preview" else (run / missing).unlink()
    write_run_report(run, SKELETON)
    assert_fetches_nothing(Page(run / "report.html"))


def test_a_run_cannot_put_markup_into_its_page(run: Path) -> None:
    hostile = run.parent / "<img src=x onerror=harm()>"
    run.rename(hostile)
    (hostile / "config.json").write_text(
        json.dumps({HOSTILE: HOSTILE, "steps": HOSTILE, "a": {HOSTILE: [1]}})
    )
    broken = ['{"step": 1', "[" * 100_000, "7", '{"step": "a", "loss": 1}', '{"step": 5, "loss": NaN}']
    lines = [json.dumps({"step": i, "loss": i, HOSTILE: i}) for i in range(3)]
    (hostile / "metrics.jsonl").write_text("\n".join([*broken, *lines]))
    (hostile / "preview/000300.json").write_text(json.dumps({"keypoints": HOSTILE, "heatmap_size": 0}))
    (hostile / "preview/9'><script>.png").write_bytes(b"no picture")
    write_run_report(hostile, SKELETON)
    page = Page(hostile / "report.html")
    assert_fetches_nothing(page)
    assert page.count("script") == 0
    assert page.texts["h1"] == ["<img src=x onerror=harm()>"]


def test_a_training_run_has_its_page(tmp_path: Path) -> None:
    config = ModelConfig(num_keypoints=4, image_size=64, detector_width=4, decoder_width=4)
    run = Run(TrainConfig(data=tmp_path, run=tmp_path / "run", model=config), False, False)
    model = AutoLink(config)
    optimizer = torch.optim.AdamW(model.parameters())
    run.load(model, optimizer)
    for step in (1, 2):
        run.log(step, {"loss": 1 / step})
    images = torch.zeros(8, 3, 64, 64)
    run.save_preview(2, images, reconstruct(model, images, 0.8))
    run.save(2, model, optimizer)
    page = Page(tmp_path / "run" / "report.html")
    assert_fetches_nothing(page)
    assert page.count("img") == 1 and page.count("circle") == 4


# --- A tracked video ----------------------------------------------------------------------------------------


def gappy_track(rng: np.random.Generator) -> Track:
    """Six frames, the third and fourth without keypoints; the last is flagged."""
    track = make_track(rng, num_frames=6)
    xy = track.xy.copy()
    xy[2:4] = np.nan
    xy[0, 1] = np.nan
    flags = ((), (), (), (), (), ("corrupt",))
    return replace(track, xy=xy, flags=flags, time_seconds=np.arange(6) / 10)


def test_a_page_carries_the_track(rng: np.random.Generator, tmp_path: Path) -> None:
    track, header = gappy_track(rng), make_header()
    lost = [LostPacket(3, 0.25, "Invalid data"), LostPacket(9, None, "truncated")]
    path = tmp_path / "clip.dkp.html"
    write_track_report(
        path, header, track, lost, source=tmp_path / "in/a b.mp4", annotated=tmp_path / "c.mp4"
    )
    page = Page(path)
    assert_fetches_nothing(page)
    data = page.data
    found = np.array(data["xy"], dtype=float).reshape(6, 3, 2)
    np.testing.assert_allclose(found, np.where(np.isfinite(track.xy), track.xy, np.nan), atol=0.051)
    assert data["times"] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert data["videos"] == [{"address": "in/a%20b.mp4", "offset": 0.0}, {"address": "c.mp4", "offset": 0.0}]
    shown = 1 / (header.source.average_fps or 25)
    assert data["marks"] == [[0.2, 0.4], [0.25, round(0.25 + shown, 4)], [0.5, 0.6]]
    reasons = [cell for cell in page.texts["td"] if cell in ("no keypoint", "corrupt", "lost: Invalid data")]
    assert reasons == ["no keypoint", "lost: Invalid data", "corrupt"]


def test_a_page_has_the_joints_too(rng: np.random.Generator, tmp_path: Path) -> None:
    track = make_track(rng)
    joints = make_track(rng, num_keypoints=2)
    header = replace(make_header(), joints=("nose", "tail"))
    path = tmp_path / "clip.dkp.html"
    write_track_report(path, header, replace(track, joints=joints), [], source=None, annotated=None)
    page = Page(path)
    assert page.count("video") == 0
    assert len(page.data["xy"]) == len(track) * 5 * 2
    assert "nose" in page.texts["label"]


@pytest.mark.parametrize(
    "name", ["javascript:alert(1).mp4", HOSTILE.replace("/", "_"), "a#b?c%20.mp4", "a\nb.mp4", "käse.mp4"]
)
def test_the_address_is_only_a_place(rng: np.random.Generator, tmp_path: Path, name: str) -> None:
    video, path = tmp_path / "videos" / name, tmp_path / "out" / "clip.dkp.html"
    path.parent.mkdir()
    write_track_report(path, make_header(), make_track(rng), [], source=video, annotated=None)
    address = Page(path).data["videos"][0]["address"]
    assert re.fullmatch(r"[\w./~%-]+", address, re.ASCII)
    assert os.path.normpath(path.parent / unquote(address)) == str(video)


def hostile_page(rng: np.random.Generator, path: Path, **videos: Path | None) -> None:
    header = make_header()
    header = replace(
        header,
        source=replace(header.source, path=HOSTILE.replace("/", "\\")),
        keypoints=(HOSTILE, "b", "c"),
        model_name=HOSTILE,
        model_config={HOSTILE: HOSTILE},
    )
    lost = [LostPacket(0, 0.1, HOSTILE)]
    write_track_report(path, header, gappy_track(rng), lost, **{"source": None, "annotated": None} | videos)


def test_a_track_cannot_put_markup_into_its_page(rng: np.random.Generator, tmp_path: Path) -> None:
    path = tmp_path / "clip.dkp.html"
    hostile_page(rng, path)
    page = Page(path)
    assert_fetches_nothing(page)
    assert page.count("script") == 2
    assert page.texts["label"].count(HOSTILE) == 1
    assert not any("window.harm" in text for text in page.texts["script"])


def test_round_ticks() -> None:
    assert _ticks(0.0, 1.0) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert _ticks(-3.0, 14.0) == [0.0, 5.0, 10.0]
    assert _ticks(1e-9, 2e-9) == pytest.approx([1e-9, 1.2e-9, 1.4e-9, 1.6e-9, 1.8e-9, 2e-9])
