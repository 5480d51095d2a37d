"""The two frozen networks whose features a reconstruction is compared in. Training only."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import vgg16
from torchvision.transforms.functional import normalize

from dkpvid.shapes import Float
from dkpvid.untrusted.loading import load_exactly, read_tensors

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@runtime_checkable
class PerceptualNet(Protocol):
    """Features of a picture at several depths; each difference is worth 1 / its scale."""

    @property
    def scales(self) -> tuple[float, ...]:
        """One for each depth."""

    def __call__(self, images: Tensor, /) -> list[Tensor]:
        """Features of RGB in [-1, 1], [batch, 3, height, width]."""


class Vgg16Features(nn.Module):
    """VGG16's activations relu1_2, relu2_2, relu3_3 and relu4_3 at 224 x 224: the papers' choice."""

    input_size = 224
    scales = (1.0, 1.0, 1.0, 1.0)
    taps = (3, 8, 15, 22)

    def __init__(self) -> None:
        super().__init__()
        # torchvision names its layers features.0, features.1, ... and so do its weights files.
        self.features = vgg16(weights=None).features[: self.taps[-1] + 1]

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """The four activations, shallow to deep."""
        x = normalize(images * 0.5 + 0.5, IMAGENET_MEAN, IMAGENET_STD)
        x = F.interpolate(x, (self.input_size, self.input_size), mode="bilinear", align_corners=False)
        activations = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                activations.append(x)
        return activations

    def load(self, path: Path) -> None:
        """Read torchvision's `vgg16-*.pth` or a safetensors file with the same names."""
        load_own(self, path, "VGG16")


class MobileNetV1Features(nn.Module):
    """MobileNetV1 1.0's activations pw1, pw3, pw5 and pw11: much cheaper than VGG16.

    Source: Howard et al. 2017, arXiv 1704.04861; batch norm folded into the convolutions. The scales are
    the activations' standard deviations over photographs, so that each depth weighs the same.
    """

    input_size = 112
    scales = (1.17, 0.90, 0.75, 0.68)
    taps = ("pw1", "pw3", "pw5", "pw11")
    # Output channels and stride of each depthwise-pointwise pair, as far as the deepest tap.
    pairs = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5)

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 32, 3, stride=2)
        channels = 32
        for number, (channels_out, stride) in enumerate(self.pairs, start=1):
            self.add_module(f"dw{number}", nn.Conv2d(channels, channels, 3, stride=stride, groups=channels))
            self.add_module(f"pw{number}", nn.Conv2d(channels, channels_out, 1))
            channels = channels_out

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """The four activations, shallow to deep."""
        x = F.interpolate(images, (self.input_size, self.input_size), mode="bilinear", align_corners=False)
        activations = []
        for name, layer in self.named_children():
            if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
                x = pad_same(x, layer.stride[0])
            x = F.relu6(convolve(layer, x))
            if name in self.taps:
                activations.append(x)
        return activations

    def load(self, path: Path) -> None:
        """Read a file with the names conv0, dw1, pw1, ..."""
        load_own(self, path, "MobileNetV1")


def convolve(layer: nn.Module, x: Float[Tensor, "batch channel row column"]) -> Tensor:
    """Apply a convolution; a strided depthwise one in full precision, whatever the mixed precision around it.

    On a CPU its bfloat16 gradient is several times slower than that in float32 (oneDNN 3.13).
    """
    if isinstance(layer, nn.Conv2d) and layer.groups > 1 and layer.stride[0] > 1:
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(x.float(), layer.weight, layer.bias, layer.stride, groups=layer.groups)
    features: Tensor = layer(x)
    return features


def pad_same(x: Float[Tensor, "batch channel row column"], stride: int) -> Tensor:
    """TensorFlow's SAME padding for a 3 x 3 convolution: at stride 2 it is not symmetric."""
    padding: list[int] = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + 3 - size, 0)
        padding += [total // 2, total - total // 2]
    return F.pad(x, padding)


def load_own(module: nn.Module, path: Path, network: str) -> None:
    """Fill the part of a network that is needed; its deeper layers and its classifier stay in the file."""
    own = module.state_dict()
    tensors = {name: value for name, value in read_tensors(path).items() if name in own}
    load_exactly(module, tensors, path, network)
