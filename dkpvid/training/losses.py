"""The training losses."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dkpvid.models.perceptual import PerceptualNet
from dkpvid.shapes import Float


def perceptual_loss(
    network: PerceptualNet,
    reconstruction: Float[Tensor, "batch 3 size size"],
    target: Float[Tensor, "batch 3 size size"],
    squared: bool = False,
) -> Float[Tensor, ""]:
    """How different two pictures look to a frozen network: summed over depths, averaged over each.

    Args:
        network: Gives the activations; see `dkpvid.models.perceptual`.
        reconstruction: RGB in [-1, 1]; gets the gradient.
        target: RGB in [-1, 1].
        squared: The squared difference that the paper prints, instead of the absolute one of its code.

    Source: He et al. 2022, AutoLink, eq. 3 (after Johnson et al. 2016).
    """
    with torch.no_grad():
        wanted = network(target)
    distance = torch.square if squared else torch.abs
    # A sum that is divided, not a mean: the gradient of a mean is another array of the features' size.
    losses = [
        distance(got.float() - want).sum() / (got.numel() * scale)
        for got, want, scale in zip(network(reconstruction), wanted, network.scales, strict=True)
    ]
    return torch.stack(losses).sum()


def distillation_loss(
    student: Float[Tensor, "batch channel row column"], teacher: Float[Tensor, "batch channel row column"]
) -> Float[Tensor, ""]:
    """How differently two networks see the same scene: minus the cosine of their embeddings.

    Args:
        student: One embedding per sample; gets the gradient.
        teacher: The embedding to agree with, of the same shape.

    Returns:
        The mean over the batch, from -1 (they agree) to 1.

    Source: Anand et al., Depth-Guided Self-Supervised Human Keypoint Detection via Cross-Modal
    Distillation, eq. 4 (which prints the cosine and minimises its negative).
    """
    cosine = F.cosine_similarity(student.flatten(1).float(), teacher.flatten(1).float(), dim=1)
    return -cosine.mean()
