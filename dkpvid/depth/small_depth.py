"""Two small depth networks and how to make one map of them: a teacher for machines without MiDaS."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.functional import normalize

from dkpvid.models.perceptual import IMAGENET_MEAN, IMAGENET_STD
from dkpvid.shapes import Float
from dkpvid.untrusted.loading import load_exactly, read_tensors

KEPT_QUANTILES = (0.02, 0.98)
"""What lies outside is clipped: a few extreme pixels would leave no contrast for the rest."""


class SmallDepth(nn.Module):
    """Nearness in [0, 1] by the mean of FastDepth and METER, without floor and walls.

    Each net's map is negated and standardised (mean 0, standard deviation 1), the plane through the mean's
    border is taken away (floor and walls are as near as the legs), and the rest is clipped at the 2nd and
    98th percentile and scaled to [0, 1].
    """

    files = ("fastdepth_nyu.safetensors", "meter_xxs_nyu.safetensors")
    fastdepth_size = (224, 224)
    meter_size = (192, 256)

    def __init__(self) -> None:
        super().__init__()
        self.fastdepth = FastDepth()
        self.meter = Meter()

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 224 224"]:
        """Nearness of RGB pictures in [0, 1]; pictures that are not square come out squeezed."""
        metres = self.fastdepth(_resize(images, self.fastdepth_size))
        centimetres = self.meter(normalize(_resize(images, self.meter_size), IMAGENET_MEAN, IMAGENET_STD))
        mean = -(_standardise(metres) + _standardise(_resize(centimetres, self.fastdepth_size))) / 2
        nearness = remove_border_plane(mean.squeeze(1).float())
        low, high = nearness.flatten(1).quantile(nearness.new_tensor(KEPT_QUANTILES), dim=1).view(2, -1, 1, 1)
        scaled: Tensor = (nearness - low) / (high - low).clamp_min(1e-6)
        return scaled.clamp(0, 1)

    def load(self, folder: Path) -> None:
        """Read both networks' weights from a folder.

        Raises:
            WeightsError: one of the two files is missing, damaged, or of another network.
        """
        for network, file in zip((self.fastdepth, self.meter), self.files, strict=True):
            path = folder / file
            load_exactly(network, read_tensors(path), path, type(network).__name__)


def remove_border_plane(maps: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch height width"]:
    """Subtract the plane a + b x + c y that fits a map's border best (least squares).

    The border is a frame as wide as 1/12 of the longer side.
    """
    height, width = maps.shape[1:]
    border = round(max(height, width) / 12)
    y = torch.linspace(-1, 1, height).view(-1, 1).expand(height, width)
    x = torch.linspace(-1, 1, width).expand(height, width)
    basis = torch.stack([torch.ones_like(x), x, y], dim=2)
    is_border = torch.ones(height, width, dtype=torch.bool)
    is_border[border : height - border, border : width - border] = False
    fit = torch.linalg.pinv(basis[is_border])  # [coefficient pixel]
    coefficients = maps[:, is_border.to(maps.device)] @ fit.T.to(maps.device)
    return maps - torch.einsum("bk,hwk->bhw", coefficients, basis.to(maps.device))


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def _standardise(maps: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch 1 height width"]:
    variance, mean = torch.var_mean(maps.float(), dim=(1, 2, 3), correction=0, keepdim=True)
    return (maps - mean) / variance.sqrt().clamp_min(1e-6)


class FastDepth(nn.Module):
    """Metres (small = near) of indoor scenes, a pruned encoder-decoder of 1.35 M parameters.

    Source: Wofk et al. 2019, arXiv 1903.03273; batch norm folded into the convolutions.
    """

    # Output channels and stride of each depthwise-pointwise pair.
    encoder = (
        *((56, 1), (88, 2), (120, 1), (144, 2), (256, 1), (408, 2), (376, 1)),
        *((272, 1), (288, 1), (296, 1), (328, 1), (480, 2), (512, 1)),
    )
    decoder = (200, 256, 120, 56, 16)
    # Which encoder output is added after each decoder step.
    skips = (None, 5, 3, 1, None)

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        channels = 16
        for number, (count, stride) in enumerate(self.encoder, start=1):
            depthwise = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels)
            self.add_module(f"dw{number}", depthwise)
            self.add_module(f"pw{number}", nn.Conv2d(channels, count, 1))
            channels = count
        for number, count in enumerate(self.decoder, start=1):
            depthwise = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
            block = nn.ModuleDict({"dw": depthwise, "pw": nn.Conv2d(channels, count, 1)})
            self.add_module(f"dec{number}", block)
            channels = count
        self.head = nn.Conv2d(channels, 1, 1)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 1 height width"]:
        """Metres for RGB in [0, 1]; sides must be multiples of 32, and 224 is what it was made for."""
        x = F.relu6(self.conv0(images))
        encoded = {}
        for number in range(1, len(self.encoder) + 1):
            x = F.relu6(self.get_submodule(f"dw{number}")(x))
            x = encoded[number] = F.relu6(self.get_submodule(f"pw{number}")(x))
        for number, skip in enumerate(self.skips, start=1):
            x = F.relu(self.get_submodule(f"dec{number}.dw")(x))
            x = F.relu(self.get_submodule(f"dec{number}.pw")(x))
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            if skip is not None:
                x = x + encoded[skip]
        return F.relu(self.head(x))


class Meter(nn.Module):
    """Centimetres (small = near) of indoor scenes, a quarter of the size; variant xxs, 0.71 M parameters.

    Source: Papa et al. 2023, METER, arXiv 2403.08368; batch norm folded into the convolutions.
    """

    # Input channels, output channels and stride of each inverted residual.
    blocks = ((16, 16, 1), (16, 24, 2), (24, 24, 1), (24, 24, 1), (24, 48, 2), (48, 64, 2), (64, 80, 2))
    # The last three are each followed by a transformer: its channels, inner width and hidden width.
    transformers = ((48, 64, 128), (64, 80, 320), (80, 96, 384))

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv_and_mix(3, 16, stride=2)
        for number, (channels, count, stride) in enumerate(self.blocks):
            self.add_module(f"mb{number}", _InvertedResidual(channels, count, stride))
        for number, sizes in enumerate(self.transformers):
            self.add_module(f"vit{number}", _PatchTransformer(*sizes))
        self.neck = nn.Conv2d(80, 160, 1)
        self.dec = nn.ModuleDict(
            {
                "in": nn.Conv2d(160, 64, 1, bias=False),
                "up1": _double(64, 32),
                "mix1": _conv_and_mix(32 + 64, 32, bias=False),
                "up2": _double(32, 16),
                "mix2": _conv_and_mix(16 + 48, 16, bias=False),
                "up3": _double(16, 8),
                "mix3": _conv_and_mix(8 + 24, 8, bias=False),
                "out": nn.Conv2d(8, 1, 3, padding=1, bias=False),
            }
        )

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 1 height/4 width/4"]:
        """Centimetres for RGB normalised by ImageNet's mean and deviation; made for 192 x 256."""
        x = _mixed(self.stem, images)
        outputs = []
        first_followed = len(self.blocks) - len(self.transformers)
        for number in range(len(self.blocks)):
            x = self.get_submodule(f"mb{number}")(x)
            outputs.append(x)
            if number >= first_followed:
                x = self.get_submodule(f"vit{number - first_followed}")(x)
        x = self.dec["in"](F.relu(self.neck(x)))
        for number, skip in enumerate((outputs[5], outputs[4], outputs[1]), start=1):
            x = torch.cat([self.dec[f"up{number}"](x), skip], dim=1)
            x = _mixed(self.dec[f"mix{number}"], x)
        centimetres: Tensor = self.dec["out"](x)
        return centimetres


class _InvertedResidual(nn.Module):
    def __init__(self, channels: int, count: int, stride: int) -> None:
        super().__init__()
        inner = 2 * channels
        self.expand = nn.Conv2d(channels, inner, 1)
        self.dw = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, groups=inner)
        self.project = nn.Conv2d(inner, count, 1)
        self.has_shortcut = stride == 1 and channels == count

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.project(F.relu(self.dw(F.relu(self.expand(x)))))
        return x + change if self.has_shortcut else change


class _PatchTransformer(nn.Module):
    """One transformer layer over all 2 x 2 patches: each pixel looks at those in its own place of a patch."""

    heads = 4
    head_width = 8

    def __init__(self, channels: int, width: int, hidden: int) -> None:
        super().__init__()
        attended = self.heads * self.head_width
        self.local = _conv_and_mix(channels, channels)
        self.add_module("in", nn.Conv2d(channels, width, 1))
        self.ln1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * attended, bias=False)
        self.proj = nn.Linear(attended, width)
        self.ln2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.out = nn.Conv2d(width, channels, 1)
        self.fuse = _conv_and_mix(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        z = F.relu(self.get_submodule("in")(_mixed(self.local, x)))
        batch, width, rows, columns = z.shape
        patches = z.reshape(batch, width, rows // 2, 2, columns // 2, 2)
        tokens = patches.permute(0, 3, 5, 2, 4, 1).reshape(4 * batch, -1, width)
        tokens = tokens + self._attend(self.ln1(tokens))
        tokens = tokens + self.fc2(F.relu(self.fc1(self.ln2(tokens))))
        patches = tokens.reshape(batch, 2, 2, rows // 2, columns // 2, width)
        z = patches.permute(0, 5, 3, 1, 4, 2).reshape(batch, width, rows, columns)
        return _mixed(self.fuse, torch.cat([F.relu(self.out(z)), x], dim=1))

    def _attend(self, tokens: Tensor) -> Tensor:
        sets, count, _ = tokens.shape
        split = self.qkv(tokens).reshape(sets, count, 3, self.heads, self.head_width)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        mixed: Tensor = self.proj(attended.transpose(1, 2).reshape(sets, count, -1))
        return mixed


def _conv_and_mix(channels: int, count: int, stride: int = 1, bias: bool = True) -> nn.ModuleDict:
    """A 3 x 3 convolution and a 1 x 1 one, to be called by `_mixed`."""
    return nn.ModuleDict(
        {
            "conv": nn.Conv2d(channels, count, 3, stride=stride, padding=1, bias=False),
            "pw": nn.Conv2d(count, count, 1, bias=bias),
        }
    )


def _mixed(layers: nn.Module, x: Tensor) -> Tensor:
    return F.relu(layers.get_submodule("pw")(layers.get_submodule("conv")(x)))


def _double(channels: int, count: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, count, 3, stride=2, padding=1, output_padding=1, bias=False)
