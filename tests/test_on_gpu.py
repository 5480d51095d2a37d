"""benchmarks/on_gpu.py: jobs one after the other, none of them too long, nothing lost."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer


@pytest.fixture
def on_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import on_gpu

    sys.modules.pop("on_gpu")
    scripts = {
        "good.py": "print('measured')",
        "bad.py": "raise SystemExit('no such device')",
        # A training: it saves when it is asked to stop.
        "long.py": "import sys, time, pathlib\n"
        "run = pathlib.Path(sys.argv[1]) / 'long'\n"
        "run.mkdir()\n"
        "try:\n    print('at work', flush=True)\n    time.sleep(100)\n"
        "except KeyboardInterrupt:\n    (run / 'model.safetensors').write_text('saved')\n    sys.exit(130)",
        "deaf.py": "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(100)",
    }
    for name, source in scripts.items():
        (tmp_path / name).write_text(source)
    monkeypatch.setattr(on_gpu, "HERE", tmp_path)
    monkeypatch.setattr(on_gpu, "STOPPING_SECONDS", 10)
    monkeypatch.setattr(on_gpu, "JOBS", {script[:-3]: (script, "WORK") for script in scripts})
    return on_gpu


def test_a_job_that_fails_does_not_keep_others_from_their_turn(
    on_gpu: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        on_gpu.main(tmp_path, tmp_path / "results", ["bad", "good"])
    assert capsys.readouterr().out == "bad: exit status 1\ngood: done\n"
    assert (tmp_path / "results" / "bad.txt").read_text() == "no such device\n"
    assert (tmp_path / "results" / "good.txt").read_text() == "measured\n"
    on_gpu.main(tmp_path, tmp_path / "results", ["good"])


def test_a_job_is_stopped_in_time_and_what_it_saved_is_kept(
    on_gpu: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        on_gpu.main(tmp_path, tmp_path / "results", ["long", "good"], seconds=3)
    assert capsys.readouterr().out == "long: exit status 130\n"
    assert (tmp_path / "results" / "long.txt").read_text() == "at work\n"
    assert (tmp_path / "results" / "long-model.safetensors").read_text() == "saved"
    assert not (tmp_path / "results" / "good.txt").exists()


def test_a_job_that_does_not_listen_is_killed(
    on_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_gpu, "STOPPING_SECONDS", 0.5)
    with pytest.raises(typer.Exit):
        on_gpu.main(tmp_path, tmp_path / "results", ["deaf"], seconds=2)


def test_the_jobs_name_scripts_that_exist() -> None:
    folder = Path(__file__).parents[1] / "benchmarks"
    source = (folder / "on_gpu.py").read_text()
    scripts = [word.strip('"(,') for word in source.split() if word.startswith('("') and ".py" in word]
    assert len(scripts) == 6 and all((folder / script).is_file() for script in scripts)
