"""Depth maps a second by MiDaS 3.1: `python -m benchmarks.depth_maps [--model NAME] [--device cuda]`.

With random weights, which are as fast as the real ones and need no download. Pictures go in as bytes and maps
come out on the host, as `dkpvid depth` handles them.
"""

from time import perf_counter
from typing import Annotated

import numpy as np
import torch
import typer

from dkpvid.depth.dpt import DPT_VARIANTS, build_dpt
from dkpvid.depth.estimators import Midas


def main(
    model: Annotated[str, typer.Option(help=", ".join(DPT_VARIANTS))] = "dpt-swin2-large-384",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    batch_sizes: Annotated[str, typer.Option(help="With commas between.")] = "16,32,64",
    repeats: Annotated[int, typer.Option(help="Batches of each size, after two to warm up.")] = 20,
) -> None:
    """Print a row for each batch size."""
    estimator = Midas(model, None, torch.device(device))
    torch.manual_seed(0)
    estimator.network = build_dpt(DPT_VARIANTS[model]).eval().to(device)
    rng = np.random.default_rng(0)
    print(f"{model} on {device}, torch {torch.__version__}\n\n| batch | images/s |\n|---|---|")
    for batch_size in map(int, batch_sizes.split(",")):
        side = DPT_VARIANTS[model].input_size
        images = rng.integers(0, 256, (batch_size, side, side, 3), dtype=np.uint8)
        for repeat in range(repeats + 2):
            if repeat == 2:
                start = perf_counter()
            estimator(images).cpu()  # waits for the device
        print(f"| {batch_size} | {repeats * batch_size / (perf_counter() - start):.1f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
