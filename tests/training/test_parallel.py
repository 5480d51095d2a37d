"""Training in several processes: the same as in one, and only one of them writes."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from dkpvid.cli import app
from dkpvid.config import TrainConfig
from dkpvid.errors import UsageError
from dkpvid.jobs.train import train
from dkpvid.models.autolink import AutoLink
from dkpvid.training.data import batches, load_frames
from dkpvid.training.fitting import load_perceptual_net, to_images
from dkpvid.training.losses import perceptual_loss
from dkpvid.training.parallel import Processes, ProcessGroup, start_processes
from tests.tiny import TINY, logged, tiny_settings

pytestmark = pytest.mark.usefixtures("own_cache_and_perceptual_net")

OPTIONS = ["--keypoints", "4", "--image-size", "64", "--detector-width", "4", "--decoder-width", "4"]
OPTIONS += ["--edge-variance", "2e-3", "--batch-size", "8", "--learning-rate", "1e-3", "--perceptual"]
OPTIONS += ["mobilenet-v1", "--device", "cpu", "--log-every", "1", "--preview-every", "100"]


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A strip of 24 frames of noise with a bright square."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 60, (24, 64, 64, 3), dtype=np.uint8)
    for frame in frames:
        x, y = rng.integers(4, 44, 2)
        frame[y : y + 16, x : x + 16] = (230, 120, 40)
    Image.fromarray(np.concatenate(list(frames), axis=1)).save(folder / "strip.png")
    return folder


def config(data: Path, run: Path, **changes: Any) -> TrainConfig:
    return TrainConfig(**tiny_settings(data, run, **{"batch_size": 8} | changes))


def run_processes(hidden: Path, command: list[str]) -> str:
    """Run a command to its end; what it says on stderr."""
    # Fabric would load torchmetrics, and with it half of what is installed here.
    (hidden / "torchmetrics.py").write_text("raise ImportError")
    path = os.pathsep.join([str(hidden), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stderr


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in logged(run)]


def trained_on_halves(data: Path, steps: int) -> tuple[AutoLink, list[float]]:
    """One process that does what two should: each half of a batch for itself, and the mean of the losses."""
    frames = load_frames(data, 64)
    features = load_perceptual_net("mobilenet-v1", None)
    torch.manual_seed(0)
    model = AutoLink(TINY).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-3)
    order, seen = batches(len(frames), 8, 0, 0), []
    for _ in range(steps):
        halves = to_images(torch.from_numpy(frames.read(next(order)))).chunk(2)
        twin = copy.deepcopy(model)  # the running statistics that are kept are those of the first process
        optimizer.zero_grad()
        values = []
        for network, half in ((model, halves[0]), (twin, halves[1])):
            loss = perceptual_loss(features, network(half, 0.0).images, half)
            loss.backward()
            values.append(loss.item())
        for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
            ours.grad = (ours.grad + theirs.grad) / 2
        optimizer.step()
        seen.append(sum(values) / 2)
    return model, seen


def test_two_processes_by_torchrun_equal_one_that_takes_both_halves(data: Path, tmp_path: Path) -> None:
    """Without masks and flips nothing is random but the order, which all share."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = [*torchrun, "-m", "dkpvid", "train", str(data), "-o", str(tmp_path / "run"), *OPTIONS]
    said = run_processes(tmp_path, [*command, "--steps", "4", "--mask-ratio", "0", "--no-flip"])
    assert said.count("4 steps done") == 1
    model, expected = trained_on_halves(data, 4)
    # Adam turns the rounding error of a gradient that is zero into a full step, so it grows.
    assert losses(tmp_path / "run")[:2] == pytest.approx(expected[:2], rel=1e-5)
    assert losses(tmp_path / "run") == pytest.approx(expected, rel=1e-3)
    state = load_file(tmp_path / "run" / "checkpoint.safetensors")
    for name, value in model.named_buffers():
        torch.testing.assert_close(state[f"model.{name}"], value, rtol=1e-2, atol=1e-3, msg=name)
    # One process differs by its batch norm, which sees eight images instead of four.
    train(config(data, tmp_path / "one", steps=4, mask_ratio=0.0, flip=False))
    assert losses(tmp_path / "one") == pytest.approx(expected, rel=0.05)


def test_a_run_goes_on_in_two_processes_and_again_in_one(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(config(data, run, steps=2))
    before = losses(run)
    command = [sys.executable, "-m", "dkpvid", "train", str(data), "-o", str(run), *OPTIONS]
    run_processes(tmp_path, [*command, "--steps", "4", "--devices", "2", "--resume", "-q"])
    assert train(config(data, run, steps=6), resume=True) == 6
    assert losses(run)[:2] == before and len(losses(run)) == 6
    assert np.isfinite(losses(run)).all()
    assert not [path for path in run.rglob(".*")], "temporary files are left"


@pytest.mark.slow
def test_two_processes_resume_bit_for_bit_and_learn_like_one(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dkpvid", "train", str(data), *OPTIONS, "--devices", "2", "-q"]
    run_processes(tmp_path, [*command, "-o", str(tmp_path / "whole"), "--steps", "60"])
    run_processes(tmp_path, [*command, "-o", str(tmp_path / "parts"), "--steps", "25"])
    run_processes(tmp_path, [*command, "-o", str(tmp_path / "parts"), "--steps", "60", "--resume"])
    for name in ("model.safetensors", "checkpoint.safetensors"):
        first, second = load_file(tmp_path / "whole" / name), load_file(tmp_path / "parts" / name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[tensor], second[tensor]) for tensor in first)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    train(config(data, tmp_path / "one", steps=60))
    one, two = losses(tmp_path / "one"), losses(tmp_path / "whole")
    assert np.mean(two[-20:]) == pytest.approx(np.mean(one[-20:]), rel=0.1)
    assert np.mean(two[-20:]) < 0.9 * np.mean(two[:5])


def group(rank: int, count: int) -> ProcessGroup:
    """One of several processes, without the others."""
    alone = ProcessGroup.__new__(ProcessGroup)
    alone.rank, alone.count = rank, count
    return alone


def test_the_parts_are_the_batch() -> None:
    batch = np.arange(12)[::-1].copy()
    parts = [group(rank, 3).part(batch) for rank in range(3)]
    assert [len(part) for part in parts] == [4, 4, 4]
    assert np.concatenate(parts).tolist() == batch.tolist()
    assert Processes(torch.device("cpu")).part(batch).tolist() == batch.tolist()


def test_random_numbers_follow_from_seed_step_and_rank() -> None:
    def draw(seed: int, step: int, rank: int) -> float:
        group(rank, 2).seed(seed, step)
        return torch.rand(1).item()

    asked = [(seed, step, rank) for seed in (0, 1) for step in (1, 2) for rank in (0, 1)]
    assert len({draw(*question) for question in asked}) == 8
    assert [draw(*question) for question in asked] == [draw(*question) for question in asked]


def test_one_process_keeps_its_random_state() -> None:
    before = torch.get_rng_state()
    Processes(torch.device("cpu")).seed(0, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_was_only_reserved_starts_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a batch script without srun, SLURM describes the reservation but has started one process."""
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "4")
    processes = start_processes(config(data, data))
    assert type(processes) is Processes and (processes.rank, processes.count) == (0, 1)


TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "6"}
SRUN = {"SLURM_STEP_NUM_TASKS": "6", "SLURM_STEP_NUM_NODES": "3"}


@pytest.mark.parametrize(
    ("environment", "changes", "message"),
    [
        (TORCHRUN, {"devices": 3}, "--devices is 3, but 2 were started"),
        (SRUN, {"nodes": 2}, "--nodes is 2, but 3 were started"),
        (TORCHRUN, {}, "a batch of 8 cannot be split over 6 processes"),
        (SRUN, {}, "a batch of 8 cannot be split over 6 processes"),
        ({}, {"devices": 8}, "a batch of 8 cannot be split over 8 processes"),
        ({}, {"devices": 3}, "must be a multiple of them, with at least 2 frames for each"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_starts(
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    changes: dict[str, Any],
    message: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message):
        start_processes(config(data, data, **changes))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--devices", "0", "devices must be at least 1"), ("--strategy", "fsdp", "choose auto or ddp")],
)
def test_wrong_options_are_one_line(
    data: Path, tmp_path: Path, option: str, value: str, message: str
) -> None:
    result = CliRunner().invoke(app, ["train", str(data), "-o", str(tmp_path / "run"), option, value])
    assert result.exit_code == 2
    assert message in result.stderr and result.stderr.count("\n") == 1
