"""The reference implementation of AutoLink as it runs in eager PyTorch: what speed is compared with.

Its arithmetic in our words, with none of our shortcuts: every 3 x 3 convolution at full size before its x0.5
resize, branch and skip apart, batch norm by itself, NCHW, and an edge map that holds every pair at every
pixel at once. Parts have the reference's names, so its checkpoints (and the golden files) fill it directly;
keypoints are (row, column), as there. `tests/test_reference_benchmark.py` compares all of it with outputs
recorded from the reference.

Where the reference tells three cases of a pixel before, beside and behind an edge, the position along the
edge is clamped here: the same values for less work, so our comparisons are not flattered.

Source: He et al. 2022, AutoLink (arXiv 2205.10636) and its code, github.com/xingzhehe/AutoLink.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import vgg16

SLOPE = 0.2
CELLS = 32
MASK_GRID = 16
WEIGHT_LR = 512.0
"""Factor on the raw edge weights."""


def resize(factor: float) -> nn.Upsample:
    """Bilinear, without aligned corners."""
    return nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False)


def conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    """3 x 3, started as the reference does."""
    layer = nn.Conv2d(channels_in, channels_out, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    nn.init.zeros_(layer.bias)
    return layer


# --- Detector -----------------------------------------------------------------------------------------------


class ResidualDown(nn.Module):
    """Half the size: LeakyReLU(net + conv_res)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            conv(channels_in, channels_out),
            resize(0.5),
            nn.BatchNorm2d(channels_out),
            nn.LeakyReLU(SLOPE),
            conv(channels_out, channels_out),
            nn.BatchNorm2d(channels_out),
        )
        self.conv_res = nn.Sequential(
            conv(channels_in, channels_out), resize(0.5), nn.BatchNorm2d(channels_out)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[batch channel row column] to half the rows and columns."""
        return F.leaky_relu(self.net(x) + self.conv_res(x), SLOPE)


class DetectorUp(nn.Module):
    """Twice the size."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            resize(2), conv(channels_in, channels_out), nn.BatchNorm2d(channels_out), nn.LeakyReLU(SLOPE)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[batch channel row column] to twice the rows and columns."""
        features: Tensor = self.net(x)
        return features


class Detector(nn.Module):
    """Images to keypoints.

    Args:
        num_keypoints: K.
        image_size: 128, or 64 for the three-block variant of this package, which the reference lacks.
        width: Channels after the first block; the reference has 64.
    """

    def __init__(self, num_keypoints: int, image_size: int = 128, width: int = 64) -> None:
        super().__init__()
        self.image_size = image_size
        widths = [width * 2**level for level in range(4 if image_size == 128 else 3)]
        self.conv = nn.Sequential(
            *(ResidualDown(*pair) for pair in zip([3, *widths], widths, strict=False)),
            DetectorUp(widths[-1], widths[-2]),
            DetectorUp(widths[-2], widths[-3]),
            conv(widths[-3], num_keypoints),
        )
        self.register_buffer("coord", grid(CELLS))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints [batch K 2] (row, column) in [-1, 1], and heatmaps [batch K 32 32], of RGB in [-1, 1]."""
        side = (self.image_size, self.image_size)
        logits = self.conv(F.interpolate(images, side, mode="bilinear", align_corners=False))
        heatmaps = logits.flatten(2).softmax(dim=2)
        keypoints = (heatmaps.unsqueeze(3) * self.coord).sum(dim=2)
        return keypoints, heatmaps.view_as(logits)


def grid(size: int) -> Tensor:
    """[1 1 cell 2]: (row, column) of every cell of a square over [-1, 1]."""
    line = torch.linspace(-1, 1, size)
    return torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=2).reshape(1, 1, -1, 2)


# --- Edge map and decoder -----------------------------------------------------------------------------------


def draw_edges(keypoints: Tensor, variance: float, size: int) -> Tensor:
    """Every pair by itself, i < j: exp(-distance^2 / variance) at each pixel, [batch pair size size]."""
    i, j = torch.triu_indices(keypoints.shape[1], keypoints.shape[1], 1)
    start, edge = keypoints[:, i], keypoints[:, j] - keypoints[:, i]  # [batch pair 2]
    from_start = grid(size).to(keypoints) - start.unsqueeze(2)  # [batch pair pixel 2]
    along = (from_start @ edge.unsqueeze(3)).squeeze(3) / (edge.square().sum(2, keepdim=True) + 1e-8)
    nearest = along.clamp(0, 1).unsqueeze(3) * edge.unsqueeze(2)
    distance = (from_start - nearest).square().sum(dim=3)
    return torch.exp(-distance / variance).unflatten(2, (size, size))


class DecoderDown(nn.Module):
    """Half the size."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            conv(channels_in, channels_out),
            nn.BatchNorm2d(channels_out),
            nn.LeakyReLU(SLOPE),
            conv(channels_out, channels_out),
            nn.BatchNorm2d(channels_out),
            resize(0.5),
            nn.LeakyReLU(SLOPE),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[batch channel row column] to half the rows and columns."""
        features: Tensor = self.net(x)
        return features


class DecoderUp(nn.Module):
    """Twice the size."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            resize(2),
            conv(channels_in, channels_out),
            nn.BatchNorm2d(channels_out),
            nn.LeakyReLU(SLOPE),
            conv(channels_out, channels_out),
            nn.BatchNorm2d(channels_out),
            nn.LeakyReLU(SLOPE),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[batch channel row column] to twice the rows and columns."""
        features: Tensor = self.net(x)
        return features


class Decoder(nn.Module):
    """The edge map with its learned weights, and the U-Net that paints the image back.

    Args:
        num_keypoints: K.
        variance: Squared width of an edge.
        width: Channels after the first convolution; the reference has 64.
    """

    def __init__(self, num_keypoints: int, variance: float = 5e-5, width: int = 64) -> None:
        super().__init__()
        w = width
        self.num_keypoints, self.variance = num_keypoints, variance
        self.alpha = nn.Parameter(torch.tensor(1.0))
        self.skeleton_scalar = nn.Parameter((torch.randn(num_keypoints, num_keypoints) / 10 - 4) / WEIGHT_LR)
        self.down0 = nn.Sequential(conv(4, w), nn.LeakyReLU(SLOPE))
        self.down1, self.down2 = DecoderDown(w, 2 * w), DecoderDown(2 * w, 4 * w)
        self.down3, self.down4 = DecoderDown(4 * w, 8 * w), DecoderDown(8 * w, 8 * w)
        self.up1, self.up2 = DecoderUp(8 * w, 8 * w), DecoderUp(16 * w, 4 * w)
        self.up3, self.up4 = DecoderUp(8 * w, 2 * w), DecoderUp(4 * w, w)
        self.conv = conv(2 * w, 3)

    def edge_map(self, keypoints: Tensor, size: int) -> Tensor:
        """[batch 1 size size]: the strongest of all weighted edges at each pixel."""
        i, j = torch.triu_indices(self.num_keypoints, self.num_keypoints, 1)
        weights = F.softplus(self.skeleton_scalar * WEIGHT_LR)[i, j]
        edges = draw_edges(keypoints, self.variance, size) * weights.view(1, -1, 1, 1)
        return edges.max(dim=1, keepdim=True).values

    def forward(self, masked_images: Tensor, keypoints: Tensor) -> Tensor:
        """Reconstruct RGB in [-1, 1] from what is visible of it and from (row, column) keypoints."""
        edge_map = self.edge_map(keypoints, masked_images.shape[3])
        down0 = self.down0(torch.cat([self.alpha * masked_images, edge_map], dim=1))
        down1 = self.down1(down0)
        down2 = self.down2(down1)
        down3 = self.down3(down2)
        up1 = torch.cat([self.up1(self.down4(down3)), down3], dim=1)
        up2 = torch.cat([self.up2(up1), down2], dim=1)
        up3 = torch.cat([self.up3(up2), down1], dim=1)
        up4 = torch.cat([self.up4(up3), down0], dim=1)
        reconstruction: Tensor = self.conv(up4)
        return reconstruction


# --- Training -----------------------------------------------------------------------------------------------


class Encoder(nn.Module):
    """Holds the detector; also the level of the reference's names."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector


class AutoLink(nn.Module):
    """Detector, mask, edge map and decoder.

    Args:
        num_keypoints: K.
        variance: Squared width of an edge.
        image_size: Of the training images; see `Detector`.
        detector_width: See `Detector`.
        decoder_width: See `Decoder`.
    """

    def __init__(
        self,
        num_keypoints: int,
        variance: float = 5e-5,
        image_size: int = 128,
        detector_width: int = 64,
        decoder_width: int = 64,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(Detector(num_keypoints, image_size, detector_width))
        self.decoder = Decoder(num_keypoints, variance, decoder_width)

    def forward(self, images: Tensor, mask_ratio: float = 0.8) -> Tensor:
        """The reconstruction of RGB images in [-1, 1], most cells of which are hidden."""
        keypoints, _ = self.encoder.detector(images)
        keep = torch.rand(len(images), 1, MASK_GRID, MASK_GRID, device=images.device) >= mask_ratio
        mask = F.interpolate(keep.to(images.dtype), images.shape[2:], mode="nearest")
        reconstruction: Tensor = self.decoder(images * mask, keypoints)
        return reconstruction


class VggLoss(nn.Module):
    """L1 between features of VGG16 at four depths, on 224 x 224; its weights are random until filled."""

    def __init__(self) -> None:
        super().__init__()
        self.features = vgg16(weights=None).features[:23].requires_grad_(False).eval()
        for layer in self.features:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """How different two pictures in [-1, 1] look."""
        x, y = (
            F.interpolate((image * 0.5 + 0.5 - self.mean) / self.std, (224, 224), mode="bilinear")
            for image in (reconstruction, target)
        )
        loss = x.new_zeros(())
        for number, layer in enumerate(self.features):
            x, y = layer(x), layer(y)
            if number in (3, 8, 15, 22):
                loss = loss + F.l1_loss(x, y)
        return loss


def make_optimizer(model: AutoLink) -> torch.optim.AdamW:
    """With the reference's settings."""
    return torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=1e-3)


def training_step(
    model: AutoLink, optimizer: torch.optim.Optimizer, perceptual_loss: nn.Module, images: Tensor
) -> Tensor:
    """One step on RGB images in [-1, 1]; returns its loss. Mixed precision is up to the caller."""
    loss: Tensor = perceptual_loss(model(images), images)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()
