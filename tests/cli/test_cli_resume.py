"""`dkpvid track --resume` and `--skip-existing`: killed at any moment, the end is that of one quiet run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import dkpvid.tracking.detect
import dkpvid.tracking.journal
import dkpvid.tracking.render
from dkpvid.cli import app
from tests.video.clips import ffprobe_times, make_clip, need_program

Track = Callable[..., Result]


@pytest.fixture
def track(tiny_weights: Path) -> Track:
    """Run `dkpvid track` with the tiny model, five frames at a time."""

    def run(*arguments: str | Path) -> Result:
        words = ["track", "--weights", tiny_weights, "--device", "cpu", "--batch-size", "5", *arguments]
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that the network sees, as they come."""
    sizes: list[int] = []
    call = dkpvid.tracking.detect.Detector.__call__

    def counted(self: dkpvid.tracking.detect.Detector, images: object) -> object:
        sizes.append(len(images))  # type: ignore[arg-type]
        return call(self, images)  # type: ignore[arg-type]

    monkeypatch.setattr(dkpvid.tracking.detect.Detector, "__call__", counted)
    return sizes


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".source"}


def stop_after(monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    """Press Ctrl-C after some batches."""
    append = dkpvid.tracking.journal.Journal.append
    seen = iter(range(1, 1000))

    def pressed(self: dkpvid.tracking.journal.Journal, detections: object) -> None:
        append(self, detections)  # type: ignore[arg-type]
        if next(seen) == batches:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(dkpvid.tracking.journal.Journal, "append", pressed)


@pytest.mark.parametrize("options", [("--smooth", "kalman"), ("--smooth", "none"), ("--roi", "auto")])
def test_an_interrupted_run_goes_on(
    clip: Path, tmp_path: Path, track: Track, looked_at: list[int], options: tuple[str, str]
) -> None:
    settings = (*options, "--format", "json,jsonl,csv", "--no-video")
    assert track(clip, "-o", tmp_path / "whole", *settings).exit_code == 0
    assert looked_at == [5, 5, 5, 5, 4]
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        assert track(clip, "-o", tmp_path / "out", *settings).exit_code == 130
    looked_at.clear()
    again = track(clip, "-o", tmp_path / "out", *settings, "--resume")
    assert again.exit_code == 0, again.stderr
    assert 4 in looked_at and 0 < sum(looked_at) < 24, "what was known is not looked at again"
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_window_that_keypoints_lead_goes_on(clip: Path, tmp_path: Path, track: Track) -> None:
    settings = ("--roi", "follow", "--format", "jsonl", "--no-video")
    assert track(clip, "-o", tmp_path / "whole", *settings).exit_code == 0
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        assert track(clip, "-o", tmp_path / "out", *settings).exit_code == 130
    again = track(clip, "-o", tmp_path / "out", *settings, "--resume")
    assert again.exit_code == 0, again.stderr
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_other_settings_begin_anew(clip: Path, tmp_path: Path, track: Track, looked_at: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2)
        assert track(clip, "-o", tmp_path, "--no-video").exit_code == 130
    looked_at.clear()
    done = track(clip, "-o", tmp_path, "--no-video", "--resume", "--min-confidence", "0.1")
    assert done.exit_code == 0
    assert sum(looked_at) == 24


@pytest.mark.parametrize("option", ["--skip-existing", "--resume"])
def test_complete_outputs_are_skipped(
    clip: Path, tmp_path: Path, track: Track, looked_at: list[int], option: str
) -> None:
    out = tmp_path / "out"
    settings = (clip, "-o", out, "--format", "json,csv")
    assert track(*settings).exit_code == 0
    before, looked_at[:] = contents(out), []
    skipped = track(*settings, option)
    assert (skipped.exit_code, looked_at) == (0, [])
    assert skipped.stderr == f"{clip}: skipped, its outputs are complete\n"
    assert contents(out) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda clip, out: ["--smooth", "none"],
        lambda clip, out: ["--draw", "labels"],
        lambda clip, out: ["--weights", "PACKAGE"],
        lambda clip, out: os.utime(clip, ns=(1, 1)),
        lambda clip, out: (out / "clip.dkp.csv").unlink(),
        lambda clip, out: (out / "clip.dkp.json").write_text("{}"),
        lambda clip, out: (out / "clip.dkp.mp4").write_text("something else"),
        lambda clip, out: (out / ".clip.dkp.journal").write_text("interrupted"),
    ],
    ids=["smoothing", "drawing", "model", "video", "no csv", "other json", "other mp4", "interrupted"],
)
def test_what_is_not_the_same_is_done_again(
    clip: Path, tmp_path: Path, track: Track, looked_at: list[int], change: Callable[[Path, Path], object]
) -> None:
    out = tmp_path / "out"
    settings = (clip, "-o", out, "--format", "json,csv")
    assert track(*settings).exit_code == 0
    looked_at.clear()
    changed = change(clip, out)
    words = changed if isinstance(changed, list) else []
    if words == ["--weights", "PACKAGE"]:
        words = ["--weights", str(Path(__file__).parents[2] / "weights" / "default.safetensors")]
    assert track(*settings, *words, "--skip-existing").exit_code == 0
    assert sum(looked_at) == 24
    assert sorted(contents(out)) == ["clip.dkp.csv", "clip.dkp.json", "clip.dkp.mp4"]


def test_what_a_format_does_not_tell_is_done_again(
    clip: Path, tmp_path: Path, track: Track, looked_at: list[int]
) -> None:
    settings = (clip, "-o", tmp_path / "out", "--format", "csv", "--no-video", "--skip-existing")
    assert [track(*settings).exit_code for _ in range(2)] == [0, 0]
    assert sum(looked_at) == 48


@pytest.mark.skipif(sys.platform == "win32", reason="signals are a POSIX matter")
def test_killed_again_and_again(tmp_path: Path, tiny_weights: Path) -> None:
    """Kill -9 at some moment of each of several runs; the last one is left alone."""
    source = tmp_path / "long.mp4"
    words = ["-f", "lavfi", "-i", "testsrc=size=64x64:rate=25", "-frames:v", "600", "-preset", "ultrafast"]
    subprocess.run([need_program("ffmpeg"), "-v", "error", *words, str(source)], check=True)
    out, whole = tmp_path / "out", tmp_path / "whole"
    command = [sys.executable, "-m", "dkpvid", "track", str(source), "--weights", str(tiny_weights)]
    command += ["--device", "cpu", "--format", "json,jsonl", "--batch-size", "1", "-q"]
    subprocess.run([*command, "-o", str(whole)], check=True)
    journal, sizes = out / ".long.dkp.journal", [0]
    for _ in range(3):
        process = subprocess.Popen([*command, "-o", str(out), "--resume"])
        while process.poll() is None:
            if journal.exists() and journal.stat().st_size > sizes[-1] + 20_000:
                process.kill()
                break
            time.sleep(0.005)
        assert process.wait() == -signal.SIGKILL
        assert not [path for path in out.iterdir() if not path.name.startswith(".")], "nothing half done"
        sizes.append(journal.stat().st_size)
    assert sizes == sorted(set(sizes)), "it went on each time"
    subprocess.run([*command, "-o", str(out), "--resume"], check=True)
    assert sorted(contents(out)) == ["long.dkp.json", "long.dkp.jsonl", "long.dkp.mp4"]
    for name in ("long.dkp.json", "long.dkp.jsonl"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert len(ffprobe_times(out / "long.dkp.mp4")) == 600


def test_a_video_that_changed_in_between(clip: Path, tmp_path: Path, track: Track) -> None:
    """Same name, size and time of change, other frames: found out by their times."""
    facts = clip.stat()
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2)
        assert track(clip, "-o", tmp_path / "out", "--no-video").exit_code == 130
    shorter = make_clip(times=(0.0, 0.5, 1.0))
    clip.write_bytes(shorter + bytes(facts.st_size - len(shorter)))
    os.utime(clip, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    before = contents(tmp_path / "out")
    result = track(clip, "-o", tmp_path / "out", "--no-video", "--resume")
    assert result.exit_code == 4
    assert "other frames than before the interruption" in result.stderr
    assert contents(tmp_path / "out") == before


def test_the_input_may_be_gone(clip: Path, tmp_path: Path, track: Track) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2)
        assert track(clip, "-o", tmp_path / "out", "--no-video").exit_code == 130
    shutil.move(clip, tmp_path / "elsewhere.mp4")
    assert track(clip, "-o", tmp_path / "out", "--no-video", "--resume").exit_code == 4


# --- What the world does to a run ---------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="limits are a POSIX matter")
@pytest.mark.parametrize("limit", [3_000, 22_000])
def test_a_full_disk_leaves_nothing_half_done(
    clip: Path, tmp_path: Path, tiny_weights: Path, limit: int
) -> None:
    """No file may become larger than the limit: an error like that of a full disk, whoever writes."""
    out = tmp_path / "out"
    code = f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
    code += "sys.argv[0] = 'dkpvid'; from dkpvid.cli import main; main()"
    command = [sys.executable, "-c", code, "track", str(clip), "-o", str(out), "--weights", str(tiny_weights)]
    done = subprocess.run([*command, "--device", "cpu", "-q", "--crf", "0"], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: "), done.stderr
    # Where the keypoints fit and the drawing does not, they are complete.
    fits = limit > 20_000
    assert done.returncode == (3 if fits else 4)
    visible = [path.name for path in out.iterdir() if not path.name.startswith(".")]
    assert visible == (["clip.dkp.json"] if fits else [])
    assert [path.name for path in out.iterdir() if ".part" in path.name] == []
    if fits:
        assert len(json.loads((out / "clip.dkp.json").read_text())["frames"]) == 24


@pytest.mark.parametrize("is_drawn_later", [False, True])
def test_the_input_vanishes_in_mid_run(
    clip: Path, tmp_path: Path, track: Track, monkeypatch: pytest.MonkeyPatch, is_drawn_later: bool
) -> None:
    if is_drawn_later:
        monkeypatch.setattr(dkpvid.tracking.render, "MOST_KEPT_BYTES", 0)
    append = dkpvid.tracking.journal.Journal.append

    def vanish(self: dkpvid.tracking.journal.Journal, detections: object) -> None:
        append(self, detections)  # type: ignore[arg-type]
        clip.unlink(missing_ok=True)

    monkeypatch.setattr(dkpvid.tracking.journal.Journal, "append", vanish)
    out = tmp_path / "out"
    result = track(clip, "-o", out)
    # What is open stays readable; a second look is impossible, but the keypoints are complete.
    assert result.exit_code == (3 if is_drawn_later else 0), result.stderr
    assert len(json.loads((out / "clip.dkp.json").read_text())["frames"]) == 24
    assert (out / "clip.dkp.mp4").exists() is not is_drawn_later
    assert [path.name for path in out.iterdir() if ".part" in path.name] == []


def test_the_input_is_cut_off_in_mid_run(tmp_path: Path, track: Track) -> None:
    """As when a share is unmounted: the rest is missing, and said to be."""
    clip = tmp_path / "long.mkv"
    clip.write_bytes(make_clip(times=tuple(index / 25 for index in range(500)), container="matroska"))
    append = dkpvid.tracking.journal.Journal.append
    size = clip.stat().st_size

    def cut(self: dkpvid.tracking.journal.Journal, detections: object) -> None:
        append(self, detections)  # type: ignore[arg-type]
        os.truncate(clip, size // 2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dkpvid.tracking.journal.Journal, "append", cut)
        result = track(clip, "-o", tmp_path / "out", "--no-video")
    frames = json.loads((tmp_path / "out" / "long.dkp.json").read_text())["frames"]
    assert [frame["frame"] for frame in frames] == list(range(len(frames)))
    assert 5 <= len(frames) <= 500
    assert result.exit_code in (0, 3) and "Traceback" not in result.stderr
