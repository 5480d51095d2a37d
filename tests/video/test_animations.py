"""Pictures that hold several, and pictures with more bits than a screen shows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dkpvid.video.images import read_picture
from dkpvid.video.reader import VideoReader
from tests.video.clips import dot_frame

TIMES = [0.0, 0.05, 0.15, 0.2, 0.3, 0.35]
"""Of pictures that are shown for 50 and 100 ms in turn."""


def pictures() -> list[Image.Image]:
    return [Image.fromarray(dot_frame(index)) for index in range(6)]


def without_control_blocks(gif: bytes) -> bytes:
    """What programs of 1987 wrote: pictures, and nothing about them."""
    place = 13 + (3 << ((gif[10] & 7) + 1) if gif[10] & 0x80 else 0)
    kept = b"GIF87a" + gif[6:place]
    while gif[place] != 0x3B:
        start = place
        if gif[place] == 0x21:
            place += 2
        else:
            table = gif[place + 9]
            place += 11 + (3 << ((table & 7) + 1) if table & 0x80 else 0)
        while gif[place]:
            place += 1 + gif[place]
        place += 1
        kept += gif[start:place] if gif[start] == 0x2C else b""
    return kept + b";"


def save(path: Path, **options: Any) -> None:
    first, *rest = pictures()
    first.save(path, save_all=True, append_images=rest, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.png", {}), ("a.webp", {"lossless": True}), ("a.gif", {})],
)
def test_an_animation_has_its_own_times(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    save(tmp_path / name, duration=[50, 100] * 3, **options)
    with VideoReader(tmp_path / name) as video:
        frames = list(video)
    assert [frame.time_seconds for frame in frames] == pytest.approx(TIMES)
    tolerance = 12 if name == "a.gif" else 0
    for index, frame in enumerate(frames):
        assert np.abs(frame.image.astype(int) - dot_frame(index)).mean() <= tolerance
    assert (video.lost, video.info.num_frames_estimate) == ([], 6)


def test_a_gif_without_times(tmp_path: Path) -> None:
    save(tmp_path / "a.gif", duration=70)
    (tmp_path / "b.gif").write_bytes(without_control_blocks((tmp_path / "a.gif").read_bytes()))
    save(tmp_path / "c.gif")
    for name in ("b.gif", "c.gif"):
        with VideoReader(tmp_path / name) as video:
            frames = list(video)
        assert [frame.time_seconds for frame in frames] == pytest.approx([index / 10 for index in range(6)])
    with VideoReader(tmp_path / "b.gif") as video:
        assert np.abs(list(video)[5].image.astype(int) - dot_frame(5)).mean() < 12
    with VideoReader(tmp_path / "b.gif", fps=5.0) as video:
        assert [frame.time_seconds for frame in video] == pytest.approx([index / 5 for index in range(6)])


def test_the_pages_of_a_tiff_are_frames(tmp_path: Path) -> None:
    save(tmp_path / "stack.tif")
    with VideoReader(tmp_path / "stack.tif", fps=10.0) as video:
        frames = list(video)
    assert [frame.time_seconds for frame in frames] == pytest.approx([index / 10 for index in range(6)])
    np.testing.assert_array_equal(frames[3].image, dot_frame(3))


@pytest.mark.parametrize("suffix", ["tif", "tiff", "ppm", "jp2", "jfif", "avif"])
def test_pictures_of_other_kinds(tmp_path: Path, suffix: str) -> None:
    for index, picture in enumerate(pictures()[:2]):
        picture.save(tmp_path / f"{index}.{suffix}", format="JPEG" if suffix == "jfif" else None)
    with VideoReader(tmp_path) as video:
        frames = list(video)
    assert len(frames) == 2
    assert np.abs(frames[1].image.astype(int) - dot_frame(1)).mean() < 12
    with VideoReader(tmp_path / f"1.{suffix}") as video:
        assert len(list(video)) == 1


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["folder", "stack"])
def test_cameras_of_few_bits_fill_the_range(tmp_path: Path, bits: int, kind: str) -> None:
    top = (1 << bits) - 1
    ramps = [np.linspace(0, part * top, 64 * 48).astype(np.uint16).reshape(48, 64) for part in (0.2, 1.0)]
    images = [Image.fromarray(ramp) for ramp in ramps]
    source = tmp_path / ("stack.tif" if kind == "stack" else "folder")
    if kind == "stack":
        images[0].save(source, save_all=True, append_images=images[1:])
    else:
        source.mkdir()
        for index, image in enumerate(images):
            image.save(source / f"{index}.png")
    with VideoReader(source) as video:
        frames = list(video)
    # One scale for all of the clip: the dark picture stays dark.
    assert [int(frame.image.max()) for frame in frames] == [51, 255]
    expected = ramps[1].astype(float) * 255 / top
    assert np.abs(frames[1].image[..., 0] - expected).max() <= 1
    said = [] if bits == 16 else [f"16-bit pictures with values of {bits} bits only, scaled to full range"]
    assert list(video.info.remarks) == said


def test_an_annotated_picture_of_few_bits(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").max() == 255
