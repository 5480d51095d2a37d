"""Who may import whom: a room knows only the rows below its own, and light modules load nothing heavy.

A room is a folder of the package. Modules that lie beside the rooms belong to `vocabulary`, unless a row
names them. Within a room imports go one way: no module reaches itself.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dkpvid"

# From the bottom. What shares a row does not know each other.
ROWS = (
    {"vocabulary"},
    {"untrusted"},
    {"drawing", "models", "reference", "video"},
    {"checkpoint", "formats"},
    {"tracking"},
    {"evaluation"},
    {"pages"},
    {"labeling"},
    {"training"},
    {"depth"},
    # The jobs never import each other.
    {"jobs.distill", "jobs.evaluate", "jobs.export", "jobs.track", "jobs.train"},
    {"api"},
    {"cli"},
)
ROW_OF = {room: number for number, row in enumerate(ROWS) for room in row}

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


def room_of(module: str) -> str:
    """The row's word for a module."""
    if module in ROW_OF:
        return module
    room, _, inner = module.partition(".")
    if room == "__main__":
        return "cli"
    is_folder = inner or (PACKAGE / room / "__init__.py").is_file()
    return room if room and is_folder else "vocabulary"


def known_to(module: str) -> set[str]:
    """The modules of ours that a module imports."""
    return set(imports_of(MODULES[module].read_text("utf-8"))) - {module}


def test_every_room_has_one_row() -> None:
    assert {room_of(module) for module in MODULES} - {"jobs"} == set(ROW_OF)
    assert sum(len(row) for row in ROWS) == len(ROW_OF), "a room is in two rows"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_knows_its_room_and_the_rows_below(module: str) -> None:
    room = room_of(module)
    wrong = sorted(
        name
        for name in known_to(module)
        if room_of(name) != room and ROW_OF.get(room_of(name), len(ROWS)) >= ROW_OF.get(room, -1)
    )
    assert not wrong, f"dkpvid.{module} (room {room}) must not import {', '.join(wrong)}"


def test_no_module_reaches_itself() -> None:
    TopologicalSorter({module: known_to(module) for module in MODULES}).prepare()  # raises on a cycle


def test_no_module_is_longer_than_300_lines() -> None:
    lengths = {module: len(path.read_text("utf-8").splitlines()) for module, path in MODULES.items()}
    assert not {module: length for module, length in lengths.items() if length > 300}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import dkpvid.cli", ["cli"]),
        ("import dkpvid", [""]),
        ("from dkpvid import cli, __version__", ["cli", ""]),
        ("from dkpvid.cli import track, app", ["cli.track", "cli"]),
        ("def f():\n    from dkpvid.jobs.track import render", ["jobs.track"]),
        ("import os, numpy as np\nfrom pathlib import Path\nimport dkpvidlike", []),
    ],
)
def test_imports_are_recognised(source: str, names: list[str]) -> None:
    assert list(imports_of(source)) == names


def test_tracking_loads_nothing_that_only_training_needs() -> None:
    loaded = loaded_by("import dkpvid.jobs.track, dkpvid.cli")
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
    ours = {"depth", "evaluation", "jobs.distill", "jobs.evaluate", "jobs.train", "training"}
    ours |= {"models.autolink", "models.decoder", "models.perceptual", "video.random_access"}
    unwanted = foreign | {f"dkpvid.{module}" for module in ours}
    assert not loaded & unwanted


def test_numbers_files_and_videos_need_no_torch() -> None:
    light = ["config", "coordinates", "drawing", "evaluation.annotations", "evaluation.joint_metrics"]
    light += ["evaluation.paper_metrics", "evaluation.track_metrics", "formats", "formats.reading"]
    light += ["structures", "tracking.joints", "tracking.smoothing", "video.inputs", "video.reader"]
    light += ["video.writer"]
    loaded = loaded_by("import " + ", ".join(f"dkpvid.{module}" for module in light))
    assert "dkpvid.video.reader" in loaded
    assert "torch" not in loaded
