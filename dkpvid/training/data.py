"""Training frames: every video of a folder decoded once, kept small, and read back at random."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy import ndarray

from dkpvid.errors import DataError, DkpvidError, TrainingError, UsageError, VideoError
from dkpvid.files import cache_folder, write_then_rename
from dkpvid.shapes import Int, UInt8
from dkpvid.video.folders import VIDEO_SUFFIXES, look_into
from dkpvid.video.random_access import read_by_decord
from dkpvid.video.reader import VideoReader
from dkpvid.video.resize import to_square

CACHE_VERSION = 1


@dataclass(frozen=True, eq=False)
class FrameSet:
    """The frames of several videos as one array that stays on disk."""

    folder: Path
    """Where the videos are."""
    videos: tuple[str, ...]
    """Names relative to the folder, in order."""
    parts: tuple[UInt8[ndarray, "_ size size channel"], ...]
    """The frames of each video, RGB or depth (one channel), memory-mapped."""
    remarks: tuple[str, ...] = ()
    """One line for each video that could not be read, or not by the decoder that was asked for, and for each
    folder in which something was passed over."""

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def digest(self) -> str:
        """Tells whether two sets hold the same frames, in the same order.

        Files of the cache are named by the content that they were made from; other arrays are read.
        """
        total = hashlib.sha256()
        for part in self.parts:
            name = part.filename if isinstance(part, np.memmap) else None
            total.update(Path(name).name.encode() if name else np.ascontiguousarray(part).tobytes())
        return total.hexdigest()[:16]

    def read(self, indices: Int[ndarray, " batch"]) -> UInt8[ndarray, "batch size size channel"]:
        """Frames by their position in the whole set, in the order asked for."""
        starts = np.cumsum([0, *(len(part) for part in self.parts)])
        videos = np.searchsorted(starts, indices, side="right") - 1
        return np.stack([self.parts[v][i - starts[v]] for v, i in zip(videos, indices, strict=True)])


@dataclass(frozen=True, eq=False)
class FramePairs:
    """Frames and their depth maps, read together."""

    images: FrameSet
    depth: FrameSet

    def __len__(self) -> int:
        return len(self.images)

    @property
    def digest(self) -> str:
        """Those of the frames and of the depth maps."""
        return f"{self.images.digest}-{self.depth.digest}"

    def read(self, indices: Int[ndarray, " batch"]) -> UInt8[ndarray, "batch size size 4"]:
        """RGB and depth as four channels of one array, so that whatever moves one moves the other."""
        return np.concatenate([self.images.read(indices), self.depth.read(indices)], axis=3)


def load_frames(
    data: Path,
    size: int,
    split: str = "train",
    workers: int | None = None,
    decoder: str = "pyav",
    on_video: Callable[[int, int], None] = lambda done, total: None,
) -> FrameSet:
    """Read a Taichi-style folder; videos that were read before come from the cache.

    Args:
        data: Holds `train/` and `test/`, or the videos themselves: video files, GIFs, folders of frames
            (one a video) and horizontal strips of square frames, mixed freely.
        size: Side that frames are resized to, in pixels.
        split: Which of the two folders to read, when they exist.
        workers: Videos decoded at the same time; None = as many as cores.
        decoder: pyav, or decord for the files on which it agrees with PyAV.
        on_video: Called with (videos done, videos in all).

    Raises:
        DataError: there is no folder, or no readable video in it.
        TrainingError: the cache cannot be written.
    """
    folder = data / split if (data / split).is_dir() else data
    if not folder.is_dir():
        raise DataError(
            f"{data} is not a folder; give one that holds videos, or train/ and test/ with videos"
        )
    content = look_into(folder)
    videos = content.videos
    if not videos:
        raise DataError(
            f"no videos in {folder}: expected video files, GIFs, image strips or folders of frames"
        )
    parts: dict[Path, ndarray] = {}
    remarks: dict[Path, str] = {}
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        jobs = {pool.submit(_cached, video, size, decoder): video for video in videos}
        for done, job in enumerate(as_completed(jobs), start=1):
            try:
                parts[jobs[job]], remark = job.result()
                if remark:
                    remarks[jobs[job]] = remark
            except TrainingError:
                pool.shutdown(cancel_futures=True)  # the others would fail too, each after it was decoded
                raise
            except UsageError:
                raise
            except Exception as error:  # a bug that one video meets must not cost the others
                name = "" if isinstance(error, DkpvidError) else f"{jobs[job]}: {type(error).__name__}: "
                remarks[jobs[job]] = f"{name}{error}"
            on_video(done, len(videos))
    readable = [video for video in videos if video in parts and len(parts[video])]
    if not readable:
        raise DataError(
            f"none of the {len(videos)} videos in {folder} can be read: "
            + remarks.get(videos[0], f"{videos[0].name} has no frames")
        )
    return FrameSet(
        folder=folder,
        videos=tuple(str(video.relative_to(folder)) for video in readable),
        parts=tuple(parts[video] for video in readable),
        remarks=(*content.remarks, *(remarks[video] for video in videos if video in remarks)),
    )


def batches(num_frames: int, batch_size: int, seed: int, start_step: int) -> Iterator[ndarray]:
    """Frame numbers for each step from `start_step` on: every epoch a new order, its remainder dropped.

    The order depends on the seed and the step alone, so a resumed run sees what it would have seen.

    Raises:
        DataError: there are fewer frames than one batch needs.
    """
    per_epoch = num_frames // batch_size
    if per_epoch == 0:
        raise DataError(f"{num_frames} frames are fewer than one batch of {batch_size}; lower --batch-size")
    epoch, position = divmod(start_step, per_epoch)
    while True:
        order = np.random.default_rng([seed, epoch]).permutation(num_frames)
        yield from order[: per_epoch * batch_size].reshape(per_epoch, batch_size)[position:]
        epoch, position = epoch + 1, 0


def _cached(video: Path, size: int, decoder: str) -> tuple[ndarray, str | None]:
    """All frames of a video, from the cache when it holds them, and why another decoder had to read it."""
    cached = cache_folder() / "frames" / f"{fingerprint(video)}-{size}-v{CACHE_VERSION}.npy"
    remark = None
    if not cached.is_file():
        frames: Iterable[ndarray] | None = None
        if decoder == "decord" and video.suffix.lower() in VIDEO_SUFFIXES:
            try:
                frames = read_by_decord(video, size)
            except VideoError as error:
                remark = f"{error}; PyAV reads it"
        save_in_cache(cached, read_by_pyav(video, size) if frames is None else frames, (size, size, 3))
    on_disk: ndarray = np.load(cached, mmap_mode="r", allow_pickle=False)
    return on_disk, remark


def save_in_cache(path: Path, frames: Iterable[UInt8[ndarray, "..."]], shape: tuple[int, ...]) -> None:
    """Write one array of all frames, at once or not at all; no two of them need be in memory.

    Args:
        path: An .npy file.
        frames: As they come.
        shape: Of each of them.

    Raises:
        TrainingError: the disk is full, or the folder cannot be written.
    """

    def write_header(file: IO[bytes], count: int) -> None:
        about = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
        np.lib.format.write_array_header_1_0(file, about)

    try:
        with write_then_rename(path) as temporary, temporary.open("wb") as file:
            write_header(file, 0)
            count = 0
            for frame in frames:
                file.write(np.ascontiguousarray(frame).data)
                count += 1
            # It has room for any number of frames: numpy pads it so that it can be written again.
            file.seek(0)
            write_header(file, count)
    except OSError as error:
        raise TrainingError(
            f"cannot write to the cache, {path.parent}: {error.strerror or error}; make room, "
            "or let DKPVID_CACHE name another folder"
        ) from None


def read_by_pyav(video: Path, size: int) -> Iterator[UInt8[ndarray, "size size 3"]]:
    """The frames of a video, one after the other, resized to squares."""
    with VideoReader(video) as reader:
        for frame in reader:
            yield to_square(frame.image, size)


def fingerprint(video: Path) -> str:
    """A digest of a file's bytes; for a folder, of the names and bytes of the files directly in it."""
    digest = hashlib.sha256()
    for file in sorted(video.iterdir()) if video.is_dir() else [video]:
        if file.is_file():
            digest.update(file.name.encode() if video.is_dir() else b"")
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:32]
