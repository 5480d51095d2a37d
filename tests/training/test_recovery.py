"""What a run survives: kills at any moment, damaged files, a full disk; and how it is repeated."""

import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from dkpvid.cli import app
from dkpvid.config import DepthConfig, DistillConfig, TrainConfig
from dkpvid.config_json import from_dict, to_dict
from dkpvid.depth.maps import load_depth
from dkpvid.devices import use_deterministic_algorithms
from dkpvid.errors import UsageError, WeightsError
from dkpvid.jobs.distill import distill
from dkpvid.jobs.train import train
from dkpvid.training.data import load_frames
from dkpvid.training.fitting import Callbacks
from tests.tiny import assert_same_run, previews, tiny_settings

pytestmark = pytest.mark.usefixtures("own_cache_and_perceptual_net")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve strips of noise, and the depth maps that go with them."""
    folder = tmp_path_factory.mktemp("strips")
    rng = np.random.default_rng(0)
    for video in range(12):
        strip = rng.integers(0, 255, (64, 4 * 64, 3), dtype=np.uint8)
        Image.fromarray(strip).save(folder / f"{video}.png")
        Image.fromarray(strip[..., 0]).save(folder / f"{video}.depth.png")
    return folder


def config(data: Path, run: Path, **changes: Any) -> TrainConfig:
    settings = {"steps": 8, "learning_rate": 1e-4, "checkpoint_every": 2, "preview_every": 2}
    return TrainConfig(**tiny_settings(data, run, **settings | changes))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(config(data, run))
    return run


# --- Checkpoints --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keep", "older"), [(1, []), (2, [6]), (3, [6, 4])])
def test_the_newest_checkpoints_are_kept(data: Path, tmp_path: Path, keep: int, older: list[int]) -> None:
    train(config(data, tmp_path / "run", keep=keep))
    kept = {f"checkpoint-{step:06d}.safetensors" for step in older} | {"checkpoint.safetensors"}
    assert {path.name for path in (tmp_path / "run").glob("checkpoint*")} == kept


def test_fewer_are_kept_from_now_on(data: Path, tmp_path: Path) -> None:
    train(config(data, tmp_path / "run", steps=6, keep=3))
    train(config(data, tmp_path / "run", keep=1), resume=True)
    assert [path.name for path in (tmp_path / "run").glob("checkpoint*")] == ["checkpoint.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "garbage", "missing"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    data: Path, whole: Path, tmp_path: Path, damage: str
) -> None:
    run, remarks, shown = tmp_path / "run", [], []
    train(config(data, run, steps=6))
    newest = run / "checkpoint.safetensors"
    content = newest.read_bytes()
    newest.write_bytes(content[:-100] if damage == "cut" else b"damaged")
    if damage == "missing":
        newest.unlink()  # killed between two renames

    def look(step: int, loss: float | None) -> None:
        shown.append(previews(run)[-1])

    train(config(data, run), Callbacks(on_remark=remarks.append, on_step=look), resume=True)
    assert_same_run(whole, run)
    assert len(remarks) == (damage != "missing")
    assert all(f"{newest} is damaged (" in line and "going on from step 4" in line for line in remarks)
    assert shown == ["000004.png", "000006.png", "000006.png", "000008.png"]


def test_no_checkpoint_left_to_fall_back_to(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(config(data, run, steps=4))
    for path in run.glob("checkpoint*"):
        path.write_bytes(b"")
    with pytest.raises(WeightsError, match=r"checkpoint\.safetensors is damaged .*checkpoint-000002"):
        train(config(data, run), resume=True)
    with pytest.raises(UsageError, match="already holds a run"):
        train(config(data, run))
    assert train(config(data, run, steps=2), overwrite=True) == 2


def test_only_numbers_are_taken_for_checkpoints(data: Path, tmp_path: Path) -> None:
    mine = tmp_path / "run" / "checkpoint-best2.safetensors"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    train(config(data, tmp_path / "run", steps=4))
    assert mine.read_bytes() == b"mine"


@pytest.fixture
def full_disk() -> Iterator[Callable[[int], None]]:
    """Lets no file grow beyond so many bytes: writing fails half way, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_and_keeps_the_last_good_state(
    data: Path, whole: Path, tmp_path: Path, full_disk: Callable[[int], None]
) -> None:
    run = tmp_path / "run"
    train(config(data, run, steps=4))
    good = {path.name: path.read_bytes() for path in run.glob("checkpoint*")}
    arguments = ["train", "--from-config", str(run / "config.json"), "-o", str(run), "-q", "--resume"]
    full_disk(len(good["checkpoint.safetensors"]) - 1000)
    result = CliRunner().invoke(app, [*arguments, "--steps", "8"])
    full_disk(resource.RLIM_INFINITY)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith(f"error: cannot write to {run} (") and result.stderr.count("\n") == 1
    assert "the last good state is kept; make room and pass --resume" in result.stderr
    assert {path.name: path.read_bytes() for path in run.glob("checkpoint*")} == good
    assert not [path for path in run.rglob(".*")]
    assert CliRunner().invoke(app, [*arguments, "--steps", "8"]).exit_code == 0
    assert_same_run(whole, run)


@pytest.mark.parametrize("kind", ["frames", "depth"])
def test_a_full_disk_while_the_cache_is_filled_is_one_line(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    full_disk: Callable[[int], None],
    kind: str,
) -> None:
    monkeypatch.setenv("DKPVID_CACHE", str(tmp_path / "cache"))
    if kind == "depth":
        load_frames(data, 64)  # so that these are there
    arguments = [
        "train",
        str(data),
        "-o",
        str(tmp_path / "run"),
        "--preset",
        "cpu",
        "--modality",
        "depth",
        "-q",
    ]
    full_disk(2000)
    result = CliRunner().invoke(app, arguments)
    full_disk(resource.RLIM_INFINITY)
    assert result.exit_code == 1, result.output
    folder = tmp_path / "cache" / kind
    assert result.stderr.startswith(f"error: cannot write to the cache, {folder}: ")
    assert result.stderr.endswith("; make room, or let DKPVID_CACHE name another folder\n")
    assert result.stderr.count("\n") == 1
    assert not list(folder.iterdir())


# --- Kills --------------------------------------------------------------------------------------------------


SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(["tests.test_recovery"])


def start(work: Callable[..., object], *arguments: object) -> BaseProcess:
    """Do something in a process of its own.

    It is forked from a server that has imported everything and done nothing, so it starts at once; a fork of
    this process would inherit what libraries of earlier tests left, and fall over it.
    """
    process = SERVER.Process(target=obey, args=(dict(os.environ), work, arguments))
    process.start()
    return process


def obey(environment: dict[str, str], work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    work(*arguments)


def exit_status(process: BaseProcess) -> int | None:
    process.join()
    return process.exitcode


def kill_again_and_again(
    seconds: float, kills: int, seed: int, work: Callable[..., object], *arguments: object
) -> int:
    """Kill -9 at random moments of so many seconds, then let it end; how often it was hit at work."""
    rng, hits = np.random.default_rng(seed), 0
    for _ in range(kills):
        process = start(work, *arguments)
        time.sleep(rng.uniform(0, seconds))
        process.kill()
        hits += exit_status(process) == -signal.SIGKILL
    assert exit_status(start(work, *arguments)) == 0
    return hits


def run_training(command: str, data: Path, run: Path, teacher: Path) -> None:
    settings = config(data, run, steps=16)
    if command == "train":
        train(settings, resume=True)
    else:
        distill(DistillConfig(**vars(settings), teacher=teacher), resume=True)


def build(part: str, data: Path) -> None:
    frames = load_frames(data, 64, workers=1)
    if part == "depth":
        load_depth(frames, DepthConfig(), torch.device("cpu"))


def cached(cache: Path) -> dict[str, bytes]:
    """The finished files of a cache."""
    files = (path for path in cache.rglob("*.npy") if not path.name.startswith("."))
    return {str(path.relative_to(cache)): path.read_bytes() for path in files}


few_and_many = pytest.mark.parametrize("kills", [2, pytest.param(5, marks=pytest.mark.slow)])


@few_and_many
@pytest.mark.parametrize("command", ["train", "distill"])
def test_a_killed_run_resumes_to_the_same_result(
    data: Path, whole: Path, tmp_path: Path, command: str, kills: int
) -> None:
    began = time.monotonic()
    assert exit_status(start(run_training, command, data, tmp_path / "whole", whole)) == 0
    seconds = time.monotonic() - began
    work = (run_training, command, data, tmp_path / "killed", whole)
    assert kill_again_and_again(seconds, kills, kills, *work) > 0
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@few_and_many
@pytest.mark.parametrize("part", ["frames", "depth"])
def test_a_killed_cache_is_completed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, kills: int
) -> None:
    monkeypatch.setenv("DKPVID_CACHE", str(tmp_path / "whole"))
    began = time.monotonic()
    assert exit_status(start(build, part, data)) == 0
    seconds = time.monotonic() - began
    monkeypatch.setenv("DKPVID_CACHE", str(tmp_path / "killed"))
    kill_again_and_again(seconds, kills, kills, build, part, data)
    expected = cached(tmp_path / "whole")
    assert len(expected) == (12 if part == "frames" else 24)
    assert cached(tmp_path / "killed") == expected


def test_several_processes_build_one_cache_at_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DKPVID_CACHE", str(tmp_path / "alone"))
    build("depth", data)
    monkeypatch.setenv("DKPVID_CACHE", str(tmp_path / "shared"))
    processes = [start(build, "depth", data) for _ in range(4)]
    time.sleep(0.05)
    processes[0].kill()
    assert [exit_status(process) for process in processes][1:] == [0, 0, 0]
    assert cached(tmp_path / "shared") == cached(tmp_path / "alone")


# --- Repeating a run ----------------------------------------------------------------------------------------


def invoke(*words: str | Path) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_run_is_repeated_from_its_settings(whole: Path, tmp_path: Path) -> None:
    result = invoke("train", "--from-config", whole / "config.json", "-o", tmp_path / "again", "-q")
    assert result.exit_code == 0, result.output
    assert_same_run(whole, tmp_path / "again")


def test_options_override_the_settings(data: Path, whole: Path, tmp_path: Path) -> None:
    options = ["--from-config", whole / "config.json", "-q", "--steps", "2", "--seed", "5", "--no-flip"]
    assert invoke("train", "-o", tmp_path / "run", *options, "--keypoints", "3").exit_code == 0
    first, second = (json.loads((run / "config.json").read_text()) for run in (whole, tmp_path / "run"))
    changes = {"run": str(tmp_path / "run"), "steps": 2, "seed": 5, "flip": False}
    assert second == {**first, **changes, "model": {**first["model"], "num_keypoints": 3}}


def test_settings_survive_being_stored(data: Path) -> None:
    depth = DepthConfig("local:x", Path("weights"))
    kept = config(data, Path("run"), workers=3, depth=depth, perceptual_weights=Path("p"))
    assert from_dict(TrainConfig, json.loads(json.dumps(to_dict(kept)))) == kept
    student = DistillConfig(data=data, run=Path("run"), teacher=Path("teacher"), gamma=1.0)
    assert from_dict(DistillConfig, json.loads(json.dumps(to_dict(student)))) == student


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "x"}, "seed must be int, got 'x'"),
        ({"steps": True}, "steps must be int, got True"),
        ({"workers": 1.5}, "workers must be int or null, got 1.5"),
        ({"model": []}, "model must be ModelConfig"),
        ({"model": {"colour": 1}}, "unknown setting 'colour'"),
        ({"teacher": "t"}, "unknown setting 'teacher'"),
        ({"batch_size": 1}, "batch size must be at least 2"),
    ],
)
def test_settings_that_cannot_be_used_are_named(
    whole: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads((whole / "config.json").read_text()), **change}))
    result = invoke("train", "--from-config", path, "-o", tmp_path / "run")
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert f"{path} holds no settings of this command: " in result.stderr and message in result.stderr


@pytest.mark.parametrize("command", ["train", "distill"])
def test_the_videos_must_be_named_somewhere(tmp_path: Path, command: str) -> None:
    result = invoke(command, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert "DATA, the folder of videos, is missing; give it, or --from-config" in result.stderr


def test_every_start_is_recorded(data: Path, tmp_path: Path) -> None:
    run, remarks = tmp_path / "run", []
    train(config(data, run, steps=2))
    train(config(data, run, steps=4), Callbacks(on_remark=remarks.append), resume=True)
    first, second = map(json.loads, (run / "environment.jsonl").read_text().splitlines())
    assert (first["step"], second["step"]) == (0, 2) and first["data"] == second["data"]
    assert first["dkpvid"] and first["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert (first["device"], first["processes"]) == ("cpu", 1) and first["command"]
    assert remarks == []


def test_other_frames_are_noticed_and_tolerated(data: Path, tmp_path: Path) -> None:
    run, remarks, other = tmp_path / "run", [], tmp_path / "other"
    train(config(data, run, steps=2))
    other.mkdir()
    for path in sorted(data.glob("*.png"))[:6]:
        (other / path.name).write_bytes(path.read_bytes())
    train(config(other, run, steps=4), Callbacks(on_remark=remarks.append), resume=True)
    assert len(remarks) == 1 and "not those that" in remarks[0]
    assert load_frames(data, 64).digest != load_frames(other, 64).digest
    moved = load_frames(data, 64)
    assert replace(moved, folder=other).digest == moved.digest


def test_deterministic_algorithms_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    try:
        use_deterministic_algorithms()
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
