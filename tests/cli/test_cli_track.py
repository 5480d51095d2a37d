"""`dkpvid track` as its user meets it: files, exit codes, and what is printed where."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import jaxtyping
import numpy as np
import pandas as pd
import pytest
from numpy import ndarray
from typer.testing import CliRunner, Result

import dkpvid.jobs.track
import dkpvid.tracking.render
from dkpvid.cli import app
from dkpvid.formats.reading import read_track
from tests.formats.test_schema import validator
from tests.video.clips import HEIGHT, WIDTH, ffprobe_times, make_clip, need_program

NUM_FRAMES = 24
JOURNAL = ".clip.dkp.journal"

# Frames, and the size of the upright picture; None = as many as the ffprobe program finds.
ODD = {
    "anim.gif": (16, None),
    "gray_ffv1.mkv": (12, (128, 128)),
    "grayscale.mp4": (24, (320, 320)),
    "long_gop.mp4": (240, (192, 108)),
    "mpeg4.avi": (24, (320, 320)),
    "odd_203x115.mp4": (24, (203, 115)),
    "one_frame.mp4": (1, (320, 320)),
    "rotated_90.mp4": (24, (320, 180)),
    "sar_and_audio.mp4": (24, (256, 144)),
    "stream.ts": (30, (320, 320)),
    "vfr.mp4": (48, (320, 320)),
    "vp9.webm": (30, (320, 320)),
    "truncated_faststart.mp4": (None, None),
    "decord_corrupted.mp4": (None, (1280, 720)),
}
DAMAGED = ("truncated_faststart.mp4", "decord_corrupted.mp4")

Track = Callable[..., Result]


@pytest.fixture
def track(tiny_weights: Path) -> Track:
    """Run `dkpvid track` with the tiny model."""

    def run(*arguments: str | Path) -> Result:
        words = ["track", "--weights", tiny_weights, "--device", "cpu", *arguments]
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception  # a bug, not a user's mistake
        return result

    return run


@pytest.fixture
def command(tiny_weights: Path) -> list[str]:
    """The same as words for another process, where pipes and signals matter."""
    return [sys.executable, "-m", "dkpvid", "track", "--weights", str(tiny_weights), "--device", "cpu"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for the outputs; it is not there yet."""
    return tmp_path / "out"


def document(path: Path) -> dict[str, Any]:
    """A JSON output, once it has been found valid."""
    content: dict[str, Any] = json.loads(path.read_text())
    validator().validate(content)
    return content


def names_in(folder: Path) -> list[str]:
    """All that lies in a folder, hidden files too, but for those that tell whose outputs are."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".source")


def assert_one_line(result: Result, *parts: str) -> None:
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    for part in parts:
        assert part in result.stderr


def probe(path: Path, entries: str, stream: str = "v:0") -> list[str]:
    """What the ffprobe program says about a stream."""
    arguments = ["-v", "error", "-select_streams", stream, "-show_entries", entries, "-of", "csv=p=0"]
    done = subprocess.run(
        [need_program("ffprobe"), *arguments, str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def places(content: dict[str, Any]) -> ndarray:
    """(frame, keypoint, (x, y)) of a document in which nothing is missing."""
    return np.array([[(point["x"], point["y"]) for point in row["keypoints"]] for row in content["frames"]])


# --- Videos of every kind -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ODD)
def test_an_odd_video(
    shared: Path, out: Path, track: Track, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    source = shared / "data/odd" / name
    result = track(source, "-o", out)
    assert result.exit_code == (3 if name in DAMAGED else 0), result.stderr
    assert_one_line(result, "warning: " if name in DAMAGED else "frame(s) -> ", name)
    assert capfd.readouterr().err == "", "nothing from the libraries below"
    stem = source.stem
    assert names_in(out) == [f"{stem}.dkp.json", f"{stem}.dkp.mp4"]

    content = document(out / f"{stem}.dkp.json")
    times = ffprobe_times(source)
    num_frames, size = ODD[name]
    assert num_frames in (None, len(times))
    assert [row["frame"] for row in content["frames"]] == list(range(len(times)))
    np.testing.assert_allclose([row["time"] for row in content["frames"]], times, rtol=0, atol=1e-3)
    width, height = content["source"]["width"], content["source"]["height"]
    assert size in (None, (width, height))
    xy = places(content)
    assert ((xy > -0.5) & (xy < [width - 0.5, height - 0.5])).all()
    assert bool(content["lost"]) == (name in DAMAGED)

    video = out / f"{stem}.dkp.mp4"
    shown = [f"{width + width % 2},{height + height % 2}"]
    assert probe(video, "stream=width,height") == shown
    np.testing.assert_allclose(ffprobe_times(video), np.subtract(times, times[0]), rtol=0, atol=1e-3)


def test_sound_is_kept(shared: Path, out: Path, track: Track) -> None:
    source = shared / "data/odd/sar_and_audio.mp4"
    track(source, "-o", out)
    video = out / "sar_and_audio.dkp.mp4"
    assert probe(video, "stream=codec_name", "a") == probe(source, "stream=codec_name", "a") == ["aac"]
    before, after = (len(probe(path, "packet=size", "a")) for path in (source, video))
    assert 0 < after <= before
    # One packet of AAC more or less at either end.
    assert after >= before * (float(probe(video, "stream=duration")[0])) / 1.1 - 2
    assert probe(video, "stream=sample_aspect_ratio") == ["4:3"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty.mp4", "an empty file (0 bytes)"),
        ("text.mp4", "not a readable video"),
        ("audio_only.mp4", "no video stream"),
    ],
)
def test_what_is_no_video(
    shared: Path, out: Path, track: Track, capfd: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    out.mkdir()
    result = track(shared / "data/odd" / name, "-o", out)
    assert result.exit_code == 4
    assert_one_line(result, "error: ", name, words)
    assert capfd.readouterr().err == "", "nothing from the libraries below"
    assert names_in(out) == []


def test_a_video_without_frames_leaves_nothing(tmp_path: Path, out: Path, track: Track) -> None:
    (tmp_path / "none.mkv").write_bytes(make_clip(times=(), container="matroska"))
    result = track(tmp_path / "none.mkv", "-o", out)
    assert result.exit_code == 4
    assert_one_line(result, "error: ", "none.mkv")
    assert not out.exists() or names_in(out) == []


# --- Standard output and input ------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", ["kalman", "none"])
def test_json_lines_on_stdout(clip: Path, track: Track, smoothing: str) -> None:
    result = track(clip, "-o", "-", "--smooth", smoothing)
    assert result.exit_code == 0
    records = [json.loads(line) for line in result.stdout.splitlines()]
    for record in records:
        validator("line").validate(record)
    kinds = [record["type"] for record in records]
    assert kinds == ["header", *["frame"] * NUM_FRAMES, "end"]
    assert result.stderr == f"{clip}: {NUM_FRAMES} frame(s) -> stdout\n"
    assert names_in(clip.parent) == ["clip.mp4"], "no files"
    query = 'select(.type == "frame") | .frame'
    done = subprocess.run(
        [need_program("jq"), query], input=result.stdout, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(index) for index in range(NUM_FRAMES)]


def test_several_videos_follow_one_another_on_stdout(clip: Path, track: Track) -> None:
    other = shutil.copy(clip, clip.with_name("other.mp4"))
    records = [json.loads(line) for line in track(clip, other, "-o", "-").stdout.splitlines()]
    assert [record["source"]["path"] for record in records if record["type"] == "header"] == [
        str(clip), str(other),
    ]  # fmt: skip
    assert [record["frames"] for record in records if record["type"] == "end"] == [NUM_FRAMES] * 2


def test_a_closed_pipe_ends_quietly(clip: Path, command: list[str]) -> None:
    process = subprocess.Popen(
        [*command, str(clip), "-o", "-", "--batch-size", "1", "--smooth", "none"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stderr
    assert json.loads(process.stdout.readline())["type"] == "header"
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) == 0


@pytest.mark.parametrize(("container", "codec"), [("matroska", "libx264"), ("mpegts", "libx264")])
def test_a_video_from_a_pipe(
    tmp_path: Path, out: Path, command: list[str], track: Track, container: str, codec: str
) -> None:
    content = make_clip(container=container, codec=codec)
    done = subprocess.run([*command, "-", "-o", str(out)], input=content, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert names_in(out) == ["stdin.dkp.json", "stdin.dkp.mp4"]
    assert len(ffprobe_times(out / "stdin.dkp.mp4")) == NUM_FRAMES
    path = tmp_path / "file"
    path.write_bytes(content)
    track(path, "-o", out, "--no-video")
    from_pipe, from_file = document(out / "stdin.dkp.json"), document(out / "file.dkp.json")
    assert len(from_pipe["frames"]) == NUM_FRAMES
    assert from_pipe["frames"] == from_file["frames"]


# --- Several videos -----------------------------------------------------------------------------------------


def test_one_bad_video_does_not_harm_the_others(clip: Path, out: Path, track: Track) -> None:
    bad = clip.with_name("bad.mp4")
    bad.write_text("not a video\n" * 20)
    last = shutil.copy(clip, clip.with_name("last.mp4"))
    result = track(clip, bad, last, "-o", out)
    assert result.exit_code == 3
    assert [line.partition(": ")[0] for line in result.stderr.splitlines()] == [str(clip), "error", str(last)]
    assert names_in(out) == ["clip.dkp.json", "clip.dkp.mp4", "last.dkp.json", "last.dkp.mp4"]
    for name in ("clip", "last"):
        assert len(document(out / f"{name}.dkp.json")["frames"]) == NUM_FRAMES


def test_only_bad_videos(tmp_path: Path, out: Path, track: Track) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_text("not a video\n" * 20)
    result = track(tmp_path, "-o", out)
    assert result.exit_code == 4
    assert result.stderr.count("error: ") == result.stderr.count("\n") == 2


def test_a_missing_video_is_told_before_any_work(clip: Path, out: Path, track: Track) -> None:
    result = track(clip, "missing.mp4", "-o", out)
    assert result.exit_code == 4
    assert_one_line(result, "error: missing.mp4: no such file or folder")
    assert not out.exists()


def test_two_videos_of_one_name_have_their_own_outputs(clip: Path, out: Path, track: Track) -> None:
    other = clip.parent / "other" / "clip.mp4"
    other.parent.mkdir()
    other.write_bytes(make_clip(times=(0, 0.5, 1)))
    assert track(clip, other, "-o", out).exit_code == 0
    assert names_in(out) == ["clip-2.dkp.json", "clip-2.dkp.mp4", "clip.dkp.json", "clip.dkp.mp4"]
    assert len(document(out / "clip.dkp.json")["frames"]) == NUM_FRAMES
    assert len(document(out / "clip-2.dkp.json")["frames"]) == 3


def test_a_folder_twice_does_not_track_its_own_outputs(clip: Path, track: Track) -> None:
    for _ in range(2):
        assert track(clip.parent, "-o", clip.parent, "--overwrite").exit_code == 0
        assert names_in(clip.parent) == ["clip.dkp.json", "clip.dkp.mp4", "clip.mp4"]


# --- Existing outputs, and folders that cannot be written to ------------------------------------------------


@pytest.mark.parametrize("name", ["clip.dkp.json", "clip.dkp.mp4", "clip.dkp.csv"])
def test_existing_outputs_are_kept(clip: Path, out: Path, track: Track, name: str) -> None:
    out.mkdir()
    (out / name).write_text("precious")
    arguments = (clip, "-o", out, "--format", "json,csv")
    refused = track(*arguments)
    assert refused.exit_code == 2
    assert_one_line(
        refused,
        f"error: {out / name} exists; pass --overwrite to replace it, --skip-existing or --resume to keep "
        "what is complete, or choose another folder with -o",
    )
    assert names_in(out) == [name]
    assert (out / name).read_text() == "precious"

    assert track(*arguments, "--overwrite").exit_code == 0
    assert names_in(out) == ["clip.dkp.csv", "clip.dkp.json", "clip.dkp.mp4"]
    assert (out / name).read_bytes() != b"precious"


def test_a_failure_keeps_what_was_to_be_replaced(tmp_path: Path, out: Path, track: Track) -> None:
    out.mkdir()
    (out / "bad.dkp.json").write_text("precious")
    (tmp_path / "bad.mp4").write_text("not a video\n" * 20)
    assert track(tmp_path / "bad.mp4", "-o", out, "--overwrite").exit_code == 4
    assert names_in(out) == ["bad.dkp.json"]
    assert (out / "bad.dkp.json").read_text() == "precious"


def test_missing_folders_are_made(clip: Path, out: Path, track: Track) -> None:
    assert track(clip, "-o", out / "a" / "b").exit_code == 0
    assert names_in(out / "a" / "b") == ["clip.dkp.json", "clip.dkp.mp4"]


def test_the_current_folder_is_the_default(
    clip: Path, out: Path, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    out.mkdir()
    monkeypatch.chdir(out)
    assert track(clip).exit_code == 0
    assert names_in(out) == ["clip.dkp.json", "clip.dkp.mp4"]
    assert names_in(clip.parent) == ["clip.mp4", "out"]


@pytest.mark.parametrize("below", ["", "a/b"])
def test_a_file_is_no_folder(clip: Path, track: Track, below: str) -> None:
    result = track(clip, "-o", clip / below)
    assert result.exit_code == 2
    assert_one_line(result, f"error: {clip} is not a folder; choose another one")


def test_a_read_only_folder(clip: Path, out: Path, track: Track, monkeypatch: pytest.MonkeyPatch) -> None:
    out.mkdir()
    # The superuser may write anywhere, so rights on disk would not be noticed.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != out)
    result = track(clip, "-o", out / "new")
    assert result.exit_code == 2
    assert_one_line(result, f"error: {out} is read-only; choose another folder")
    assert names_in(out) == []


def test_a_folder_in_the_place_of_the_output(clip: Path, out: Path, track: Track) -> None:
    (out / "clip.dkp.json").mkdir(parents=True)
    result = track(clip, "-o", out, "--overwrite")
    assert result.exit_code == 4
    assert_one_line(result, f"error: {out / 'clip.dkp.json'}: ", "choose another folder with -o")
    assert names_in(out) == [JOURNAL, "clip.dkp.json"], "once there is room, --resume need not detect again"


def test_keypoints_survive_a_failed_drawing(clip: Path, out: Path, track: Track) -> None:
    (out / "clip.dkp.mp4").mkdir(parents=True)
    result = track(clip, "-o", out, "--overwrite")
    assert result.exit_code == 3
    assert_one_line(result, f"error: {out / 'clip.dkp.mp4'}: cannot be written")
    assert names_in(out) == [JOURNAL, "clip.dkp.json", "clip.dkp.mp4"]
    assert len(document(out / "clip.dkp.json")["frames"]) == NUM_FRAMES


# --- Options ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "json,xml"], "unknown format 'xml'; choose from json, jsonl, csv"),
        (["--format", ""], "unknown format ''"),
        (["--smooth", "magic"], "unknown smoothing 'magic'; choose one of kalman, one-euro,"),
        (["--smooth-strength", "0"], "smoothing strength must be above 0"),
        (["--roi", "1,2,3"], "unknown region '1,2,3'; give follow, auto, full, or x,y,width,height"),
        (["--roi", "1,2,0,5"], "region 1,2,0,5 is empty"),
        (["--roi", "500,0,5,5"], "lies outside the 96x64 frame"),
        (["--draw", "points,halo"], "cannot draw 'halo'; choose from points,skeleton,trail,labels"),
        (["--runtime", "abacus"], "unknown runtime 'abacus'; choose auto, torch or onnx"),
        (["--device", "abacus"], "unknown device 'abacus'; choose auto, cpu, cuda, cuda:N or mps"),
        (["--device", "cuda:99"], "device cuda:99 is not there"),
        (["--batch-size", "0"], "batch size must be at least 1, got 0"),
        (["--stride", "0"], "stride must be at least 1, got 0"),
        (["--min-confidence", "1.5"], "min confidence must be 0 to 1, got 1.5"),
        (["--start", "2", "--end", "1"], "end must be after start"),
        (["--weights", "nowhere"], "no weights at nowhere"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(
    clip: Path, out: Path, track: Track, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    # The check of annotations, which only tests have, would refuse some of them in its own words.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    result = track(clip, "-o", out, *arguments)
    assert result.exit_code == 2
    assert_one_line(result, "error: ", words)
    assert not out.exists() or names_in(out) == []


def test_a_time_without_frames(clip: Path, out: Path, track: Track) -> None:
    result = track(clip, "-o", out, "--start", "60")
    assert result.exit_code == 4
    assert_one_line(result, "no frame between --start and --end; its frames go from 0.00 s to 0.92 s")
    assert names_in(out) == []


def test_quiet_is_silent(clip: Path, out: Path, track: Track, capfd: pytest.CaptureFixture[str]) -> None:
    result = track(clip, "-o", out, "-q")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert tuple(capfd.readouterr()) == ("", "")
    assert names_in(out) == ["clip.dkp.json", "clip.dkp.mp4"]


def test_all_formats_say_the_same(clip: Path, out: Path, track: Track) -> None:
    formats = "json, jsonl,csv,json,coco,openpose,sleap-h5,nwb"
    assert track(clip, "-o", out, "--no-video", "--format", formats).exit_code == 0
    suffixes = ["coco.json", "csv", "json", "jsonl", "nwb", "openpose", "sleap.h5"]
    assert names_in(out) == [f"clip.dkp.{suffix}" for suffix in suffixes]
    content = document(out / "clip.dkp.json")
    lines, whole = read_track(out / "clip.dkp.jsonl"), read_track(out / "clip.dkp.json")
    assert lines.complete and whole.complete
    np.testing.assert_array_equal(lines.track.xy, whole.track.xy)
    assert lines.header == whole.header
    table = pd.read_csv(out / "clip.dkp.csv", header=[0, 1, 2], index_col=0).to_numpy()
    np.testing.assert_array_equal(table.reshape(NUM_FRAMES, 6, 3)[..., :2], places(content))
    results = [entry["keypoints"] for entry in json.loads((out / "clip.dkp.coco.json").read_text())]
    np.testing.assert_array_equal(np.reshape(results, (NUM_FRAMES, 6, 3))[..., :2], places(content))
    files = sorted((out / "clip.dkp.openpose").iterdir())
    values = [json.loads(path.read_text())["people"][0]["pose_keypoints_2d"] for path in files]
    np.testing.assert_array_equal(np.reshape(values, (NUM_FRAMES, 6, 3)), table.reshape(NUM_FRAMES, 6, 3))
    with h5py.File(out / "clip.dkp.sleap.h5") as file:
        np.testing.assert_allclose(file["tracks"][0].T, places(content), rtol=0, atol=0.005001)
    with h5py.File(out / "clip.dkp.nwb") as file:
        series = [file[f"processing/behavior/PoseEstimation/kp{i}"] for i in range(6)]
        values = np.stack([part["data"][:] for part in series], axis=1)
        np.testing.assert_allclose(values, places(content), rtol=0, atol=0.0051)
        times = [row["time"] for row in content["frames"]]
        np.testing.assert_allclose(series[5]["timestamps"], times, rtol=0, atol=1e-6)


def test_a_format_whose_package_is_missing_is_told_first(
    clip: Path, out: Path, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynwb", None)
    monkeypatch.setattr("dkpvid.checkpoint.load_weights", None)
    result = track(clip, "-o", out, "--format", "json,nwb")
    assert result.exit_code == 2
    assert_one_line(result, "error: format nwb needs pynwb", 'pip install "dkpvid[nwb]"')
    assert not out.exists()


def test_a_writer_that_fails_to_begin_takes_the_others_with_it(
    clip: Path, out: Path, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dkpvid.formats.sleap.Hdf5File", full)
    result = track(clip, "-o", out, "--format", "json,openpose,sleap-h5")
    assert result.exit_code == 4
    assert_one_line(result, "No space left on device")
    assert names_in(out) == []


def test_either_runtime_gives_the_same(clip: Path, out: Path, track: Track) -> None:
    found = []
    for runtime in ("torch", "onnx"):
        assert track(clip, "-o", out / runtime, "--no-video", "--runtime", runtime).exit_code == 0
        found.append(read_track(out / runtime / "clip.dkp.json").track.xy)
    np.testing.assert_allclose(*found, rtol=0, atol=0.011)  # rounded to 0.01 px


def test_a_region_gives_places_in_the_whole_frame(tmp_path: Path, out: Path, track: Track) -> None:
    codec = {"container": "matroska", "codec": "ffv1", "pix_fmt": "yuv444p", "options": ()}
    whole, part = tmp_path / "whole.mkv", tmp_path / "part.mkv"
    whole.write_bytes(make_clip(**codec))  # type: ignore[arg-type]
    # As large as the network's input: nothing is resized, so nothing beyond the region is seen.
    crop = ["-vf", "crop=64:63:11:1", "-c:v", "ffv1", "-fps_mode", "passthrough"]
    subprocess.run([need_program("ffmpeg"), "-v", "error", "-i", whole, *crop, part], check=True)
    settings = ("-o", out, "--no-video", "--smooth", "none")
    assert track(whole, *settings, "--roi", "11,1,64,63").exit_code == 0
    assert track(part, *settings).exit_code == 0
    within, alone = document(out / "whole.dkp.json"), document(out / "part.dkp.json")
    assert within["region"] == {"x": 11, "y": 1, "width": 64, "height": 63}
    assert (within["source"]["width"], within["source"]["height"]) == (WIDTH, HEIGHT)
    assert np.ptp(places(alone), axis=0).max() > 2, "something moves"
    # Rounded to 0.01 px; a 63rd row is resized, and its last pixel knows its neighbour beyond the region.
    np.testing.assert_allclose(places(within), places(alone) + np.array([11, 1]), rtol=0, atol=0.3)


@pytest.mark.parametrize("smoothing", ["kalman", "none"])
def test_a_stride_gives_a_row_for_every_frame(clip: Path, out: Path, track: Track, smoothing: str) -> None:
    assert track(clip, "-o", out, "--stride", "3", "--smooth", smoothing).exit_code == 0
    rows = document(out / "clip.dkp.json")["frames"]
    assert [row["frame"] for row in rows] == list(range(NUM_FRAMES))
    assert len(ffprobe_times(out / "clip.dkp.mp4")) == NUM_FRAMES
    for row in rows:
        if smoothing == "none":
            assert (row["keypoints"] is None) == (row["frame"] % 3 != 0)
        else:
            assert (row["raw"] is None) == (row["frame"] % 3 != 0)
            assert all(point["x"] is not None and point["confidence"] > 0 for point in row["keypoints"])


def test_a_part_keeps_the_frame_numbers(clip: Path, out: Path, track: Track) -> None:
    assert track(clip, "-o", out, "--start", "0.2", "--end", "0.4").exit_code == 0
    rows = document(out / "clip.dkp.json")["frames"]
    assert [(row["frame"], row["time"]) for row in rows] == [(i, i / 25) for i in range(5, 10)]
    assert len(ffprobe_times(out / "clip.dkp.mp4")) == 5


def test_unsure_keypoints_are_null(clip: Path, out: Path, track: Track) -> None:
    settings = (clip, "-o", out, "--no-video", "--smooth", "none", "--overwrite")
    assert track(*settings).exit_code == 0
    every = document(out / "clip.dkp.json")["frames"]
    confidence = np.array([[point["confidence"] for point in row["keypoints"]] for row in every])
    limit = float(np.median(confidence)) + 0.00005
    assert 0 < (confidence < limit).sum() < confidence.size
    assert track(*settings, "--min-confidence", str(limit)).exit_code == 0
    for row, before, sure in zip(
        document(out / "clip.dkp.json")["frames"], every, confidence >= limit, strict=True
    ):
        expected = [
            point if is_sure else point | {"x": None, "y": None}
            for point, is_sure in zip(before["keypoints"], sure, strict=True)
        ]
        assert row["keypoints"] == (expected if sure.any() else None)


def test_smoothing_is_by_the_kalman_filter_unless_told(clip: Path, out: Path, track: Track) -> None:
    assert track(clip, "-o", out, "--no-video").exit_code == 0
    content = document(out / "clip.dkp.json")
    assert content["smoothing"] == {"method": "kalman", "strength": 1.0}
    raw = np.array([row["raw"] for row in content["frames"]])
    smooth = places(content)
    assert np.abs(np.diff(smooth, 2, axis=0)).mean() < 0.8 * np.abs(np.diff(raw, 2, axis=0)).mean()


# --- Interruption -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5000 frames: much more than is tracked, one by one, until a signal arrives."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    settings = [
        "-f",
        "lavfi",
        "-i",
        "testsrc=size=64x64:rate=25",
        "-frames:v",
        "5000",
        "-preset",
        "ultrafast",
    ]
    subprocess.run([need_program("ffmpeg"), "-v", "error", *settings, str(path)], check=True)
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="signals are a POSIX matter")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_complete_up_to_there(
    long_clip: Path, out: Path, command: list[str], number: signal.Signals
) -> None:
    words = [*command, str(long_clip), "-o", str(out), "--batch-size", "1", "--smooth", "none"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # Some frames have been looked at when the journal is not empty any more.
    journal = out / ".long.dkp.journal"
    while process.poll() is None:
        if journal.exists() and journal.stat().st_size > 0:
            process.send_signal(number)
            break
        time.sleep(0.01)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    assert names_in(out) == [journal.name, "long.dkp.json", "long.dkp.mp4"], "--resume can go on"
    rows = document(out / "long.dkp.json")["frames"]
    assert 0 < len(rows) < 5000
    assert [row["frame"] for row in rows] == list(range(len(rows)))
    assert len(ffprobe_times(out / "long.dkp.mp4")) == len(rows)


def interrupt_drawing(monkeypatch: pytest.MonkeyPatch, frame: int, times: int) -> None:
    """Let Ctrl-C be pressed while a frame is drawn, in a pass of its own."""
    monkeypatch.setattr(dkpvid.tracking.render, "MOST_KEPT_BYTES", 0)
    redraw = dkpvid.tracking.render.redraw

    def interrupted(*arguments: Any, on_frame: Callable[..., None], **settings: Any) -> None:
        def press(done: int) -> None:
            on_frame(done)
            for _ in range(times if done == frame else 0):
                signal.raise_signal(signal.SIGINT)

        redraw(*arguments, on_frame=press, **settings)

    monkeypatch.setattr(dkpvid.tracking.render, "redraw", interrupted)


def test_an_interrupted_drawing_ends_there(
    clip: Path, out: Path, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_drawing(monkeypatch, frame=7, times=1)
    other = shutil.copy(clip, clip.with_name("other.mp4"))
    before = signal.getsignal(signal.SIGINT)
    result = track(clip, other, "-o", out)
    assert result.exit_code == 130
    assert "other" not in result.stderr
    assert signal.getsignal(signal.SIGINT) is before
    assert names_in(out) == [JOURNAL, "clip.dkp.json", "clip.dkp.mp4"], "nothing else is begun"
    assert len(document(out / "clip.dkp.json")["frames"]) == NUM_FRAMES
    assert len(ffprobe_times(out / "clip.dkp.mp4")) == 7


def test_a_second_interrupt_stops_at_once(
    clip: Path, out: Path, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_drawing(monkeypatch, frame=7, times=2)
    assert track(clip, "-o", out).exit_code == 130
    assert names_in(out) == [JOURNAL, "clip.dkp.json"]


def test_nothing_was_tracked_yet(
    clip: Path, out: Path, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = dkpvid.jobs.track.Tracker.header

    def interrupted(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return header(*arguments)

    monkeypatch.setattr(dkpvid.jobs.track.Tracker, "header", interrupted)
    result = track(clip, "-o", out)
    assert result.exit_code == 130
    assert_one_line(result, "error: ", "stopped before its first frame")
    assert names_in(out) == []
