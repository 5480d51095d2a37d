import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dkpvid.training.data
from dkpvid.errors import DataError
from dkpvid.training.data import batches, load_frames, save_in_cache
from dkpvid.video.reader import VideoReader
from dkpvid.video.resize import to_square
from tests.video.clips import make_clip


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setenv("DKPVID_CACHE", str(cache))
    return cache


def grey(size: int, value: int) -> Image.Image:
    return Image.new("RGB", (size, size), (value, value, value))


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder of frames, a strip, a GIF and an mp4 under train/, and one strip under test/."""
    train = tmp_path / "data" / "train"
    (train / "folder").mkdir(parents=True)
    for number in range(3):
        grey(48, number).save(train / "folder" / f"{number}.png")
    strip = Image.new("RGB", (4 * 32, 32))
    for number in range(4):
        strip.paste(grey(32, 100 + number), (32 * number, 0))
    strip.save(train / "strip.png")
    grey(40, 50).save(train / "wave.gif", save_all=True, append_images=[grey(40, 60)])
    (train / "clip.mp4").write_bytes(make_clip())
    (train.parent / "test").mkdir()
    strip.save(train.parent / "test" / "held_out.png")
    return tmp_path / "data"


def test_a_mixed_folder_is_read_in_natural_order(mixed: Path) -> None:
    frames = load_frames(mixed, 64)
    assert frames.videos == ("clip.mp4", "folder", "strip.png", "wave.gif")
    lengths = dict(zip(frames.videos, map(len, frames.parts), strict=True))
    assert (lengths["folder"], lengths["strip.png"], lengths["wave.gif"]) == (3, 4, 2)
    assert all(part.shape[1:] == (64, 64, 3) and part.dtype == np.uint8 for part in frames.parts)
    start = lengths["clip.mp4"]
    # Out of order, across videos.
    picked = frames.read(np.array([start + 4, start, start + 2]))
    assert picked[:, 0, 0, 0].tolist() == [101, 0, 2]


def test_the_other_split_and_a_folder_without_splits(mixed: Path) -> None:
    assert load_frames(mixed, 64, split="test").videos == ("held_out.png",)
    assert load_frames(mixed / "test", 64).videos == ("held_out.png",)


def test_a_second_reading_comes_from_the_cache(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_frames(mixed, 64)

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(dkpvid.training.data, "VideoReader", refuse)
    again = load_frames(mixed, 64)
    for a, b in zip(first.parts, again.parts, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(DataError, match="AssertionError: decoded again"):
        load_frames(mixed, 128)


def test_changed_content_is_decoded_again(mixed: Path) -> None:
    before = load_frames(mixed, 64).parts[1][0, 0, 0, 0]
    grey(48, 200).save(mixed / "train" / "folder" / "0.png")
    assert (before, load_frames(mixed, 64).parts[1][0, 0, 0, 0]) == (0, 200)


def test_an_unreadable_video_is_skipped_and_named(mixed: Path) -> None:
    (mixed / "train" / "broken.mp4").write_bytes(b"")
    frames = load_frames(mixed, 64)
    assert len(frames.videos) == 4
    assert len(frames.remarks) == 1 and "broken.mp4" in frames.remarks[0]


def test_progress_counts_videos(mixed: Path) -> None:
    calls: list[tuple[int, int]] = []
    load_frames(mixed, 64, on_video=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_nothing_usable_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        load_frames(tmp_path / "missing", 64)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no videos in"):
        load_frames(tmp_path / "empty", 64)
    (tmp_path / "empty" / "bad.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=r"none of the 1 videos .*bad\.mp4"):
        load_frames(tmp_path / "empty", 64)


def test_every_epoch_shows_every_frame_once_in_a_new_order() -> None:
    order = batches(num_frames=10, batch_size=3, seed=5, start_step=0)
    epochs = [np.concatenate([next(order) for _ in range(3)]) for _ in range(2)]
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 9
    assert epochs[0].tolist() != epochs[1].tolist()


@pytest.mark.parametrize("start", [1, 2, 3, 7])
def test_order_goes_on_where_it_was(start: int) -> None:
    whole = batches(10, 3, seed=5, start_step=0)
    for _ in range(start):
        next(whole)
    resumed = batches(10, 3, seed=5, start_step=start)
    for _ in range(5):
        np.testing.assert_array_equal(next(whole), next(resumed))


def test_too_few_frames_for_a_batch() -> None:
    with pytest.raises(DataError, match="2 frames are fewer than one batch of 16; lower --batch-size"):
        next(batches(2, 16, seed=0, start_step=0))


def test_decord_gives_the_same_frames_or_gives_way(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("decord")
    by_pyav = load_frames(mixed, 64)
    monkeypatch.setenv("DKPVID_CACHE", str(mixed / "other_cache"))
    by_decord = load_frames(mixed, 64, decoder="decord")
    # decord cannot read GIFs; the other video is the same up to the decoders' colour conversion.
    assert len(by_decord.remarks) == 1
    assert (
        "wave.gif: decord cannot read it" in by_decord.remarks[0] and "PyAV reads it" in by_decord.remarks[0]
    )
    for a, b in zip(by_pyav.parts, by_decord.parts, strict=True):
        assert np.abs(a.astype(int) - b).mean() < 3


def test_decord_that_reads_other_frames_is_not_used(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decord = pytest.importorskip("decord")
    real = decord.VideoReader

    class Shifted:
        """A reader that loses the first frame, as decord does with some files."""

        def __init__(self, *args: object, **kwargs: object) -> None:
            self.frames = real(*args, **kwargs)

        def __len__(self) -> int:
            return len(self.frames)

        def __getitem__(self, index: int) -> object:
            return self.frames[min(index + 5, len(self) - 1)]

    monkeypatch.setattr(decord, "VideoReader", Shifted)
    frames = load_frames(mixed, 64, decoder="decord")
    assert any("clip.mp4: decord reads another frame 0 than PyAV" in remark for remark in frames.remarks)
    with VideoReader(mixed / "train" / "clip.mp4") as reader:
        first = to_square(next(iter(reader)).image, 64)
    np.testing.assert_array_equal(frames.parts[0][0], first)


def test_the_cache_is_written_frame_by_frame(tmp_path: Path) -> None:
    frames = (np.full((32, 32, 3), number % 256, np.uint8) for number in range(1000))
    tracemalloc.start()
    try:
        save_in_cache(tmp_path / "frames.npy", frames, (32, 32, 3))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100 * 32 * 32 * 3, "a tenth of the frames, with what else there is"
    stored = np.load(tmp_path / "frames.npy", mmap_mode="r")
    assert (stored.shape, stored.dtype) == ((1000, 32, 32, 3), np.uint8)
    assert stored[:, 5, 5, 1].tolist() == [number % 256 for number in range(1000)]


def test_a_video_without_frames_has_an_empty_cache(tmp_path: Path) -> None:
    save_in_cache(tmp_path / "none.npy", [], (32, 32))
    assert np.load(tmp_path / "none.npy").shape == (0, 32, 32)


def test_one_video_never_ends_the_reading_of_many(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(video: Path, size: int) -> Iterator[np.ndarray]:
        if video.name == "strip.png":
            raise RuntimeError("29 is not a valid Type")
        return iter(np.zeros((2, size, size, 3), np.uint8))

    monkeypatch.setattr(dkpvid.training.data, "read_by_pyav", read)
    frames = load_frames(mixed, 64)
    assert frames.videos == ("clip.mp4", "folder", "wave.gif")
    assert frames.remarks == (f"{mixed / 'train/strip.png'}: RuntimeError: 29 is not a valid Type",)


def test_a_cover_beside_training_videos_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "data/m1").mkdir(parents=True)
    (tmp_path / "data/m1/a.mp4").write_bytes(make_clip())
    Image.new("RGB", (50, 40)).save(tmp_path / "data/m1/cover.png")
    frames = load_frames(tmp_path / "data", 64)
    assert (frames.videos, len(frames)) == (("m1/a.mp4",), 24)
    assert "cover.png" in frames.remarks[0]
