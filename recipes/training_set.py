"""The training set of the default weights: real people in squares, rendered ones, and some moved elsewhere.

Nearness goes beside a strip as `.depth.png` where it is known without a depth network: exactly for rendered
figures; as a silhouette (person near, the rest far) for Weizmann clips, all filmed before one plain wall.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy import ndarray
from PIL import Image
from scipy import ndimage

from dkpvid.coordinates import Region
from dkpvid.video.folders import look_into
from dkpvid.video.reader import VideoReader
from dkpvid.video.resize import to_square
from recipes import figures

# Clip -> squares (x, y, side) in its pixels that hold the person; None = the whole frame, squeezed.
CLIPS: dict[str, list[tuple[int, int, int] | None]] = {
    "permissive/squat_gym.mp4": [None, (0, 80, 384)],
    "clips/pose2sim_single_cam01.mp4": [(90, 250, 900)],
    "clips/pose2sim_single_cam02.mp4": [(130, 330, 900)],
    "clips/pose2sim_single_cam03.mp4": [(100, 450, 900)],
    "clips/pose2sim_single_cam04.mp4": [(60, 450, 950)],
    "clips/pose_1.mp4": [(130, 120, 330)],
    "clips/exercise.avi": [(38, 100, 130), (120, 105, 165), (205, 100, 130)],
    "clips/bedroom.mp4": [(170, 0, 540)],
}
SIGNS = ("again", "bird", "brother", "help", "milk", "no", "please", "sorry", "student", "thanks", "yes")
CLIPS |= {f"asl/{sign}.mkv": [(75, 0, 480)] for sign in SIGNS}
FRAMES_A_CLIP = 50  # of each square; a fixed camera shows little new from one frame to the next
JITTERS = 1  # further squares around each, moved and zoomed a little: the person is not always centred

# Clips whose camera stands and whose people walk about: their median picture is an empty room.
ROOMS = [clip for clip in CLIPS if "pose2sim" in clip or "bedroom" in clip or "exercise" in clip]

# The tai-chi clips of one person, in yellow. Their licence allows no shipped weights; `--with-taichi`
# tells what that costs.
TAICHI = tuple(f"taichi/taichi_{number}.mp4" for number in ("01", "05", "06", "09", "10", "11", "16"))

# Strips 8 n to 8 n + 7 show one person (judged by eye); 2 m and 2 m + 1 are one clip and its mirror image, so
# the source's own split into train/ and test/ holds nothing back.
WEIZMANN_TEST = (1, 4, 7)
WEIZMANN_VALIDATION = (0, 3)


def real_strips(data: Path, size: int, rng: np.random.Generator) -> Iterator[tuple[str, list[ndarray]]]:
    """The clips that somebody may train on, cut to squares: (name, frames)."""
    for clip, squares in CLIPS.items():
        regions = [region for square in squares for region in _jittered(square, rng)]
        frames = read_some(data / clip, FRAMES_A_CLIP // 3 if clip.startswith("asl") else FRAMES_A_CLIP)
        height, width = frames[0].shape[:2]
        for number, region in enumerate(regions):
            box = None if region is None else region.clipped(width, height)
            yield f"{Path(clip).stem}_{number}", [to_square(frame, size, box) for frame in frames]


def taichi_strips(data: Path, size: int) -> Iterator[tuple[str, list[ndarray]]]:
    """Whole frames of one tai-chi master: (name, frames)."""
    for clip in TAICHI:
        yield Path(clip).stem, [to_square(frame, size) for frame in read_some(data / clip, FRAMES_A_CLIP)]


def weizmann_strips(data: Path) -> Iterator[tuple[str, ndarray, ndarray]]:
    """The Weizmann clips of the people to train on: (name, frames [n, 64, 64, 3], silhouettes)."""
    strips = {}
    for path in (
        *look_into(data / "weizmann" / "train").videos,
        *look_into(data / "weizmann" / "test").videos,
    ):
        number = int(path.stem)
        if number // 8 not in WEIZMANN_TEST + WEIZMANN_VALIDATION:
            strips[number] = np.stack([frame.image for frame in VideoReader(path)])
    masks = silhouettes({number: _as_filmed(number, frames) for number, frames in strips.items()})
    for number, frames in strips.items():
        yield f"weizmann_{number:02d}", frames, _as_filmed(number, masks[number])


def silhouettes(strips: dict[int, ndarray]) -> dict[int, ndarray]:
    """Who stands before a wall that all strips share, as 0..255: what differs from the wall.

    A person who never leaves the spot is not found by the strip's own median picture. The wall behind is
    taken from the other strips, brought to the same colour by the margins; clothes are mostly darker than it.
    """
    medians = {number: np.median(frames, axis=0) for number, frames in strips.items()}
    margin = np.r_[0:12, -12:0]
    casts = {number: median[:, margin].mean((0, 1)) for number, median in medians.items()}
    wall = np.quantile([medians[number] / cast for number, cast in casts.items()], 0.93, axis=0)
    masks = {}
    for number, frames in strips.items():
        behind = wall * casts[number]
        # The strip's own median where that is wall, as the wall's pattern lies elsewhere in each strip.
        # Towards the sides nobody stands; arms do reach there, but not all the time.
        is_wall = ndimage.binary_erosion(np.abs(medians[number] - behind).max(axis=2) < 30)
        is_wall[:, margin] = True
        plate = np.where(is_wall[..., None], medians[number], behind)
        masks[number] = np.stack([_silhouette(frame - plate) for frame in frames.astype(float)])
    return masks


def _silhouette(difference: ndarray) -> ndarray:
    is_near = np.abs(ndimage.gaussian_filter(difference, (0.6, 0.6, 0))).max(axis=2) > 26
    is_near = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(is_near, 4)))[4:-4, 4:-4]
    labels, count = ndimage.label(is_near)
    if count:
        # The largest piece, and what is nearly as large: an arm cut off by a belt's glare.
        areas = ndimage.sum_labels(is_near, labels, np.arange(1, count + 1))
        is_near = np.isin(labels, 1 + np.flatnonzero(areas > 0.15 * areas.max()))
    return (255 * ndimage.gaussian_filter(is_near.astype(float), 0.6)).astype(np.uint8)


def empty_rooms(data: Path) -> list[ndarray]:
    """A median picture of each clip in ROOMS."""
    return [np.median(read_some(data / clip, 24), axis=0).astype(np.uint8) for clip in ROOMS]


def figure_strip(
    size: int, seed: Sequence[int], rooms: Sequence[ndarray]
) -> tuple[list[ndarray], list[ndarray]]:
    """A rendered person for 16 frames, with exact depth: in a drawn room, or before a piece of a real one."""
    rng = np.random.default_rng(seed)
    kind = seed[-1] % 4
    # A quarter is rendered wide and squeezed, as the network sees a 16:9 video.
    width = 2 * size * 16 // 9 if kind == 0 else 2 * size
    share = (0.55, 0.9) if kind == 0 else (0.7, 0.95)
    scene = figures.random_scene(rng, width, 2 * size, duration_seconds=2.6, height_share=share)
    if rooms and kind in (1, 2):
        scene = replace(scene, background=piece_of_room(rooms, rng, (2 * size, width)) / 255)
    clip = list(figures.render_clip(scene, num_frames=16, fps=6.0))
    images = [to_square(frame.image, size) for frame in clip]
    depths = [
        to_square(np.repeat(np.uint8(255 * frame.depth + 0.5)[..., None], 3, 2), size)[..., 0]
        for frame in clip
    ]
    return images, depths


def moved_elsewhere(
    frames: ndarray, masks: ndarray, rooms: Sequence[ndarray], rng: np.random.Generator
) -> tuple[list[ndarray], list[ndarray]]:
    """People in other colours, larger or smaller, before another room; every third frame.

    The room is a piece of a real one or a drawn one, whose depth stays behind the silhouette.
    """
    side = frames.shape[1]
    room_depth = np.zeros((side, side))
    if rng.random() < 0.5:
        scene = figures.random_scene(rng, 2 * side, 2 * side, duration_seconds=1)
        room = to_square((255 * scene.background).astype(np.uint8), side)
        depth = scene.background_depth
        depth = (depth - depth.min()) / max(float(np.ptp(depth)), 1e-6)
        room_depth = 0.6 * ndimage.zoom(depth, side / depth.shape[0], order=1)
    else:
        room = piece_of_room(rooms, rng, (side, side))
    colours = _colour_change(rng)
    zoom = rng.uniform(0.75, 1.25)
    images, depths = [], []
    for frame, mask in zip(frames[::3], masks[::3], strict=True):
        person, alpha = _zoomed(colours(frame), zoom), _zoomed(mask / 255.0, zoom)
        images.append((alpha[..., None] * person + (1 - alpha[..., None]) * room).astype(np.uint8))
        depths.append((255 * (alpha + (1 - alpha) * room_depth)).astype(np.uint8))
    return images, depths


def _colour_change(rng: np.random.Generator) -> Callable[[ndarray], ndarray]:
    """The same change for all frames: a negative a third of the time, channels shuffled, range changed."""
    is_negative = rng.random() < 0.33
    order, gain, offset = rng.permutation(3), rng.uniform(0.7, 1.3, 3), rng.uniform(-20, 60)

    def change(image: ndarray) -> ndarray:
        colours = 255.0 - image if is_negative else image.astype(float)
        return (colours[..., order] * gain + offset).clip(0, 255)

    return change


def _zoomed(image: ndarray, zoom: float) -> ndarray:
    """About the middle of the lower edge, where Weizmann's legs are cut off; the size stays."""
    side = image.shape[0]
    matrix, offset = [1 / zoom, 1 / zoom], [side - 1 - (side - 1) / zoom, (side - 1) / 2 * (1 - 1 / zoom)]
    if image.ndim == 3:
        matrix, offset = [*matrix, 1], [*offset, 0]
    moved: ndarray = ndimage.affine_transform(image, matrix, offset, order=1, mode="constant")
    return moved


def piece_of_room(rooms: Sequence[ndarray], rng: np.random.Generator, shape: tuple[int, int]) -> ndarray:
    """A random part of a random room, of the given height and width."""
    room = rooms[rng.integers(len(rooms))]
    height, width = room.shape[:2]
    part = rng.uniform(0.4, 1)
    scale = part * min(height / shape[0], width / shape[1])
    h, w = round(shape[0] * scale), round(shape[1] * scale)
    y, x = rng.integers(0, [height - h + 1, width - w + 1])
    piece = Image.fromarray(room[y : y + h, x : x + w]).resize(shape[::-1], Image.Resampling.BILINEAR)
    return np.asarray(piece)[:, :: rng.choice([-1, 1])]


def read_some(path: Path, wanted: int) -> list[ndarray]:
    """About so many frames of a clip, evenly spread."""
    with VideoReader(path) as reader:
        frames = [frame.image for frame in reader]
    return frames[:: max(1, len(frames) // wanted)]


def save_strip(path: Path, frames: Sequence[ndarray], depths: Sequence[ndarray] | None = None) -> None:
    """Frames side by side as JPEG, and their depth maps beside them."""
    Image.fromarray(np.concatenate(list(frames), axis=1)).save(path.with_suffix(".jpg"), quality=92)
    if depths is not None:
        Image.fromarray(np.concatenate(list(depths), axis=1)).save(path.with_suffix(".depth.png"))


def _as_filmed(number: int, frames: ndarray) -> ndarray:
    """Undo (or do) the mirroring of the odd strips."""
    return frames[:, :, ::-1] if number % 2 else frames


def _jittered(square: tuple[int, int, int] | None, rng: np.random.Generator) -> list[Region | None]:
    """The square itself and some moved and zoomed ones; a whole frame stays alone."""
    if square is None:
        return [None]
    x, y, side = square
    regions = [Region(x, y, side, side)]
    for _ in range(JITTERS):
        zoomed = round(side * rng.uniform(0.9, 1.15))
        shift = rng.uniform(-0.07, 0.07, 2) * side - (zoomed - side) / 2
        regions.append(Region(max(0, round(x + shift[0])), max(0, round(y + shift[1])), zoomed, zoomed))
    return list(regions)
