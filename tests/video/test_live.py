"""Standard input, downloads, cameras and live streams: what is lost, what comes back, what can be stopped."""

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dkpvid.cli import app
from dkpvid.errors import VideoError
from dkpvid.structures import Frame
from dkpvid.video import containers, sources
from dkpvid.video.reader import VideoReader
from tests.video.clips import make_clip
from tests.video.servers import http_folder, rtsp_camera, tcp_stream

SHORT = tuple(index / 25 for index in range(12))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other quickly."""
    monkeypatch.setattr(containers, "RECONNECT_DELAYS_SECONDS", (0.1, 0.2))
    monkeypatch.setattr(sources, "TIMEOUT_SECONDS", 1.0)


@pytest.fixture
def stream() -> bytes:
    """12 frames, 0.04 s apart."""
    return make_clip(times=SHORT, container="mpegts")


@pytest.fixture
def command(tiny_weights: Path) -> list[str]:
    """`dkpvid track` in another process."""
    return [sys.executable, "-m", "dkpvid", "track", "--weights", str(tiny_weights), "--device", "cpu"]


def times(frames: list[Frame]) -> list[float]:
    return [frame.time_seconds for frame in frames]


class TestLiveStream:
    def test_times_count_from_its_first_frame(self, stream: bytes) -> None:
        with tcp_stream(stream) as url, VideoReader(url) as video:
            frames = list(video)
        assert times(frames) == pytest.approx(SHORT)
        assert all(frame.flags == () for frame in frames)
        assert video.lost == []
        assert (video.info.path, video.info.can_reopen) == (url, False)

    def test_is_opened_again_when_it_is_lost(self, stream: bytes) -> None:
        with tcp_stream(stream, stream, stream) as url, VideoReader(url) as video:
            frames = list(video)
        assert [frame.index for frame in frames] == list(range(36))
        marked = [frame.index for frame in frames if frame.flags]
        assert marked == [12, 24]
        assert all(frames[index].flags == ("reconnected", "time_estimated") for index in marked)
        steps = np.diff(times(frames))
        assert (steps > 0).all()
        # Its own clock goes on after the gap, which is as long as it was on the wall.
        np.testing.assert_allclose(np.delete(steps, [11, 23]), 0.04, atol=1e-6)
        assert ((steps[[11, 23]] > 0.1) & (steps[[11, 23]] < 2)).all()
        assert [(lost.packet, lost.reason) for lost in video.lost] == [
            (13, "the connection was lost"),
            (27, "the connection was lost"),
        ]

    def test_ends_after_the_last_attempt(self, stream: bytes) -> None:
        with tcp_stream(stream[: len(stream) // 2]) as url, VideoReader(url) as video:
            assert 2 < len(list(video)) < 12

    def test_silence_counts_as_lost(self, stream: bytes) -> None:
        with tcp_stream(stream, stalls=True) as url, VideoReader(url) as video:
            assert len(list(video)) == 12
        assert [lost.reason for lost in video.lost] == ["no data in time"]

    def test_a_clock_that_starts_anew(self, stream: bytes) -> None:
        with tcp_stream(stream + stream) as url, VideoReader(url) as video:
            frames = list(video)
        assert len(frames) == 24
        assert (np.diff(times(frames)) > 0).all()
        assert [frame.index for frame in frames if "time_estimated" in frame.flags] == [12]

    def test_missing_times_are_those_on_the_wall(self) -> None:
        clip = make_clip(times=SHORT, container="h264")
        with tcp_stream(clip) as url, VideoReader(url) as video:
            frames = list(video)
        assert (np.diff(times(frames)) > 0).all()
        assert all(frame.flags == ("time_estimated",) for frame in frames)

    def test_nobody_answers(self) -> None:
        with pytest.raises(VideoError, match=r"tcp://127.0.0.1:1: cannot be opened \(Connection refused\)"):
            VideoReader("tcp://127.0.0.1:1")

    def test_rtsp(self, stream: bytes) -> None:
        with rtsp_camera(stream, stream) as url, VideoReader(url) as video:
            frames = list(video)
        assert "secret" in url
        assert video.info.path == url.replace("me:secret", "***")
        # Without an end, the last picture of a session is complete only when another one starts.
        assert len(frames) == 22
        assert [frame.index for frame in frames if "reconnected" in frame.flags] == [11]
        assert (np.diff(times(frames)) > 0).all()


class TestStopping:
    def test_from_another_thread_while_data_is_waited_for(self, stream: bytes) -> None:
        stop = threading.Event()
        with tcp_stream(stream, stalls=True) as url, VideoReader(url, should_stop=stop.is_set) as video:
            frames = iter(video)
            next(frames)
            threading.Timer(0.3, stop.set).start()
            assert len(list(frames)) >= 8

    def test_before_the_first_frame(self) -> None:
        stop = threading.Event()
        threading.Timer(0.3, stop.set).start()
        with tcp_stream(b"", stalls=True) as url, pytest.raises(VideoError, match="stopped before its first"):
            VideoReader(url, should_stop=stop.is_set)

    @pytest.mark.parametrize("where", ["pipe", "network"])
    def test_a_stalled_input_can_be_interrupted(self, command: list[str], where: str) -> None:
        clip = make_clip(times=tuple(index / 25 for index in range(60)), container="mpegts")
        number = signal.SIGINT if where == "pipe" else signal.SIGTERM
        with tcp_stream(clip, stalls=True) as url:
            source = "-" if where == "pipe" else url
            words = [*command, source, "-o", "-", "--batch-size", "1", "--smooth", "none"]
            with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
                assert process.stdin and process.stdout
                if where == "pipe":
                    process.stdin.write(clip)
                    process.stdin.flush()
                # A decoder holds a few pictures back, and nothing more will come.
                lines = [process.stdout.readline() for _ in range(50)]
                time.sleep(0.5)
                process.send_signal(number)
                lines += process.stdout.readlines()
                assert process.wait(timeout=30) == 130
        kinds = [json.loads(line)["type"] for line in lines]
        assert kinds == ["header", *["frame"] * (len(lines) - 2), "end"]

    def test_a_pipe_that_gives_nothing(self) -> None:
        program = (
            "from dkpvid.cli.shared import interrupt_request\n"
            "from dkpvid.video.reader import VideoReader\n"
            "with interrupt_request() as stop:\n"
            "    print('ready', flush=True)\n"
            "    VideoReader('-', should_stop=lambda: bool(stop))"
        )
        words = [sys.executable, "-c", program]
        pipe = subprocess.PIPE
        with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
            assert process.stdout and process.stderr
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 1
            assert process.stderr.read().endswith("VideoError: stdin: stopped before its first frame\n")


class TestStandardInput:
    def read(self, **options: object) -> str:
        """The number of frames, or the error, of a video on standard input."""
        program = (
            "from dkpvid.errors import VideoError\n"
            "from dkpvid.video.reader import VideoReader\n"
            "try:\n"
            "    print(len(list(VideoReader('-'))))\n"
            "except VideoError as error:\n"
            "    print(error)"
        )
        words = [sys.executable, "-c", program]
        return subprocess.run(words, capture_output=True, check=True, **options).stdout.decode()

    def test_a_pipe(self) -> None:
        assert self.read(input=make_clip(container="matroska")) == "24\n"

    def test_an_mp4_with_its_index_at_the_end(self) -> None:
        # FFmpeg can go back to the first part of a pipe; this index is far behind it.
        clip = make_clip()
        end = clip.index(b"moov") - 4
        gap = struct.pack(">I4s", 6_000_000, b"free") + bytes(6_000_000 - 8)
        line = self.read(input=clip[:end] + gap + clip[end:])
        assert line.startswith("stdin: not a video that a pipe can carry")
        assert "Matroska" in line and line.count("\n") == 1 and "fd:" not in line

    @pytest.mark.parametrize("content", [b"", b"hello\n"])
    def test_no_video(self, content: bytes) -> None:
        assert self.read(input=content).startswith("stdin: not a video")

    def test_a_redirected_file_may_have_its_index_at_the_end(self, tmp_path: Path) -> None:
        (tmp_path / "clip.mp4").write_bytes(make_clip())
        with (tmp_path / "clip.mp4").open("rb") as file:
            assert self.read(stdin=file) == "24\n"

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a matter of POSIX")
    def test_a_named_pipe(self, tmp_path: Path) -> None:
        path, clip = tmp_path / "named", make_clip(container="matroska")
        os.mkfifo(path)
        threading.Thread(target=path.write_bytes, args=(clip,), daemon=True).start()
        with VideoReader(path) as video:
            assert len(list(video)) == 24
        assert not video.info.can_reopen


class TestDownload:
    def test_of_a_known_length_can_be_read_again(self, tmp_path: Path, stream: bytes) -> None:
        (tmp_path / "clip.mkv").write_bytes(make_clip(container="matroska"))
        (tmp_path / "clip.ts").write_bytes(stream)
        with http_folder(tmp_path) as url:
            with VideoReader(f"{url}/clip.mkv") as video:
                assert len(list(video)) == 24
            assert video.info.can_reopen
            with VideoReader(f"{url}/clip.ts") as video:
                frames = list(video)
        # A file's times stay as they are.
        assert times(frames)[0] == video.info.start_seconds
        assert np.diff(times(frames)) == pytest.approx(0.04)

    def test_through_the_command(self, tiny_weights: Path, tmp_path: Path) -> None:
        (tmp_path / "clip.mkv").write_bytes(make_clip(container="matroska", sound="aac"))
        with http_folder(tmp_path) as url:
            words = ["track", f"{url}/clip.mkv?key=1", "-o", str(tmp_path / "out"), "--device", "cpu"]
            result = CliRunner().invoke(app, [*words, "--weights", str(tiny_weights)])
        assert result.exit_code == 0
        assert "clip.mkv?key=1: sound left out, since it is copied from files only" in result.stderr
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            ".clip.dkp.source",
            "clip.dkp.json",
            "clip.dkp.mp4",
        ]

    def test_of_nothing(self, tmp_path: Path) -> None:
        with http_folder(tmp_path) as url, pytest.raises(VideoError, match=r"cannot be opened \(.*404"):
            VideoReader(f"{url}/clip.mkv")


@pytest.mark.skipif(sys.platform != "linux", reason="cameras are found differently elsewhere")
def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(VideoError, match=r"camera 47: there is no /dev/video47; plug a camera in"):
        VideoReader("47")
