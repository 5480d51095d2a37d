"""`import dkpvid`: few names, loaded late, which do what the commands do."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import dkpvid
from dkpvid.cli import app
from dkpvid.config import SmoothingConfig
from dkpvid.errors import UsageError
from dkpvid.formats import FORMATS

pytestmark = pytest.mark.usefixtures("own_cache_and_perceptual_net")
PAGE = Path(__file__).parents[1] / "docs" / "python.md"


@pytest.fixture(scope="module")
def model(tiny_weights: Path) -> Any:
    return dkpvid.load_model(tiny_weights, device="cpu", batch_size=5)


def test_the_names_are_loaded_late() -> None:
    code = "import dkpvid, sys; assert 'track' in dir(dkpvid); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    for name in dkpvid.__all__:
        assert getattr(dkpvid, name).__doc__
    with pytest.raises(AttributeError, match="module 'dkpvid' has no attribute 'trak'"):
        getattr(dkpvid, "trak")  # noqa: B009 (mistyped on purpose)


def test_tracking_loads_nothing_that_only_training_needs() -> None:
    code = "import sys, dkpvid; dkpvid.track; print('dkpvid.training.fitting' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_track_is_that_of_the_command(tmp_path: Path, clip: Path, tiny_weights: Path, model: Any) -> None:
    words = ["track", clip, "-o", tmp_path, "--no-video", "--weights", tiny_weights, "--device", "cpu"]
    assert CliRunner().invoke(app, [*map(str, words), "--batch-size", "5"]).exit_code == 0
    told, track = dkpvid.read_track(tmp_path / "clip.dkp.json"), dkpvid.track(clip, model)
    np.testing.assert_allclose(track.xy, told.xy, atol=0.006)
    np.testing.assert_allclose(track.time, told.time, atol=1e-6)
    assert (track.names, track.lost, track.complete) == (told.names, told.lost, told.complete)
    assert [edge for edge in track.skeleton if edge not in told.skeleton] == []


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("sleap-h5", "nwb")])
def test_a_track_is_saved_by_the_end_of_its_name(tmp_path: Path, clip: Path, model: Any, name: str) -> None:
    track = dkpvid.track(clip, model)
    track.save(tmp_path / f"a{FORMATS[name].suffix}")
    track.save(tmp_path / f"b{FORMATS[name].suffix}", format=name)
    assert {path.name for path in tmp_path.glob("[ab]*")} == {f"{x}{FORMATS[name].suffix}" for x in "ab"}


def test_mistakes_are_one_line(tmp_path: Path, clip: Path, model: Any, monkeypatch: Any) -> None:
    track = dkpvid.track(clip, model)
    with pytest.raises(UsageError, match=r"a\.xyz: unknown kind of track; end it with \.dkp\.json, "):
        track.save(tmp_path / "a.xyz")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r'to_dataframe\(\) needs pandas, .* run: pip install "pandas"'):
        track.to_dataframe()
    with pytest.raises(UsageError, match="unknown preset 'gpu'"):
        dkpvid.train(tmp_path, tmp_path / "run", preset="gpu")
    with pytest.raises(UsageError, match="unknown setting 'stepz'"):
        dkpvid.distill(tmp_path, tmp_path / "run", teacher="t", stepz=1)


def test_settings_are_those_of_the_command(tiny_weights: Path) -> None:
    model = dkpvid.load_model(tiny_weights, device="cpu", smoothing=SmoothingConfig("none"), stride=2)
    assert (model.config.stride, model.config.smoothing.method) == (2, "none")


def test_the_page_runs_from_top_to_bottom(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch, need_package: Callable[[str], Any]
) -> None:
    need_package("pandas")
    need_package("movement")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_videos").mkdir()
    strip = np.random.default_rng(0).integers(0, 255, (64, 64 * 20, 3), np.uint8)
    Image.fromarray(strip).save(tmp_path / "my_videos" / "strip.png")
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert len(blocks) == 5
    for block in blocks:
        exec(block, names)
    assert dkpvid.read_track("clip.dkp.json").complete
