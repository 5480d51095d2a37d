import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dkpvid.config import ModelConfig
from dkpvid.models.detector import (
    KeypointDetector,
    half_size_conv,
    heatmap_covariance,
    resize,
    soft_argmax,
)


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (6, 10)])
def test_half_size_conv_is_a_convolution_then_a_resize(rows: int, columns: int) -> None:
    x = torch.randn(2, 3, rows, columns, dtype=torch.float64)
    weight, bias = torch.randn(5, 3, 3, 3, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    full = F.conv2d(x, weight, bias, padding=1)
    want = F.interpolate(full, scale_factor=0.5, mode="bilinear", align_corners=False)
    torch.testing.assert_close(half_size_conv(x, weight, bias), want, rtol=1e-12, atol=1e-12)


def test_half_size_conv_trains_the_same_kernel() -> None:
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    weight = torch.randn(5, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(5, dtype=torch.float64)
    pull = torch.randn(2, 5, 4, 4, dtype=torch.float64)
    (got,) = torch.autograd.grad((half_size_conv(x, weight, bias) * pull).sum(), weight)
    plain = F.avg_pool2d(F.conv2d(x, weight, bias, padding=1), 2)
    (want,) = torch.autograd.grad((plain * pull).sum(), weight)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_soft_argmax_of_one_hot_cell_is_that_cell() -> None:
    heatmaps = torch.zeros(1, 2, 32, 32)
    heatmaps[0, 0, 0, 31] = 1  # first row, last column
    heatmaps[0, 1, 31, 0] = 1
    torch.testing.assert_close(soft_argmax(heatmaps), torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]]))


def test_soft_argmax_is_not_rounded_under_mixed_precision() -> None:
    heatmaps = torch.randn(2, 3, 1024).softmax(2).view(2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        got = soft_argmax(heatmaps)
    assert torch.equal(got, soft_argmax(heatmaps))


def test_soft_argmax_against_a_slow_loop() -> None:
    heatmaps = torch.rand(2, 3, 4, 6).flatten(2).softmax(2).view(2, 3, 4, 6)
    x, y = torch.linspace(-1, 1, 6), torch.linspace(-1, 1, 4)
    for image in range(2):
        for keypoint in range(3):
            expected = torch.zeros(2)
            for row in range(4):
                for column in range(6):
                    weight = heatmaps[image, keypoint, row, column]
                    expected += weight * torch.stack([x[column], y[row]])
            torch.testing.assert_close(soft_argmax(heatmaps)[image, keypoint], expected)


def test_heatmap_covariance_is_that_of_a_slow_loop(rng: np.random.Generator) -> None:
    heatmaps = rng.random((2, 3, 5, 9)) ** 4
    heatmaps /= heatmaps.sum(axis=(2, 3), keepdims=True)
    expected = np.zeros((2, 3, 3))
    keypoints = np.zeros((2, 3, 2))
    rows, columns = np.linspace(-1, 1, 5), np.linspace(-1, 1, 9)
    for b, k in np.ndindex(2, 3):
        cells = [(columns[c], rows[r], heatmaps[b, k, r, c]) for r in range(5) for c in range(9)]
        mean_x, mean_y = (sum(cell[axis] * cell[2] for cell in cells) for axis in (0, 1))
        keypoints[b, k] = mean_x, mean_y
        for x, y, mass in cells:
            dx, dy = x - mean_x, y - mean_y
            expected[b, k] += mass * np.array([dx * dx, dx * dy, dy * dy])
    found = heatmap_covariance(torch.from_numpy(heatmaps).float(), torch.from_numpy(keypoints).float())
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("image_size", [64, 128])
def test_heatmaps_have_32_cells_at_either_input_size(image_size: int) -> None:
    detector = KeypointDetector(ModelConfig(num_keypoints=5, image_size=image_size, detector_width=4))
    found = detector.eval()(torch.randn(2, 3, 90, 70))
    assert found.heatmaps.shape == (2, 5, 32, 32)
    assert found.early.shape[2:] == (8, 8)
    torch.testing.assert_close(found.heatmaps.sum((2, 3)), torch.ones(2, 5))
    assert found.keypoints.abs().max() <= 1


def test_parameter_count_is_the_papers() -> None:
    parameters = sum(p.numel() for p in KeypointDetector(ModelConfig(num_keypoints=16)).parameters())
    assert round(parameters / 1e6, 2) == 7.74


def test_gradient_reaches_the_image() -> None:
    detector = KeypointDetector(ModelConfig(num_keypoints=3, image_size=64, detector_width=4))
    images = torch.randn(2, 3, 64, 64, requires_grad=True)
    detector(images).keypoints.sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0


def test_resize_keeps_an_image_of_the_right_size() -> None:
    images = torch.randn(1, 3, 64, 64)
    assert resize(images, 64) is images
