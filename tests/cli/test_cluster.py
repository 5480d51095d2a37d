"""Many videos on a Ray cluster: the same files as one by one, whatever happens to a process."""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import dkpvid.cli.cluster
from dkpvid.cli import app
from dkpvid.cli.cluster import _DEATHS, MAX_RETRIES, run_jobs
from dkpvid.cli.fleet import Recipe, run_elsewhere
from dkpvid.cli.jobs import Manner
from dkpvid.cli.plan import plan
from dkpvid.config import TrackConfig
from dkpvid.drawing import DrawStyle
from dkpvid.errors import UsageError
from tests.video.clips import make_clip


class Died(Exception):
    """What Ray raises for a process that died too often."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Stands for a job's result."""

    run: Callable[[], Any]


class FakeRay:
    """As much of the package as is used, with a cluster in this process; the last job ends first."""

    exceptions = SimpleNamespace(
        WorkerCrashedError=Died, OutOfMemoryError=Died, NodeDiedError=Died, ObjectLostError=Died
    )

    def __init__(self, num_gpus: int = 0) -> None:
        self._num_gpus = num_gpus
        self.options: dict[str, Any] = {}
        self.num_cancelled = 0
        self.is_running = False

    def init(self, **options: Any) -> None:
        if options["address"] == "nowhere":
            raise ConnectionError("no answer\nfor 30 seconds")
        self.options |= options
        self.is_running = True

    def cluster_resources(self) -> dict[str, int]:
        return {"CPU": 2, "GPU": self._num_gpus}

    def remote(self, **options: Any) -> Callable[..., Any]:
        self.options |= options
        return lambda function: SimpleNamespace(remote=lambda *words: Reference(lambda: function(*words)))

    def wait(self, references: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return references[-1:], references[:-1]

    def get(self, reference: Reference) -> Any:
        return reference.run()

    def cancel(self, reference: Reference, force: bool) -> None:
        self.num_cancelled += 1

    def shutdown(self) -> None:
        self.is_running = False


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRay]:
    """It takes the package's place, and must have been left at the end."""
    fake = FakeRay()
    monkeypatch.setattr(dkpvid.cli.cluster, "require_ray", lambda: fake)
    yield fake
    assert not fake.is_running


def double_or_die(job: int) -> int:
    if job == 3:
        raise Died
    return 2 * job


def run(jobs: list[int], address: str = "local", **options: Any) -> list[tuple[int, int | None]]:
    ended: list[tuple[int, int | None]] = []
    run_jobs(
        address, double_or_die, jobs, on_done=lambda number, result: ended.append((number, result)), **options
    )
    return ended


def test_every_job_is_told_of_once(ray: FakeRay) -> None:
    assert run([5, 3, 7]) == [(2, 14), (1, None), (0, 10)]
    assert ray.options["max_retries"] == MAX_RETRIES and ray.options["num_gpus"] == 0
    assert ray.options["include_dashboard"] is False


@pytest.mark.parametrize("name", _DEATHS)
def test_a_death_ends_its_job_only(ray: FakeRay, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    others = {other: ValueError for other in _DEATHS}
    monkeypatch.setattr(ray, "exceptions", SimpleNamespace(**others | {name: Died}))
    assert run([5, 3, 7]) == [(2, 14), (1, None), (0, 10)]


def test_ray_has_these_errors() -> None:
    need_ray()
    exceptions = importlib.import_module("ray.exceptions")
    assert all(issubclass(getattr(exceptions, name), exceptions.RayError) for name in _DEATHS)


def test_overwriting_on_a_cluster_replaces_what_is_complete(
    clip: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    def run_here(manner: Manner) -> tuple[int, str]:
        jobs = plan([str(clip)], str(tmp_path / "out"), "json", False, False, may_exist=True)
        return run_elsewhere(Recipe(str(tiny_weights), TrackConfig(device="cpu"), "none", manner), jobs[0])

    output = tmp_path / "out" / "clip.dkp.json"
    assert run_here(Manner(DrawStyle(), 20)) == (0, "")
    whole = output.read_text()
    output.write_text(whole[:2000])  # its fingerprint is still there
    assert run_here(Manner(DrawStyle(), 20, overwrite=True)) == (0, "")
    assert output.read_text() == whole


def test_a_bug_is_not_swallowed(ray: FakeRay) -> None:
    with pytest.raises(TypeError):
        run([5, None])  # type: ignore[list-item]


def test_jobs_get_a_gpu_where_there_is_one(ray: FakeRay) -> None:
    ray._num_gpus = 4
    run([1])
    assert ray.options["num_gpus"] == 1
    run([1], use_gpu=False)
    assert ray.options["num_gpus"] == 0


def test_what_has_not_ended_is_given_up(ray: FakeRay) -> None:
    answers = iter([False, True])
    assert run([1, 2, 4], should_stop=lambda: next(answers)) == [(2, 8)]
    assert ray.num_cancelled == 2


def test_no_cluster_is_one_clear_line(ray: FakeRay) -> None:
    with pytest.raises(UsageError, match=r"^no Ray cluster at 'nowhere' \(no answer\); give its address"):
        run([1], address="nowhere")
    with pytest.raises(UsageError, match=r"^nothing answers at 127\.0\.0\.1:1 \("):
        run([1], address="127.0.0.1:1")


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r'--ray needs ray, .*pip install "dkpvid\[ray\]"'):
        run([1])


@pytest.mark.parametrize("words", [["clip.mp4", "-o", "-"], ["-"]])
def test_streams_stay_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(make_clip())
    result = CliRunner().invoke(app, ["track", *words, "--ray", "local"])
    assert result.exit_code == 2 and "neither -o - nor live input" in result.stderr


# --- The real one -------------------------------------------------------------------------------------------


def need_ray() -> None:
    """A missing ray skips the test, or fails it under DKPVID_REQUIRE=ray."""
    if find_spec("ray") is None:
        if "ray" in os.environ.get("DKPVID_REQUIRE", "").split(","):
            pytest.fail("ray is missing")
        pytest.skip("ray is missing")
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("the process to kill is found by way of /proc")


def writer_of(part_of_name: str, folder: Path) -> int | None:
    """The process that has a certain file of a folder open."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith(str(folder)) and part_of_name in target:
            return int(link.parts[2])
    return None


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(tmp_path: Path, tiny_weights: Path) -> None:
    need_ray()
    long_clip = make_clip(times=tuple(index / 25 for index in range(600)))
    for name, content in (("a", make_clip()), ("b", long_clip), ("c", make_clip()), ("d", b"no video")):
        (tmp_path / f"{name}.mp4").write_bytes(content)
    command = [sys.executable, "-m", "dkpvid", "track", "a.mp4", "b.mp4", "c.mp4", "d.mp4", "--no-video"]
    command += ["--weights", str(tiny_weights), "--device", "cpu", "--format", "json,csv"]
    # As many threads as a worker has: sums depend on their order.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    alone = subprocess.run(
        [*command, "-o", "alone"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert alone.returncode == 3, alone.stderr
    with subprocess.Popen(
        [*command, "-o", "spread", "--ray", "local"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        victim = None
        while victim is None and process.poll() is None:
            victim = writer_of("/.b.dkp.", tmp_path / "spread")
            time.sleep(0.005)
        if victim is not None:
            os.kill(victim, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=300)
    assert victim is not None and victim != process.pid, stderr
    assert process.returncode == 3, stderr
    assert stdout == ""
    lines = [line for line in stderr.splitlines() if not line.startswith("tracking 4 videos")]
    assert len(lines) == 2, stderr
    assert lines[0].startswith("error: d.mp4: not a readable video")
    assert lines[1] == "4 videos: 3 done, 1 failed or lost frames"
    names = sorted(path.name for path in (tmp_path / "alone").glob("[!.]*"))
    assert names == [f"{stem}.dkp.{suffix}" for stem in "abc" for suffix in ("csv", "json")]
    for name in names:
        assert (tmp_path / "spread" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name
