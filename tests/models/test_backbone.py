"""Detectors on timm's networks: their definition, what they start from, and that inference gives the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from dkpvid.config import ModelConfig
from dkpvid.errors import UsageError, WeightsError
from dkpvid.models.backbone import BackboneDetector
from dkpvid.models.detector import heatmap_covariance, soft_argmax
from dkpvid.models.fused_backbone import folded_backbone
from dkpvid.models.imagenet import LITE0, LITE0_PACKAGE, load_imagenet
from dkpvid.models.networks import fuse
from dkpvid.models.onnx_detector import DetectorGraph
from dkpvid.tracking.runtimes import OnnxRuntime, TorchRuntime, make_runtime
from tests.filled import filled

CPU = torch.device("cpu")
SMALL = "timm:test_efficientnet"
JOINTS = ("nose", "left_wrist", "right_wrist")


def config(backbone: str = SMALL, image_size: int = 64, **changes: Any) -> ModelConfig:
    return ModelConfig(num_keypoints=5, backbone=backbone, image_size=image_size, head_width=8, **changes)


@pytest.mark.parametrize("image_size", [64, 96, 256])
def test_forward_is_its_definition(image_size: int) -> None:
    """Weights files hold no network, only its tensors: what is done with them must never change."""
    network = filled(BackboneDetector(config(image_size=image_size, joints=JOINTS)))
    images = torch.rand(2, 3, image_size, image_size) * 2 - 1
    w = network.state_dict()

    def conv(x: Tensor, name: str, padding: int) -> Tensor:
        return F.conv2d(x, w[f"{name}.weight"], w.get(f"{name}.bias"), padding=padding)

    with torch.no_grad():
        features = network.backbone(images)
        x = conv(features[3], "laterals.3", 0)
        for number, level in enumerate((2, 1, 0)):
            x = F.interpolate(x, size=features[level].shape[2:], mode="bilinear")
            x = conv(x + conv(features[level], f"laterals.{level}", 0), f"up_blocks.{number}.0", 1)
            names = ("running_mean", "running_var", "weight", "bias")
            x = F.relu(F.batch_norm(x, *(w[f"up_blocks.{number}.1.{name}"] for name in names)))
        assert x.shape[2] == image_size // 4
        logits = F.interpolate(conv(x, "head", 1), (32, 32), mode="bilinear", align_corners=False)
        heatmaps = logits.flatten(2).softmax(2).view_as(logits)
        found = network(images)
    assert found.joints is not None
    for part, some in ((found, slice(5)), (found.joints, slice(5, 8))):
        torch.testing.assert_close(part.logits, logits[:, some])
        torch.testing.assert_close(part.heatmaps, heatmaps[:, some])
        torch.testing.assert_close(part.keypoints, soft_argmax(heatmaps)[:, some])
    torch.testing.assert_close(found.middle, x)
    torch.testing.assert_close(found.early, features[3])
    own = {name for name in w if not name.startswith("backbone.")}
    assert {name.split(".")[0] for name in own} == {"laterals", "up_blocks", "head"}


# Same padding and hard activations; skip connections and max pooling; squeeze and excite.
NETWORKS = ["timm:tf_efficientnet_lite0", "timm:resnet18", "timm:mobilenetv3_small_050", SMALL]


@pytest.mark.parametrize("backbone", NETWORKS)
def test_fused_and_onnx_give_what_the_trained_network_gives(rng: np.random.Generator, backbone: str) -> None:
    detector = filled(BackboneDetector(config(backbone, joints=JOINTS)))
    images = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    with torch.no_grad():
        found = detector(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1)
    wanted = torch.cat([found.keypoints, found.joints.keypoints], dim=1)
    assert np.ptp(wanted.numpy(), axis=0).max() > 0.1, "the images are told apart"
    spread = torch.cat(
        [heatmap_covariance(part.heatmaps, part.keypoints) for part in (found, found.joints)], dim=1
    )
    for name, kind in (("torch", TorchRuntime), ("onnx", OnnxRuntime)):
        runtime = make_runtime(detector, CPU, name=name)
        assert isinstance(runtime, kind)
        points, covariance = runtime(images)
        # Of 64 pixels, 0.01 are 3e-4.
        np.testing.assert_allclose(points, wanted, rtol=0, atol=1e-4)
        np.testing.assert_allclose(covariance, spread, rtol=0, atol=1e-4)
    layers = [type(layer) for layer in fuse(detector).modules()]
    assert not any(issubclass(layer, nn.BatchNorm2d) for layer in layers)


def test_the_trained_network_stays_as_it_is() -> None:
    detector = filled(BackboneDetector(config()))
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    for parameter in fuse(detector).parameters():
        assert not parameter.requires_grad
        parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())
    assert all(parameter.requires_grad for parameter in detector.parameters())


def test_the_graph_is_valid_and_takes_any_batch() -> None:
    graph = DetectorGraph(fuse(filled(BackboneDetector(config(image_size=96, joints=JOINTS)))))
    graph.add_output("points", graph.points, 8, 2)
    onnx.checker.check_model(graph.model(), full_check=True)


def test_a_layer_that_onnx_lacks_leaves_it_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = BackboneDetector(config()).eval()
    detector.backbone.blocks[0].add_module("odd", nn.Softsign())
    with pytest.raises(UsageError, match="Softsign cannot be written as ONNX; use --runtime torch"):
        make_runtime(detector, CPU, name="onnx")
    assert isinstance(make_runtime(detector, CPU, name="auto"), TorchRuntime)


class Winding(nn.Module):
    """Goes a way that cannot be traced."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x, x] if x.sum() > 0 else [x]


def test_what_cannot_be_traced_is_kept_whole() -> None:
    winding = Winding()
    assert isinstance(folded_backbone(winding), Winding)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:no_such_network", "has no network 'no_such_network'"),
        ("timm:vit_tiny_patch16_224", "gives no features at strides 4, 8, 16 and 32"),
    ],
)
def test_networks_that_do_not_fit_are_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BackboneDetector(config(name))


@pytest.mark.parametrize("num_stages", [0, 1, 3, 4])
@pytest.mark.parametrize("backbone", [SMALL, "timm:test_resnet"])
def test_frozen_stages_do_not_move(backbone: str, num_stages: int) -> None:
    network = BackboneDetector(config(backbone))
    network.freeze(num_stages)
    network.train()
    before = {name: value.clone() for name, value in network.backbone.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.5)
    network(torch.randn(4, 3, 64, 64)).keypoints.square().sum().backward()
    optimizer.step()
    after = network.backbone.state_dict()
    is_moved = [not torch.equal(value, after[name]) for name, value in before.items()]
    # All of the front stays, running statistics included; of the rest everything moves.
    first = is_moved.index(True) if True in is_moved else len(is_moved)
    # A bias under a gain that starts at zero has no gradient yet.
    behind = list(zip(before, is_moved, strict=True))[first:]
    assert all(moved for name, moved in behind if not name.endswith("bias"))
    stages = network.backbone.feature_info.module_name()
    names = list(before)
    ends = {0: 0, 4: len(names)}
    if num_stages in (1, 3):
        ends[num_stages] = 1 + max(
            i for i, n in enumerate(names) if n.startswith(f"{stages[num_stages - 1]}.")
        )
    assert first == ends[num_stages]
    network.eval()
    assert not any(module.training for module in network.modules())


def test_a_file_with_timms_names_is_read(tmp_path: Path) -> None:
    whole = timm.create_model("test_efficientnet")
    save_file(whole.state_dict(), tmp_path / "net.safetensors")
    network = BackboneDetector(config())
    load_imagenet(network.backbone, SMALL, tmp_path / "net.safetensors")
    state = whole.state_dict()
    for name, value in network.backbone.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("backbone", [SMALL, LITE0])
def test_a_file_of_another_network_is_refused(tmp_path: Path, backbone: str) -> None:
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "net.safetensors")
    with pytest.raises(WeightsError, match=rf"net.safetensors is not a file of {backbone}: "):
        load_imagenet(BackboneDetector(config(backbone)).backbone, backbone, tmp_path / "net.safetensors")


def test_the_extra_lite0_gives_imagenet(need_package: Callable[[str], Any]) -> None:
    need_package(LITE0_PACKAGE)
    network = BackboneDetector(config(LITE0)).backbone.eval()
    load_imagenet(network, LITE0, None)
    with torch.no_grad():
        # Trained features have a scale; random ones in eval mode die out with depth.
        scales = [features.std().item() for features in network(torch.randn(1, 3, 64, 64))]
    assert all(0.2 < scale < 20 for scale in scales), scales
    assert network.blocks[6][0].bn3.running_var.mean() != 1


def test_a_download_that_fails_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    network = BackboneDetector(config("timm:mobilenetv3_small_050")).backbone
    with pytest.raises(WeightsError, match=r"no route to host.*give its path to --backbone-weights"):
        load_imagenet(network, "timm:mobilenetv3_small_050", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnet18"}, "unknown backbone 'resnet18'; give autolink or timm:NAME"),
        ({"backbone": "timm:hf_hub:somebody/network"}, "unknown backbone"),
        ({"backbone": "timm:local-dir:/tmp"}, "unknown backbone"),
        ({"backbone": SMALL, "image_size": 100}, "64, 96, 128, 160, 192, 224 or 256 for timm, got 100"),
        ({"image_size": 96}, "image size must be 64 or 128 for autolink, got 96"),
        ({"backbone": SMALL, "head_width": 2}, "head width must be 4 to 512, got 2"),
        ({"joints": ("nose", "nose")}, "different names"),
        ({"joints": ("no\nse",)}, "different names of letters"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ModelConfig(**changes)
