import pytest
import torch
from torch import Tensor

from dkpvid.config import ModelConfig
from dkpvid.models.edge_map import EdgeMap, draw_edge_map


def slow_edge_map(keypoints: Tensor, weights: Tensor, variance: float, size: int) -> Tensor:
    """Equation 2 of the paper, pixel by pixel and pair by pair."""
    grid = torch.linspace(-1, 1, size, dtype=keypoints.dtype)
    pairs = torch.triu_indices(keypoints.shape[1], keypoints.shape[1], 1).T
    picture = torch.zeros(len(keypoints), 1, size, size, dtype=keypoints.dtype)
    for b, points in enumerate(keypoints):
        for row in range(size):
            for column in range(size):
                pixel = torch.stack([grid[column], grid[row]])
                values = []
                for (i, j), weight in zip(pairs, weights, strict=True):
                    start, edge = points[i], points[j] - points[i]
                    t = (((pixel - start) @ edge) / (edge @ edge + 1e-8)).clamp(0, 1)
                    offset = pixel - start - t * edge
                    values.append(weight * torch.exp(-(offset @ offset) / variance))
                picture[b, 0, row, column] = torch.stack(values).max()
    return picture


def test_against_a_slow_loop() -> None:
    keypoints = torch.rand(2, 4, 2, dtype=torch.float64) * 2 - 1
    weights = torch.rand(6, dtype=torch.float64) + 0.1
    want = slow_edge_map(keypoints, weights, 0.05, 9)
    torch.testing.assert_close(draw_edge_map(keypoints, weights, 0.05, 9), want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("variance", [5e-3, 5e-2])
def test_gradcheck(variance: float) -> None:
    keypoints = (torch.rand(2, 5, 2, dtype=torch.float64) * 2 - 1).requires_grad_()
    weights = (torch.rand(10, dtype=torch.float64) + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda k, w: draw_edge_map(k, w, variance, 12), (keypoints, weights))


def test_coincident_and_outside_keypoints_stay_finite() -> None:
    keypoints = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [5.0, -5.0]]], requires_grad=True)
    weights = torch.full((3,), 1e-30, requires_grad=True)
    picture = draw_edge_map(keypoints, weights, 5e-5, 16)
    picture.sum().backward()
    assert keypoints.grad is not None and weights.grad is not None
    assert torch.isfinite(picture).all()
    assert torch.isfinite(keypoints.grad).all() and torch.isfinite(weights.grad).all()


def test_memory_does_not_grow_with_the_pairs() -> None:
    """What the backward pass keeps is a few pictures, whether there is one pair or over a hundred."""
    saved: list[int] = []

    def count(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    def kept(num_keypoints: int) -> int:
        saved.clear()
        keypoints = torch.rand(2, num_keypoints, 2, requires_grad=True)
        weights = torch.rand(num_keypoints * (num_keypoints - 1) // 2, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            draw_edge_map(keypoints, weights, 1e-3, 64)
        return sum(saved)

    pictures = 2 * 64 * 64
    assert pictures < kept(2) and kept(16) < 3 * pictures


def test_weights_are_positive_and_learn_faster() -> None:
    edge_map = EdgeMap(ModelConfig(num_keypoints=4, edge_weight_lr=512.0))
    assert edge_map.weights.shape == (6,) and (edge_map.weights > 0).all()
    (gradient,) = torch.autograd.grad(edge_map.weights.sum(), edge_map.raw_weights)
    plain = torch.sigmoid(edge_map.raw_weights.detach() * 512)
    torch.testing.assert_close(gradient, 512 * plain)
    assert edge_map.pairs.T.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
