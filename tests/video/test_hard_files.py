"""Files that other programs stumble over, through `dkpvid track`, beside the ffmpeg program."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from dkpvid.cli import app
from dkpvid.formats.reading import read_track
from dkpvid.video.reader import VideoReader
from dkpvid.video.sources import Source
from tests.formats.test_schema import validator
from tests.video.clips import (
    HEIGHT,
    WIDTH,
    damaged,
    ffprobe_times,
    make_clip,
    need_program,
    run_ffmpeg,
    with_display_matrix,
)

UNREADABLE = ("audio_only.mp4", "empty.mp4", "text.mp4")
DAMAGED = ("truncated_faststart.mp4", "decord_corrupted.mp4")


def track(weights: Path, *arguments: str | Path) -> Result:
    """Run `dkpvid track` with a tiny model."""
    words = ["track", "--weights", weights, "--device", "cpu", *arguments]
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def document(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    validator().validate(content)
    return content


def num_frames_by_ffmpeg(path: Path) -> int:
    """How many frames the ffmpeg program decodes."""
    arguments = ["-v", "quiet", "-i", str(path), "-an", "-fps_mode", "passthrough", "-f", "framemd5", "-"]
    done = subprocess.run(
        [need_program("ffmpeg"), *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    return sum(not line.startswith("#") for line in done.stdout.splitlines())


def assert_frames_and_times_of_ffmpeg(path: Path) -> None:
    with VideoReader(path) as video:
        times = [frame.time_seconds for frame in video]
    assert len(times) == num_frames_by_ffmpeg(path)
    expected = np.array(ffprobe_times(path))
    is_known = np.isfinite(expected)
    assert is_known.mean() > 0.9
    np.testing.assert_allclose(np.array(times)[is_known], expected[is_known], rtol=0, atol=1e-3)
    assert bool(video.lost) == (path.name in DAMAGED)


@pytest.mark.slow
def test_frames_and_times_of_all_clips(shared: Path) -> None:
    suffixes = {".mp4", ".mkv", ".avi", ".gif", ".ts", ".webm"}
    folders = ("odd", "human", "nonhuman", "annotated/dlc_openfield", "bench")
    paths = [path for folder in folders for path in (shared / "data" / folder).rglob("*")]
    clips = sorted(path for path in paths if path.suffix in suffixes and path.name not in UNREADABLE)
    assert len(clips) >= 60
    for path in clips:
        assert_frames_and_times_of_ffmpeg(path)


@pytest.mark.parametrize(
    "name", ["plain.mp4", "trimmed.mp4", "early.mp4", "late.mkv", "clip.mpg", "clip.webm"]
)
def test_the_annotated_video_keeps_step(tiny_weights: Path, tmp_path: Path, clip: Path, name: str) -> None:
    source = tmp_path / name
    arguments = {
        "plain.mp4": (),
        "trimmed.mp4": ("-ss", "0.42"),
        "early.mp4": ("-ss", "0.42"),
        "late.mkv": ("-itsoffset", "2.5"),
    }.get(name, ())
    coders = {"clip.mpg": "mpeg2video", "clip.webm": "libvpx-vp9"}
    fragments = ("-movflags", "frag_keyframe+delay_moov", "-avoid_negative_ts", "disabled")
    after = fragments if name == "early.mp4" else ()
    run_ffmpeg(*arguments, "-i", clip, "-c:v", coders.get(name, "copy"), *after, source)
    result = track(tiny_weights, source, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    times = [row["time"] for row in document(tmp_path / f"out/{source.stem}.dkp.json")["frames"]]
    expected = np.array(ffprobe_times(source))
    assert len(times) == len(expected) == num_frames_by_ffmpeg(source)
    known = np.isfinite(expected)
    np.testing.assert_allclose(np.array(times)[known], expected[known], rtol=0, atol=1e-3)
    drawn = ffprobe_times(tmp_path / f"out/{source.stem}.dkp.mp4")
    np.testing.assert_allclose(drawn, np.subtract(times, times[0]), rtol=0, atol=1e-3)


def test_joined_recordings(tiny_weights: Path, tmp_path: Path) -> None:
    source = tmp_path / "joined.ts"
    source.write_bytes(make_clip(container="mpegts") * 2)
    result = track(tiny_weights, source, "-o", tmp_path, "--no-video")
    assert result.exit_code == 0
    assert f"warning: {source}: 24 frame(s) with a missing or wrong time in the file" in result.stderr
    frames = read_track(tmp_path / "joined.dkp.json").track
    np.testing.assert_allclose(np.diff(frames.time_seconds), 0.04, atol=1e-6)
    # Nothing is smoothed across a gap of unknown length, so the same pictures give the same keypoints.
    np.testing.assert_allclose(frames.xy[24:], frames.xy[:24], atol=0.011)


def test_concealed_damage_is_counted(tiny_weights: Path, tmp_path: Path) -> None:
    source = tmp_path / "noise.ts"
    clip = make_clip(times=tuple(index / 25 for index in range(60)), container="mpegts")
    source.write_bytes(damaged(clip, 0.3, 0.7, 5))
    result = track(tiny_weights, source, "-o", tmp_path, "--no-video")
    assert result.exit_code == 3
    assert re.search(
        r"damaged part\(s\), the first at packet \d+ .*\d+ of them flagged corrupt", result.stderr
    )
    content = document(tmp_path / "noise.dkp.json")
    assert content["lost"] and any("corrupt" in row.get("flags", ()) for row in content["frames"])


def test_an_encrypted_video_is_refused(tiny_weights: Path, tmp_path: Path, clip: Path) -> None:
    key = ("-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb", "-encryption_kid", "a7" * 16)
    run_ffmpeg("-i", clip, "-c", "copy", "-encryption_scheme", "cenc-aes-ctr", *key, tmp_path / "locked.mp4")
    result = track(tiny_weights, tmp_path / "locked.mp4", "-o", tmp_path)
    assert result.exit_code == 4
    assert "locked.mp4: no frame could be decoded (encrypted; its key is needed)" in result.stderr


def test_one_input_never_ends_a_run_over_many(
    tiny_weights: Path, tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4", "poster.png"):
        shutil.copy(clip, folder / name)

    def open_video(source: Source, **options: Any) -> VideoReader:
        if source.name.endswith("b.mp4"):
            raise RuntimeError("29 is not a valid Type")
        return VideoReader(source, **options)

    monkeypatch.setattr("dkpvid.jobs.track.VideoReader", open_video)
    result = track(tiny_weights, folder, "-o", tmp_path / "out", "--no-video")
    assert result.exit_code == 3
    assert "RuntimeError: 29 is not a valid Type" in result.stderr
    assert f"error: {folder / 'b.mp4'}: given up because of a bug" in result.stderr
    assert f"warning: {folder}: 1 picture(s) beside videos passed over (poster.png)" in result.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*.json")) == ["a.dkp.json", "c.dkp.json"]
    with pytest.raises(RuntimeError, match="29 is not"):
        track(tiny_weights, folder / "b.mp4", "-o", tmp_path / "alone")


def test_a_frame_rate_on_request(tiny_weights: Path, tmp_path: Path, clip: Path) -> None:
    assert track(tiny_weights, clip, "-o", tmp_path, "--no-video", "--fps", "50").exit_code == 0
    times = [row["time"] for row in document(tmp_path / "clip.dkp.json")["frames"]]
    np.testing.assert_allclose(times, np.arange(24) / 50, atol=1e-6)
    refused = track(tiny_weights, clip, "-o", tmp_path, "--fps", "0")
    assert refused.exit_code == 2 and "fps must be above 0" in refused.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk to write to is a matter of Linux")
def test_a_full_disk_at_the_first_write(tiny_weights: Path, tmp_path: Path, clip: Path) -> None:
    words = ["-m", "dkpvid", "track", str(clip), "--weights", str(tiny_weights), "--device", "cpu", "-q"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, *words, "-o", "-"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.stderr == "error: stdout: cannot be written (No space left on device)\n"
    assert done.returncode == 4


def test_long_names(tiny_weights: Path, tmp_path: Path, clip: Path) -> None:
    source = clip.rename(tmp_path / f"{'n' * 240}.mp4")
    result = track(tiny_weights, source, "-o", tmp_path / "out", "--no-video")
    assert result.exit_code == 0, result.stderr
    longer = source.rename(tmp_path / f"{'n' * 250}.mp4")
    result = track(tiny_weights, longer, "-o", tmp_path / "out", "--no-video")
    assert result.exit_code == 2 and "its name is too long" in result.stderr


def test_a_name_of_a_file_is_no_folder(tiny_weights: Path, tmp_path: Path, clip: Path) -> None:
    result = track(tiny_weights, clip, "-o", tmp_path / "result.json")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: -o names a folder, got {tmp_path / 'result.json'}; ")
    assert not (tmp_path / "result.json").exists()


def test_a_wrong_rotation_flag_is_ignored_on_request(tiny_weights: Path, tmp_path: Path) -> None:
    source = tmp_path / "phone.mp4"
    source.write_bytes(with_display_matrix(make_clip(), (0, 1, -1, 0)))
    turned = track(tiny_weights, source, "-o", tmp_path / "turned")
    assert turned.stderr.startswith(f"{source} (turned by 270 degrees): 24 frame(s) -> ")
    stored = track(tiny_weights, source, "-o", tmp_path / "stored", "--ignore-rotation")
    assert stored.stderr.startswith(f"{source}: 24 frame(s) -> ")
    for folder, degrees, size in (("turned", 270, (HEIGHT, WIDTH)), ("stored", 0, (WIDTH, HEIGHT))):
        header = document(tmp_path / folder / "phone.dkp.json")["source"]
        assert (header["rotation"], header["width"], header["height"]) == (degrees, *size)
        with VideoReader(tmp_path / folder / "phone.dkp.mp4") as video:
            assert (video.info.width, video.info.height) == size


def test_a_mirrored_picture_is_told(tiny_weights: Path, tmp_path: Path) -> None:
    source = tmp_path / "selfie.mp4"
    source.write_bytes(with_display_matrix(make_clip(), (0, 1, 1, 0)))
    result = track(tiny_weights, source, "-o", tmp_path, "--no-video")
    assert result.stderr.startswith(f"{source} (turned by 270 degrees, mirrored): 24 frame(s) -> ")


def test_another_stream_on_request(tiny_weights: Path, tmp_path: Path) -> None:
    source = tmp_path / "two.mkv"
    source.write_bytes(make_clip(container="matroska", num_streams=2))
    result = track(tiny_weights, source, "-o", tmp_path, "--stream", "1")
    assert result.exit_code == 0, result.stderr
    assert document(tmp_path / "two.dkp.json")["source"]["width"] == WIDTH // 2
    with VideoReader(tmp_path / "two.dkp.mp4") as video:
        assert video.info.width == WIDTH // 2
    missing = track(tiny_weights, source, "-o", "-", "--stream", "2")
    assert missing.exit_code == 2
    assert missing.stderr == f"error: {source}: no video stream 2; it has 2, counted from 0\n"


def test_interlaced_pictures(tiny_weights: Path, tmp_path: Path) -> None:
    source = tmp_path / "tape.mp4"
    source.write_bytes(make_clip(options=(("crf", "10"), ("x264-params", "tff=1"))))
    warned = track(tiny_weights, source, "-o", tmp_path / "combs")
    assert warned.stderr.startswith(f"warning: {source}: interlaced pictures")
    assert "--deinterlace" in warned.stderr.splitlines()[0]
    made_whole = track(tiny_weights, source, "-o", tmp_path / "whole", "--deinterlace")
    assert made_whole.stderr.startswith(f"{source}: 24 frame(s) -> ")
    for folder, is_whole in (("combs", False), ("whole", True)):
        header = document(tmp_path / folder / "tape.dkp.json")["source"]
        assert (header["interlaced"], header["deinterlaced"]) == (True, is_whole)
        info = read_track(tmp_path / folder / "tape.dkp.json").header.source
        assert (info.is_interlaced, info.is_deinterlaced) == (True, is_whole)
    with VideoReader(tmp_path / "whole/tape.dkp.mp4") as video:
        assert len(list(video)) == 24


def test_high_dynamic_range(tiny_weights: Path, tmp_path: Path, clip: Path) -> None:
    source = tmp_path / "hdr.mp4"
    tags = ("-color_trc", "smpte2084", "-color_primaries", "bt2020", "-colorspace", "bt2020nc")
    run_ffmpeg("-i", clip, "-frames:v", "3", "-c:v", "libx264", "-pix_fmt", "yuv420p10le", *tags, source)
    result = track(tiny_weights, source, "-o", tmp_path)
    assert result.exit_code == 0
    warning = f"warning: {source}: high dynamic range (PQ) taken without a tone map: contrast is flat"
    assert [line for line in result.stderr.splitlines() if "warning" in line] == [warning]
    header = document(tmp_path / "hdr.dkp.json")["source"]
    assert (header["hdr"], header["tone_mapped"]) == ("pq", False)
    assert read_track(tmp_path / "hdr.dkp.json").header.source.hdr == "pq"


def test_pixels_that_are_not_square(tiny_weights: Path, tmp_path: Path, clip: Path) -> None:
    source = tmp_path / "wide.mp4"
    run_ffmpeg("-i", clip, "-vf", "setsar=64/45", source)
    assert track(tiny_weights, source, "-o", tmp_path).exit_code == 0
    header = document(tmp_path / "wide.dkp.json")["source"]
    assert (header["sar"], header["width"], header["height"]) == ("64:45", WIDTH, HEIGHT)


# Options of ffmpeg, and the sound's codec in the annotated video.
SOUND = {
    "two tracks": (
        ["-f", "lavfi", "-i", "sine=d=1", "-map", "0", "-map", "1", "-map", "1", "-c:a", "aac"],
        "aac",
    ),
    "late": (["-itsoffset", "0.5", "-f", "lavfi", "-i", "sine=d=0.4", "-map", "0", "-map", "1"], "aac"),
    "early": (["-itsoffset", "-0.5", "-f", "lavfi", "-i", "sine=d=2", "-map", "0", "-map", "1"], "aac"),
    "plain": (["-f", "lavfi", "-i", "sine=d=1", "-c:a", "pcm_s16le"], "pcm_s16le"),
    "vorbis": (["-f", "lavfi", "-i", "sine=d=1", "-c:a", "libvorbis"], "vorbis"),
    "flac": (["-f", "lavfi", "-i", "sine=d=1", "-c:a", "flac"], "flac"),
    "six channels": (["-f", "lavfi", "-i", "sine=d=1,aformat=channel_layouts=5.1", "-c:a", "eac3"], "eac3"),
    "none after the start": (["-f", "lavfi", "-i", "sine=d=0.05"], "aac"),
}


@pytest.mark.parametrize("case", SOUND)
def test_sound_of_every_kind(tiny_weights: Path, tmp_path: Path, clip: Path, case: str) -> None:
    options, codec = SOUND[case]
    source = tmp_path / "loud.mkv"
    if "-c:a" not in options:
        options = [*options, "-c:a", "aac"]
    run_ffmpeg("-i", clip, *options, "-c:v", "copy", source)
    result = track(tiny_weights, source, "-o", tmp_path)
    assert result.exit_code == 0
    assert "sound left out" not in result.stderr
    command = [
        "-v",
        "error",
        "-select_streams",
        "a",
        "-show_entries",
        "stream=codec_name",
        "-of",
        "default=nk=1:nw=1",
    ]
    path = str(tmp_path / "loud.dkp.mp4")
    done = subprocess.run(
        [need_program("ffprobe"), *command, path], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [codec]
    np.testing.assert_allclose(ffprobe_times(tmp_path / "loud.dkp.mp4"), np.arange(24) / 25, atol=1e-3)
