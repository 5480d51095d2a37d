"""Empty places, to put people before and to learn what is no person.

    python -m recipes.people.training.backgrounds 3000 OUT.npy --assets ASSETS

OUT.npy: uint8 [place, 3, 128, 128], RGB.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.random import Generator

from recipes.people.assets import Assets

SIZE = 128


def main(
    count: Annotated[int, typer.Argument(min=1, help="Number of pictures.")],
    out: Annotated[Path, typer.Argument(help="File to write.")],
    assets: Annotated[Path, typer.Option(help="Folder of the packed assets.")],
    seed: int = 0,
) -> None:
    """Take pictures of panoramas and rooms without anybody in them."""
    # torch, which the bodies need, has to be loaded before OpenGL: both bring LLVM.
    import torch  # noqa: F401

    from recipes.people.pictures.lens import Lens
    from recipes.people.pictures.raster import Renderer
    from recipes.people.scenes.camera import Camera, aim
    from recipes.people.scenes.place import Place

    def random_view(rng: Generator, reach: float) -> Camera:
        angle, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 2.6)
        eye = np.array([0.8 * reach * np.sin(angle), height, 0.8 * reach * np.cos(angle)])
        target = np.array([rng.normal(0, 0.5), rng.uniform(0.3, 1.4), rng.normal(0, 0.5)])
        focal = 1 / np.tan(np.radians(rng.uniform(20, 75)) / 2)
        return aim(eye, target, focal, (rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.3)), rng.normal(0, 0.05))

    rng, renderer = np.random.default_rng(seed), Renderer(SIZE)
    folder = Assets(assets)
    places = np.zeros((count, 3, SIZE, SIZE), np.uint8)
    nobody = np.zeros((SIZE, SIZE), bool)
    for picture in places:
        reach = rng.uniform(2, 8)
        light, _ = renderer.background(Place(rng, folder, reach), random_view(rng, reach))
        seen = Lens(rng, SIZE, darkest=0.1).take(light, np.zeros_like(light), nobody)
        picture[:] = np.round(255 * seen).astype(np.uint8).transpose(2, 0, 1)
    np.save(out, places)


if __name__ == "__main__":
    typer.run(main)
