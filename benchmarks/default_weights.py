"""The weights that come with the package, from raw clips to `weights/default.safetensors`.

    python benchmarks/default_weights.py prepare DATA OUT     training set: strips of square frames
    python benchmarks/default_weights.py train OUT RUN        the real `dkpvid train`, resumable
    python benchmarks/default_weights.py publish RUN          half precision, into weights/

DATA is a folder of real clips laid out as in `CLIPS` and `weizmann/`; rendered figures are added. Every step
is seeded and can be repeated; `train` goes on where it was stopped.
"""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import figures
import numpy as np
import typer
from numpy import ndarray
from PIL import Image

from dkpvid.coordinates import Region
from dkpvid.video.reader import VideoReader, find_videos
from dkpvid.video.resize import to_square

ROOT = Path(__file__).parents[1]

# Clip -> squares (x, y, side) in its pixels that hold the person; None = the whole frame, squeezed.
CLIPS: dict[str, list[tuple[int, int, int] | None]] = {
    "clips/bodypose3d_cam0.mp4": [None, (60, 20, 640)],
    "clips/juggle.mp4": [None, (400, 0, 720), (300, 0, 720)],
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
JITTERS = 2  # further squares around each, moved and zoomed a little: the person is not always centred

app = typer.Typer(help=__doc__, rich_markup_mode=None, pretty_exceptions_show_locals=False)


@app.command()
def prepare(
    data: Annotated[Path, typer.Argument(help="Folder that holds clips/, asl/, permissive/ and weizmann/.")],
    out: Annotated[Path, typer.Argument(help="Folder to write train/ into.")],
    size: Annotated[int, typer.Option(help="Side of the square frames, in pixels.")] = 64,
    figure_videos: Annotated[int, typer.Option(help="Rendered videos; half of them wide.")] = 160,
    recolored: Annotated[int, typer.Option(help="Copies of every real strip in other colours.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the rendered figures and the moved squares.")] = 0,
) -> None:
    """Cut real clips to squares around the person, and render figures."""
    rng = np.random.default_rng(seed)
    train = out / "train"
    train.mkdir(parents=True, exist_ok=True)
    for strip in find_videos(data / "weizmann" / "train"):
        (train / f"weizmann_{strip.name}").write_bytes(strip.read_bytes())
    for clip, squares in CLIPS.items():
        regions = [region for square in squares for region in _jittered(square, rng)]
        strips: list[list[ndarray]] = [[] for _ in regions]
        with VideoReader(data / clip) as frames:
            for frame in frames:
                height, width = frame.image.shape[:2]
                for strip, region in zip(strips, regions, strict=True):
                    box = None if region is None else region.clipped(width, height)
                    strip.append(to_square(frame.image, size, box))
        for number, strip in enumerate(strips):
            _save_strip(train / f"{Path(clip).stem}_{number}.png", strip)
        print(f"{clip}: {len(regions)} x {len(strips[0])} frames")
    for number in range(figure_videos):
        # Half are rendered wide and squeezed, as the network sees a 16:9 video.
        width = size * 16 // 9 if number % 2 else size
        rng = np.random.default_rng([seed, number])
        scene = figures.random_scene(rng, 2 * width, 2 * size, duration_seconds=1.6)
        clip_frames = figures.render_clip(scene, num_frames=40, fps=25.0)
        _save_strip(train / f"figure_{number:03d}.png", [to_square(r.image, size) for r in clip_frames])
    print(f"{figure_videos} rendered videos of 40 frames")
    real = [strip for strip in find_videos(train) if not strip.name.startswith("figure_")]
    for number in range(recolored):
        for strip in real:
            with Image.open(strip) as picture:
                colors = recolor(np.asarray(picture.convert("RGB")), rng)
            Image.fromarray(colors).save(train / f"{strip.stem}_recolored{number}.png")


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="What `prepare` wrote.")],
    run: Annotated[Path, typer.Argument(help="Run folder; an interrupted run goes on.")],
    options: Annotated[list[str] | None, typer.Argument(help="Further options of `dkpvid train`.")] = None,
) -> None:
    """Run `dkpvid train` with the preset for two CPU cores, or with further options."""
    command = [
        sys.executable,
        "-m",
        "dkpvid",
        "train",
        str(data),
        "-o",
        str(run),
        "--preset",
        "cpu",
        "--resume",
    ]
    print(" ".join(command[2:] + (options or [])), flush=True)
    raise typer.Exit(subprocess.call(command + (options or [])))


@app.command()
def publish(run: Annotated[Path, typer.Argument(help="A finished run folder.")]) -> None:
    """Write the run's detector as float16 to weights/default.safetensors."""
    from dkpvid.checkpoint import load_weights, save_weights

    weights = load_weights(run)
    path = ROOT / "weights" / "default.safetensors"
    save_weights(path, weights.config, weights.detector, weights.edge_map, half=True)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, sha256 {load_weights(path).sha256}")


def recolor(image: ndarray, rng: np.random.Generator) -> ndarray:
    """The same picture in other colours: a negative half of the time, channels shuffled, range changed.

    Few people are in the clips, and most of them wear dark trousers: without this, a keypoint learns to be
    "the dark thing".
    """
    negative = 255 - image if rng.random() < 0.5 else image
    gain, offset = rng.uniform(0.6, 1.1, 3), rng.uniform(-20, 40, 3)
    return np.clip(negative[..., rng.permutation(3)] * gain + offset, 0, 255).astype(np.uint8)


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


def _save_strip(path: Path, frames: list[ndarray]) -> None:
    Image.fromarray(np.concatenate(frames, axis=1)).save(path)


if __name__ == "__main__":
    app()
