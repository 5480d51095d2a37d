"""Our training step is the reference's: the same losses, step by step, from the same start."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dkpvid.training.fitting
from benchmarks import reference_autolink as reference
from dkpvid.config import ModelConfig, TrainConfig
from dkpvid.models.autolink import AutoLink
from dkpvid.training.data import FrameSet, batches
from dkpvid.training.fitting import Network, fit, to_images
from dkpvid.training.losses import perceptual_loss
from dkpvid.training.parallel import Processes

STEPS = 50
MODEL = ModelConfig(num_keypoints=4, image_size=64, detector_width=4, decoder_width=4, edge_variance=2e-3)


class TwoLayers(nn.Module):
    """A perceptual network that costs next to nothing."""

    scales = (1.0, 1.0)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 8, 3, stride=2)])
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        first = self.layers[0](images).relu()
        return [first, self.layers[1](first).relu()]


class PlainLoss(nn.Module):
    """The loss as the reference writes it."""

    def __init__(self, network: TwoLayers) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return sum(map(F.l1_loss, self.network(x), self.network(y)), x.new_zeros(()))


def with_weights_of(theirs: Any) -> AutoLink:
    """Our network with the reference's weights, which come in the same order but for the edge weights."""
    ours = AutoLink(MODEL)
    own = [*ours.detector.parameters(), *ours.decoder.parameters()]
    skeleton = theirs.decoder.skeleton_scalar
    others = [value for value in theirs.parameters() if value is not skeleton]
    with torch.no_grad():
        for value, other in zip(own, others, strict=True):
            value.copy_(other)
        i, j = torch.triu_indices(MODEL.num_keypoints, MODEL.num_keypoints, 1)
        ours.edge_map.raw_weights.copy_(skeleton[i, j])
    return ours


def test_fifty_steps_have_the_losses_of_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    theirs = reference.AutoLink(4, MODEL.edge_variance, 64, detector_width=4, decoder_width=4)
    ours = with_weights_of(theirs)
    network = TwoLayers()
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    frames = FrameSet(Path(), ("v",), (coarse.repeat(4, axis=1).repeat(4, axis=2),))
    config = TrainConfig(
        data=tmp_path,
        run=tmp_path / "run",
        model=MODEL,
        steps=STEPS,
        batch_size=4,
        flip=False,
        device="cpu",
        precision="32",
        log_every=1,
    )

    def losses(model: Network, images: Tensor) -> dict[str, Tensor]:
        return {"loss": perceptual_loss(network, model(images, config.mask_ratio).images, images)}

    monkeypatch.setattr(dkpvid.training.fitting, "AutoLink", lambda model: ours)
    fit(config, Processes(torch.device("cpu")), frames, losses, lambda images: images)
    got = [json.loads(line)["loss"] for line in (config.run / "metrics.jsonl").read_text().splitlines()]

    torch.manual_seed(config.seed)  # both draw nothing but masks
    optimizer = reference.make_optimizer(theirs)
    order = batches(len(frames), config.batch_size, config.seed, 0)
    want = []
    for _ in range(STEPS):
        images = to_images(torch.from_numpy(frames.read(next(order)))).contiguous()
        want.append(reference.training_step(theirs, optimizer, PlainLoss(network), images).item())
    assert want[-1] < 0.9 * want[0], "nothing was learned, so nothing was compared"
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5)
    # Rounding grows from step to step: AdamW turns the least gradient into a full step.
    np.testing.assert_allclose(got, want, rtol=2e-2)
