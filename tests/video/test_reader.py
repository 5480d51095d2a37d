"""Frames, times and remarks of every kind of source, against the ffmpeg program where it is installed."""

import io
import struct
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from numpy import ndarray
from PIL import Image

from dkpvid.errors import UsageError, VideoError
from dkpvid.structures import Frame
from dkpvid.video import streams
from dkpvid.video.folders import look_into
from dkpvid.video.orientation import Orientation
from dkpvid.video.reader import VideoReader
from tests.video.clips import (
    HEIGHT,
    WIDTH,
    damaged,
    dot_frame,
    dot_xy,
    ffmpeg_frames,
    ffprobe_times,
    make_clip,
    run_ffmpeg,
    with_display_matrix,
    with_empty_chunks,
)

# What the table of the odd videos promises: frames and the upright size. For the two damaged ones it
# counts the frames of a reader that stops at the first error; the ffmpeg program goes on, and so do we.
ODD = {
    "anim.gif": (16, 160, 160),
    "decord_corrupted.mp4": (49, 1280, 720),
    "gray_ffv1.mkv": (12, 128, 128),
    "grayscale.mp4": (24, 320, 320),
    "long_gop.mp4": (240, 192, 108),
    "mpeg4.avi": (24, 320, 320),
    "odd_203x115.mp4": (24, 203, 115),
    "one_frame.mp4": (1, 320, 320),
    "rotated_90.mp4": (24, 320, 180),
    "sar_and_audio.mp4": (24, 256, 144),
    "stream.ts": (30, 320, 320),
    "truncated_faststart.mp4": (24, 320, 320),
    "vfr.mp4": (48, 320, 320),
    "vp9.webm": (30, 320, 320),
}
LOST = {"decord_corrupted.mp4": 30, "truncated_faststart.mp4": 24}
"""Packets that cannot be decoded."""

CLIPS = ["asl/again.mkv", "clips/ucf_cricket.gif", "clips/dogs_jump.mp4", "clips/pancake.mkv"]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def read(source: str | Path, **options: object) -> list[Frame]:
    with VideoReader(source, **options) as frames:
        return list(frames)


def pixels(frames: list[Frame]) -> ndarray:
    return np.stack([frame.image for frame in frames])


def times(frames: list[Frame]) -> list[float]:
    return [frame.time_seconds for frame in frames]


class TestFiles:
    @pytest.mark.parametrize("name", ODD)
    def test_odd_video(self, shared: Path, name: str) -> None:
        path = shared / "data/odd" / name
        num_frames, width, height = ODD[name]
        with VideoReader(path) as video:
            frames = list(video)
        assert (len(frames), video.info.width, video.info.height) == (num_frames, width, height)
        assert [frame.index for frame in frames] == list(range(num_frames))
        assert [packet.packet for packet in video.lost][:1] == ([LOST[name]] if name in LOST else [])
        assert all(frame.flags == (("corrupt",) if frame.flags and name in LOST else ()) for frame in frames)
        np.testing.assert_allclose(times(frames), ffprobe_times(path), atol=1e-3)
        # What decoders paint over damage is their own affair.
        num_exact = LOST.get(name, num_frames) - 5 if name in LOST else num_frames
        expected = ffmpeg_frames(path, width, height, limit=num_exact)
        np.testing.assert_array_equal(pixels(frames[:num_exact]), expected)

    @pytest.mark.parametrize("name", CLIPS)
    def test_human_clip(self, shared: Path, name: str) -> None:
        path = shared / "data/human" / name
        with VideoReader(path) as video:
            first = list(islice(video, 10))
            rest = times(list(video))
        np.testing.assert_allclose(times(first) + rest, ffprobe_times(path), atol=1e-3)
        expected = ffmpeg_frames(path, video.info.width, video.info.height, limit=10)
        np.testing.assert_array_equal(pixels(first), expected)

    def test_info(self, shared: Path) -> None:
        with VideoReader(shared / "data/odd/sar_and_audio.mp4") as video:
            info = video.info
        assert info.path.endswith("sar_and_audio.mp4")
        assert (info.codec, info.average_fps, info.num_frames_estimate) == ("h264", 24.0, 24)
        assert (info.sample_aspect_ratio, info.has_audio) == (Fraction(4, 3), True)

    def test_keeps_the_time_offset_of_a_transport_stream(self, shared: Path) -> None:
        with VideoReader(shared / "data/odd/stream.ts") as video:
            assert video.info.start_seconds == 1.5
            assert next(iter(video)).time_seconds == 1.5

    def test_dot_is_where_it_was_drawn(self, tmp_path: Path) -> None:
        for frame in read(write(tmp_path / "dot.mp4", make_clip())):
            y, x = np.nonzero(frame.image.min(axis=2) > 150)
            assert np.hypot(x.mean() - dot_xy(frame.index)[0], y.mean() - dot_xy(frame.index)[1]) < 0.5

    @pytest.mark.parametrize(
        ("pix_fmt", "codec", "size", "mean_tolerance"),
        [
            ("yuv420p", "libx264", (96, 64), 0),
            ("yuv422p", "libx264", (96, 64), 0),
            ("yuv444p", "libx264", (97, 65), 0),
            ("yuvj420p", "libx264", (96, 64), 0),
            ("yuv420p", "ffv1", (97, 64), 0),
            ("gray", "ffv1", (97, 65), 0),
            ("gray16le", "ffv1", (96, 64), 0),
            ("bgr0", "ffv1", (97, 65), 0),
            ("rgb24", "rawvideo", (96, 64), 0),
            # swscale 5 (FFmpeg 5.1) and 9 (in PyAV) disagree about where chroma samples lie in these two; on
            # real pictures the mean difference was 1.2 levels.
            ("yuv420p", "ffv1", (97, 65), 1.5),
            ("yuv420p10le", "libx264", (96, 64), 1.5),
        ],
    )
    def test_pixel_formats(
        self, tmp_path: Path, pix_fmt: str, codec: str, size: tuple[int, int], mean_tolerance: float
    ) -> None:
        options = () if codec != "libx264" else (("crf", "10"),)
        clip = make_clip(
            times=(0, 0.04, 0.08), size=size, container="nut", codec=codec, pix_fmt=pix_fmt, options=options
        )
        path = write(tmp_path / "clip.nut", clip)
        difference = pixels(read(path)).astype(int) - ffmpeg_frames(path, *size)
        assert np.abs(difference).mean() <= mean_tolerance

    def test_images_are_the_callers_own(self, tmp_path: Path) -> None:
        clip = make_clip(container="nut", codec="rawvideo", pix_fmt="rgb24", options=())
        frames = read(write(tmp_path / "raw.nut", clip))
        for frame in frames:
            np.testing.assert_array_equal(frame.image, dot_frame(frame.index))
            assert frame.image.flags.c_contiguous

    @pytest.mark.parametrize("matrix", [3, 8, 14])
    def test_colour_matrices_that_swscale_refuses(self, tmp_path: Path, matrix: int) -> None:
        path = write(tmp_path / "tagged.mp4", make_clip(times=(0, 0.04), matrix=matrix))
        np.testing.assert_array_equal(pixels(read(path)), ffmpeg_frames(path, WIDTH, HEIGHT))

    # Encoder, pixel format and suffix.
    ALPHA = (
        ("qtrle", "argb", "mov"),
        ("png", "rgba", "mov"),
        ("ffv1", "yuva420p", "mkv"),
        ("libvpx-vp9", "yuva420p", "webm"),
        ("prores_ks", "yuva444p10le", "mov"),
    )

    @pytest.mark.parametrize(("encoder", "pix_fmt", "suffix"), ALPHA)
    def test_transparency_is_dropped(self, tmp_path: Path, encoder: str, pix_fmt: str, suffix: str) -> None:
        opaque, path = write(tmp_path / "clip.mp4", make_clip()), tmp_path / f"clip.{suffix}"
        half = f"format=rgba,colorchannelmixer=aa=0.5,format={pix_fmt}"
        run_ffmpeg("-i", opaque, "-frames:v", "3", "-vf", half, "-c:v", encoder, "-pix_fmt", pix_fmt, path)
        frames = read(path)
        np.testing.assert_array_equal(pixels(frames), ffmpeg_frames(path, WIDTH, HEIGHT))
        # Not laid over black, which would halve it.
        assert abs(pixels(frames).mean() - pixels(read(opaque)[:3]).mean()) < 3

    @pytest.mark.parametrize(("tag", "hdr"), [("smpte2084", "pq"), ("arib-std-b67", "hlg"), ("bt709", None)])
    def test_high_dynamic_range_is_told(self, tmp_path: Path, tag: str, hdr: str | None) -> None:
        write(tmp_path / "clip.mp4", make_clip())
        tags = ("-color_trc", tag, "-color_primaries", "bt2020", "-colorspace", "bt2020nc")
        coder = ("-c:v", "libx264", "-pix_fmt", "yuv420p10le", *tags)
        run_ffmpeg("-i", tmp_path / "clip.mp4", "-frames:v", "3", *coder, tmp_path / "tagged.mp4")
        with VideoReader(tmp_path / "tagged.mp4") as video:
            seen = pixels(list(video)).astype(int)
        assert video.info.hdr == hdr
        assert len(video.info.remarks) == (1 if hdr else 0)
        # Neither does the ffmpeg program map tones; a tone map would move everything by tens of levels.
        assert np.abs(seen - ffmpeg_frames(tmp_path / "tagged.mp4", WIDTH, HEIGHT)).mean() < 1.5


class TestTimes:
    def test_variable_frame_rate(self, tmp_path: Path) -> None:
        steps = (0.0, 0.04, 0.05, 0.2, 0.21, 1.0, 1.5, 1.54)
        frames = read(write(tmp_path / "vfr.mp4", make_clip(times=steps)))
        np.testing.assert_allclose(times(frames), steps, atol=1e-4)

    def test_missing_times_are_estimated(self, tmp_path: Path) -> None:
        frames = read(write(tmp_path / "raw.h264", make_clip(container="h264")))
        np.testing.assert_allclose(times(frames), np.arange(24) / 25, atol=1e-9)
        assert all(frame.flags == ("time_estimated",) for frame in frames)

    @pytest.mark.parametrize("coder", ["libx264", "libx265", "mpeg2video"])
    def test_a_bare_stream_goes_by_its_own_rate(self, tmp_path: Path, coder: str) -> None:
        clip = write(tmp_path / "clip.mp4", make_clip())
        bare = tmp_path / {"libx264": "a.h264", "libx265": "a.h265", "mpeg2video": "a.m2v"}[coder]
        quiet = ("-x265-params", "log-level=none") if coder == "libx265" else ()
        run_ffmpeg("-i", clip, "-vf", "setpts=N/50/TB", "-r", "50", "-c:v", coder, *quiet, bare)
        with VideoReader(bare) as video:
            frames = list(video)
        assert (video.info.average_fps, video.info.remarks, len(frames)) == (50.0, (), 24)
        np.testing.assert_allclose(times(frames), np.arange(24) / 50, atol=1e-9)
        assert all(frame.flags == () for frame in frames)

    def test_a_bare_stream_without_a_rate_warns(self, tmp_path: Path) -> None:
        clip = write(tmp_path / "clip.mp4", make_clip())
        run_ffmpeg("-i", clip, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", tmp_path / "a.mjpeg")
        with VideoReader(tmp_path / "a.mjpeg") as video:
            frames = list(video)
        assert "25 frames a second assumed; give --fps" in video.info.remarks[0]
        assert all(frame.flags == ("time_estimated",) for frame in frames)
        with VideoReader(tmp_path / "a.mjpeg", fps=10.0) as video:
            frames = list(video)
        assert (video.info.remarks, video.info.average_fps) == ((), 10.0)
        np.testing.assert_allclose(times(frames), np.arange(24) / 10, atol=1e-9)
        assert all(frame.flags == () for frame in frames)

    def test_missing_times_between_given_ones(self, tmp_path: Path) -> None:
        # An MPEG program stream tells the times of key frames only.
        write(tmp_path / "clip.mp4", make_clip())
        run_ffmpeg("-i", tmp_path / "clip.mp4", "-c:v", "mpeg2video", tmp_path / "clip.mpg")
        expected = np.array(ffprobe_times(tmp_path / "clip.mpg"))
        seen = np.array(times(read(tmp_path / "clip.mpg")))
        is_known = np.isfinite(expected)
        assert len(seen) == 24 and is_known.sum() >= 23
        np.testing.assert_allclose(seen[is_known], expected[is_known], atol=1e-3)
        np.testing.assert_allclose(np.diff(seen), 0.04, atol=1e-3)

    def test_trimmed_by_an_edit_list(self, tmp_path: Path) -> None:
        path, trimmed = write(tmp_path / "clip.mp4", make_clip()), tmp_path / "trimmed.mp4"
        run_ffmpeg("-ss", "0.42", "-i", path, "-c", "copy", trimmed)
        frames = read(trimmed)
        # The header counts all 24: frames before the cut are there to be decoded, not shown.
        assert len(frames) == 13
        np.testing.assert_allclose(times(frames), ffprobe_times(trimmed), atol=1e-3)
        np.testing.assert_array_equal(pixels(frames), ffmpeg_frames(trimmed, WIDTH, HEIGHT))

    def test_negative_times_are_kept(self, tmp_path: Path) -> None:
        path, early = write(tmp_path / "clip.mp4", make_clip()), tmp_path / "early.mp4"
        fragments = ("-movflags", "frag_keyframe+delay_moov", "-avoid_negative_ts", "disabled")
        run_ffmpeg("-ss", "0.42", "-i", path, "-c", "copy", *fragments, early)
        with VideoReader(early) as video:
            frames = list(video)
        assert times(frames)[0] == video.info.start_seconds == pytest.approx(-0.42)
        np.testing.assert_allclose(times(frames), ffprobe_times(early), atol=1e-3)
        assert all(frame.flags == () for frame in frames)

    def test_late_start_is_kept(self, tmp_path: Path) -> None:
        path, late = write(tmp_path / "clip.mp4", make_clip()), tmp_path / "late.mp4"
        run_ffmpeg("-itsoffset", "2.5", "-i", path, "-c", "copy", late)
        np.testing.assert_allclose(times(read(late)), 2.5 + np.arange(24) / 25, atol=1e-3)

    def test_repeated_pictures_in_avi_leave_a_gap(self, tmp_path: Path) -> None:
        steps = (0.0, 0.04, 0.08, 0.2, 0.24, 0.6, 0.64)
        clip = make_clip(times=steps, container="avi", codec="mpeg4", options=())
        path = write(tmp_path / "gaps.avi", clip)
        np.testing.assert_allclose(times(read(path)), steps, atol=1e-9)
        assert ffprobe_times(path) == pytest.approx(steps)

    def test_empty_packets_repeat_a_picture(self, tmp_path: Path) -> None:
        clip = make_clip(container="avi", codec="mpeg4", options=())
        path = write(tmp_path / "twice.avi", with_empty_chunks(clip))
        with VideoReader(path) as video:
            frames = list(video)
        np.testing.assert_allclose(times(frames), np.arange(24) * 2 / 25, atol=1e-9)
        assert times(frames) == pytest.approx(ffprobe_times(path))
        assert video.lost == []

    def test_reordered_frames_in_avi(self, tmp_path: Path) -> None:
        options = (("bf", "3"), ("b_strategy", "0"))
        frames = read(write(tmp_path / "b_frames.avi", make_clip(container="avi", options=options)))
        assert len(frames) == 24
        np.testing.assert_allclose(np.diff(times(frames)), 0.04, atol=1e-9)

    def test_times_that_step_back_still_increase(self, tmp_path: Path) -> None:
        clip = make_clip(container="mpegts")
        frames = read(write(tmp_path / "twice.ts", clip + clip))
        assert len(frames) == 48
        np.testing.assert_allclose(np.diff(times(frames)), 0.04, atol=1e-6)
        jump, guess = ("time_estimated", "clock_jump"), ("time_estimated",)
        assert [frame.flags for frame in frames] == [()] * 24 + [jump] + [guess] * 23

    def test_range_is_half_open_and_keeps_indices(self, tmp_path: Path) -> None:
        path = write(tmp_path / "clip.mp4", make_clip())
        frames = read(path, start_seconds=0.2, end_seconds=0.4)
        assert [frame.index for frame in frames] == [5, 6, 7, 8, 9]
        np.testing.assert_array_equal(pixels(frames), pixels(read(path))[5:10])


class TestOrientation:
    # (a, b, c, d) of the matrix, and what it does to a picture: rows are y, columns x.
    CASES = (
        ((1, 0, 0, 1), lambda image: image, 0, False),
        ((-1, 0, 0, 1), lambda image: image[:, ::-1], 0, True),
        ((-1, 0, 0, -1), lambda image: image[::-1, ::-1], 180, False),
        ((1, 0, 0, -1), lambda image: image[::-1], 180, True),
        ((0, 1, -1, 0), lambda image: image.swapaxes(0, 1)[:, ::-1], 270, False),
        ((0, -1, 1, 0), lambda image: image.swapaxes(0, 1)[::-1], 90, False),
        ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1), 270, True),
        ((0, -1, -1, 0), lambda image: image.swapaxes(0, 1)[::-1, ::-1], 90, True),
    )

    @pytest.mark.parametrize(("matrix", "turn", "degrees", "is_mirrored"), CASES)
    def test_display_matrix(
        self, tmp_path: Path, matrix: tuple[int, int, int, int], turn: object, degrees: int, is_mirrored: bool
    ) -> None:
        clip = make_clip(times=(0, 0.04), sample_aspect_ratio=Fraction(4, 3))
        path = write(tmp_path / "clip.mp4", with_display_matrix(clip, matrix))
        stored = pixels(read(path, apply_rotation=False))
        with VideoReader(path) as video:
            upright = pixels(list(video))
        info = video.info
        np.testing.assert_array_equal(upright, [turn(image) for image in stored])
        assert upright.shape[1:3] == (info.height, info.width)
        assert (info.rotation_degrees, info.is_mirrored) == (degrees, is_mirrored)
        assert info.sample_aspect_ratio == (Fraction(3, 4) if matrix[0] == 0 else Fraction(4, 3))
        np.testing.assert_array_equal(upright, ffmpeg_frames(path, info.width, info.height))

    def test_other_angles_go_to_the_nearest_right_angle(self) -> None:
        angle = np.deg2rad(100)
        a, c = int(65536 * np.cos(angle)), int(65536 * np.sin(angle))
        matrix = np.array([a, -c, 0, c, a, 0, 0, 0, 1 << 30], dtype=np.int32).tobytes()
        assert Orientation.from_display_matrix(matrix) == Orientation(rotation_degrees=90)


class TestDamage:
    LONG = tuple(index / 25 for index in range(60))

    @pytest.mark.parametrize("thread_type", ["AUTO", "SLICE"])
    def test_every_frame_comes_out_at_the_end(self, tmp_path: Path, thread_type: str) -> None:
        options = (("bf", "8"), ("b_strategy", "0"), ("g", "250"))
        path = write(tmp_path / "b_frames.mp4", make_clip(times=self.LONG, options=options))
        frames = read(path, thread_type=thread_type)
        np.testing.assert_allclose(times(frames), self.LONG, atol=1e-4)

    @pytest.mark.parametrize("thread_type", ["AUTO", "SLICE"])
    @pytest.mark.parametrize(("start", "stop"), [(0.3, 0.6), (0.8, 0.98)])
    def test_damage_is_passed_over_and_listed(
        self, tmp_path: Path, start: float, stop: float, thread_type: str
    ) -> None:
        clip = make_clip(times=self.LONG, options=(("crf", "1"), ("g", "10")))
        # The index stands behind the pictures, and stays intact.
        index = clip.index(b"moov") - 4
        path = write(tmp_path / "damaged.mp4", damaged(clip[:index], start, stop, 6) + clip[index:])
        with VideoReader(path, thread_type=thread_type) as video:
            frames = list(video)
        assert 40 < len(frames) < 60
        assert [frame.index for frame in frames] == list(range(len(frames)))
        assert video.lost
        assert all(packet.reason and packet.time_seconds is not None for packet in video.lost)
        assert (np.diff(times(frames)) > 0).all()
        given = np.array(["time_estimated" not in frame.flags for frame in frames])
        np.testing.assert_allclose(
            np.array(times(frames))[given], np.array(ffprobe_times(path))[given], atol=1e-3
        )

    def test_nothing_but_damage(self, tmp_path: Path) -> None:
        clip = make_clip()
        start, stop = clip.index(b"mdat") + 4, clip.index(b"moov") - 4
        path = write(tmp_path / "zeros.mp4", clip[:start] + bytes(stop - start) + clip[stop:])
        with VideoReader(path) as video:
            assert list(video) == []
        assert len(video.lost) == 24
        assert (video.info.width, video.info.height) == (WIDTH, HEIGHT)

    def test_truncated_matroska_gives_what_is_there(self, tmp_path: Path) -> None:
        clip = make_clip(times=self.LONG, container="matroska")
        path = write(tmp_path / "cut.mkv", clip[: len(clip) // 2])
        frames = read(path)
        assert 10 < len(frames) < 50
        assert times(frames) == pytest.approx(ffprobe_times(path), abs=1e-3)

    def test_concealed_frames_are_flagged(self, tmp_path: Path) -> None:
        clip = make_clip(times=self.LONG, container="mpegts", options=(("crf", "1"), ("g", "10")))
        frames = read(write(tmp_path / "damaged.ts", damaged(clip, 0.4, 0.6, 4)))
        assert any("corrupt" in frame.flags for frame in frames)

    def test_an_encrypted_video_is_told(self, tmp_path: Path) -> None:
        clip, locked = write(tmp_path / "clip.mp4", make_clip()), tmp_path / "locked.mp4"
        key = ("-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb", "-encryption_kid", "a7" * 16)
        run_ffmpeg("-i", clip, "-c", "copy", "-encryption_scheme", "cenc-aes-ctr", *key, locked)
        with VideoReader(locked) as video:
            assert list(video) == []
        assert len(video.lost) == 24
        assert {packet.reason for packet in video.lost} == {"encrypted; its key is needed"}

    def test_missing_references_are_told(self, tmp_path: Path) -> None:
        clip = make_clip(times=self.LONG, container="mpegts", options=(("g", "20"), ("bf", "0")))
        with av.open(io.BytesIO(clip)) as source, av.open(str(tmp_path / "cut.mp4"), "w") as output:
            stream = output.add_stream_from_template(source.streams.video[0])
            for number, packet in enumerate(source.demux(video=0)):
                if packet.dts is not None and number > 0:
                    packet.stream = stream
                    output.mux(packet)
        with VideoReader(tmp_path / "cut.mp4") as video:
            frames = list(video)
        # Nothing can be made of the pictures before the second key frame.
        assert len(frames) == 40
        assert [packet.packet for packet in video.lost] == list(range(19))

    def test_missing_pictures_of_a_transport_stream_are_noticed(self, tmp_path: Path) -> None:
        clip = make_clip(times=self.LONG, container="mpegts", options=(("crf", "1"), ("bf", "0")))
        packets = [clip[start : start + 188] for start in range(0, len(clip), 188)]
        holes = packets[:100] + packets[130:]
        with VideoReader(write(tmp_path / "holes.ts", b"".join(holes))) as video:
            frames = list(video)
        assert 0 < len(frames) < 60
        assert any("missing" in packet.reason for packet in video.lost)
        assert any("corrupt" in frame.flags for frame in frames)

    def test_side_data_that_pyav_does_not_know(self, tmp_path: Path) -> None:
        # FFmpeg 8 gives the EXIF record of a JPEG; 6 = to be turned clockwise.
        exif = Image.Exif()
        exif[0x112] = 6
        Image.fromarray(dot_frame(0)).save(tmp_path / "a.jpg", exif=exif)
        path = write(tmp_path / "a.mjpeg", (tmp_path / "a.jpg").read_bytes() * 3)
        frames = read(path)
        assert len(frames) == 3
        upright = np.rot90(dot_frame(0), -1)
        assert frames[0].image.shape == upright.shape
        assert np.abs(frames[0].image.astype(int) - upright).mean() < 8

    def test_change_of_size_in_mid_stream(self, tmp_path: Path) -> None:
        small, large = make_clip(container="h264"), make_clip(container="h264", size=(192, 128))
        path = write(tmp_path / "grows.h264", small + large)
        frames = read(path)
        assert [frame.flags for frame in frames] == [("time_estimated",)] * 24 + [
            ("time_estimated", "resized")
        ] * 24
        assert pixels(frames).shape == (48, HEIGHT, WIDTH, 3)
        expected = ffmpeg_frames(path, WIDTH, HEIGHT).astype(int)
        # Scaling differs between versions of swscale.
        assert np.abs(pixels(frames) - expected).mean() < 1.5


class TestStreams:
    def test_number_chooses_the_stream(self, tmp_path: Path) -> None:
        path = write(tmp_path / "two.mkv", make_clip(times=(0, 0.04), container="matroska", num_streams=2))
        assert read(path)[0].image.shape == (64, 96, 3)
        assert read(path, stream=1)[0].image.shape == (32, 48, 3)

    @pytest.mark.parametrize("order", ["01", "10"])
    def test_cover_pictures_are_passed_over(self, tmp_path: Path, order: str) -> None:
        write(tmp_path / "clip.mp4", make_clip())
        Image.fromarray(dot_frame(0, 640, 480)).save(tmp_path / "cover.png")
        inputs = [("-i", tmp_path / "clip.mp4"), ("-i", tmp_path / "cover.png")]
        if order == "10":
            inputs.reverse()
        cover = f"-disposition:v:{order.index('1')}"
        path = tmp_path / "covered.mp4"
        run_ffmpeg(
            *inputs[0], *inputs[1], "-map", "0", "-map", "1", "-c", "copy", cover, "attached_pic", path
        )
        assert pixels(read(path)).shape == (24, HEIGHT, WIDTH, 3)
        assert pixels(read(path, stream=1)).shape == (1, 480, 640, 3)

    def test_a_stream_that_is_not_there(self, tmp_path: Path) -> None:
        path = write(tmp_path / "one.mp4", make_clip())
        with pytest.raises(UsageError, match=r"no video stream 1; it has 1, counted from 0"):
            VideoReader(path, stream=1)


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("audio_only.mp4", "no video stream"),
            ("empty.mp4", "an empty file"),
            ("text.mp4", "not a readable video"),
            ("missing.mp4", "no such file"),
        ],
    )
    def test_odd_file(self, shared: Path, name: str, message: str) -> None:
        with pytest.raises(VideoError, match=message) as caught:
            VideoReader(shared / "data/odd" / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 4

    def test_text_is_not_played_as_ansi_art(self, tmp_path: Path) -> None:
        with pytest.raises(VideoError, match="a text file"):
            VideoReader(write(tmp_path / "notes.txt", b"hello\n" * 100))

    def test_mp4_without_index(self, tmp_path: Path) -> None:
        clip = make_clip()
        with pytest.raises(VideoError, match=r"moov.*untrunc"):
            VideoReader(write(tmp_path / "cut.mp4", clip[: clip.index(b"moov") - 100]))

    def test_a_size_that_no_camera_has(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streams, "MAX_PIXELS", WIDTH * HEIGHT - 1)
        with pytest.raises(VideoError, match="frames of 96 x 64 pixels by its header, above the limit"):
            VideoReader(write(tmp_path / "clip.mp4", make_clip()))

    def test_no_size_and_no_frame(self, tmp_path: Path) -> None:
        clip = bytearray(make_clip(container="gif", codec="gif", pix_fmt="rgb8", options=()))
        clip[6:10] = struct.pack("<HH", 65535, 65535)
        with pytest.raises(VideoError, match=r"endless.gif: no frame could be decoded \(Invalid argument\)"):
            VideoReader(write(tmp_path / "endless.gif", bytes(clip)))

    def test_a_size_that_no_camera_has_in_mid_stream(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streams, "MAX_PIXELS", 15000)
        small, large = make_clip(container="h264"), make_clip(container="h264", size=(192, 128))
        with VideoReader(write(tmp_path / "grows.h264", small + large)) as video:
            assert len(list(video)) == 24
        assert len(video.lost) == 24

    def test_folder_without_pictures(self, tmp_path: Path) -> None:
        with pytest.raises(VideoError, match="a folder without frames"):
            VideoReader(tmp_path)

    def test_folder_of_broken_pictures(self, tmp_path: Path) -> None:
        write(tmp_path / "1.png", b"no picture")
        with pytest.raises(VideoError, match="none of 1 pictures can be read"):
            VideoReader(tmp_path)


class TestPictures:
    def test_folder_counts_as_people_do(self, tmp_path: Path) -> None:
        for number in (1, 2, 10):
            Image.fromarray(dot_frame(number)).save(tmp_path / f"frame{number}.png")
        with VideoReader(tmp_path, fps=10.0) as video:
            frames = list(video)
        np.testing.assert_array_equal(pixels(frames), [dot_frame(1), dot_frame(2), dot_frame(10)])
        assert times(frames) == [0, 0.1, 0.2]
        assert (video.info.time_base, video.info.num_frames_estimate) == (Fraction(1, 10), 3)

    def test_content_decides_the_format(self, tmp_path: Path) -> None:
        Image.fromarray(dot_frame(0)).save(tmp_path / "0.jpg", format="PNG")
        np.testing.assert_array_equal(read(tmp_path)[0].image, dot_frame(0))

    def test_broken_and_unequal_pictures(self, tmp_path: Path) -> None:
        Image.fromarray(dot_frame(0)).save(tmp_path / "0.png")
        write(tmp_path / "1.png", b"no picture")
        Image.fromarray(dot_frame(2, 2 * WIDTH, HEIGHT)).save(tmp_path / "2.png")
        with VideoReader(tmp_path) as video:
            frames = list(video)
        assert [frame.index for frame in frames] == [0, 1]
        assert times(frames) == [0, 0.08]
        assert [frame.flags for frame in frames] == [(), ("resized",)]
        assert [(packet.packet, packet.time_seconds) for packet in video.lost] == [(1, 0.04)]
        assert "1.png" in video.lost[0].reason

    def test_strip(self, tmp_path: Path) -> None:
        squares = [dot_frame(index, 64, 64) for index in range(5)]
        Image.fromarray(np.concatenate(squares, axis=1)).save(tmp_path / "strip.png")
        frames = read(tmp_path / "strip.png")
        np.testing.assert_array_equal(pixels(frames), squares)
        assert times(frames) == [0, 0.04, 0.08, 0.12, 0.16]

    def test_single_picture(self, tmp_path: Path) -> None:
        Image.fromarray(dot_frame(0)).save(tmp_path / "still.png")
        frames = read(tmp_path / "still.png")
        np.testing.assert_array_equal(pixels(frames), [dot_frame(0)])

    def test_deep_grey_transparent_and_turned_pictures(self, tmp_path: Path) -> None:
        grey = np.full((4, 6), 257 * 100, dtype=np.uint16)
        Image.fromarray(grey).save(tmp_path / "0.png")
        palette = Image.fromarray(np.full((4, 6, 3), 100, np.uint8)).quantize(2)
        palette.save(tmp_path / "1.png", transparency=bytes([0, 255]))
        exif = Image.Exif()
        exif[0x0112] = 6  # stored on its side
        Image.fromarray(np.full((6, 4, 3), 100, np.uint8)).save(tmp_path / "2.png", exif=exif)
        frames = read(tmp_path)
        assert [frame.flags for frame in frames] == [(), (), ()]
        assert (pixels(frames) == 100).all()


def test_videos_in_folders(tmp_path: Path) -> None:
    for name in (
        "b/10.png",
        "b/9.png",
        "c/deep/a.MP4",
        "c/notes.txt",
        "strip.jpg",
        "a10.gif",
        "a9.mkv",
        ".b/1.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".hidden.mp4").touch()
    Image.fromarray(dot_frame(0, 96, 24)).save(tmp_path / "strip.jpg")
    found = [path.relative_to(tmp_path).as_posix() for path in look_into(tmp_path).videos]
    assert found == ["a9.mkv", "a10.gif", "b", "c/deep/a.MP4", "strip.jpg"]
