"""Depth maps of a data set, near = bright: made once by a network, or brought along, and kept on disk."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dkpvid.ahead import ahead
from dkpvid.config import DepthConfig
from dkpvid.depth.estimators import DepthEstimator, make_estimator
from dkpvid.errors import DataError
from dkpvid.files import cache_folder
from dkpvid.shapes import Float, UInt8
from dkpvid.training.data import FrameSet, fingerprint, save_in_cache
from dkpvid.video.images import IMAGE_FORMATS, natural_order
from dkpvid.video.reader import VideoReader
from dkpvid.video.resize import to_square

CACHE_VERSION = 1
OWN_DEPTH_SUFFIXES = (".png", ".npy")


def load_depth(
    frames: FrameSet,
    config: DepthConfig,
    device: torch.device,
    *,
    on_frame: Callable[[int, int], None] = lambda done, total: None,
) -> FrameSet:
    """A depth map for every frame of a data set.

    Videos that were done before come from the cache, so that a run that was killed goes on at the next video.

    Args:
        frames: The data set; the maps get the size of its frames.
        config: The network, for videos that do not bring their own depth; see `find_own_depth`.
        device: Where to run it.
        on_frame: Called with (frames done, frames in all).

    Returns:
        The same videos with one channel: 255 = the nearest and 0 = the farthest place of each frame.

    Raises:
        UsageError: the settings name no network.
        DataError: depth that was brought along cannot be read, or has another number of maps than the video
            has frames.
        WeightsError: the network's weights cannot be had.
        TrainingError: the cache cannot be written.
    """
    estimator = make_estimator(config, device)
    parts = []
    done = 0
    for name, images in zip(frames.videos, frames.parts, strict=True):
        video = frames.folder / name

        def report(count: int, before: int = done) -> None:
            on_frame(before + count, len(frames))

        maps = depth_maps(video, images.shape[1], estimator, batch_size=config.batch_size, on_frame=report)
        if len(maps) != len(images):
            source = find_own_depth(video) or "the cache"
            raise DataError(
                f"{video} has {len(images)} frames but {source} has {len(maps)} depth maps; give one a frame"
            )
        parts.append(maps[..., None])
        done += len(images)
        on_frame(done, len(frames))
    return replace(frames, parts=tuple(parts))


def depth_maps(
    video: Path,
    size: int,
    estimator: DepthEstimator,
    *,
    batch_size: int = DepthConfig.batch_size,
    on_frame: Callable[[int], None] = lambda done: None,
) -> UInt8[ndarray, "_ size size"]:
    """The depth maps of one video, from the cache when it holds them; see `load_depth`."""
    own = find_own_depth(video)
    key = f"own-{fingerprint(own)}" if own else f"{estimator.key}-{fingerprint(video)}"
    cached = cache_folder() / "depth" / f"{key}-{size}-v{CACHE_VERSION}.npy"
    if not cached.is_file():

        def maps() -> Iterator[ndarray]:
            done = 0
            for batch in _read_own(own) if own else _estimate(video, estimator, batch_size):
                yield from to_bytes(batch, size)
                done += len(batch)
                on_frame(done)

        save_in_cache(cached, maps(), (size, size))
    maps_on_disk: ndarray = np.load(cached, mmap_mode="r", allow_pickle=False)
    return maps_on_disk


def to_bytes(maps: Float[Tensor, "batch height width"], size: int) -> UInt8[ndarray, "batch size size"]:
    """Resize to squares and scale each map to 0..255 by its own minimum and maximum.

    What is not finite counts as farthest; a map that is the same everywhere becomes 0.
    """
    is_known = maps.isfinite()
    farthest = torch.where(is_known, maps, torch.inf).amin(dim=(1, 2), keepdim=True).nan_to_num(posinf=0)
    known = torch.where(is_known, maps, farthest).unsqueeze(1)
    square = F.interpolate(known, (size, size), mode="bilinear", align_corners=False, antialias=True)
    low, high = square.amin(dim=(2, 3), keepdim=True), square.amax(dim=(2, 3), keepdim=True)
    scaled = (square - low) / (high - low).clamp_min(torch.finfo(square.dtype).tiny)
    levels: ndarray = (scaled * 255).round().to(torch.uint8).squeeze(1).cpu().numpy()
    return levels


def _estimate(
    video: Path, estimator: DepthEstimator, batch_size: int
) -> Iterator[Float[Tensor, "batch row column"]]:
    side = estimator.input_size
    with VideoReader(video) as reader:
        images = (frame.image if side is None else to_square(frame.image, side) for frame in reader)
        batches = iter(lambda: list(islice(images, batch_size)), [])
        # The next batch is decoded while the network works on this one.
        with closing(ahead(batches, limit=1)) as upcoming:
            for batch in upcoming:
                yield estimator(np.stack(batch))


def find_own_depth(video: Path) -> Path | None:
    """The depth maps that a data set brings for a video; near must be bright (large) in them.

    For a folder of frames it is the folder `depth` in it, with one map a frame in the same natural order. For
    a strip `x.png`, or any other file, it is `x.depth.png` or `x.depth.npy` beside it: square maps side by
    side. Pictures have 8 or 16 bits; arrays have rows and columns, and any scale.
    """
    if video.is_dir():
        return video / "depth" if (video / "depth").is_dir() else None
    beside = [video.with_suffix(f".depth{suffix}") for suffix in OWN_DEPTH_SUFFIXES]
    return next((path for path in beside if path.is_file()), None)


def _read_own(path: Path) -> Iterator[Float[Tensor, "1 height width"]]:
    if path.is_dir():
        for file in natural_order(path.iterdir()):
            if file.suffix.lower() in OWN_DEPTH_SUFFIXES and not file.name.startswith("."):
                yield torch.from_numpy(_read_map(file))[None]
        return
    strip = torch.from_numpy(_read_map(path))
    height, width = strip.shape
    side = height if width % height == 0 else width
    yield from (strip[None, :, left : left + side] for left in range(0, width, side))


def _read_map(path: Path) -> Float[ndarray, "height width"]:
    try:
        if path.suffix.lower() == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            with Image.open(path, formats=IMAGE_FORMATS) as picture:
                is_deep = picture.mode.startswith(("I", "F"))
                values = np.asarray(picture if is_deep else picture.convert("L"))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is no depth map: {error}") from None
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "iuf":
        raise DataError(f"{path} is no depth map: expected numbers in rows and columns, got {values.shape}")
    return np.asarray(values, dtype=np.float32)
