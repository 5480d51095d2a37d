"""The edge map: keypoints joined by learned links, drawn as one differentiable picture."""

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

from dkpvid.config import ModelConfig
from dkpvid.shapes import Float

# Keeps the position along an edge finite when its two ends coincide.
EPSILON = 1e-8


class EdgeMap(nn.Module):
    """Draws the skeleton; which keypoints are linked is learned and shared by all images.

    Source: He et al. 2022, AutoLink, section 3.2, eq. 2.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_keypoints = config.num_keypoints
        self.variance = config.edge_variance
        self.weight_lr = config.edge_weight_lr
        num_pairs = config.num_keypoints * (config.num_keypoints - 1) // 2
        self.raw_weights = nn.Parameter((torch.randn(num_pairs) / 10 - 4) / config.edge_weight_lr)

    @property
    def pairs(self) -> Tensor:
        """[2, pair]: the two keypoints of each link, i < j, ordered by i, then j."""
        return torch.triu_indices(self.num_keypoints, self.num_keypoints, 1, device=self.raw_weights.device)

    @property
    def weights(self) -> Float[Tensor, " pair"]:
        """Strength of each link, above 0. The factor makes them learn faster than the networks do."""
        return F.softplus(self.raw_weights.float() * self.weight_lr)

    def forward(
        self, keypoints: Float[Tensor, "batch keypoint 2"], size: int
    ) -> Float[Tensor, "batch 1 size size"]:
        """Draw the links between keypoints in model space on a square of `size` pixels."""
        return draw_edge_map(keypoints, self.weights, self.variance, size)


def draw_edge_map(
    keypoints: Float[Tensor, "batch keypoint 2"], weights: Float[Tensor, " pair"], variance: float, size: int
) -> Float[Tensor, "batch 1 size size"]:
    """At each pixel, the strongest of all links: max over pairs of weight * exp(-distance^2 / variance).

    Only the strongest link reaches the output, so only it gets a gradient. The forward pass keeps a running
    (maximum, pair) and the backward pass looks again at that one pair: memory is O(batch x pixels), whatever
    the number of pairs.

    Args:
        keypoints: (x, y) in [-1, 1]; pixels lie at linspace(-1, 1, size).
        weights: Above 0, one per pair i < j, ordered by i, then j.
        variance: Squared width of a link in model units.
        size: Side of the picture in pixels.

    Source: He et al. 2022, AutoLink, eq. 2.
    """
    picture: Tensor = _StrongestEdge.apply(keypoints.to(weights.dtype), weights, variance, size)
    return picture.unsqueeze(1)


class _StrongestEdge(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, keypoints: Tensor, weights: Tensor, variance: float, size: int) -> Tensor:
        batch, num_keypoints, _ = keypoints.shape
        grid = torch.linspace(-1, 1, size, device=keypoints.device, dtype=keypoints.dtype)
        x, y = grid.view(1, 1, size), grid.view(1, size, 1)
        # Comparing logarithms takes one exp for the picture instead of one per pair.
        log_weights = weights.clamp_min(torch.finfo(weights.dtype).tiny).log()
        best = keypoints.new_full((batch, size, size), -torch.inf)
        best_pair = torch.zeros((batch, size, size), dtype=torch.int64, device=keypoints.device)
        pairs = torch.triu_indices(num_keypoints, num_keypoints, 1, device=keypoints.device)
        for pair, (i, j) in enumerate(pairs.T.tolist()):
            start, end = keypoints[:, i, :, None, None], keypoints[:, j, :, None, None]
            distance, _, _, _ = _distance_to_edge(x, y, start.unbind(1), end.unbind(1))
            value = log_weights[pair] - distance / variance
            is_better = value > best
            best = torch.where(is_better, value, best)
            best_pair.masked_fill_(is_better, pair)
        picture = best.exp()
        ctx.save_for_backward(keypoints, weights, best_pair, picture, pairs)
        ctx.variance = variance  # type: ignore[attr-defined]
        return picture

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        keypoints, weights, best_pair, picture, pairs = ctx.saved_tensors  # type: ignore[attr-defined]
        size = picture.shape[1]
        grid = torch.linspace(-1, 1, size, device=keypoints.device, dtype=keypoints.dtype)
        pixel_pair = best_pair.flatten(1)  # [batch, pixel]
        ends = pairs[:, pixel_pair]  # [2, batch, pixel]
        x = grid.repeat(size)
        y = grid.repeat_interleave(size)
        keypoint_x, keypoint_y = keypoints.unbind(2)
        start = keypoint_x.gather(1, ends[0]), keypoint_y.gather(1, ends[0])
        end = keypoint_x.gather(1, ends[1]), keypoint_y.gather(1, ends[1])
        _, along, offset_x, offset_y = _distance_to_edge(x, y, start, end)

        weighted = grad.flatten(1) * picture.flatten(1)
        # d exp(-|r|^2 / v) with r = pixel - nearest point: moving an end moves that point by its share. Where
        # the position along the edge is free, r is perpendicular to it, so its own change does not count.
        pull = 2 * weighted / ctx.variance  # type: ignore[attr-defined]
        grad_keypoints = torch.zeros_like(keypoints)
        for axis, offset in enumerate((offset_x, offset_y)):
            gradient = torch.zeros_like(keypoint_x)
            gradient.scatter_add_(1, ends[0], pull * (1 - along) * offset)
            gradient.scatter_add_(1, ends[1], pull * along * offset)
            grad_keypoints[:, :, axis] = gradient
        grad_weights = torch.zeros_like(weights)
        grad_weights.scatter_add_(0, pixel_pair.flatten(), weighted.flatten())
        return grad_keypoints, grad_weights / weights.clamp_min(torch.finfo(weights.dtype).tiny), None, None


def _distance_to_edge(
    x: Tensor, y: Tensor, start: tuple[Tensor, ...], end: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Squared distance, position along the edge in [0, 1], and the offset (x, y) from the nearest point."""
    edge_x, edge_y = end[0] - start[0], end[1] - start[1]
    from_start_x, from_start_y = x - start[0], y - start[1]
    length = edge_x.square() + edge_y.square() + EPSILON
    along = ((from_start_x * edge_x + from_start_y * edge_y) / length).clamp(0, 1)
    offset_x, offset_y = from_start_x - along * edge_x, from_start_y - along * edge_y
    return offset_x.square() + offset_y.square(), along, offset_x, offset_y
