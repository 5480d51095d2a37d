"""Small videos made on the spot: a dot on a known path, in every odd shape that files come in.

Makers return the bytes of a file and are cached; tests write them where they need them.
"""

import io
import math
import os
import shutil
import struct
import subprocess
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy import ndarray

WIDTH, HEIGHT = 96, 64


def dot_xy(index: int) -> tuple[int, int]:
    """Where the dot is in a frame."""
    return 12 + 2 * index, 40 - index % 20


@cache
def dot_frame(index: int, width: int = WIDTH, height: int = HEIGHT) -> ndarray:
    """A smooth background that differs at each corner, and a white dot."""
    y, x = np.mgrid[:height, :width]
    red, blue = 40 + 120 * x / width, 30 + 150 * y / height
    image = np.stack([red, np.full_like(red, 60), blue], axis=-1)
    dot_x, dot_y = dot_xy(index)
    image[(x - dot_x) ** 2 + (y - dot_y) ** 2 <= 36] = 235
    return image.round().astype(np.uint8)


@cache
def make_clip(
    *,
    times: tuple[float, ...] = tuple(index / 25 for index in range(24)),
    size: tuple[int, int] = (WIDTH, HEIGHT),
    container: str = "mp4",
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: tuple[tuple[str, str], ...] = (("crf", "10"), ("preset", "veryfast")),
    sample_aspect_ratio: Fraction = Fraction(1),
    sound: str | None = None,
    num_streams: int = 1,
    matrix: int | None = None,
) -> bytes:
    """A video of the moving dot; times are in seconds, to 1/90000, one for each frame.

    `sound` names an encoder for noise that outlasts the pictures by half a second. Of several video streams
    each is half as large as the one before. `matrix` is the number of a colour matrix to put down as a tag,
    whatever the pixels are.
    """
    clock = Fraction(1, 90000)
    is_exact = codec == "libx264" and container != "avi"
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        streams = []
        for number in range(num_streams):
            stream = output.add_stream(codec, rate=25, options=dict(options))
            stream.width, stream.height = size[0] >> number, size[1] >> number
            stream.pix_fmt = pix_fmt
            stream.codec_context.time_base = clock if is_exact else Fraction(1, 25)
            stream.codec_context.sample_aspect_ratio = sample_aspect_ratio
            if matrix is not None:
                stream.codec_context.colorspace = matrix
            streams.append(stream)
        noise = output.add_stream(sound, rate=48000, layout="mono") if sound else None
        output.start_encoding()
        for index, time in enumerate(times):
            for stream in streams:
                picture = VideoFrame.from_ndarray(dot_frame(index, stream.width, stream.height))
                picture = picture.reformat(format=pix_fmt)
                picture.time_base = stream.codec_context.time_base
                picture.pts = round(time / picture.time_base)
                picture.colorspace = stream.codec_context.colorspace
                output.mux(stream.encode(picture))
        for stream in streams if times else ():
            output.mux(stream.encode(None))
        if noise is not None:
            _add_noise(output, noise, seconds=times[-1] + 0.5)
    return file.getvalue()


def _add_noise(output: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, (1, int(48000 * seconds))).astype(np.float32)
    size = stream.codec_context.frame_size or 1024
    for start in range(0, samples.shape[1] - size, size):
        piece = np.ascontiguousarray(samples[:, start : start + size])
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        for converted in av.AudioResampler(stream.codec_context.format, "mono", 48000).resample(frame):
            output.mux(stream.encode(converted))
    output.mux(stream.encode(None))


def with_display_matrix(mp4: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """Set (a, b, c, d) of the display matrix in the header of the first track."""
    a, b, c, d = (value << 16 for value in matrix)
    # In version 0 of the box, 40 bytes stand between its name and the matrix.
    start = mp4.index(b"tkhd") + 4 + 40
    return mp4[:start] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + mp4[start + 36 :]


def with_empty_chunks(avi: bytes) -> bytes:
    """Put an empty packet behind every picture, as recorders do where the picture stays the same."""
    movie, index = avi.index(b"movi"), avi.index(b"idx1")
    chunks, entries = b"movi", b""
    for kind, flags, offset, size in struct.iter_unpack("<4sIII", avi[index + 8 :]):
        entries += struct.pack("<4sIII", kind, flags, len(chunks), size)
        chunks += avi[movie + offset : movie + offset + 8 + size + size % 2]
        entries += struct.pack("<4sIII", kind, 0, len(chunks), 0)
        chunks += kind + bytes(4)
    parts = ((b"LIST", chunks), (b"idx1", entries))
    body = avi[8 : movie - 8] + b"".join(name + struct.pack("<I", len(part)) + part for name, part in parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def damaged(file: bytes, start: float, stop: float, holes: int, seed: int = 1) -> bytes:
    """Overwrite places within a part of the file (fractions of its length) with noise."""
    rng = np.random.default_rng(seed)
    content = bytearray(file)
    for position in rng.integers(int(start * len(file)), int(stop * len(file)) - 60, holes):
        content[position : position + 60] = rng.bytes(60)
    return bytes(content)


def need_program(name: str) -> str:
    """The path of a program; a missing one skips the test, or fails it under DKPVID_REQUIRE=ffmpeg."""
    if path := shutil.which(name):
        return path
    if "ffmpeg" in os.environ.get("DKPVID_REQUIRE", "").split(","):
        pytest.fail(f"the program {name} is missing")
    pytest.skip(f"the program {name} is missing")


def ffmpeg_frames(path: Path, width: int, height: int, limit: int = 10_000) -> ndarray:
    """The upright frames of a video by the ffmpeg program, (frame, height, width, RGB)."""
    arguments = f"-f rawvideo -pix_fmt rgb24 -fps_mode passthrough -frames:v {limit} -"
    command = [need_program("ffmpeg"), "-v", "quiet", "-i", str(path), *arguments.split()]
    pixels = subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout
    return np.frombuffer(pixels, np.uint8).reshape(-1, height, width, 3)


def run_ffmpeg(*arguments: str | Path) -> None:
    """Make a file by the ffmpeg program, which knows more tricks than PyAV lets us play."""
    command = [need_program("ffmpeg"), "-y", "-v", "error", *map(str, arguments)]
    subprocess.run(command, check=True)


def ffprobe_times(path: Path) -> list[float]:
    """Presentation times in seconds by the ffprobe program; NaN where it knows none."""
    arguments = (
        "-v quiet -select_streams v:0 -of default=nk=1:nw=1 -show_entries frame=best_effort_timestamp_time"
    )
    command = [need_program("ffprobe"), *arguments.split(), str(path)]
    listing = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True).stdout
    return [math.nan if line == "N/A" else float(line) for line in listing.split()]
