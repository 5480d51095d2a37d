"""Depth maps: estimated, brought along, cached, and made from the command line."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock
from urllib.error import URLError

import numpy as np
import pytest
import torch
from numpy import ndarray
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from dkpvid.cli import app
from dkpvid.config import DepthConfig
from dkpvid.depth import estimators
from dkpvid.depth.dpt import DPT_VARIANTS, DptVariant
from dkpvid.depth.estimators import make_estimator
from dkpvid.depth.maps import depth_maps, find_own_depth, load_depth, to_bytes
from dkpvid.errors import DataError, UsageError, WeightsError
from dkpvid.training.data import load_frames
from dkpvid.video.folders import look_into
from tests.depth.test_dpt import small_network

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("DKPVID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path / "cache"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two strips of 5 and 3 frames, and a folder of 2 frames; the blue channel grows to the right."""
    folder = tmp_path / "data"
    (folder / "walk").mkdir(parents=True)
    for name, count in {"a.png": 5, "b.png": 3}.items():
        Image.fromarray(np.concatenate([blue_slope(32, 32, frame) for frame in range(count)], axis=1)).save(
            folder / name
        )
    for frame in (2, 10):
        Image.fromarray(blue_slope(24, 32, frame)).save(folder / "walk" / f"{frame}.png")
    return folder


def blue_slope(height: int, width: int, frame: int) -> ndarray:
    image = np.full((height, width, 3), 10 * frame, np.uint8)
    image[..., 2] = np.linspace(0, 200, width)
    return image


class BlueIsNear:
    """Stands in for a depth network: counts its frames, and fails when it has seen enough."""

    def __init__(self, input_size: int | None = None, fails_after: int = 1000) -> None:
        self.key = "blue"
        self.input_size = input_size
        self.fails_after = fails_after
        self.batches: list[tuple[int, ...]] = []

    def __call__(self, images: ndarray) -> Tensor:
        if sum(shape[0] for shape in self.batches) >= self.fails_after:
            raise KeyboardInterrupt
        self.batches.append(images.shape)
        return torch.from_numpy(images[..., 2].astype(np.float32)) + 1000


@pytest.fixture
def blue(monkeypatch: pytest.MonkeyPatch) -> Callable[..., BlueIsNear]:
    """Makes `load_depth` use a new `BlueIsNear`."""

    def use(**settings: int | None) -> BlueIsNear:
        estimator = BlueIsNear(**settings)
        monkeypatch.setattr("dkpvid.depth.maps.make_estimator", lambda config, device: estimator)
        return estimator

    return use


def test_a_map_for_every_frame_near_is_bright(data: Path, blue: Callable[..., BlueIsNear]) -> None:
    frames = load_frames(data, 64)
    estimator = blue()
    seen: list[tuple[int, int]] = []
    depth = load_depth(frames, DepthConfig(batch_size=2), CPU, on_frame=lambda *done: seen.append(done))

    assert depth.videos == frames.videos == ("a.png", "b.png", "walk")
    assert [part.shape for part in depth.parts] == [(n, 64, 64, 1) for n in (5, 3, 2)]
    assert [shape[0] for shape in estimator.batches] == [2, 2, 1, 2, 1, 2]
    assert estimator.batches[-1] == (2, 24, 32, 3)  # frames come as they are
    for part in depth.parts:
        assert part.dtype == np.uint8
        assert (part[:, :, 0] == 0).all()
        assert (part[:, :, -1] == 255).all()
        assert (np.diff(part[..., 0].astype(int), axis=2) >= 0).all()
    assert isinstance(depth.parts[0].base, np.memmap)
    assert seen[-1] == (10, 10)
    assert seen == sorted(seen)


def test_the_estimator_gets_squares_of_its_size(data: Path) -> None:
    estimator = BlueIsNear(input_size=48)
    depth_maps(data / "walk", 64, estimator)
    assert estimator.batches == [(2, 48, 48, 3)]


def test_a_second_run_takes_everything_from_the_cache(data: Path, blue: Callable[..., BlueIsNear]) -> None:
    frames = load_frames(data, 64)
    blue()
    first = load_depth(frames, DepthConfig(), CPU)
    again = blue()
    second = load_depth(frames, DepthConfig(), CPU)
    assert again.batches == []
    for one, other in zip(first.parts, second.parts, strict=True):
        assert np.array_equal(one, other)


def test_a_stopped_run_goes_on_at_the_next_video(
    data: Path, cache: Path, blue: Callable[..., BlueIsNear]
) -> None:
    frames = load_frames(data, 64)
    blue(fails_after=6)
    with pytest.raises(KeyboardInterrupt):
        load_depth(frames, DepthConfig(batch_size=1), CPU)
    assert len(list((cache / "depth").iterdir())) == 1

    second = blue()
    load_depth(frames, DepthConfig(batch_size=1), CPU)
    assert len(second.batches) == 5


def test_the_cache_knows_the_content_the_model_and_the_size(data: Path, cache: Path) -> None:
    def count() -> int:
        estimator = BlueIsNear()
        estimator.key = key
        depth_maps(data / "a.png", size, estimator)
        return len(estimator.batches)

    key, size = "one", 64
    assert (count(), count()) == (1, 0)
    size = 128
    assert (count(), count()) == (1, 0)
    key = "other"
    assert (count(), count()) == (1, 0)
    (data / "a.png").write_bytes((data / "b.png").read_bytes())
    assert (count(), count()) == (1, 0)


def test_maps_are_scaled_each_by_itself() -> None:
    maps = torch.zeros(4, 4, 4)
    maps[0] = torch.arange(16.0).view(4, 4)
    maps[1] = maps[0] * 1e4 - 7
    maps[2] = 3.5
    maps[3] = torch.where(maps[0] < 4, torch.nan, maps[0])
    levels = to_bytes(maps, 4)
    assert np.array_equal(levels[0].ravel(), np.arange(16) * 17)
    assert np.array_equal(levels[1], levels[0])
    assert (levels[2] == 0).all()
    assert (levels[3, 0] == 0).all()  # not known = farthest
    assert levels[3, 3, 3] == 255
    assert (to_bytes(torch.full((1, 2, 2), torch.nan), 4) == 0).all()


def slope_map(kind: str) -> ndarray:
    """Rows grow nearer downwards."""
    rows = np.linspace(0, 1, 24)[:, None].repeat(24, axis=1)
    if kind == "8 bit":
        return (rows * 250).astype(np.uint8)
    if kind == "16 bit":
        return (rows * 60000).astype(np.uint16)
    return (rows * 3.5 - 1).astype(np.float32)


@pytest.mark.parametrize("kind", ["8 bit", "16 bit", "npy"])
@pytest.mark.parametrize("place", ["folder", "strip"])
def test_depth_that_was_brought_along_needs_no_network(kind: str, place: str, data: Path) -> None:
    def save(path: Path, values: ndarray) -> None:
        if kind == "npy":
            np.save(path.with_suffix(".npy"), values)
        else:
            Image.fromarray(values).save(path.with_suffix(".png"))

    if place == "folder":
        video = data / "walk"
        (video / "depth").mkdir()
        # In natural order, frame 10 comes after frame 2.
        save(video / "depth" / "2.x", slope_map(kind))
        save(video / "depth" / "10.x", slope_map(kind)[::-1])
    else:
        video = data / "b.png"
        flat = np.ones_like(slope_map(kind))
        save(data / "b.depth.x", np.concatenate([slope_map(kind), slope_map(kind)[::-1], flat], axis=1))

    estimator = BlueIsNear()
    maps = depth_maps(video, 64, estimator)
    assert estimator.batches == []
    assert len(maps) == (2 if place == "folder" else 3)
    assert (maps[0, 0] == 0).all()
    assert (maps[0, -1] == 255).all()
    assert 120 < maps[0, 32].mean() < 136
    assert (maps[1, 0] == 255).all()
    assert (maps[1, -1] == 0).all()


def test_own_depth_is_no_video_and_only_where_it_belongs(data: Path) -> None:
    Image.fromarray(slope_map("8 bit")).save(data / "b.depth.png")
    (data / "walk" / "depth").mkdir()
    Image.fromarray(slope_map("8 bit")).save(data / "walk" / "depth" / "2.png")
    assert [video.name for video in look_into(data).videos] == ["a.png", "b.png", "walk"]
    assert find_own_depth(data / "a.png") is None
    assert find_own_depth(data / "b.png") == data / "b.depth.png"
    assert find_own_depth(data / "walk") == data / "walk" / "depth"
    # Also when the data folder is itself a folder of frames.
    assert [video.name for video in look_into(data / "walk").videos] == ["2.png", "10.png"]


def test_another_number_of_maps_than_frames_names_both(data: Path, blue: Callable[..., BlueIsNear]) -> None:
    Image.fromarray(np.concatenate([slope_map("8 bit")] * 4, axis=1)).save(data / "b.depth.png")
    frames = load_frames(data, 64)
    blue()
    with pytest.raises(DataError, match=r"b.png has 3 frames but .*b.depth.png has 4 depth maps"):
        load_depth(frames, DepthConfig(), CPU)


def test_what_is_no_depth_map_is_refused(data: Path) -> None:
    beside = data / "b.depth.npy"
    for content in (np.zeros((3, 4, 5)), np.array([["a"]])):
        np.save(beside, content)
        with pytest.raises(DataError, match=r"b.depth.npy is no depth map"):
            depth_maps(data / "b.png", 64, BlueIsNear())
    beside.unlink()
    (data / "b.depth.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"b.depth.png is no depth map"):
        depth_maps(data / "b.png", 64, BlueIsNear())


def test_offline_says_what_where_from_where_to_and_how_else(data: Path, cache: Path) -> None:
    for name in DPT_VARIANTS:
        with pytest.raises(WeightsError) as caught:
            load_depth(load_frames(data, 64), DepthConfig(model=name), CPU)
        line = str(caught.value)
        assert "\n" not in line
        assert f"cannot download {name}.safetensors" in line
        repository = f"Intel/{name.replace('swin2', 'swinv2')}"
        assert f"get it from https://huggingface.co/{repository}/resolve/main/model.safetensors" in line
        assert f"put it at {cache / 'networks' / name}.safetensors" in line
        assert "--depth-weights" in line


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (DepthConfig(model="midas"), UsageError, "unknown depth model 'midas'; choose dpt-swin2-large-384"),
        (DepthConfig(model="hf:"), UsageError, "unknown depth model 'hf:'"),
        (DepthConfig(model="local:x", weights=Path("y")), UsageError, "--depth-weights goes with dpt-swin2"),
        (DepthConfig(weights=Path("missing.pt")), WeightsError, "no weights file at missing.pt"),
        (DepthConfig(model="local:nowhere"), WeightsError, "no weights file at nowhere/fastdepth_nyu"),
    ],
)
def test_settings_that_name_no_network(config: DepthConfig, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_estimator(config, CPU)


def test_midas_with_a_local_file(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "dpt-swin2-tiny-256"
    network = small_network()
    weights = tmp_path / "small.pt"
    torch.save(network.state_dict(), weights)
    monkeypatch.setitem(DPT_VARIANTS, name, DptVariant("small", 64))
    monkeypatch.setattr(estimators, "build_dpt", lambda variant: small_network())

    estimator = make_estimator(DepthConfig(model=name, weights=weights), CPU)
    maps = depth_maps(data / "a.png", 64, estimator, batch_size=2)

    frame = np.asarray(Image.fromarray(blue_slope(32, 32, 0)).resize((64, 64), Image.Resampling.BILINEAR))
    with torch.inference_mode():
        want = network(torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1)
    assert np.abs(maps[0].astype(int) - to_bytes(want, 64)[0]).max() <= 1
    torch.save({name: value + 1 for name, value in network.state_dict().items()}, weights)
    assert make_estimator(DepthConfig(model=name, weights=weights), CPU).key != estimator.key


@pytest.mark.parametrize("kind", ["dpt", "glpn"])
def test_a_network_of_the_hub(kind: str, transformers: Any, data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    if kind == "dpt":
        config = transformers.DPTConfig(
            hidden_size=16,
            num_hidden_layers=4,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=32,
            patch_size=8,
            backbone_out_indices=[0, 1, 2, 3],
            neck_hidden_sizes=[8, 8, 16, 16],
            fusion_hidden_size=16,
        )
        model = transformers.DPTForDepthEstimation(config).eval()
        processor = transformers.DPTImageProcessor(size={"height": 32, "width": 32})
    else:
        config = transformers.GLPNConfig(
            num_encoder_blocks=2,
            depths=[1, 1],
            sr_ratios=[2, 1],
            hidden_sizes=[8, 16],
            patch_sizes=[7, 3],
            strides=[4, 2],
            num_attention_heads=[1, 2],
            mlp_ratios=[2, 2],
            decoder_hidden_size=16,
        )
        model = transformers.GLPNForDepthEstimation(config).eval()
        processor = transformers.GLPNImageProcessor()
    model.save_pretrained(tmp_path / "repository")
    processor.save_pretrained(tmp_path / "repository")

    estimator = make_estimator(DepthConfig(model=f"hf:{tmp_path / 'repository'}"), CPU)
    images = np.stack([blue_slope(32, 32, frame) for frame in range(2)])
    nearness = estimator(images)

    with torch.inference_mode():
        want = model(**processor(images=list(images), return_tensors="pt")).predicted_depth
    # GLPN predicts metres.
    torch.testing.assert_close(nearness, want if kind == "dpt" else 1 / want.clamp_min(1e-4))
    assert depth_maps(data / "a.png", 64, estimator).shape == (5, 64, 64)


def test_a_hub_name_offline_says_what_to_do(transformers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    estimator = make_estimator(DepthConfig(model="hf:nobody/no-such-model"), CPU)
    with pytest.raises(WeightsError, match=r"nobody/no-such-model.*put them in a folder") as caught:
        estimator(np.zeros((1, 32, 32, 3), np.uint8))
    assert "\n" not in str(caught.value)


def test_the_hub_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r'needs transformers, .*pip install "dkpvid\[depth-hub\]"'):
        make_estimator(DepthConfig(model="hf:a/b"), CPU)


def test_command_with_depth_that_was_brought_along(data: Path, cache: Path) -> None:
    for path in (data / "a.png", data / "walk"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    Image.fromarray(np.concatenate([slope_map("16 bit")] * 3, axis=1)).save(data / "b.depth.png")
    result = CliRunner().invoke(app, ["depth", str(data), "--size", "64"])
    assert result.exit_code == 0, result.output
    assert result.stderr == f"3 depth maps of 1 videos are in {cache / 'depth'}\n"
    assert result.stdout == ""


def test_command_offline(data: Path) -> None:
    result = CliRunner().invoke(app, ["depth", str(data), "-q"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: cannot download dpt-swin2-large-384.safetensors")
    assert result.stderr.count("\n") == 1


def test_command_with_the_small_networks(shared: Path, tmp_path: Path, cache: Path) -> None:
    data = tmp_path / "weizmann"
    (data / "train").mkdir(parents=True)
    for strip in sorted((shared / "data" / "human" / "weizmann" / "train").iterdir())[:2]:
        with Image.open(strip) as picture:
            picture.crop((0, 0, 12 * picture.height, picture.height)).save(
                data / "train" / f"{strip.stem}.png"
            )
    model = f"local:{shared / 'nets' / 'depth'}"
    result = CliRunner().invoke(app, ["depth", str(data), "--depth-model", model, "--size", "64", "-q"])
    assert result.exit_code == 0, result.output

    frames = load_frames(data, 64)
    depth = load_depth(frames, DepthConfig(model=model), CPU)
    assert len(list((cache / "depth").iterdir())) == 2
    for images, maps in zip(frames.parts, depth.parts, strict=True):
        assert len(images) == len(maps)
        assert maps.min(axis=(1, 2, 3)).max() == 0
        assert maps.max(axis=(1, 2, 3)).min() == 255


def test_no_program_of_a_hub_model_is_run(transformers: Any) -> None:
    asked: list[Any] = []

    def from_pretrained(name: str, **options: Any) -> Any:
        asked.append(options["trust_remote_code"])
        return MagicMock()

    network = estimators.HubNetwork("owner/repo", torch.device("cpu"))
    loader = SimpleNamespace(from_pretrained=from_pretrained)
    network._transformers = SimpleNamespace(AutoImageProcessor=loader, AutoModelForDepthEstimation=loader)
    assert network.network
    assert asked == [False, False]
