"""benchmarks/on_gpu.py: jobs one after the other, none of them too long, nothing lost."""

import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import pytest
import typer

from benchmarks import on_gpu as script

ROOT = Path(__file__).parents[2]

SCRIPTS = {
    "good.py": "print('measured')",
    "bad.py": "raise SystemExit('no such device')",
    # A training in a process of its own, as default_weights.py starts it: it saves when it is asked to stop.
    "long.py": f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
    "from recipes import default_weights\n"
    "from pathlib import Path\n"
    "default_weights.sys.executable = str(Path(__file__).parent / 'training')\n"
    "default_weights.run('training', sys.argv[1])",
    "training": f"#!{sys.executable}\n"
    "import sys, time, pathlib\n"
    "run = pathlib.Path(sys.argv[-1]) / 'long'\n"
    "run.mkdir()\n"
    "try:\n    print('ready', flush=True)\n    time.sleep(200)\n"
    "except KeyboardInterrupt:\n"
    "    time.sleep(2)\n    (run / 'model.safetensors').write_text('saved')\n    sys.exit(130)",
    "deaf.py": "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    "print('ready', flush=True)\ntime.sleep(200)",
}


@pytest.fixture
def on_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name, source in SCRIPTS.items():
        (tmp_path / name).write_text(source)
    (tmp_path / "training").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(script, "STOPPING_SECONDS", 60)
    monkeypatch.setattr(script, "NEEDS", {"good": "bad"})
    monkeypatch.setattr(script, "JOBS", {name: (name, "WORK") for name in ("good", "bad", "long", "deaf")})
    return script


def test_a_job_that_fails_keeps_only_those_from_their_turn_that_need_it(
    on_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    with pytest.raises(typer.Exit):
        on_gpu.main(tmp_path, results, ["bad", "good"])
    assert capsys.readouterr().out == "bad: exit status 1\ngood: needs bad, which is not done\n"
    assert (results / "bad.part.txt").read_text() == "no such device\n"
    monkeypatch.setattr(script, "NEEDS", {})
    with pytest.raises(typer.Exit):
        on_gpu.main(tmp_path, results, ["bad", "good"])
    assert capsys.readouterr().out == "bad: exit status 1\ngood: done\n"
    assert (results / "good.txt").read_text() == "measured\n"
    on_gpu.main(tmp_path, results, ["good"])
    assert capsys.readouterr().out == ""  # not done again


@pytest.fixture
def time_is_up_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is: a job's time is up as soon as it has said something."""

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, words: list[str], *, stdout: IO[str], **options: Any) -> None:
            self.log: Path | None = Path(stdout.name)
            super().__init__(words, stdout=stdout, **options)

        def wait(self, timeout: float | None = None) -> int:
            if self.log is None:
                return super().wait(timeout)
            while not self.log.read_text().endswith("ready\n"):
                time.sleep(0.05)
            self.log = None
            raise subprocess.TimeoutExpired(self.args, 0)

    monkeypatch.setattr(subprocess, "Popen", Popen)


@pytest.mark.usefixtures("time_is_up_at_work")
def test_a_training_is_stopped_in_time_and_what_it_saved_is_kept(
    on_gpu: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        on_gpu.main(tmp_path, tmp_path / "results", ["long", "good"], seconds=0.1)
    assert capsys.readouterr().out.startswith("long: exit status ")
    assert (tmp_path / "results" / "long.safetensors").read_text() == "saved"
    assert not list((tmp_path / "results").glob("good*"))


@pytest.mark.usefixtures("time_is_up_at_work")
def test_a_job_that_does_not_listen_is_killed(
    on_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "STOPPING_SECONDS", 0.5)
    with pytest.raises(typer.Exit):
        on_gpu.main(tmp_path, tmp_path / "results", ["deaf"])
    assert capsys.readouterr().out == "deaf: exit status -9\n"


def test_the_jobs_name_scripts_that_need_no_video_library() -> None:
    modules = {words[0] for words in script.JOBS.values()}
    check = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "for name in ('av', 'decord', 'onnx', 'onnxruntime'): sys.modules[name] = None\n"
        f"import {', '.join(sorted(modules))}"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
