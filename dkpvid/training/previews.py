"""Previews of a training: pictures of what the model makes of some frames."""

import json
from pathlib import Path

import numpy as np
from numpy import ndarray
from PIL import Image, ImageDraw
from torch import Tensor

from dkpvid.drawing import keypoint_colors
from dkpvid.files import write_then_rename
from dkpvid.models.autolink import Reconstruction


def save_preview(folder: Path, step: int, images: Tensor, result: Reconstruction) -> None:
    """Write STEP.png: keypoints on the image, edge map, visible patches, reconstruction.

    STEP.json beside it has the keypoints, in model space.

    Args:
        folder: Where to.
        step: Names the files.
        images: [batch, 3, size, size], RGB in [-1, 1]; one column each.
        result: What the model made of them.
    """
    rows = [
        _marked(images, result.detections.keypoints),
        _to_bytes(result.edge_map.expand(-1, 3, -1, -1) / result.edge_map.amax().clamp_min(1e-6) * 2 - 1),
        _to_bytes(result.masked_images),
        _to_bytes(result.images),
    ]
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    with write_then_rename(folder / f"{step:06d}.png") as temporary:
        Image.fromarray(sheet).save(temporary)
    found = {
        "keypoints": result.detections.keypoints.tolist(),
        "heatmap_size": result.detections.heatmaps.shape[-1],
    }
    with write_then_rename(folder / f"{step:06d}.json") as temporary:
        temporary.write_text(json.dumps(found) + "\n")


def remove_previews(folder: Path, after: int) -> None:
    """Remove the previews of steps later than `after`."""
    for path in folder.glob("*[0-9].*"):
        if path.stem.isdecimal() and int(path.stem) > after:
            path.unlink()


def _to_bytes(images: Tensor) -> ndarray:
    """[batch, 3, size, size] in [-1, 1] to uint8 [batch, size, size, 3]."""
    pixels = (images.float().clamp(-1, 1) + 1) * 127.5
    array: ndarray = pixels.permute(0, 2, 3, 1).round().byte().cpu().numpy()
    return array


def _marked(images: Tensor, keypoints: Tensor) -> ndarray:
    """The images with a dot on each keypoint, a colour for each."""
    size = images.shape[-1]
    pictures = []
    for image, points in zip(_to_bytes(images), keypoints.float().cpu().numpy(), strict=True):
        picture = Image.fromarray(image)
        draw = ImageDraw.Draw(picture)
        colors = keypoint_colors(len(points)).astype(int).tolist()
        for number, (x, y) in enumerate((points + 1) / 2 * (size - 1)):
            radius = size / 64
            box = (x - radius, y - radius, x + radius, y + radius)
            draw.ellipse(box, fill=tuple(colors[number]))
        pictures.append(np.asarray(picture))
    return np.stack(pictures)
