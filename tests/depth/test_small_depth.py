"""The small depth networks against recorded outputs, and their recipe against slow arithmetic."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from torchvision.transforms.functional import normalize

from dkpvid.depth.small_depth import SmallDepth, remove_border_plane
from dkpvid.errors import WeightsError
from dkpvid.models.perceptual import IMAGENET_MEAN, IMAGENET_STD


@pytest.fixture(scope="module")
def network(shared: Path) -> SmallDepth:
    network = SmallDepth()
    network.load(shared / "nets" / "depth")
    return network.eval()


def test_both_networks_give_their_recorded_outputs(network: SmallDepth, shared: Path) -> None:
    check = load_file(shared / "nets" / "depth" / "check.safetensors")
    with torch.inference_mode():
        metres = network.fastdepth(check["fastdepth_image"])
        centimetres = network.meter(normalize(check["meter_image"], IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close(metres, check["fastdepth_metres"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(centimetres, check["meter_cm"], rtol=1e-5, atol=1e-3)


def test_recipe(network: SmallDepth) -> None:
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    image = F.interpolate(image, (224, 224), mode="bicubic").clamp(0, 1)
    with torch.inference_mode():
        got = network(image)[0].numpy()
        metres = network.fastdepth(image)[0, 0].double().numpy()
        squeezed = F.interpolate(image, (192, 256), mode="bilinear", antialias=True)
        centimetres = network.meter(normalize(squeezed, IMAGENET_MEAN, IMAGENET_STD))
        centimetres = F.interpolate(centimetres, (224, 224), mode="bilinear")[0, 0].double().numpy()

    nearness = np.zeros((224, 224))
    for one in (metres, centimetres):
        nearness -= (one - one.mean()) / one.std() / 2
    rows = [(1.0, x, y) for y in range(224) for x in range(224) if min(x, y, 223 - x, 223 - y) < 19]
    values = [nearness[int(y), int(x)] for _, x, y in rows]
    a, b, c = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    for y in range(224):
        for x in range(224):
            nearness[y, x] -= a + b * x + c * y
    low, high = np.percentile(nearness, [2, 98])
    want = np.clip((nearness - low) / (high - low), 0, 1)

    np.testing.assert_allclose(got, want, atol=1e-4)  # single against double precision
    assert got.min() == 0
    assert got.max() == 1


def test_border_plane_leaves_what_stands_out() -> None:
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(36.0), indexing="ij")
    bump = torch.zeros(24, 36)
    bump[8:16, 12:20] = 5
    tilted = torch.stack([bump + 3 - 0.2 * x + 0.7 * y, bump - 1 + 0.1 * x])
    torch.testing.assert_close(remove_border_plane(tilted), torch.stack([bump, bump]), atol=1e-4, rtol=0)


def test_a_flat_picture_gives_finite_numbers(network: SmallDepth) -> None:
    with torch.inference_mode():
        assert network(torch.full((1, 3, 64, 64), 0.5)).isfinite().all()


def test_a_folder_without_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights file at .*fastdepth_nyu.safetensors"):
        SmallDepth().load(tmp_path)
