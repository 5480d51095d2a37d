"""The perceptual networks and their loss against recorded values."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from dkpvid.errors import WeightsError
from dkpvid.models.perceptual import MobileNetV1Features, Vgg16Features, pad_same
from dkpvid.training.losses import perceptual_loss
from tests.filled import fill


@pytest.fixture(scope="module")
def mobilenet(shared: Path) -> MobileNetV1Features:
    network = MobileNetV1Features()
    network.load(shared / "nets" / "perceptual" / "mobilenet_v1_imagenet.safetensors")
    return network.eval()


def test_vgg16_loss_and_gradient_match_the_reference(shared: Path) -> None:
    want = json.loads((shared / "golden" / "perceptual_vgg16_seed7.json").read_text())
    network = Vgg16Features()
    network.load_state_dict(
        {name: fill(name, tuple(value.shape), want["seed"]) for name, value in network.state_dict().items()}
    )
    rng = np.random.default_rng(want["seed"])
    x, y = (torch.from_numpy(rng.uniform(-1, 1, (2, 3, 128, 128)).astype(np.float32)) for _ in range(2))
    x.requires_grad_()
    loss = perceptual_loss(network, x, y)
    loss.backward()
    assert x.grad is not None
    assert loss.item() == pytest.approx(want["loss"], rel=1e-4)
    assert x.grad.norm().item() == pytest.approx(want["grad_norm"], rel=1e-4)
    assert x.grad.flatten()[:5].tolist() == pytest.approx(want["grad_first"], rel=1e-4)


def test_mobilenet_matches_recorded_activations(mobilenet: MobileNetV1Features, shared: Path) -> None:
    check = load_file(shared / "nets" / "perceptual" / "check.safetensors")
    taken: dict[str, torch.Tensor] = {}
    # The recorded picture has an odd height, which tells wrong padding: so the resize is left out.
    x = check["image"] * 2 - 1
    for name, layer in mobilenet.named_children():
        assert isinstance(layer, torch.nn.Conv2d)
        x = F.relu6(layer(pad_same(x, layer.stride[0]) if layer.kernel_size == (3, 3) else x))
        taken[name] = x[0]
    # Recorded in float32 by another program: about 1e-4.
    torch.testing.assert_close(taken["conv0"][:4, :6, :6], check["conv0"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(taken["pw1"][:8, :6, :6], check["pw1"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(taken["pw5"][:8, -6:, -6:], check["pw5"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(taken["pw11"][:16], check["pw11"], rtol=1e-3, atol=1e-4)


def test_mobilenet_features_come_from_its_own_layers(mobilenet: MobileNetV1Features) -> None:
    features = mobilenet(torch.rand(2, 3, 112, 112) * 2 - 1)
    assert [tuple(f.shape[1:]) for f in features] == [(64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]


def test_mobilenet_under_mixed_precision_sees_much_the_same(mobilenet: MobileNetV1Features) -> None:
    images = (torch.rand(2, 3, 112, 112) * 2 - 1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        got = mobilenet(images)
    sum(x.float().sum() for x in got).backward()
    assert images.grad is not None and torch.isfinite(images.grad).all()
    for x, want in zip(got, mobilenet(images), strict=True):
        # Eight bits a number, over up to 23 layers.
        assert x.dtype == torch.bfloat16 and (x - want).abs().mean() < 0.05 * want.abs().mean()


def test_mobilenet_loss_is_scaled_by_depth(mobilenet: MobileNetV1Features) -> None:
    x, y = torch.rand(2, 3, 64, 64) * 2 - 1, torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        terms = [
            (a - b).abs().mean().item() / scale
            for a, b, scale in zip(mobilenet(x), mobilenet(y), (1.17, 0.90, 0.75, 0.68), strict=True)
        ]
        assert perceptual_loss(mobilenet, x, y).item() == pytest.approx(sum(terms), rel=1e-5)
        squared = [
            (a - b).square().mean().item() / scale
            for a, b, scale in zip(mobilenet(x), mobilenet(y), (1.17, 0.90, 0.75, 0.68), strict=True)
        ]
        assert perceptual_loss(mobilenet, x, y, squared=True).item() == pytest.approx(sum(squared), rel=1e-5)


def test_target_gets_no_gradient(mobilenet: MobileNetV1Features) -> None:
    x, y = (torch.rand(1, 3, 64, 64).requires_grad_() for _ in range(2))
    perceptual_loss(mobilenet, x, y).backward()
    assert x.grad is not None and y.grad is None


def test_another_networks_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"conv0.weight": torch.zeros(32, 3, 3, 3)}, path)
    with pytest.raises(WeightsError, match=r"not a MobileNetV1 file: it lacks conv0\.bias"):
        MobileNetV1Features().load(path)
    with pytest.raises(WeightsError, match="not a VGG16 file"):
        Vgg16Features().load(path)
