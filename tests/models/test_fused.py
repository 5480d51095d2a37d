"""The fused detector is the trained one."""

import numpy as np
import pytest
import torch
from torch import nn

from dkpvid.config import ModelConfig
from dkpvid.models.detector import DownBlock, heatmap_covariance
from dkpvid.models.fused import FusedDetector, FusedDownBlock, folded
from tests.filled import filled_detector


@pytest.mark.parametrize(("image_size", "width"), [(64, 32), (128, 12)])
def test_output_is_that_of_the_trained_network(rng: np.random.Generator, image_size: int, width: int) -> None:
    detector = filled_detector(ModelConfig(num_keypoints=5, image_size=image_size, detector_width=width))
    images = torch.from_numpy(rng.integers(0, 256, (3, image_size, image_size, 3), dtype=np.uint8))
    with torch.no_grad():
        trained = detector(images.permute(0, 3, 1, 2).float() / 127.5 - 1)
    keypoints, covariance = FusedDetector(detector)(images)
    assert np.ptp(trained.keypoints.numpy(), axis=0).max() > 0.1, "the images are told apart"
    torch.testing.assert_close(keypoints, trained.keypoints, rtol=0, atol=1e-5)
    expected = heatmap_covariance(trained.heatmaps, trained.keypoints)
    torch.testing.assert_close(covariance, expected, rtol=0, atol=1e-5)


def test_down_block_with_borders() -> None:
    block = DownBlock(3, 4).eval()
    for norm in (block.norm1, block.norm2, block.skip_norm):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    x = torch.randn(2, 3, 6, 10)
    with torch.no_grad():
        torch.testing.assert_close(FusedDownBlock(block)(x), block(x), rtol=1e-5, atol=1e-5)


def test_folded_is_convolution_then_batch_norm() -> None:
    conv, norm = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5)
    norm(torch.randn(8, 5, 4, 4) * 3 + 1)  # gives it statistics
    norm.eval()
    x = torch.randn(2, 3, 6, 7)
    with torch.no_grad():
        torch.testing.assert_close(folded(conv, norm)(x), norm(conv(x)), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(folded(conv)(x), conv(x))


def test_the_trained_network_stays_as_it_is() -> None:
    detector = filled_detector(ModelConfig(num_keypoints=2, image_size=64, detector_width=4))
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    fused = FusedDetector(detector)
    for parameter in fused.parameters():
        assert not parameter.requires_grad
        parameter.zero_()
    for name, value in detector.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert all(parameter.requires_grad for parameter in detector.parameters())
