"""Training: it learns, it can be stopped and killed at any moment, and it says what went wrong."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

import dkpvid.jobs.train
import dkpvid.training.fitting
from dkpvid.checkpoint import load_weights
from dkpvid.cli import app
from dkpvid.config import PRESETS, TrainConfig
from dkpvid.errors import DataError, TrainingError, UsageError
from dkpvid.jobs.train import train
from dkpvid.training.fitting import Callbacks, learning_rate, load_perceptual_net, read_ahead, to_images
from tests.tiny import TINY, assert_same_run, assert_same_state, losses, tiny_settings

pytestmark = pytest.mark.usefixtures("own_cache_and_perceptual_net")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two strips of a bright square that moves over a dark background."""
    folder = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    for video in range(2):
        frames = []
        for _ in range(12):
            frame = np.full((64, 64, 3), 30, np.uint8)
            x, y = rng.integers(4, 44, 2)
            frame[y : y + 16, x : x + 16] = (230, 120 + 100 * video, 40)
            frames.append(frame)
        Image.fromarray(np.concatenate(frames, axis=1)).save(folder / f"{video}.png")
    return folder


def config(data: Path, run: Path, **changes: Any) -> TrainConfig:
    settings = {"steps": 12, "log_every": 2, "checkpoint_every": 5, "preview_every": 6}
    return TrainConfig(**tiny_settings(data, run, **settings | changes))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(config(data, run))
    return run


def test_the_run_folder_holds_what_it_should(finished: Path) -> None:
    assert [step for step, _ in losses(finished)] == [2, 4, 6, 8, 10, 12]
    names = sorted(path.name for path in (finished / "preview").iterdir())
    assert names == ["000006.json", "000006.png", "000012.json", "000012.png"]
    assert (finished / "report.html").is_file()
    with Image.open(finished / "preview" / "000012.png") as preview:
        assert preview.size == (8 * 64, 4 * 64)
    settings = json.loads((finished / "config.json").read_text())
    assert settings["model"]["num_keypoints"] == 4 and settings["steps"] == 12
    assert load_weights(finished).config == TINY
    assert not [path for path in finished.rglob(".*")], "temporary files are left"


def test_the_loss_falls(data: Path, tmp_path: Path) -> None:
    train(config(data, tmp_path / "run", steps=60, log_every=1, checkpoint_every=60))
    values = [loss for _, loss in losses(tmp_path / "run")]
    assert np.mean(values[-10:]) < 0.8 * np.mean(values[:10])


def test_the_same_seed_gives_the_same_run_and_another_seed_another(
    data: Path, finished: Path, tmp_path: Path
) -> None:
    train(config(data, tmp_path / "again"))
    assert_same_run(finished, tmp_path / "again")
    train(config(data, tmp_path / "other", seed=1))
    assert losses(finished) != losses(tmp_path / "other")


@pytest.mark.parametrize("stop_after", [1, 5, 7])
def test_stopped_and_resumed_equals_uninterrupted(
    data: Path, finished: Path, tmp_path: Path, stop_after: int
) -> None:
    run, steps = tmp_path / "run", []
    done = train(
        config(data, run),
        Callbacks(
            on_step=lambda step, loss: steps.append(step),
            should_stop=lambda: len(steps) + 1 >= stop_after,
        ),
    )
    assert done == stop_after
    assert train(config(data, run), resume=True) == 12
    assert_same_run(finished, run)


def test_a_changing_learning_rate_and_crops_resume_alike(data: Path, finished: Path, tmp_path: Path) -> None:
    changes = {"schedule": "cosine", "crop": True}
    train(config(data, tmp_path / "whole", **changes))
    steps: list[int] = []
    callbacks = Callbacks(on_step=lambda step, loss: steps.append(step), should_stop=lambda: len(steps) >= 6)
    assert train(config(data, tmp_path / "run", **changes), callbacks) == 7
    train(config(data, tmp_path / "run", **changes), resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    for name in changes:
        train(config(data, tmp_path / name, **{name: changes[name]}))
    results = {tuple(losses(run)) for run in (finished, *(tmp_path / name for name in ("whole", *changes)))}
    assert len(results) == 4, "each of the two changes the training"


def test_a_finished_run_can_be_extended(data: Path, finished: Path, tmp_path: Path) -> None:
    train(config(data, tmp_path / "run", steps=8, preview_every=100))
    train(config(data, tmp_path / "run", preview_every=100), resume=True)
    assert_same_state(finished, tmp_path / "run")
    assert train(config(data, tmp_path / "run", preview_every=100), resume=True) == 12


def test_killed_at_any_moment_and_resumed_equals_uninterrupted(data: Path, tmp_path: Path) -> None:
    """Kill -9 from outside, several times, wherever it hits."""
    options = ["--keypoints", "4", "--image-size", "64", "--detector-width", "4", "--decoder-width", "4"]
    options += ["--batch-size", "4", "--steps", "40", "--perceptual", "mobilenet-v1", "--device", "cpu"]
    options += ["--log-every", "2", "--checkpoint-every", "3", "--preview-every", "7", "--quiet", "--resume"]

    def start(run: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "dkpvid", "train", str(data), "-o", str(run), *options]
        )

    assert start(tmp_path / "whole").wait() == 0
    killed, rng = tmp_path / "killed", np.random.default_rng(0)
    kills = 0
    while (process := start(killed)).poll() is None:
        # Wait for the first sign of life of this process, then a random while.
        seen = (killed / "metrics.jsonl").stat().st_mtime_ns if (killed / "metrics.jsonl").exists() else 0
        while kills < 3 and process.poll() is None:
            now = (killed / "metrics.jsonl").stat().st_mtime_ns if (killed / "metrics.jsonl").exists() else 0
            if now != seen:
                time.sleep(rng.uniform(0, 0.3))
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        if process.wait() == 0:
            break
    assert kills > 0
    assert_same_run(tmp_path / "whole", killed)


def test_ctrl_c_saves_and_exits_with_130(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["train", str(data), "-o", str(run), "--preset", "cpu", "--steps", "100000", "--log-every", "1"]
    process = subprocess.Popen([sys.executable, "-m", "dkpvid", *command], stderr=subprocess.PIPE, text=True)
    while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").read_text():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate()
    assert process.returncode == 130
    assert "go on with --resume" in messages and "Traceback" not in messages
    assert load_weights(run).config.num_keypoints == PRESETS["cpu"]["num_keypoints"]


def test_an_existing_run_is_not_touched_without_a_word(data: Path, finished: Path) -> None:
    before = (finished / "checkpoint.safetensors").read_bytes()
    with pytest.raises(UsageError, match="already holds a run; pass --resume to go on or --overwrite"):
        train(config(data, finished))
    with pytest.raises(UsageError, match="was trained with batch_size = 4, got 5"):
        train(config(data, finished, batch_size=5), resume=True)
    assert (finished / "checkpoint.safetensors").read_bytes() == before


@pytest.mark.parametrize(("name", "value"), [("crop", True), ("schedule", "cosine")])
def test_a_run_that_is_older_than_a_setting_did_what_is_the_default(
    data: Path, finished: Path, tmp_path: Path, name: str, value: Any
) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    settings = json.loads((run / "config.json").read_text())
    del settings[name], settings["model"]["edge_weight_lr"]
    (run / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UsageError, match=rf"was trained with {name} = \w+, got {value}"):
        train(config(data, run, **{name: value}), resume=True)
    train(config(data, run), resume=True)
    assert json.loads((run / "config.json").read_text())["model"]["edge_weight_lr"]


def test_a_preview_opens_no_other_gpu(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forked: list[Any] = []
    real = torch.random.fork_rng

    def watched(devices: Any = None) -> Any:
        forked.append(devices)
        return real(devices)

    monkeypatch.setattr(torch.random, "fork_rng", watched)
    train(config(data, tmp_path / "run", steps=1, preview_every=1))
    assert forked == [[]]


def test_overwrite_starts_anew(data: Path, finished: Path, tmp_path: Path) -> None:
    train(config(data, tmp_path / "run", steps=3, seed=9))
    train(config(data, tmp_path / "run"), overwrite=True)
    assert_same_run(finished, tmp_path / "run")


def test_a_damaged_checkpoint_is_named(data: Path, tmp_path: Path) -> None:
    train(config(data, tmp_path / "run", steps=3))
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes(b"damaged")
    with pytest.raises(dkpvid.errors.WeightsError, match=r"checkpoint\.safetensors is damaged"):
        train(config(data, tmp_path / "run"), resume=True)


def test_nan_stops_and_keeps_the_last_good_state(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, real, calls = tmp_path / "run", dkpvid.jobs.train.perceptual_loss, []

    def breaks_at_step_8(*args: Any) -> torch.Tensor:
        calls.append(1)
        return real(*args) * (float("nan") if len(calls) >= 8 else 1.0)

    monkeypatch.setattr(dkpvid.jobs.train, "perceptual_loss", breaks_at_step_8)
    with pytest.raises(TrainingError, match="loss is nan at step 8; the last good state is kept"):
        train(config(data, run))
    state = load_file(run / "checkpoint.safetensors")
    assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())
    monkeypatch.undo()
    assert train(config(data, run), resume=True) == 12


def test_a_cosine_schedule_is_torchs(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.3)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
    settings = TrainConfig(tmp_path, tmp_path, steps=12, learning_rate=0.3, schedule="cosine")
    for step in range(1, 13):
        assert learning_rate(settings, step) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    assert learning_rate(replace(settings, schedule="constant"), 12) == 0.3


def test_bytes_become_minus_one_to_one() -> None:
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    frames[0, 0, 1] = (255, 0, 127)
    images = to_images(torch.from_numpy(frames))
    torch.testing.assert_close(images[0, :, 0, 1], torch.tensor([1.0, -1.0, 127 / 127.5 - 1]))


def test_batches_are_read_ahead_and_in_order() -> None:
    """While batch n is worked on, batch n + 1 is read, and no more."""
    numbers = iter(np.arange(8).reshape(4, 2))
    begun: list[int] = []
    may_read = threading.Semaphore(1)

    class Slow:
        digest = "slow"

        def __len__(self) -> int:
            return 8

        def read(self, indices: np.ndarray) -> np.ndarray:
            may_read.acquire()
            begun.append(int(indices[0]))
            return np.full((2, 4, 4, 3), indices[:, None, None, None], np.uint8)

    upcoming = read_ahead(Slow(), numbers, torch.device("cpu"))
    for first in (0, 2, 4):
        assert next(upcoming)[:, 0, 0, 0].tolist() == [first, first + 1]
        may_read.release()
        deadline = time.monotonic() + 10
        while begun[-1] != first + 2:
            assert time.monotonic() < deadline, "nothing is read in the background"
            time.sleep(0.001)
    assert begun == [0, 2, 4, 6]
    upcoming.close()


def test_an_unreadable_batch_is_reported_by_the_loop(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="24 frames are fewer than one batch of 25"):
        train(config(data, tmp_path / "run", batch_size=25))


def test_perceptual_network_must_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no perceptual network at"):
        load_perceptual_net("mobilenet-v1", tmp_path / "missing")
    monkeypatch.delenv("DKPVID_PERCEPTUAL_WEIGHTS")
    with pytest.raises(UsageError, match="give --perceptual-weights PATH"):
        load_perceptual_net("mobilenet-v1", None)


def test_vgg16_offline_says_where_to_put_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.delenv("DKPVID_PERCEPTUAL_WEIGHTS")
    monkeypatch.setenv("DKPVID_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    place = str(tmp_path / "networks" / "vgg16-397923af.pth")
    with pytest.raises(dkpvid.errors.WeightsError) as caught:
        load_perceptual_net("vgg16", None)
    for part in ("no network", "https://", place, "--perceptual-weights"):
        assert part in str(caught.value)
    assert not list((tmp_path / "networks").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "nonsense"], "unknown preset 'nonsense'"),
        (["--image-size", "96"], "image size must be 64 or 128 for autolink, got 96"),
        (["--batch-size", "1"], "batch size must be at least 2"),
        (["--steps", "0"], "steps must be at least 1"),
        (["--perceptual", "resnet"], "unknown perceptual network"),
        (["--device", "tpu"], "unknown device"),
        (["--mask-ratio", "1.5"], "mask ratio must be 0 to 1"),
        (["--edge-variance", "0"], "edge variance must be between 0 and 1"),
    ],
)
def test_wrong_options_are_one_line_and_exit_2(
    data: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    result = CliRunner().invoke(app, ["train", str(data), "-o", str(tmp_path / "run"), *options])
    assert result.exit_code == 2
    assert result.stdout == "" and result.stderr.startswith("error: ") and message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_presets_are_the_papers() -> None:
    assert (PRESETS["human36m"]["num_keypoints"], PRESETS["human36m"]["edge_variance"]) == (16, 5e-5)
    assert PRESETS["deepfashion"]["flip"] is False
    assert (PRESETS["taichi"]["num_keypoints"], PRESETS["taichi"]["edge_variance"]) == (10, 5e-4)
    defaults = TrainConfig(data=Path(), run=Path())
    assert (defaults.steps, defaults.batch_size, defaults.learning_rate) == (20_000, 64, 1e-4)


def test_tensorboard_gets_the_losses_where_it_is_installed(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train(config(data, tmp_path / "run", steps=4))
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
