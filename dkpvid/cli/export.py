"""`dkpvid export`."""

from pathlib import Path
from typing import Annotated

import typer

from dkpvid.cli.shared import reported_errors
from dkpvid.errors import UsageError


def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file to write.")],
    weights: Annotated[
        str | None,
        typer.Option(help="Run folder, .safetensors or AutoLink .ckpt.", show_default="those of the package"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Write the detector as an ONNX file that takes pictures and gives keypoints, without dkpvid or PyTorch.

    Input: uint8 RGB pictures of the network's size. Output: keypoints in pixels of the input, their
    confidence and their covariance. Names, skeleton and conventions are in the file's metadata.
    """
    with reported_errors():
        if output.suffix != ".onnx":
            raise UsageError(f"the output must end in .onnx, got {output}")
        if output.exists() and not overwrite:
            raise UsageError(
                f"{output} exists; pass --overwrite to replace it, or choose another name with -o"
            )
        from dkpvid.tracking.runtimes import require_onnx  # torch loads here, not for --help

        require_onnx("export")
        from dkpvid.checkpoint import load_weights
        from dkpvid.jobs.export import export as write_onnx

        write_onnx(load_weights(weights), output)
    if not quiet:
        typer.echo(f"model -> {output}", err=True)
