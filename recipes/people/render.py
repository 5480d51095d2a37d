"""Render training pictures of dressed people: strips of frames with depth maps and joints.

    python -m recipes.people.render 1000 OUT --assets ASSETS --seed 0 --size 128

OUT/train/00000.jpg         8 square frames of one person side by side
OUT/train/00000.depth.png   their depth maps: inverse depth, each frame from farthest (0) to nearest (255)
OUT/train/00000.joints.npz  joints float32 [8, 17, 2]: x, y in pixels, integers are pixel centres, COCO order;
                            visible bool [8, 17]: inside and not hidden; mask bool [8, S, S]: the person;
                            depth_range float32 [8, 2]: inverse depth (1/m) of 0 and 255;
                            shot int32 [8]: frames of equal number are one moving shot

Strip k depends on the seed and k only. Strips that are there are skipped, and every process takes the missing
ones in an order of its own: start as many processes as there are cores. It needs the extra `people`, OpenGL
(on Linux without a GPU: libegl1 and libgl1-mesa-dri), and the folder of assets.
"""

import os
import random
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.random import Generator
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dkpvid.files import put_in_place, temporary_beside
from recipes.people.assets import Assets

if TYPE_CHECKING:
    from recipes.people.pictures.raster import Renderer
    from recipes.people.pictures.shot import Frame

FRAMES = 8
SECOND_PERSON = 0.2
"""Share of the strips with a second person."""
BADLY_COMPRESSED = 0.12
"""Share of the strips."""


def render_strip(
    seed: int, number: int, assets: Assets, renderer: "Renderer"
) -> tuple[list["Frame"], list[int], Generator]:
    """The frames of one person, the shot of each frame, and the generator to go on with."""
    from recipes.people.clothes.wardrobe import THEMES
    from recipes.people.pictures.performer import Performer
    from recipes.people.pictures.shot import Shot

    rng = np.random.default_rng([seed, number])
    people = [
        Performer(rng, assets, renderer, str(rng.choice(list(THEMES), p=list(THEMES.values()))))
        for _ in range(1 + (rng.random() < SECOND_PERSON))
    ]
    frames, shots = [], []
    length = int(rng.choice([1, 2, 4, 8]))
    for number_of_shot in range(FRAMES // length):
        step = float(rng.choice([0.15, 0.3, 0.6]))
        shot = Shot(rng, assets, renderer, people[0], *people[1:], seconds=step * (length - 1))
        frames += [shot.frame(k * step) for k in range(length)]
        shots += [number_of_shot] * length
        shot.close()
    for person in people:
        person.actor.release()
    return frames, shots, rng


def write_strip(folder: Path, number: int, frames: list["Frame"], shots: list[int], rng: Generator) -> None:
    """The three files of a strip; the picture comes last and says that the strip is complete."""
    rgb = np.concatenate([frame.rgb for frame in frames], 1)
    from_camera = BytesIO()  # What a camera or a video site would have kept.
    quality = int(rng.integers(12, 40) if rng.random() < BADLY_COMPRESSED else rng.integers(40, 96))
    Image.fromarray((255 * rgb + 0.5).astype(np.uint8)).save(from_camera, "JPEG", quality=quality)
    limits = np.float32([(f.inverse_depth.min(), f.inverse_depth.max()) for f in frames])
    depth = [(f.inverse_depth - a) / max(b - a, 1e-6) for f, (a, b) in zip(frames, limits, strict=True)]
    grey = Image.fromarray((255 * np.concatenate(depth, 1) + 0.5).astype(np.uint8))
    truth = {
        key: np.stack([getattr(frame, key) for frame in frames]) for key in ("joints", "visible", "mask")
    }
    name = folder / f"{number:05d}"
    _write(
        name.with_suffix(".joints.npz"),
        lambda path: np.savez_compressed(path, **truth, depth_range=limits, shot=np.int32(shots)),
    )
    _write(name.with_suffix(".depth.png"), grey.save)
    _write(name.with_suffix(".jpg"), lambda path: Image.open(from_camera).save(path, quality=92))


def _write(path: Path, write: Callable[[Path], object]) -> None:
    part = temporary_beside(path)
    write(part)
    put_in_place(part, path)


def main(
    strips: Annotated[int, typer.Argument(min=1, help="Number of strips.")],
    out: Annotated[Path, typer.Argument(help="Folder to fill.")],
    assets: Annotated[Path, typer.Option(help="Folder of the packed assets: meshes, motion, panoramas, ...")],
    seed: Annotated[int, typer.Option(help="Strip k depends on this and k only.")] = 0,
    size: Annotated[int, typer.Option(min=32, help="Pixels a side of a frame.")] = 128,
    split: Annotated[str, typer.Option(help="Sub-folder.")] = "train",
) -> None:
    """Render strips of 8 frames of dressed people into OUT/SPLIT."""
    from recipes.people.bodies.body import average_body
    from recipes.people.pictures.raster import Renderer

    source, folder = Assets(assets), out / split
    average_body()  # Loads the model, which must be there before OpenGL.
    renderer = Renderer(size)
    folder.mkdir(parents=True, exist_ok=True)

    def is_there(number: int) -> bool:
        return (folder / f"{number:05d}.jpg").exists()

    missing = [number for number in range(strips) if not is_there(number)]
    random.Random(os.getpid()).shuffle(missing)
    columns = (TextColumn("strips"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("strips", total=strips, completed=strips - len(missing))
        for number in missing:
            if not is_there(number):  # Another process may have been here.
                write_strip(folder, number, *render_strip(seed, number, source, renderer))
            progress.advance(task)


if __name__ == "__main__":
    typer.run(main)
