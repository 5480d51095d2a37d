"""The clips of structured_background.py: people in a few fixed rooms full of stripes, bars and furniture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy import ndarray
from PIL import Image
from scipy.ndimage import gaussian_filter

from recipes import figures
from recipes.figure_background import draw_background, random_colour
from recipes.figure_body import Looks, random_looks

ROOMS = 4  # Human3.6M has one room and four cameras
SUBJECTS = {"train": 6, "test": 2}  # nobody is in both
WALL, SLOPE = 1.0, 0.19  # of every room, in body heights; see figures.Scene
ROOM_ABOVE, ROOM_BELOW, ROOM_WIDTH = 2.6, 1.4, 4.5  # what there is to frame, around the floor below a person
FPS = 4.0
FOREGROUND_STEP = 0.004  # one level of an 8-bit depth map: a person differs by more


def draw_room(rng: np.random.Generator, body_pixels: int) -> tuple[ndarray, ndarray]:
    """A wide room with a pattern that catches the eye, and bars as wide as limbs before the wall.

    Returns:
        RGB in [0, 1], and z in body heights. z = 0 is on the floor ROOM_ABOVE below the upper edge.
    """
    size = (round((ROOM_ABOVE + ROOM_BELOW) * body_pixels), round(ROOM_WIDTH * body_pixels))
    ground = ROOM_ABOVE * body_pixels
    corner = ground - WALL * SLOPE * body_pixels
    image, depth = draw_background(rng, size, (corner, ground), body_pixels, WALL, rng.random(3))
    row, column = np.mgrid[: size[0], : size[1]] / body_pixels
    # Stripes on the wall: for the eye only, the depth map does not show them.
    along = row if rng.random() < 0.5 else column
    stripes = ((along % rng.uniform(0.2, 0.35) < 0.1) & (depth == depth.min())) * 1.0
    image = image + 0.6 * stripes[..., None] * (
        random_colour(rng, rng.random(), (0.1, 0.9), (0.1, 1)) - image
    )
    for left in np.arange(0.2, ROOM_WIDTH, 0.75) + rng.uniform(-0.2, 0.2, 6):
        wide, tall = rng.uniform(0.06, 0.12), rng.uniform(0.6, 1.1)
        bar = (column >= left) & (column < left + wide)
        bar &= (row >= ROOM_ABOVE - 0.12 - tall) & (row < ROOM_ABOVE - 0.12)
        image[bar], depth[bar] = random_colour(rng, rng.random(), (0.2, 0.9), (0.1, 1)), 0.05 - WALL
    return image.clip(0, 1), depth


def make_scene(
    rng: np.random.Generator, looks: Looks, room: tuple[ndarray, ndarray], side: int, seconds: float
) -> figures.Scene:
    """Put a person with random motions into a random part of a room."""
    scene = figures.random_scene(rng, side, side, duration_seconds=seconds)
    body_pixels = room[0].shape[1] / ROOM_WIDTH
    pixel = body_pixels / scene.scale
    wide = side * pixel
    left = rng.uniform(0, room[0].shape[1] - wide)
    top = ROOM_ABOVE * body_pixels - (scene.origin_xy[1] + 0.5) * pixel
    box = (left, top, left + wide, top + wide)
    layers = [*np.moveaxis(room[0], 2, 0), room[1]]
    framed = [
        np.asarray(Image.fromarray(layer.astype(np.float32)).resize((side, side), Image.Resampling.BOX, box))
        for layer in layers
    ]
    background = np.stack(framed[:3], 2)
    return replace(scene, looks=looks, slope=SLOPE, background=background, background_depth=framed[3])


def like_a_network(rng: np.random.Generator, depth: ndarray) -> ndarray:
    """Blur a depth map and add noise that is smooth in space, as the errors of a depth network are."""
    side = len(depth)
    noise = gaussian_filter(rng.normal(size=depth.shape), side / 16, mode="wrap")
    return (gaussian_filter(depth, side / 48) + 0.05 * noise / noise.std()).clip(0, 1).astype(np.float32)


def make_data(folder: Path, side: int, clips: int, frames: int, noisy_depth: bool) -> None:
    """Write train/ and test/ with depth/ in each clip, and joints and foreground as annotations_SPLIT.npz.

    Their arrays: `video` (names), `xy` (video x frame x 13 x 2, in pixels), `foreground` (video x frame x
    row x column).

    Args:
        folder: Where to.
        side: Of the frames, in pixels.
        clips: Of each person in each room.
        frames: Of each clip.
        noisy_depth: Whether depth is as a network would see it; otherwise it is exact.
    """
    rooms = [draw_room(np.random.default_rng([1, room]), round(1.5 * side)) for room in range(ROOMS)]
    first = 0
    for split, count in SUBJECTS.items():
        names, joints, masks = [], [], []
        for subject in range(first, first + count):
            looks = random_looks(np.random.default_rng([2, subject]))
            for place in np.ndindex(ROOMS, clips):
                rng = np.random.default_rng([3, subject, *place])
                scene = make_scene(rng, looks, rooms[place[0]], side, frames / FPS)
                clip = list(figures.render_clip(scene, frames, FPS))
                z = scene.background_depth
                far, near = z.min() - 0.2, max(0.8, z.max())  # as figures.render scales it
                empty = (z - far) / (near - far)
                names.append(f"subject{subject}_room{place[0]}_{place[1]:02}")
                joints.append([frame.joints_xy for frame in clip])
                masks.append([abs(frame.depth - empty) > FOREGROUND_STEP for frame in clip])
                if noisy_depth:
                    clip = [replace(frame, depth=like_a_network(rng, frame.depth)) for frame in clip]
                figures.write_clip(folder / split / names[-1], clip, figures.Layout.FOLDERS, 0, depth=True)
        first += count
        np.savez_compressed(
            folder / f"annotations_{split}.npz", video=names, xy=np.array(joints), foreground=np.array(masks)
        )
        print(f"{split}: {len(names)} clips of {frames} frames")
