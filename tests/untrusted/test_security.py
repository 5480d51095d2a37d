"""Nothing in a user's file is run, and nothing is written but the outputs.

Each file here would do harm to a program that trusts it. The commands run in one process of their own,
without the type checks of the tests, which would refuse some of these files before dkpvid's own checks do.
"""

import hashlib
import json
import os
import pickle
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from dkpvid.checkpoint import load_weights
from dkpvid.cli import app
from dkpvid.config import ModelConfig, TrainConfig
from dkpvid.config_json import to_dict
from dkpvid.downloads import fetch_from_hub
from dkpvid.errors import DataError, DkpvidError, UsageError, WeightsError, printable
from dkpvid.formats.reading import read_track
from dkpvid.training.runs import Run
from dkpvid.untrusted.pickles import arrays_in, unpickle_arrays
from tests.evaluation.test_annotations import TABLE, put_picture, put_poses, put_taichi
from tests.formats.test_schema import make_track
from tests.formats.writing import write
from tests.video.clips import make_clip

DEEP = "[" * 100_000
SECRET = "root:x:0:0"


class Touch:
    """Leaves a file behind when a pickle of it is loaded the usual way."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


class Call:
    """Unpickles to whatever a function returns, and gives that a state."""

    def __init__(self, function: Any, arguments: tuple[Any, ...], *state: Any) -> None:
        self.made = function, arguments, *state

    def __reduce__(self) -> tuple[Any, ...]:
        return self.made


def test_the_mark_would_be_left(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Touch(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


# --- Files, and the commands that are to refuse them --------------------------------------------------------

Attack = Callable[[Path, Path, Path], list[str | Path]]
"""From a folder for the hostile file, a mark it may leave, and good weights: the words after `dkpvid`."""
ATTACKS: dict[str, tuple[Attack, int, str]] = {}


def refused(exit_code: int, says: str) -> Callable[[Attack], Attack]:
    """Register an attack, what the command must exit with, and what its one line must say."""

    def register(attack: Attack) -> Attack:
        ATTACKS[attack.__name__] = attack, exit_code, says
        return attack

    return register


def track_with(weights: Path | str) -> list[str | Path]:
    return ["track", "clip.mp4", "--no-video", "-o", "out", "--weights", weights]


def evaluate(annotations: Path, weights: Path, protocol: str = "regression") -> list[str | Path]:
    return ["eval", annotations, "--protocol", protocol, "--weights", weights, "--device", "cpu"]


@refused(2, "no AutoLink checkpoint")
def checkpoint_that_runs_a_command(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    torch.save({"state_dict": {"a": Touch(mark)}, "hyper_parameters": Touch(mark)}, folder / "a.ckpt")
    return track_with(folder / "a.ckpt")


@refused(2, "no AutoLink checkpoint")
def old_checkpoint_that_runs_a_command(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    content = {"state_dict": {"a": Touch(mark)}, "more": Touch(mark)}
    torch.save(content, folder / "a.ckpt", _use_new_zipfile_serialization=False)
    return track_with(folder / "a.ckpt")


@refused(2, "cannot be read")
def bare_pickle_that_runs_a_command(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    (folder / "a.ckpt").write_bytes(pickle.dumps(Touch(mark)))
    return track_with(folder / "a.ckpt")


@refused(2, "TorchScript")
def program_that_saves_as_it_is_loaded(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    # In a process of its own: compiling TorchScript warns that it is deprecated.
    code = f"""
import torch
class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.x = torch.zeros(1)
    @torch.jit.export
    def __getstate__(self):
        return self.x, self.training
    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]):
        self.x, self.training = state[0], state[1]
        torch.save(self.x, {str(mark)!r})
torch.jit.script(Module()).save({str(folder / "a.ckpt")!r})
import os
torch.jit.load({str(folder / "a.ckpt")!r})
os.remove({str(mark)!r})  # it would work
"""
    (folder / "make.py").write_text(code)
    subprocess.run([sys.executable, "-W", "ignore", folder / "make.py"], check=True)
    return track_with(folder / "a.ckpt")


@refused(2, "is damaged or no checkpoint")
def old_checkpoint_that_has_torch_write_a_patch(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    # Where a container's source has changed, torch.load writes the difference to a file named after it.
    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    attributes = b"}(" + text("dump_patches") + b"\x88" + text("__name__") + text(str(mark)) + b"u"
    container = b"ctorch._utils\n_rebuild_tensor_v2\n" + b"N" + attributes + b"\x86b"
    stored = b"(" + text("module") + container + text("a.py") + text("other source") + b"tQ"
    content = b"\x80\x02}" + text("state_dict") + b"}" + text("a") + stored + b"ss."
    with (folder / "a.ckpt").open("wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, {}):
            pickle.dump(part, file, protocol=2)
        file.write(content)
        pickle.dump([], file, protocol=2)
    return track_with(folder / "a.ckpt")


@refused(2, "a tensor of")
def checkpoint_of_a_few_bytes_and_a_huge_tensor(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    torch.save({"state_dict": {"a": torch.zeros(1).expand(2**36)}}, folder / "a.ckpt")
    return track_with(folder / "a.ckpt")


def put_safetensors(path: Path, header: bytes, length: int | None = None) -> list[str | Path]:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + bytes(16))
    return track_with(path)


@refused(2, "damaged or no safetensors file")
def header_of_many_terabytes(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    return put_safetensors(folder / "a.safetensors", b"{}", 2**63)


@refused(2, "damaged or no safetensors file")
def tensors_that_overlap(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    tensor = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    return put_safetensors(folder / "a.safetensors", json.dumps({"a": tensor, "b": tensor}).encode())


@refused(2, "damaged or no safetensors file")
def tensors_beyond_the_end(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    tensor = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
    return put_safetensors(folder / "a.safetensors", json.dumps({"a": tensor}).encode())


@refused(2, "damaged or no safetensors file")
def header_not_in_utf8(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    return put_safetensors(folder / "a.safetensors", b'{"\xff\xfe": 1}')


@refused(2, "damaged or no safetensors file")
def header_nested_deeply(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    return put_safetensors(folder / "a.safetensors", DEEP.encode())


def put_settings(folder: Path, settings: str) -> list[str | Path]:
    metadata = {"format": "dkpvid-student/1", "config": settings}
    save_file({"a": torch.zeros(1)}, folder / "a.safetensors", metadata)
    return track_with(folder / "a.safetensors")


@refused(2, "no usable model settings: nested too deeply")
def settings_nested_deeply(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    return put_settings(folder, DEEP)


@refused(2, "num keypoints must be int, got 16.0")
def settings_of_the_wrong_type(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    return put_settings(folder, '{"num_keypoints": 16.0}')


@refused(2, "no usable model settings")
def settings_with_a_huge_number(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    return put_settings(folder, '{"num_keypoints": 1' + "0" * 10_000 + "}")


@refused(2, "tensors that no detector has")
def tensors_named_like_paths(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    tensors = load_file(weights) | {f"detector.../../../{mark}": torch.zeros(1)}
    metadata = {"format": "dkpvid-student/1", "config": json.dumps(settings_of(weights))}
    save_file(tensors, folder / "a.safetensors", metadata)
    return track_with(folder / "a.safetensors")


def settings_of(weights: Path) -> dict[str, Any]:
    return to_dict(load_weights(weights).config)


@refused(2, "names no weights")
def hub_name_that_leaves_the_cache(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    return track_with("hf://owner/repo/../../x.safetensors")


@refused(2, "get it from https://huggingface.co/owner/repo/resolve/main/model.safetensors and give its path")
def hub_weights_without_a_network(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    return track_with("hf://owner/repo")


@refused(4, "is no file of joints")
def joints_nested_deeply(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    (folder / "joints.json").write_text(DEEP)
    return [*track_with(weights), "--joints", folder / "joints.json"]


@refused(4, "is no file of joints")
def joints_with_a_huge_number(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    names = {"joints": ["a"], "model_sha256": "", "penalty": 1, "offset": [[1, 1]], "residual": [[1, 1, 1]]}
    text = json.dumps({"format": "dkpvid-joints/1", **names, "weights": 7}).replace("7", "9" * 400)
    (folder / "joints.json").write_text(text)
    return [*track_with(weights), "--joints", folder / "joints.json"]


def put_coco(folder: Path, name: str) -> Path:
    subject = {"image_id": 1, "keypoints": [1, 2, 2], "bbox": [0, 0, 5, 5]}
    content = {
        "images": [{"id": 1, "file_name": name}],
        "categories": [{"keypoints": ["nose"]}],
        "annotations": [subject],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    return folder / "coco.json"


@refused(4, "is missing")
def coco_picture_above_its_folder(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    return evaluate(put_coco(folder, f"../{mark.parent.name}/secret"), weights)


@refused(4, "is missing")
def coco_picture_with_an_absolute_path(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    return evaluate(put_coco(folder, str(mark.parent / "secret")), weights)


@refused(4, "cannot be read")
def coco_picture_that_is_a_link_to_a_secret(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    (folder / "a.png").symlink_to(mark.parent / "secret")
    return evaluate(put_coco(folder, "a.png"), weights)


@refused(4, "names no picture")
def coco_picture_without_a_name(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    return evaluate(put_coco(folder, ".."), weights)


@refused(4, "names no picture")
def coco_picture_with_a_very_long_name(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    return evaluate(put_coco(folder, "a" * 5000), weights)


@refused(4, "is no COCO keypoints file")
def coco_nested_deeply(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    (folder / "coco.json").write_text(DEEP)
    return evaluate(folder / "coco.json", weights)


@refused(4, "cannot be read")
def picture_that_is_a_postscript_program(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    (folder / "a.png").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    )
    return evaluate(put_coco(folder, "a.png"), weights)


@refused(4, "none of 1 pictures can be read")
def frame_that_is_a_postscript_program(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    picture_that_is_a_postscript_program(folder, mark, weights)
    (folder / "coco.json").unlink()
    return ["track", folder, "--no-video", "-o", "out", "--weights", weights]


@refused(4, "is missing")
def table_with_pictures_above_its_folder(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    text = TABLE.replace("labeled-data/day1/img1.png", f"../{mark.parent.name}/secret")
    (folder / "CollectedData_me.csv").write_text(text)
    return evaluate(folder, weights)


@refused(4, "is no pose array")
def poses_of_objects(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    put_picture(folder / "a.png")
    put_poses(folder / "a.pose.npz", names=np.array([Touch(mark)] * 3, dtype=object))
    return evaluate(folder, weights)


@refused(4, "is no pose array")
def poses_that_are_a_pickle(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    put_picture(folder / "a.png")
    (folder / "a.pose.npz").write_bytes(pickle.dumps(Touch(mark)))
    return evaluate(folder, weights)


@refused(4, "is no pose array")
def poses_in_a_broken_archive(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    put_picture(folder / "a.png")
    (folder / "a.pose.npz").write_bytes(b"PK\x03\x04" + bytes(100))
    return evaluate(folder, weights)


@refused(4, "cannot be read without running pandas")
def data_frame_that_runs_a_command(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    put_taichi(folder, ".pkl")
    (folder / "landmark/taichi_train_gt.pkl").write_bytes(pickle.dumps({"data": [Touch(mark)]}))
    return evaluate(folder, weights, "taichi")


@refused(4, "outside of it")
def taichi_pictures_above_their_folder(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    put_taichi(folder, ".npz")
    names = [f"../../../../{mark.parent.name}/secret"] * 2
    np.savez(folder / "landmark/taichi_test_gt.npz", file_name=names, keypoints_xy=np.zeros((2, 18, 2)))
    return evaluate(folder, weights, "taichi")


def put_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        kind = np.dtype([("index", "S9"), ("values_block_0", float, (2,))])
        table = file.create_dataset("df_with_missing/table", data=np.zeros(1, kind))
        table.attrs["values_block_0_kind"] = np.void(pickle.dumps([("me", "nose", "x"), ("me", "nose", "y")]))


@refused(4, "refers to another file")
def h5_with_a_link_to_another_file(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    put_h5(mark.parent / "other.h5")
    with h5py.File(folder / "CollectedData_me.h5", "w") as file:
        link = h5py.ExternalLink(str(mark.parent / "other.h5"), "df_with_missing/table")
        file["df_with_missing/table"] = link
    return evaluate(folder, weights)


@refused(4, "table format")
def h5_with_its_numbers_in_another_file(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    with h5py.File(folder / "CollectedData_me.h5", "w") as file:
        secret = [(str(mark.parent / "secret"), 0, 10)]
        file.create_dataset("df_with_missing/table", (10,), "u1", external=secret)
    return evaluate(folder, weights)


@refused(4, "not a readable video")
def video_with_a_name_that_the_terminal_obeys(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    path = folder / "a\nerror: all is well\x1b[2J.mp4"
    path.write_bytes(b"no video")
    return ["track", path, "-o", "out", "--weights", weights]


@refused(4, "no such file")
def video_that_is_not_there_above_the_folder(folder: Path, mark: Path, weights: Path) -> list[str | Path]:
    return ["track", folder / "../../nothing.mp4", "-o", "out", "--weights", weights]


# --- Running them -------------------------------------------------------------------------------------------

DRIVER = """
import json, sys, traceback
from typer.testing import CliRunner
from dkpvid.cli import app
for words in json.load(sys.stdin):
    result = CliRunner().invoke(app, words)
    error = result.exception
    bug = None if isinstance(error, SystemExit | None) else traceback.format_exception(error)
    print(json.dumps([result.exit_code, result.stdout, result.stderr, bug]), flush=True)
"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> SimpleNamespace:
    """All attacks, carried out, and what was on disk before and after."""
    root = tmp_path_factory.mktemp("scene")
    elsewhere, work = root / "elsewhere", root / "work"
    (root / "bin").mkdir()
    elsewhere.mkdir()
    (elsewhere / "secret").write_text(SECRET)
    work.mkdir()
    (work / "clip.mp4").write_bytes(make_clip())
    # What Pillow hands PostScript to.
    ghostscript = root / "bin" / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {elsewhere}/ghostscript\n")
    ghostscript.chmod(0o755)
    commands = []
    for name, (attack, _, _) in ATTACKS.items():
        (work / name).mkdir()
        words = attack(work / name, elsewhere / name, tiny_weights)
        commands.append([os.fspath(word) for word in words])
    before = contents(root)
    path = f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        cwd=work,
        env={**os.environ, "PATH": path, "DKPVID_CACHE": str(root / "cache"), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    results = dict(zip(ATTACKS, map(json.loads, done.stdout.splitlines()), strict=True))
    return SimpleNamespace(results=results, before=before, after=contents(root))


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, and a digest of what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_refused_in_one_line(scene: SimpleNamespace, name: str) -> None:
    exit_code, stdout, stderr, bug = scene.results[name]
    assert bug is None, "".join(bug)
    assert (exit_code, stdout) == (ATTACKS[name][1], ""), stderr
    assert stderr.startswith("error: ") and stderr.count("\n") == 1, stderr
    assert ATTACKS[name][2] in stderr
    assert SECRET not in stderr and "\x1b" not in stderr
    assert len(stderr) < 1000


def test_nothing_was_run_and_nothing_written(scene: SimpleNamespace) -> None:
    assert scene.after == scene.before


# --- What is read by the library --------------------------------------------------------------------------


def raw_array(dtype: Any, shape: Any, values: Any) -> Call:
    """An array whose numbers are given as a pickle may give them, whatever they are."""
    reconstruct, arguments, _ = np.zeros(1).__reduce__()
    return Call(reconstruct, arguments, (1, shape, dtype, False, values))


def test_bytes_never_become_pointers() -> None:
    # numpy itself would make objects of these bytes.
    kind = Call(np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0))
    content = pickle.dumps(raw_array(kind, (1,), b"A" * 8))
    with pytest.raises(ValueError, match="numbers are missing"):
        list(arrays_in(unpickle_arrays(content, "it")))


@pytest.mark.parametrize(
    ("dtype", "shape", "values"),
    [(np.dtype("f8"), (2**40,), b"A" * 8), (np.dtype("O"), (2**40,), [1]), (np.dtype("f8"), (1,), "text")],
)
def test_an_array_that_does_not_fit_its_shape_is_refused(dtype: Any, shape: Any, values: Any) -> None:
    content = pickle.dumps(raw_array(dtype, shape, values))
    with pytest.raises(ValueError, match=r"reshape|values|missing"):
        list(arrays_in(unpickle_arrays(content, "it")))


@pytest.mark.parametrize("dtype", ["i2", ">f4", "<f8", "bool", "U5", "S3", "u1"])
@pytest.mark.parametrize("protocol", [2, 5])
def test_arrays_come_out_as_numpy_reads_them(dtype: str, protocol: int) -> None:
    array = np.asfortranarray(np.arange(6).reshape(2, 3).astype(dtype))
    (found,) = arrays_in(unpickle_arrays(pickle.dumps(array, protocol), "it"))
    np.testing.assert_array_equal(found, array, strict=True)
    np.testing.assert_array_equal(found, pickle.loads(pickle.dumps(array, protocol)))


@pytest.fixture
def document(tmp_path: Path, rng: np.random.Generator) -> str:
    """A good track."""
    return write("json", tmp_path, make_track(rng)).read_text()


def replaced(path: str, value: Any) -> Callable[[str], str]:
    """Put another value at a place in the document."""

    def change(text: str) -> str:
        content = place = json.loads(text)
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in parents:
            place = place[part]
        place[last] = value
        return json.dumps(content)

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda text: DEEP,
        lambda text: '{"schema":' * 100_000,
        lambda text: "\n".join(['{"type":"header"}', DEEP]),
        lambda text: "[]",
        lambda text: "null",
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"time":', '"time":NaN,"t":', 1),
        lambda text: text.replace('"time":', '"time":1e999,"t":', 1),
        lambda text: text.replace('"frame":', '"frame":' + "9" * 30 + ',"f":', 1),
        lambda text: text.replace('"frame":', '"frame":' + "9" * 10_000 + ',"f":', 1),
        replaced("source.time_base", "1e999999999"),
        replaced("source.time_base", "1/0"),
        replaced("source.sar", 7),
        replaced("source.width", "wide"),
        replaced("source.path", ["a"]),
        replaced("source", None),
        replaced("keypoints", "nose"),
        replaced("keypoints", [1, 2, 3]),
        replaced("keypoints", [{"a": 1}]),
        replaced("skeleton", [[0, 99, 1.0]]),
        replaced("skeleton", [["0", "1", 1.0]]),
        replaced("smoothing", {"os.system": "ls"}),
        replaced("region", {"x": "1", "y": 0, "width": 1, "height": 1}),
        replaced("model.config", "none"),
        replaced("frames", {}),
        replaced("frames.0", 7),
        replaced("frames.0.keypoints", [{"x": 1, "y": 2, "confidence": 3}]),
        replaced("frames.0.keypoints", {"x": 1}),
        replaced("frames.0.time", [0]),
        replaced("frames.0.time", None),
        replaced("frames.0.frame", "first"),
        replaced("frames.0.flags", [{"a": 1}]),
        replaced("frames.0.covariance", [[1, 2]]),
        replaced("lost", [7]),
        replaced("lost", None),
    ],
)
def test_a_hostile_track_is_one_clear_line(
    tmp_path: Path, document: str, change: Callable[[str], str]
) -> None:
    path = tmp_path / "hostile.json"
    path.write_text(change(document))
    with pytest.raises(DataError) as error:
        read_track(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_a_good_track_is_read(tmp_path: Path, document: str) -> None:
    (tmp_path / "good.json").write_text(document)
    assert read_track(tmp_path / "good.json").complete


# --- Run folders --------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> TrainConfig:
    """The settings of a run whose folder has a checkpoint; resuming looks at its settings first."""
    config = TrainConfig(data=tmp_path, run=tmp_path / "run", model=ModelConfig(image_size=64))
    Run(config, resume=False, overwrite=False)
    (config.run / "checkpoint.safetensors").write_bytes(b"")
    return config


@pytest.mark.parametrize(
    "text", [DEEP, "", "[]", "7", "{", '{"seed": 1' + "0" * 10_000 + "}", '{"seed": [[]]}', "\xff\xfe"]
)
def test_a_hostile_run_is_not_resumed(run: TrainConfig, text: str) -> None:
    (run.run / "config.json").write_bytes(text.encode("latin1"))
    with pytest.raises(UsageError):
        Run(run, resume=True, overwrite=False)


def test_a_run_does_not_move_to_where_its_settings_say(run: TrainConfig, tmp_path: Path) -> None:
    settings = json.loads((run.run / "config.json").read_text())
    settings["run"] = settings["data"] = "../../elsewhere"
    (run.run / "config.json").write_text(json.dumps(settings))
    assert Run(run, resume=True, overwrite=False).folder == tmp_path / "run"
    assert json.loads((run.run / "config.json").read_text())["run"] == str(tmp_path / "run")


@pytest.mark.parametrize("name", ["preview", "tensorboard"])
def test_a_run_does_not_write_through_a_link(run: TrainConfig, tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    if (run.run / name).is_dir():
        (run.run / name).rmdir()
    (run.run / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="leads out of the run folder"):
        Run(run, resume=True, overwrite=False)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_metrics_that_are_a_link_are_replaced(run: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    (run.run / "metrics.jsonl").symlink_to(tmp_path / "elsewhere")
    fresh = Run(run, resume=False, overwrite=True)
    fresh._truncate_metrics(0)
    fresh.log(1, {"loss": 1.0})
    assert (tmp_path / "elsewhere").read_text() == "mine"


# --- Names of videos and outputs ----------------------------------------------------------------------------


def track(*words: str | Path) -> Any:
    result = CliRunner().invoke(app, ["track", "--no-video", "--device", "cpu", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("name", ["concat:a|b.mp4", "-rf.mp4", "http:x.mp4", "a;touch mark.mp4", "a\nb.mp4"])
def test_a_name_is_only_a_name(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path(name).write_bytes(make_clip())
    result = track("--weights", tiny_weights, "-o", "out", "--", name)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("\n") == 1
    stem = name.removesuffix(".mp4")
    written = [f".{stem}.dkp.source", f"{stem}.dkp.json"]
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(written)
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(["work", "out", name, *written])


@pytest.mark.parametrize("is_there", [True, False])
def test_an_output_that_is_a_link_is_replaced_and_not_followed(
    tmp_path: Path, tiny_weights: Path, is_there: bool
) -> None:
    clip, elsewhere, out = tmp_path / "clip.mp4", tmp_path / "elsewhere", tmp_path / "out"
    clip.write_bytes(make_clip())
    out.mkdir()
    if is_there:
        elsewhere.write_text("mine")
    (out / "clip.dkp.json").symlink_to(elsewhere)
    refused = track(clip, "--weights", tiny_weights, "-o", out)
    assert refused.exit_code == 2 and "exists" in refused.stderr
    assert track(clip, "--weights", tiny_weights, "-o", out, "--overwrite").exit_code == 0
    assert not (out / "clip.dkp.json").is_symlink()
    assert elsewhere.exists() == is_there
    assert not is_there or elsewhere.read_text() == "mine"


def test_a_playlist_in_a_video_file_calls_nobody(tmp_path: Path, tiny_weights: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", address, "#EXT-X-ENDLIST"]
        (tmp_path / "clip.mp4").write_text("\n".join(lines))
        assert track(tmp_path / "clip.mp4", "--weights", tiny_weights, "-o", tmp_path / "out").exit_code == 4
        with pytest.raises(BlockingIOError):
            server.accept()


def test_an_error_is_one_line_of_plain_characters() -> None:
    assert printable("Mäuse/käfig 1.mp4") == "Mäuse/käfig 1.mp4"
    assert printable("a\nb\r\x1b]0;x\x07\u202e\udcff") == r"a\nb\r\x1b]0;x\x07\u202e\udcff"
    assert str(DkpvidError("a\nb")) == r"a\nb"


# --- Weights from the hub -----------------------------------------------------------------------------------


@pytest.fixture
def hub(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[tuple[str, str]]]:
    """A hub that has every file, laid out as the real client's cache; lists what it was asked for."""
    asked: list[tuple[str, str]] = []

    def download(repo_id: str, filename: str, *, cache_dir: Path) -> str:
        asked.append((repo_id, filename))
        path = cache_dir / "models--owner--repo" / "snapshots" / "0a1b2c" / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tiny_weights.read_bytes())
        return str(path)

    monkeypatch.setenv("DKPVID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    yield asked
    assert all(path.is_relative_to(tmp_path / "cache") for path in tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("name", "file", "model"),
    [
        ("hf://owner/repo", "model.safetensors", "repo"),
        ("hf://owner/repo/", "model.safetensors", "repo"),
        ("hf://owner/repo/mice.safetensors", "mice.safetensors", "mice"),
        ("hf://owner/repo/runs/a/model.safetensors", "runs/a/model.safetensors", "a"),
    ],
)
def test_weights_come_from_the_hub(hub: list[tuple[str, str]], name: str, file: str, model: str) -> None:
    weights = load_weights(name)
    assert hub == [("owner/repo", file)]
    assert weights.name == model
    assert weights.config.num_keypoints == 6


@pytest.mark.parametrize(
    "name",
    [
        "hf://",
        "hf://owner",
        "hf://../../x",
        "hf://owner/repo/../../x.safetensors",
        "hf://owner/repo//x.safetensors",
        "hf://owner/repo/.hidden.safetensors",
        "hf://owner/repo/model.ckpt",
        "hf://owner/repo/model.bin",
        "hf://owner/re po",
        "hf://owner/repo?x=/model.safetensors",
        "hf://user@host/repo",
        "hf:///etc/passwd.safetensors",
        "hf://owner/repo/model.safetensors\n",
    ],
)
def test_other_names_of_the_hub_are_refused_before_anything_is_asked(
    hub: list[tuple[str, str]], name: str
) -> None:
    with pytest.raises(WeightsError, match="names no weights; give hf://OWNER/REPO"):
        load_weights(name)
    assert hub == []


def test_the_hub_is_not_asked_for_a_pickle(hub: list[tuple[str, str]]) -> None:
    with pytest.raises(WeightsError):
        fetch_from_hub("hf://owner/repo", "model.ckpt")
