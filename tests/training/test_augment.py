"""Random changes of training frames."""

import numpy as np
import torch
from scipy import ndimage

from dkpvid.training import augment
from dkpvid.training.augment import random_crop, random_flip


def test_flip_mirrors_about_half_of_the_images() -> None:
    torch.manual_seed(0)
    images = torch.arange(4.0).expand(200, 3, 4, 4).contiguous()
    flipped = random_flip(images)
    is_flipped = (flipped == images.flip(3)).flatten(1).all(1)
    assert ((flipped == images).flatten(1).all(1) ^ is_flipped).all()
    assert 70 < is_flipped.sum() < 130


def test_a_crop_shows_what_the_same_map_in_scipy_shows() -> None:
    torch.manual_seed(3)
    size = 32
    rows, columns = np.mgrid[:size, :size] / size
    image = np.stack([np.sin(5 * rows + columns), np.cos(4 * columns), rows * columns])
    crop = random_crop(torch.from_numpy(image).float()[None])[0].numpy()
    torch.manual_seed(3)
    zoom, stretch, right, down = (2 * torch.rand(4, 1)[:, 0] - 1).tolist()
    wide = np.exp(augment.CROP_ZOOM * zoom)
    high = wide * np.exp(augment.CROP_STRETCH * stretch)
    # Pixel i's centre is at i + 0.5, and the crop's middle is moved away from the image's.
    middle = size / 2
    start = [
        middle + shift * augment.CROP_SHIFT * size - side * (middle - 0.5) - 0.5
        for shift, side in ((down, high), (right, wide))
    ]
    for channel, got in zip(image, crop, strict=True):
        expected = ndimage.affine_transform(channel, [high, wide], start, order=1, mode="nearest")
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_crop_moves_picture_and_depth_alike_and_each_frame_by_itself() -> None:
    torch.manual_seed(0)
    images = torch.rand(1, 1, 16, 16).expand(50, 4, 16, 16).contiguous()
    crops = random_crop(images)
    assert torch.equal(crops[:, :1].expand(-1, 3, -1, -1), crops[:, 1:])
    assert len({crop.numpy().tobytes() for crop in crops}) == 50


def test_crops_stay_within_their_limits() -> None:
    torch.manual_seed(0)
    ramp = torch.linspace(-1, 1, 101)
    images = torch.stack([ramp.expand(101, 101), ramp[:, None].expand(101, 101)])[None].expand(400, 2, -1, -1)
    crops = random_crop(images)
    width = crops[:, 0, 50, -1] - crops[:, 0, 50, 0]
    least = np.exp(-augment.CROP_ZOOM)
    # A crop that reaches beyond the image sees its edge there.
    assert 2 * least - 0.01 <= width.min() < 1.7 and 1.95 < width.max() <= 2.01
    is_inside = (crops[:, 0, 50, 0] > -0.99) & (crops[:, 0, 50, -1] < 0.99)
    middle = crops[is_inside][:, 0, 50, 50]
    # The ramp ends half a pixel within the image.
    assert 0.08 < middle.abs().max() <= 2.03 * augment.CROP_SHIFT
