"""MiDaS's DPT-SwinV2 against recorded and other people's outputs, and the names in its weights files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from dkpvid.depth.dpt import DPT_VARIANTS, DptSwinV2, build_dpt, load_dpt, rename_tensors
from dkpvid.errors import WeightsError
from tests.filled import fill

# A backbone of every trait of the real ones (shifted windows, windows larger than a coarse map, tables scaled
# to another window), small enough for a test.
EMBED, DEPTHS, HEADS, WINDOW, PRETRAINED = 24, (1, 2, 2, 1), (1, 2, 2, 4), 8, (4, 4, 4, 2)
WIDTH = 32


def small_network() -> DptSwinV2:
    backbone: Any = timm.create_model(
        "swinv2_tiny_window16_256",
        features_only=True,
        img_size=64,
        embed_dim=EMBED,
        depths=DEPTHS,
        num_heads=HEADS,
        window_size=WINDOW,
        pretrained_window_sizes=PRETRAINED,
    )
    return DptSwinV2(backbone, backbone.feature_info.channels(), WIDTH).eval()


@pytest.fixture
def their_model(transformers: Any) -> Any:
    """The transformers library's model of the same sizes, with random weights of every kind."""
    backbone = transformers.Swinv2Config(
        image_size=64,
        embed_dim=EMBED,
        depths=list(DEPTHS),
        num_heads=list(HEADS),
        window_size=WINDOW,
        pretrained_window_sizes=list(PRETRAINED),
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.DPTConfig(
        backbone_config=backbone,
        neck_hidden_sizes=[EMBED, 2 * EMBED, 4 * EMBED, 8 * EMBED],
        fusion_hidden_size=WIDTH,
    )
    model = transformers.DPTForDepthEstimation(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(fill(name, tuple(value.shape), seed=7))
    return model


def published_state(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under our names as a MiDaS file would hold them, written out independently of the code."""
    state = {}
    for name, value in tensors.items():
        parts = name.split(".")
        if name.startswith("backbone.layers_"):
            stage = int(parts[1].removeprefix("layers_")) - (parts[2] == "downsample")
            theirs = ".".join(["pretrained.model.layers", str(stage), *parts[2:]])
        elif parts[0] == "backbone":
            theirs = f"pretrained.model.{'.'.join(parts[1:])}"
        elif parts[0] == "neck":
            theirs = f"scratch.layer{int(parts[1]) + 1}_rn.{parts[2]}"
        elif parts[0] == "fusion":
            layer = parts[2].replace("unit", "resConfUnit").replace("project", "out_conv")
            theirs = ".".join([f"scratch.refinenet{4 - int(parts[1])}", layer, *parts[3:]])
        else:
            theirs = f"scratch.output_conv.{'.'.join(parts[1:])}"
        state[theirs] = value
    return state


def test_golden_output(shared: Path) -> None:
    golden = np.load(shared / "golden" / "midas_dpt_swin2_tiny_256_seed7.npz")
    network = build_dpt(DPT_VARIANTS["dpt-swin2-tiny-256"]).eval()
    shapes = {name: tuple(value.shape) for name, value in published_state(network.state_dict()).items()}
    names = [str(name) for name in golden["parameter_names"]]
    # Those that our network has no place for are dropped whatever their shape.
    state = {name: fill(name, shapes.get(name, (1,)), seed=7) for name in names}
    network.load_state_dict(rename_tensors(state))

    size, seed = int(golden["size"]), int(golden["seed"])
    noise = np.random.default_rng(seed).uniform(-1, 1, (1, 3, size, size)).astype(np.float32)
    y, x = np.mgrid[0:size, 0:size] / (size - 1)
    image = (0.3 * noise + np.sin(6 * y) * np.cos(9 * x)).astype(np.float32)
    with torch.inference_mode():
        depth = network(torch.from_numpy(image)).numpy()

    # 8e-6 of the largest value was measured; frameworks sum in different orders.
    assert np.abs(depth - golden["depth"]).max() < 1e-4 * golden["depth"].max()


def test_same_output_as_transformers(their_model: Any, tmp_path: Path) -> None:
    network = small_network()
    save_file(their_model.state_dict(), tmp_path / "model.safetensors")
    load_dpt(network, tmp_path / "model.safetensors", "small")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1

    with torch.inference_mode():
        want = their_model(images).predicted_depth
        torch.testing.assert_close(network(images), want, rtol=0, atol=1e-5 * float(want.max()))
    assert want.std() > 0.01 * want.max()


@pytest.mark.parametrize(
    ("name", "embed", "depths", "heads", "window"),
    [
        ("dpt-swin2-tiny-256", 96, [2, 2, 6, 2], [3, 6, 12, 24], 16),
        ("dpt-swin2-base-384", 128, [2, 2, 18, 2], [4, 8, 16, 32], 24),
        ("dpt-swin2-large-384", 192, [2, 2, 18, 2], [6, 12, 24, 48], 24),
    ],
)
def test_every_size_takes_the_tensors_of_transformers(
    transformers: Any, name: str, embed: int, depths: list[int], heads: list[int], window: int
) -> None:
    backbone = transformers.Swinv2Config(
        image_size=DPT_VARIANTS[name].input_size,
        embed_dim=embed,
        depths=depths,
        num_heads=heads,
        window_size=window,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.DPTConfig(
        backbone_config=backbone, neck_hidden_sizes=[embed, 2 * embed, 4 * embed, 8 * embed]
    )
    with torch.device("meta"):
        network = build_dpt(DPT_VARIANTS[name])
        theirs = transformers.DPTForDepthEstimation(config).state_dict()
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    assert {name: value.shape for name, value in rename_tensors(theirs).items()} == shapes


def test_a_transformers_file_without_a_part_of_a_tensor_is_refused(their_model: Any, tmp_path: Path) -> None:
    state = their_model.state_dict()
    del state["backbone.encoder.layers.2.blocks.1.attention.self.key.weight"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"lacks backbone\.layers_2\.blocks\.1\.attn\.qkv\.weight"):
        load_dpt(small_network(), tmp_path / "model.safetensors", "small")


def test_a_midas_file_fills_the_network(tmp_path: Path) -> None:
    source, network = small_network(), small_network()
    state = published_state(source.state_dict())
    state |= {
        "pretrained.model.head.weight": torch.zeros(3, 3),
        "pretrained.model.layers.0.blocks.1.attn_mask": torch.zeros(4),
        "scratch.refinenet4.resConfUnit1.conv1.weight": torch.zeros(5),
    }
    torch.save(state, tmp_path / "small.pt")
    load_dpt(network, tmp_path / "small.pt", "small")
    for name, value in source.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name


@pytest.mark.parametrize("name", DPT_VARIANTS)
def test_every_size_takes_its_published_names(name: str) -> None:
    with torch.device("meta"):
        network = build_dpt(DPT_VARIANTS[name])
    renamed = rename_tensors(published_state(network.state_dict()))
    assert renamed.keys() == network.state_dict().keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scratch.layer1_rn.weight": None}, "lacks neck.0.weight"),
        ({"scratch.layer1_rn.weight": None, "scratch.layer2_rn.weight": None}, "neck.0.weight and 1 more"),
        ({"scratch.layer5_rn.weight": torch.zeros(1)}, "has the unknown neck.4.weight"),
        (
            {"scratch.layer1_rn.weight": torch.zeros(2, 3)},
            r"neck.0.weight is \(2, 3\), expected \(32, 24, 3, 3\)",
        ),
    ],
)
def test_an_incomplete_or_foreign_file_is_refused(
    change: dict[str, Tensor | None], message: str, tmp_path: Path
) -> None:
    network = small_network()
    state = published_state(network.state_dict()) | change
    torch.save({name: value for name, value in state.items() if value is not None}, tmp_path / "file.pt")
    with pytest.raises(WeightsError, match=f"file.pt is not a small file: .*{message}"):
        load_dpt(network, tmp_path / "file.pt", "small")


def test_a_damaged_or_missing_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"not a checkpoint")
    (tmp_path / "a.safetensors").write_bytes(b"not a checkpoint")
    torch.save([1, 2], tmp_path / "list.pt")
    for name, message in {
        "a.pt": "cannot be read as a PyTorch weights file",
        "a.safetensors": "damaged or no safetensors file",
        "list.pt": "expected a dictionary of tensors",
        "missing.pt": "no weights file at",
    }.items():
        with pytest.raises(WeightsError, match=message) as caught:
            load_dpt(small_network(), tmp_path / name, "small")
        assert "\n" not in str(caught.value)
