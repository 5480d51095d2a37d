"""Times, colours and sound of written videos, read back by the reader and by the ffmpeg program."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy import ndarray

from dkpvid.errors import VideoError
from dkpvid.structures import Frame
from dkpvid.video.reader import VideoReader
from dkpvid.video.writer import VideoWriter, read_comment
from tests.video.clips import HEIGHT, WIDTH, dot_frame, ffmpeg_frames, ffprobe_times, make_clip

MILLISECONDS = Fraction(1, 1000)


def write(
    path: Path,
    images: list[ndarray],
    times: list[float],
    time_base: Fraction = MILLISECONDS,
    **options: object,
) -> VideoWriter:
    height, width = images[0].shape[:2]
    with VideoWriter(path, width=width, height=height, time_base=time_base, **options) as video:
        for image, time_seconds in zip(images, times, strict=True):
            video.write(image, time_seconds)
    return video


def read(path: Path) -> list[Frame]:
    with VideoReader(path) as frames:
        return list(frames)


def dots(count: int, width: int = WIDTH, height: int = HEIGHT) -> list[ndarray]:
    return [dot_frame(index, width, height) for index in range(count)]


class TestTimes:
    @pytest.mark.parametrize(
        "time_base", [MILLISECONDS, Fraction(1, 90000), Fraction(1, 25), Fraction(1001, 30000)]
    )
    def test_source_times_survive_from_the_first_frame_on(self, tmp_path: Path, time_base: Fraction) -> None:
        step = round(Fraction(1, 25) / time_base)
        times = [1.5 + float(step * steps * time_base) for steps in (0, 1, 2, 7, 8, 30, 31, 33)]
        write(tmp_path / "out.mp4", dots(8), times, time_base)
        expected = np.array(times) - 1.5
        np.testing.assert_allclose(
            [frame.time_seconds for frame in read(tmp_path / "out.mp4")], expected, atol=1e-3
        )
        np.testing.assert_allclose(ffprobe_times(tmp_path / "out.mp4"), expected, atol=1e-3)

    def test_estimated_times_between_ticks_stay_apart(self, tmp_path: Path) -> None:
        times = [0.0, 0.04, 0.04 + 1e-5, 0.08]
        write(tmp_path / "out.mp4", dots(4), times, Fraction(1, 25))
        seen = [frame.time_seconds for frame in read(tmp_path / "out.mp4")]
        assert (np.diff(seen) > 0).all()
        np.testing.assert_allclose(seen, times, atol=1.1e-3)

    @pytest.mark.parametrize(("times", "seconds"), [([0.0], 0.04), ([0.0, 0.1, 0.4], 0.7)])
    def test_last_frame_is_shown_as_long_as_the_one_before(
        self, tmp_path: Path, times: list[float], seconds: float
    ) -> None:
        write(tmp_path / "out.mp4", dots(len(times)), times)
        with av.open(tmp_path / "out.mp4") as video:
            assert video.duration / 1e6 == pytest.approx(seconds, abs=2e-3)


class TestPictures:
    @pytest.mark.parametrize(("width", "height"), [(96, 64), (1280, 720)])
    def test_colours_survive(self, tmp_path: Path, width: int, height: int) -> None:
        images = dots(2, width, height)
        write(tmp_path / "out.mp4", images, [0.0, 0.04], crf=10)
        seen = np.stack([frame.image for frame in read(tmp_path / "out.mp4")])
        # A wrong matrix or range moves whole areas by 5 levels and more.
        assert np.abs(np.median(seen.astype(int) - images, axis=(0, 1, 2))).max() <= 1
        np.testing.assert_array_equal(seen, ffmpeg_frames(tmp_path / "out.mp4", width, height))
        with av.open(tmp_path / "out.mp4") as video:
            stream = video.streams.video[0]
            assert stream.codec_context.colorspace == (1 if height == 720 else 6)
            assert stream.codec_context.color_range == 1

    def test_default_quality(self, tmp_path: Path) -> None:
        images = dots(10, 320, 240)
        write(tmp_path / "out.mp4", images, [index / 25 for index in range(10)])
        seen = np.stack([frame.image for frame in read(tmp_path / "out.mp4")])
        noise = np.mean((seen.astype(float) - images) ** 2)
        assert 10 * np.log10(255**2 / noise) > 35

    def test_odd_size_is_padded_with_its_edge(self, tmp_path: Path) -> None:
        images = dots(3, 97, 65)
        write(tmp_path / "out.mp4", images, [0.0, 0.04, 0.08], crf=5)
        seen = read(tmp_path / "out.mp4")[0].image.astype(int)
        assert seen.shape == (66, 98, 3)
        assert np.abs(seen[:, 97] - seen[:, 96]).max() <= 8
        assert np.abs(seen[65] - seen[64]).max() <= 8

    def test_pixel_shape_is_kept(self, tmp_path: Path) -> None:
        write(tmp_path / "out.mp4", dots(2), [0.0, 0.04], sample_aspect_ratio=Fraction(4, 3))
        with VideoReader(tmp_path / "out.mp4") as video:
            assert video.info.sample_aspect_ratio == Fraction(4, 3)

    def test_wrong_size(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"image must be \(64, 96, 3\), got \(64, 64, 3\)"):
            write(tmp_path / "out.mp4", [dot_frame(0), dot_frame(0, 64, 64)], [0.0, 0.04])


class TestSound:
    @pytest.mark.parametrize(
        ("container", "encoder"),
        [
            ("mp4", "aac"),
            ("mpegts", "aac"),
            ("avi", "libmp3lame"),
            ("matroska", "libopus"),
            ("matroska", "ac3"),
        ],
    )
    def test_is_copied_to_the_end_of_the_last_frame(
        self, tmp_path: Path, container: str, encoder: str
    ) -> None:
        source = tmp_path / "source"
        codec = "mpeg4" if container == "avi" else "libx264"
        source.write_bytes(make_clip(container=container, codec=codec, options=(), sound=encoder))
        frames = read(source)
        writer = write(
            tmp_path / "out.mp4",
            [frame.image for frame in frames],
            [frame.time_seconds for frame in frames],
            audio_from=source,
        )
        assert writer.audio_note is None
        with av.open(source) as before, av.open(tmp_path / "out.mp4") as after:
            assert after.streams.audio[0].codec_context.name == before.streams.audio[0].codec_context.name
            sound = after.streams.audio[0]
            assert float(sound.duration * sound.time_base) == pytest.approx(24 / 25, abs=0.06)
        assert len(read(tmp_path / "out.mp4")) == 24

    def test_keeps_step_with_pictures_that_start_later(self, tmp_path: Path) -> None:
        source = tmp_path / "source.mp4"
        source.write_bytes(make_clip(sound="aac"))
        with VideoReader(source, start_seconds=0.4) as video:
            frames = list(video)
        images = [frame.image for frame in frames]
        write(tmp_path / "out.mp4", images, [frame.time_seconds for frame in frames], audio_from=source)
        before, after = _waveform(source), _waveform(tmp_path / "out.mp4")
        # The same noise, 0.4 s earlier: the product with the true shift stands out.
        length = 12000
        shifts = range(17000, 21400, 1)
        part = after[6000 : 6000 + length]
        match = [float(part @ before[6000 + shift : 6000 + shift + length]) for shift in shifts]
        assert shifts[int(np.argmax(match))] == pytest.approx(0.4 * 48000, abs=48)

    def test_that_an_mp4_cannot_hold_is_left_out_with_a_note(self, tmp_path: Path) -> None:
        source = tmp_path / "source.avi"
        source.write_bytes(make_clip(container="avi", codec="mpeg4", options=(), sound="pcm_alaw"))
        writer = write(tmp_path / "out.mp4", dots(2), [0.0, 0.04], audio_from=source)
        assert "pcm_alaw" in (writer.audio_note or "")
        with av.open(tmp_path / "out.mp4") as video:
            assert not video.streams.audio

    def test_source_without_sound(self, tmp_path: Path) -> None:
        source = tmp_path / "source.mp4"
        source.write_bytes(make_clip())
        assert write(tmp_path / "out.mp4", dots(2), [0.0, 0.04], audio_from=source).audio_note is None


def _waveform(path: Path) -> ndarray:
    """Sound on the clock of the pictures, in samples."""
    with av.open(path) as file:
        frames = list(file.decode(audio=0))
    start = round(frames[0].pts * frames[0].time_base * frames[0].sample_rate)
    wave = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    return np.concatenate([np.zeros(max(start, 0)), wave[max(-start, 0) :]])


class TestCompleteness:
    def test_the_file_appears_when_it_is_complete(self, tmp_path: Path) -> None:
        path = tmp_path / "new folder" / "out.mp4"
        with VideoWriter(path, width=WIDTH, height=HEIGHT, time_base=MILLISECONDS) as video:
            video.write(dot_frame(0), 0.0)
            assert not path.exists()
        assert [file.name for file in path.parent.iterdir()] == ["out.mp4"]

    @pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
    def test_an_exception_leaves_what_was_there(
        self, tmp_path: Path, interruption: type[BaseException]
    ) -> None:
        (tmp_path / "out.mp4").write_bytes(b"earlier")
        with (
            pytest.raises(interruption),
            VideoWriter(tmp_path / "out.mp4", width=WIDTH, height=HEIGHT, time_base=MILLISECONDS) as video,
        ):
            video.write(dot_frame(0), 0.0)
            raise interruption
        assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"earlier"]

    def test_close_completes_and_abort_removes(self, tmp_path: Path) -> None:
        for name in ("kept.mp4", "removed.mp4"):
            video = VideoWriter(tmp_path / name, width=WIDTH, height=HEIGHT, time_base=MILLISECONDS)
            video.write(dot_frame(0), 0.0)
            if name == "kept.mp4":
                video.close()
            else:
                video.abort()
        assert [file.name for file in tmp_path.iterdir()] == ["kept.mp4"]
        assert len(read(tmp_path / "kept.mp4")) == 1

    def test_no_frames_no_file(self, tmp_path: Path) -> None:
        with VideoWriter(tmp_path / "out.mp4", width=WIDTH, height=HEIGHT, time_base=MILLISECONDS):
            pass
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(VideoError, match="cannot be written"):
            VideoWriter(tmp_path / "file/out.mp4", width=WIDTH, height=HEIGHT, time_base=MILLISECONDS)

    def test_a_target_that_is_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "out.mp4").mkdir()
        with pytest.raises(VideoError, match="cannot be written"):
            write(tmp_path / "out.mp4", dots(1), [0.0])
        assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


def test_a_name_may_look_like_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("2024-01-01T12:30:00.dkp.mp4")
    with VideoWriter(path, width=16, height=16, time_base=Fraction(1, 25), comment="mine") as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8), 0.0)
    assert read_comment(path) == "mine"
