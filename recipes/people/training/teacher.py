"""The depth teacher: AutoLink on depth maps of rendered people, normalised to the body.

    python -m recipes.people.training.teacher STRIPS... --out RUN [--keypoints 24]

Nothing but depth maps is used. They are exact; many are made worse as depth networks make them, so that the
teacher also works on estimated ones. Can be stopped at any time and goes on where it was.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import timm
import torch
import typer
from numpy import ndarray
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from dkpvid.checkpoint import save_weights
from dkpvid.config import ModelConfig
from dkpvid.files import write_then_rename
from dkpvid.models.autolink import AutoLink
from dkpvid.models.backbone import BackboneDetector
from dkpvid.models.imagenet import LITE0, load_imagenet
from dkpvid.shapes import Float, UInt8
from dkpvid.training.losses import perceptual_loss
from recipes.people.training.strips import RenderedStrips
from recipes.people.training.student import TEACHER_SIZE, as_depth_picture

MASK_RATIO = 0.8
BATCH = 16


class Lite0Features(nn.Module):
    """EfficientNet-lite0's features at strides 2 to 16, at the pictures' own size.

    A depth map has little detail: at 64 pixels this costs a tenth of what VGG16 at 224 does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = timm.create_model(LITE0.removeprefix("timm:"), features_only=True)
        load_imagenet(self.network, LITE0, None)
        self.eval().requires_grad_(False)
        self.scales: tuple[float, ...] = (1.0,) * 4

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """The four finest."""
        features: list[Tensor] = self.network(images)[:4]
        return features

    def balance(self, images: Float[Tensor, "batch 3 height width"]) -> None:
        """Let each depth count by its mean strength on some pictures."""
        self.scales = tuple(float(feature.abs().mean()) for feature in self(images))


def body_crops(strips: RenderedStrips, seed: int) -> UInt8[ndarray, "crop size size"]:
    """Depth maps of squares about people who are shown whole, at the teacher's size."""
    rng = np.random.default_rng(seed)
    joints = strips.joints[strips.whole]
    low, high = joints.min(axis=1), joints.max(axis=1)
    extent = (high - low).max(axis=1)
    rows, centre = strips.whole[extent > 28], ((low + high) / 2)[extent > 28]
    side = extent[extent > 28] * np.exp(rng.uniform(np.log(1.15), np.log(1.6), len(rows)))
    centre = centre + rng.uniform(-0.08, 0.08, (len(rows), 2)) * side[:, None]
    crops = np.zeros((len(rows), TEACHER_SIZE, TEACHER_SIZE), np.uint8)
    for number, (row, at, width) in enumerate(zip(rows, centre, side, strict=True)):
        shift = (torch.from_numpy(at) + 0.5) * 2 / strips.side - 1
        theta = torch.cat([torch.eye(2) * width / strips.side, shift[:, None].float()], dim=1)[None].float()
        grid = F.affine_grid(theta, [1, 1, TEACHER_SIZE, TEACHER_SIZE], align_corners=False)
        depth = torch.from_numpy(strips.depth[row])[None, None].float()
        moved = F.grid_sample(depth, grid, padding_mode="border", align_corners=False)
        crops[number] = moved[0, 0].round().byte().numpy()
    return crops


def made_worse(
    depth: Float[Tensor, "batch 1 size size"], rng: Generator
) -> Float[Tensor, "batch 1 size size"]:
    """Depth maps as networks estimate them, by chance: blurred, bent, with another curve."""
    count, size = len(depth), depth.shape[2]

    def some(share: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=rng) < share

    padded = F.pad(depth, (1, 1, 1, 1), mode="replicate")
    small = F.interpolate(F.avg_pool2d(padded, 3, stride=1), scale_factor=0.5, mode="area")
    blurred = F.interpolate(small, (size, size), mode="bilinear", align_corners=False)
    depth = torch.where(some(0.4), blurred, depth)
    bias = 0.06 * torch.randn(count, 1, 4, 4, generator=rng)
    bent = depth + F.interpolate(bias, (size, size), mode="bicubic", align_corners=False)
    depth = torch.where(some(0.5), bent, depth).clamp(0, 1)
    return depth ** torch.exp(0.3 * torch.randn(count, 1, 1, 1, generator=rng))


def fit(
    model: AutoLink,
    crops: ndarray,
    steps: int,
    learning_rate: float,
    run: Path,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> None:
    """Train until `steps`, or go on where a run was stopped; the learning rate falls as half a cosine."""
    features = Lite0Features().to(device)
    model.to(device)
    # Not all at once: the features of thousands of crops would not fit.
    some = torch.from_numpy(crops[:64, None]).to(device) / 255
    features.balance(as_depth_picture(some))
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=1e-3)
    done, path = 0, run / "state.pt"
    if path.is_file():
        state = torch.load(path, weights_only=True, map_location="cpu")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done = int(state["done"])
    model.train()
    for step in range(done, steps):
        rng = torch.Generator().manual_seed(seed * 1_000_003 + step)
        torch.manual_seed(seed * 1_000_003 + step)  # of the mask
        rate = learning_rate * min(1.0, (step + 1) / 100) * (1 + np.cos(np.pi * step / steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = torch.randint(len(crops), (BATCH,), generator=rng).numpy()
        depth = torch.from_numpy(crops[rows, None]).float() / 255
        is_flipped = torch.rand(BATCH, 1, 1, 1, generator=rng) < 0.5
        depth = torch.where(is_flipped, depth.flip(3), depth)
        images = as_depth_picture(made_worse(depth, rng)).contiguous().to(device)
        painted = model(images, MASK_RATIO).images
        loss = perceptual_loss(features, painted, images) + (painted - images).abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        if (step + 1) % 250 == 0 or step + 1 == steps:
            print(f"{step + 1}/{steps} loss {loss.item():.3f}", flush=True)
            state = {"done": step + 1, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            with write_then_rename(path) as temporary:
                torch.save(state, temporary)


def main(
    folders: Annotated[list[Path], typer.Argument(help="Folders of rendered strips.")],
    out: Annotated[Path, typer.Option(help="Run folder.")],
    keypoints: Annotated[int, typer.Option(min=2)] = 24,
    steps: Annotated[int, typer.Option(min=1)] = 4000,
    learning_rate: Annotated[float, typer.Option(min=0)] = 5e-4,
    edge_variance: Annotated[float, typer.Option(min=0)] = 2e-3,
    capacity: Annotated[int, typer.Option(help="Frames to hold in memory.")] = 20_000,
    seed: int = 0,
    device: str = "cpu",
) -> None:
    """Train the teacher, and write RUN/model.safetensors."""
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    config = ModelConfig(
        backbone=LITE0,
        num_keypoints=keypoints,
        image_size=TEACHER_SIZE,
        decoder_width=16,
        edge_variance=edge_variance,
    )
    model = AutoLink(config)
    assert isinstance(model.detector, BackboneDetector)
    load_imagenet(model.detector.backbone, LITE0, None)
    crops = body_crops(RenderedStrips(folders, capacity), seed)
    fit(model, crops, steps, learning_rate, out, seed=seed, device=device)
    model.cpu()
    save_weights(out / "model.safetensors", config, model.detector.eval(), model.edge_map)


if __name__ == "__main__":
    typer.run(main)
