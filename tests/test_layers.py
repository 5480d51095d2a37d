"""Who may import whom: a module knows only the rows below its own, and light modules load nothing heavy.

A new module needs a place in `ROWS`: the lowest one that lies above all it imports.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dkpvid"

# From the bottom. "" is the package itself, and a folder's name its `__init__.py`.
ROWS = (
    # Knows nothing of ours.
    {"", "ahead", "errors", "files", "formats.hdf5", "models", "progress", "shapes", "video"}
    | {"video.background", "video.clock", "video.sources"},
    {"coordinates", "environment"},
    # The vocabulary, and small helpers that only raise our errors.
    {"devices", "downloads", "models.loading", "pickles", "structures", "video.deinterlace"},
    {"config", "torch_files"},
    # Tools and building blocks, which do not know each other.
    {"annotate", "augment", "camera", "joints", "journal", "kalman", "metrics", "parallel", "schema"}
    | {"models.detector", "models.edge_map", "models.perceptual"}
    | {"video.images", "video.orientation", "video.resize", "video.streams", "video.writer"},
    # What is put together of them.
    {"annotations", "formats.base", "losses", "pages", "smoothing", "subject", "track_file", "video.coded"}
    | {"models.decoder", "models.dpt", "models.fused", "models.small_depth"},
    {"models.autolink", "models.onnx_graph", "paper_sets", "regression", "report", "track_report"}
    | {"video.containers", "windows"},
    {"formats.coco", "formats.deeplabcut", "formats.native", "formats.nwb", "formats.openpose"}
    | {"formats.sleap", "previews", "video.reader"},
    # Where models, frames and files meet.
    {"checkpoint", "formats", "inputs", "labels", "runtimes", "video.random_access"},
    {"data", "detect", "render", "runs"},
    {"depth_estimators", "export", "fitting"},
    {"depth"},
    # The jobs: one recipe a command. They never import each other.
    {"cluster", "distill", "evaluate", "motion", "track", "train"},
    {"plots"},
    # The command line.
    {"cli.plan", "cli.shared"},
    {"cli.jobs", "cli.training"},
    {"cli.fleet"},
    {"cli.depth", "cli.distill", "cli.evaluate", "cli.export", "cli.track", "cli.train"},
    {"cli"},
    {"__main__"},
)
ROW_OF = {module: number for number, row in enumerate(ROWS) for module in row}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
    for path in PACKAGE.rglob("*.py")
}


def imports_of(source: str) -> Iterator[str]:
    """The modules of ours that a source imports, anywhere in it, without the package's name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from dkpvid.cli import track` may mean a module or a name within one.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if without_package(name) in MODULES else node.module for name in names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (without_package(name) for name in names if name.split(".")[0] == "dkpvid")


def without_package(name: str) -> str:
    return name.removeprefix("dkpvid").removeprefix(".")


def loaded_by(statement: str) -> set[str]:
    """All modules that are loaded after a statement, in a new process."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_every_module_has_one_row() -> None:
    missing = sorted(set(MODULES) - set(ROW_OF))
    assert not missing, f"give {', '.join(missing)} a place in ROWS of tests/test_layers.py"
    assert sum(len(row) for row in ROWS) == len(ROW_OF), "a module is in two rows"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_knows_only_the_rows_below(module: str) -> None:
    row = ROW_OF.get(module, -1)
    wrong = sorted(
        name
        for name in set(imports_of(MODULES[module].read_text("utf-8"))) - {module}
        if ROW_OF.get(name, len(ROWS)) >= row
    )
    assert not wrong, f"dkpvid.{module} (row {row}) must not import {', '.join(wrong)}"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import dkpvid.cli", ["cli"]),
        ("import dkpvid", [""]),
        ("from dkpvid import cli, __version__", ["cli", ""]),
        ("from dkpvid.cli import track, app", ["cli.track", "cli"]),
        ("def f():\n    from dkpvid.track import render", ["track"]),
        ("import os, numpy as np\nfrom pathlib import Path\nimport dkpvidlike", []),
    ],
)
def test_imports_are_recognised(source: str, names: list[str]) -> None:
    assert list(imports_of(source)) == names


def test_tracking_loads_nothing_that_only_training_needs() -> None:
    loaded = loaded_by("import dkpvid.track, dkpvid.cli")
    assert {"torch", "av", "dkpvid.video.writer"} <= loaded
    foreign = {
        "decord",
        "h5py",
        "lightning_fabric",
        "onnx",
        "onnxruntime",
        "pynwb",
        "scipy",
        "tensorboard",
        "timm",
    }
    foreign |= {"torchvision", "transformers"}
    ours = {"annotations", "data", "depth", "depth_estimators", "distill", "evaluate", "fitting", "losses"}
    ours |= {"parallel", "runs", "train", "video.random_access"}
    ours |= {"models.autolink", "models.decoder", "models.dpt", "models.perceptual", "models.small_depth"}
    unwanted = foreign | {f"dkpvid.{module}" for module in ours}
    assert not loaded & unwanted


def test_numbers_files_and_videos_need_no_torch() -> None:
    light = ["annotate", "annotations", "config", "coordinates", "formats", "inputs", "joints", "metrics"]
    light += ["progress", "schema", "smoothing", "structures", "track_file", "video.reader", "video.writer"]
    loaded = loaded_by("import " + ", ".join(f"dkpvid.{module}" for module in light))
    assert "dkpvid.video.reader" in loaded
    assert "torch" not in loaded
