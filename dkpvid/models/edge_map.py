"""The edge map: keypoints joined by learned links, drawn as one differentiable picture."""

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

from dkpvid.config import ModelConfig
from dkpvid.shapes import Float

# Keeps the position along an edge finite when its two ends coincide.
EPSILON = 1e-8
PAIRS_AT_ONCE = 8
"""Few enough to stay in the processor's cache, many enough to keep a GPU busy."""


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

    @property
    def skeleton(self) -> tuple[tuple[int, int, float], ...]:
        """(i, j, strength) of each link, in the order of `pairs`."""
        return tuple(zip(*self.pairs.tolist(), self.weights.tolist(), strict=True))

    def forward(
        self, keypoints: Float[Tensor, "batch keypoint 2"], size: int
    ) -> Float[Tensor, "batch 1 size size"]:
        """Draw the links between keypoints in model space on a square of `size` pixels."""
        return draw_edge_map(keypoints, self.weights, self.variance, size)


def draw_edge_map(
    keypoints: Float[Tensor, "batch keypoint 2"], weights: Float[Tensor, " pair"], variance: float, size: int
) -> Float[Tensor, "batch 1 size size"]:
    """At each pixel, the strongest of all links: max over pairs of weight * exp(-distance^2 / variance).

    Only the strongest link reaches the output, so only it gets a gradient. The forward pass looks at a few
    pairs at a time and keeps a running (maximum, pair), and the backward pass looks again at that one pair:
    memory is O(batch x pixels), whatever the number of pairs.

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
        _, start, edge, squared_length = _edges(keypoints)
        grid = torch.linspace(-1, 1, size, device=keypoints.device, dtype=keypoints.dtype)
        # Comparing logarithms takes one exp for the picture instead of one per pair.
        log_weights = weights.clamp_min(torch.finfo(weights.dtype).tiny).log().view(-1, 1, 1)
        least = keypoints.new_full((len(keypoints), size, size), torch.inf)
        best_pair = torch.zeros_like(least, dtype=torch.int64)
        for first in range(0, len(weights), PAIRS_AT_ONCE):
            some = slice(first, first + PAIRS_AT_ONCE)
            start_x, start_y = start[:, some, :, None, None].unbind(2)  # [batch pair 1 1]
            edge_x, edge_y = edge[:, some, :, None, None].unbind(2)
            share = 1 / squared_length[:, some, None, None]
            # What depends on x or y alone is a line of pixels: [batch pair 1 size], [batch pair size 1].
            x, y = grid - start_x, grid.unsqueeze(1) - start_y
            along = (x * (edge_x * share) + y * (edge_y * share)).clamp_(0, 1)
            # In units of an edge's width, its profile is exp(-distance^2).
            x, y, edge_x, edge_y = (value * variance**-0.5 for value in (x, y, edge_x, edge_y))
            distance = torch.addcmul(x, along, edge_x, value=-1).square_()
            offset_y = torch.addcmul(y, along, edge_y, value=-1)
            value, pair = distance.addcmul_(offset_y, offset_y).sub_(log_weights[some]).min(dim=1)
            best_pair = torch.where(value < least, pair + first, best_pair)
            least = torch.minimum(least, value)
        picture = least.neg_().exp_()
        ctx.save_for_backward(keypoints, weights, best_pair, picture)
        ctx.variance = variance  # type: ignore[attr-defined]
        return picture

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        keypoints, weights, best_pair, picture = ctx.saved_tensors  # type: ignore[attr-defined]
        pairs, start, edge, squared_length = _edges(keypoints)
        size = picture.shape[1]
        grid = torch.linspace(-1, 1, size, device=keypoints.device, dtype=keypoints.dtype)
        pair = best_pair.flatten(1)  # [batch pixel]
        edge_x, edge_y = edge[..., 0].gather(1, pair), edge[..., 1].gather(1, pair)
        from_start_x = grid.repeat(size) - start[..., 0].gather(1, pair)
        from_start_y = grid.repeat_interleave(size) - start[..., 1].gather(1, pair)
        projection = from_start_x * edge_x + from_start_y * edge_y
        along = (projection / squared_length.gather(1, pair)).clamp_(0, 1)

        weighted = grad.flatten(1) * picture.flatten(1)
        # d exp(-|r|^2 / v) with r = pixel - nearest point: moving an end moves that point by its share. Where
        # the position along the edge is free, r is perpendicular to it, so its own change does not count.
        pull = weighted * (2 / ctx.variance)  # type: ignore[attr-defined]
        pull_x = pull * torch.addcmul(from_start_x, along, edge_x, value=-1)
        pull_y = pull * torch.addcmul(from_start_y, along, edge_y, value=-1)
        by_pixel = torch.stack([pull_x, pull_y, along * pull_x, along * pull_y, weighted])
        by_pair = torch.zeros((len(by_pixel), *squared_length.shape), dtype=grad.dtype, device=grad.device)
        by_pair.scatter_add_(2, pair.expand_as(by_pixel), by_pixel)

        on_both, on_end = by_pair[:2].permute(1, 2, 0), by_pair[2:4].permute(1, 2, 0)  # [batch pair 2]
        grad_keypoints = torch.zeros_like(keypoints)
        grad_keypoints.index_add_(1, pairs[0], on_both - on_end).index_add_(1, pairs[1], on_end)
        grad_weights = by_pair[4].sum(0) / weights.clamp_min(torch.finfo(weights.dtype).tiny)
        return grad_keypoints, grad_weights, None, None


def _edges(keypoints: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The pairs [2 pair]; where each starts and the way to its end [batch pair 2]; its squared length."""
    num_keypoints = keypoints.shape[1]
    pairs = torch.triu_indices(num_keypoints, num_keypoints, 1, device=keypoints.device)
    start = keypoints[:, pairs[0]]
    edge = keypoints[:, pairs[1]] - start
    return pairs, start, edge, edge.square().sum(dim=2) + EPSILON
