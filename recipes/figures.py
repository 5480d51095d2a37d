"""Render clips of people made of capsules, with exact keypoints and depth, so that no real clip is needed.

python -m recipes.figures dataset OUT --videos 100     a training set: frames, keypoints, depth
python -m recipes.figures demo benchmarks/demo.mp4     the clip that the README and the tests use

World frame: x to the image's right, y up, z towards the viewer, the origin on the floor, unit: one body
height. The projection is oblique: what is nearer to the viewer is drawn lower, and depth is plain z.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from recipes.figure_background import draw_background, floor_light
from recipes.figure_body import Looks, body_parts, draw_part, random_looks
from recipes.figure_motion import (
    EDGES,
    JOINTS,
    MOTIONS,
    Segment,
    Skeleton,
    plan_motions,
    pose_skeleton,
    segment_pose,
)

__all__ = ["EDGES", "JOINTS", "MOTIONS", "Rendering", "Scene", "random_scene", "render", "render_clip"]

BLEND_SECONDS = 0.5
DEMO_SEED, DEMO_FPS = 11, 25
"""Of the clip that the README and the tests use."""


@dataclass(frozen=True, eq=False)
class Scene:
    """All that fixes a clip: the person, what it does and where, the static background."""

    looks: Looks
    segments: tuple[Segment, ...]
    path_seconds: np.ndarray
    path: np.ndarray
    """At path_seconds: x, z (body heights) and the yaw (degrees)."""
    light: np.ndarray
    slope: float
    """How far down in the image one body height towards the viewer is, in body heights."""
    scale: float = 1.0
    """Pixels per body height."""
    origin_xy: tuple[float, float] = (0.0, 0.0)
    """Where the world's origin is, in pixels."""
    background: np.ndarray | None = None
    """RGB in [0, 1]."""
    background_depth: np.ndarray | None = None
    """z in body heights."""


@dataclass(frozen=True)
class Rendering:
    """One frame."""

    image: np.ndarray
    """RGB, uint8."""
    depth: np.ndarray
    """From 0 to 1, near is bright; linear in z, with the same ends for the whole clip."""
    joints_xy: np.ndarray
    """(x, y) in pixels in the order of JOINTS; integers are pixel centres."""
    visible: np.ndarray
    """True where nothing but the joint's own limb is in front of the joint."""


def random_scene(
    rng: np.random.Generator,
    width: int,
    height: int,
    *,
    duration_seconds: float = 6.0,
    motions: Sequence[str] | None = None,
    height_share: tuple[float, float] = (0.55, 0.9),
) -> Scene:
    """Draw a person, its motions and a room.

    Args:
        rng: Draws everything; the same state gives the same clip.
        width: Of the image, in pixels.
        height: Of the image, in pixels.
        duration_seconds: For how long the motions are planned.
        motions: Names from MOTIONS, in order; None draws one for about each two seconds.
        height_share: Range of the standing person's height, as a share of the image's. Made smaller
            where a motion (a raised arm) would otherwise leave the image.
    """
    if motions is None:
        motions = rng.choice(sorted(MOTIONS), max(1, round(duration_seconds / rng.uniform(1.8, 3.5))))
    scale = rng.uniform(*height_share) * height
    segments, seconds, path = plan_motions(rng, motions, duration_seconds, max(0.0, width / scale / 2 - 0.4))
    light = np.array([rng.uniform(-0.8, 0.8), rng.uniform(0.4, 0.9), rng.uniform(0.6, 1)])
    scene = Scene(
        random_looks(rng),
        segments,
        seconds,
        path,
        light / np.linalg.norm(light),
        slope=rng.uniform(0.14, 0.24),
    )
    moments = np.arange(0, duration_seconds, 0.1)
    drawn = np.concatenate([_project(scene, _skeleton(scene, moment).joints)[:, :2] for moment in moments])
    low, high = drawn.min(0) - 0.11, drawn.max(0) + 0.09
    scale = min(scale, *([width, height] / (high - low)))
    free = [width, height] - scale * (high - low)
    origin = free * [rng.random(), rng.uniform(0.5, 1)] - scale * low - 0.5
    wall = rng.uniform(0.1, 0.3) / scene.slope
    image, depth = draw_background(
        rng,
        (height, width),
        (origin[1] - wall * scene.slope * scale, origin[1]),
        scale,
        wall,
        scene.looks.shirt,
    )
    return replace(scene, scale=scale, origin_xy=tuple(origin), background=image, background_depth=depth)


def _skeleton(scene: Scene, time_seconds: float) -> Skeleton:
    """The person at a time; a segment's motion takes over from the one before within BLEND_SECONDS."""
    current = [segment for segment in scene.segments if segment.start_seconds <= time_seconds][-2:]
    pose = segment_pose(current[-1], time_seconds)
    if len(current) == 2:
        share = np.clip((time_seconds - current[1].start_seconds) / BLEND_SECONDS, 0, 1)
        share = share * share * (3 - 2 * share)
        pose = share * pose + (1 - share) * segment_pose(current[0], time_seconds)
    around = time_seconds + np.linspace(-0.2, 0.2, 9)  # a moving average rounds the path's corners
    place = [np.interp(around, scene.path_seconds, column).mean() for column in scene.path.T]
    return pose_skeleton(pose, scene.looks.body, *place)


def _project(scene: Scene, points: np.ndarray) -> np.ndarray:
    """World points as (x, y, z): x and y in pixels of the image, z towards the viewer in pixels."""
    x, y, z = points.T
    left, down = scene.origin_xy
    return np.stack([left + scene.scale * x, down - scene.scale * (y - scene.slope * z), scene.scale * z], 1)


def render(scene: Scene, time_seconds: float) -> Rendering:
    """Draw the scene at a time, in seconds from the clip's start."""
    skeleton = _skeleton(scene, time_seconds)
    parts = body_parts(scene.looks, skeleton)
    # The person is drawn at twice the resolution and averaged; there, pixel 0's centre is at 0.5.
    ends = np.array([_project(scene, part.ends) for part in parts]) * 2 + [0.5, 0.5, 0]
    reach = 2 * scene.scale * max(part.radii.max() for part in parts)
    height, width = scene.background_depth.shape
    low = np.floor((ends.min((0, 1))[:2] - reach) / 2).astype(int).clip(0)
    high = np.minimum(np.ceil((ends.max((0, 1))[:2] + reach) / 2).astype(int) + 1, [width, height])
    columns, rows = (high - low).clip(0)
    z_buffer = np.full((2 * rows, 2 * columns), -np.inf, np.float32)
    colours = np.zeros((2 * rows, 2 * columns, 3), np.float32)
    for part, part_ends in zip(parts, ends - [*(2 * low), 0], strict=True):
        draw_part(part, part_ends, 2 * scene.scale, scene.light, z_buffer, colours)

    def average(values: np.ndarray) -> np.ndarray:
        return 0.25 * (values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2])

    drawn = np.isfinite(z_buffer)
    free = 1 - average(drawn.astype(np.float32))
    window = (slice(low[1], low[1] + rows), slice(low[0], low[0] + columns))
    feet_and_hips = [*skeleton.joints[11:13], skeleton.joints[7:9].mean(0)] * np.array([1, 0, 1])
    light = floor_light((height, width), _project(scene, feet_and_hips)[:, :2], scene.scale)
    image = scene.background * light[..., None]
    image[window] = image[window] * free[..., None] + average(colours.clip(0, 1))
    depth = scene.background_depth.copy()
    person = average(np.where(drawn, z_buffer, 0)) / (2 * scene.scale)
    depth[window] = depth[window] * free + person
    far, near = scene.background_depth.min() - 0.2, max(0.8, scene.background_depth.max())

    joints = _project(scene, skeleton.joints)
    x, y = (np.rint(2 * joints[:, :2] + 0.5) - 2 * low).astype(int).T
    surface = z_buffer[y.clip(0, 2 * rows - 1), x.clip(0, 2 * columns - 1)]
    return Rendering(
        image=(255 * image + 0.5).astype(np.uint8),
        depth=((depth - far) / (near - far)).clip(0, 1).astype(np.float32),
        joints_xy=joints[:, :2].astype(np.float32),
        visible=surface - 2 * joints[:, 2] < 2 * 0.13 * scene.scale,
    )


def render_clip(scene: Scene, num_frames: int, fps: float) -> Iterator[Rendering]:
    """Draw the frames of a clip in order; frame i is at i / fps seconds."""
    for frame in range(num_frames):
        yield render(scene, frame / fps)


def write_video(path: Path, frames: Sequence[np.ndarray], fps: int, crf: int) -> None:
    """Write an H.264 MP4 file that every browser plays; sides must be even."""
    import av  # not needed to render, and not everywhere installed

    height, width = frames[0].shape[:2]
    with av.open(path, "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf), "preset": "slow"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


class Layout(StrEnum):
    """How the frames of a clip are stored."""

    FOLDERS = "folders"
    STRIPS = "strips"
    MP4 = "mp4"


def write_clip(base: Path, clip: Sequence[Rendering], layout: Layout, fps: int, depth: bool) -> None:
    """Store a clip as base/0000.png..., as base.png with the frames side by side, or as base.mp4.

    With depth: base/depth/0000.png..., or base.depth.png as a strip (also beside an MP4 file).
    """
    images, depths = [frame.image for frame in clip], [np.uint8(255 * frame.depth + 0.5) for frame in clip]
    if layout is Layout.FOLDERS:
        (base / "depth" if depth else base).mkdir(parents=True, exist_ok=True)
        for index in range(len(clip)):
            Image.fromarray(images[index]).save(base / f"{index:04}.png")
            if depth:
                Image.fromarray(depths[index]).save(base / "depth" / f"{index:04}.png")
        return
    base.parent.mkdir(parents=True, exist_ok=True)
    if layout is Layout.STRIPS:
        Image.fromarray(np.concatenate(images, 1)).save(base.with_suffix(".png"))
    else:
        write_video(base.with_suffix(".mp4"), images, fps, crf=12)
    if depth:
        Image.fromarray(np.concatenate(depths, 1)).save(base.with_suffix(".depth.png"))


app = typer.Typer(add_completion=False, help="Render clips of people, with exact keypoints and depth.")


@app.command()
def dataset(
    out: Annotated[Path, typer.Argument(help="Folder to fill with train/, test/ and their keypoints.")],
    videos: Annotated[int, typer.Option(min=1, help="Number of clips.")] = 100,
    frames: Annotated[int, typer.Option(min=1, help="Frames per clip.")] = 40,
    size: Annotated[int, typer.Option(help="Width and height in pixels.")] = 128,
    width: Annotated[int | None, typer.Option(help="Width in pixels, if not SIZE.")] = None,
    height: Annotated[int | None, typer.Option(help="Height in pixels, if not SIZE.")] = None,
    fps: Annotated[int, typer.Option(min=1, help="Frames per second.")] = 10,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 0,
    test_share: Annotated[float, typer.Option(min=0, max=1, help="Share of the clips in test/.")] = 0.1,
    layout: Annotated[Layout, typer.Option(help="How a clip's frames are stored.")] = Layout.FOLDERS,
    depth: Annotated[bool, typer.Option("--depth", help="Also write 8-bit depth images.")] = False,
) -> None:
    """Write clips as OUT/train/NAME and OUT/test/NAME, and keypoints as OUT/annotations_SPLIT.npz.

    The keypoints' arrays: `video` (name), `frame`, `xy` (rows x 13 x 2, pixels), `visible`, `joints` (names).
    """
    num_train = videos - round(test_share * videos)
    splits = {"train": range(num_train), "test": range(num_train, videos)}
    for split, indices in splits.items():
        names, clips = [], []
        for index in indices:
            scene = random_scene(
                np.random.default_rng([seed, index]),
                width or size,
                height or size,
                duration_seconds=frames / fps,
            )
            clip = list(render_clip(scene, frames, fps))
            write_clip(out / split / f"figure{index:05}", clip, layout, fps, depth)
            names += [f"figure{index:05}"] * frames
            clips += [(frame.joints_xy, frame.visible) for frame in clip]
        if names:
            xy, visible = zip(*clips, strict=True)
            np.savez_compressed(
                out / f"annotations_{split}.npz",
                video=np.array(names),
                frame=np.tile(np.arange(frames), len(indices)),
                xy=np.array(xy),
                visible=np.array(visible),
                joints=np.array(JOINTS),
            )
        typer.echo(f"{split}: {len(indices)} clips")


def demo_scene(seed: int = DEMO_SEED) -> Scene:
    """What the demo clip shows, 640 x 360."""
    return random_scene(
        np.random.default_rng(seed),
        640,
        360,
        motions=("wave", "walk", "squat", "dance"),
        height_share=(0.8, 0.8),
    )


@app.command()
def demo(
    path: Annotated[Path, typer.Argument(help="MP4 file to write.")],
    seed: Annotated[int, typer.Option(help="Draws the person and the room.")] = DEMO_SEED,
) -> None:
    """Write the demo clip: 6 seconds, 640 x 360, 25 frames per second."""
    clip = render_clip(demo_scene(seed), 150, DEMO_FPS)
    write_video(path, [frame.image for frame in clip], DEMO_FPS, crf=18)
    typer.echo(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    app()
