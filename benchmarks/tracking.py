"""Frames per second of `dkpvid track`, from file to files: `python -m benchmarks.tracking [VIDEO]`.

Against the loop of the reference implementation's demo, in own words: read a frame as RGB, normalise all of
it, run the detector on it alone, draw the edge map at 64 pixels and enlarge it, blend, draw the keypoints
with matplotlib, append to an MP4. Same network on both sides: the reference's size (128 pixels, 16
keypoints), random weights; with `--package` also ours with the weights of the package. Ways take turns, so
that other work on the machine meets all alike; frames/s are by the median time.

"Outside the detector" is the share of the time that is left when the network alone, on the same pictures
already shrunk, is taken off.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter

import av
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from numpy import ndarray
from PIL import Image

from benchmarks.inference import random_detector, reference_of
from benchmarks.reference_autolink import Decoder
from dkpvid.checkpoint import Weights, load_weights, save_weights
from dkpvid.config import ModelConfig, TrackConfig
from dkpvid.drawing import DrawStyle
from dkpvid.formats import FORMATS
from dkpvid.formats.base import TrackSink
from dkpvid.formats.schema import TrackHeader
from dkpvid.jobs.track import Tracker, track_video
from dkpvid.models.edge_map import EdgeMap
from dkpvid.tracking.render import AnnotatedVideo, fits_in_memory, redraw
from dkpvid.video.reader import VideoReader
from dkpvid.video.resize import frame_to_square

DEMO = Path(__file__).parent / "demo.mp4"
EDGE_MAP_SIZE = 64


def make_reference_demo(weights: Weights) -> Callable[[Path, Path, int], None]:
    """The demo's loop, from a video to an MP4."""
    matplotlib.use("Agg")
    config = weights.config
    detector = reference_of(weights.detector.eval(), config)
    decoder = Decoder(config.num_keypoints, config.edge_variance, 8)

    @torch.no_grad()
    def draw(image: ndarray) -> ndarray:
        height, width = image.shape[:2]
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        keypoints, _ = detector(pixels)
        edges = decoder.edge_map(keypoints, EDGE_MAP_SIZE)
        edges = (edges / (1e-8 + edges.amax())).expand(-1, 3, -1, -1)
        edges = F.interpolate(edges, (height, width), mode="bilinear")
        blended = (edges + (pixels * 0.5 + 0.5) * 0.5).clamp(0, 1)[0]
        figure = plt.figure(figsize=(1, height / width), dpi=width)
        figure.tight_layout(pad=0)
        plt.axis("off")
        plt.imshow(Image.fromarray((blended * 255).byte().permute(1, 2, 0).numpy()))
        rows, columns = (keypoints[0] * 0.5 + 0.5).T * torch.tensor([[height], [width]])
        plt.scatter(columns, rows, s=min(width / height, 1, height / width), marker="o")
        figure.canvas.draw()
        picture = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
        plt.close(figure)
        return picture

    def run(source: Path, folder: Path, num_frames: int) -> None:
        with av.open(str(source)) as video, av.open(str(folder / "reference.mp4"), "w") as output:
            size = video.streams.video[0]
            stream = output.add_stream("libx264", rate=size.average_rate)
            stream.width, stream.height = size.width // 2 * 2, size.height // 2 * 2
            for frame in islice(video.decode(video=0), num_frames):
                picture = draw(frame.to_ndarray(format="rgb24"))[: stream.height, : stream.width]
                drawn = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                output.mux(stream.encode(drawn))
            output.mux(stream.encode(None))

    return run


def track(source: Path, folder: Path, tracker: Tracker, with_video: bool) -> None:
    """What `dkpvid track` does for one video."""
    drawing: list[AnnotatedVideo] = []
    path = folder / "ours.mp4"

    def make_sinks(header: TrackHeader) -> list[TrackSink]:
        sinks: list[TrackSink] = [FORMATS["json"](folder / "ours.json", header)]
        if with_video and fits_in_memory(header.source, tracker.frames_in_flight(header.source)):
            drawing.append(AnnotatedVideo(path, header, DrawStyle(trail=True)))
        return sinks + drawing

    tracked = track_video(source, tracker, make_sinks)
    if with_video and not drawing:
        with tracker.open(source) as reader:
            redraw(reader, tracked.track, AnnotatedVideo(path, tracked.header, DrawStyle(trail=True)))


def make_edge_map(config: ModelConfig) -> EdgeMap:
    """A chain of strong edges and many weak ones, about as training leaves them; the strong are drawn."""
    edge_map = EdgeMap(config)
    is_strong = edge_map.pairs[1] - edge_map.pairs[0] == 1
    with torch.no_grad():
        edge_map.raw_weights.copy_(torch.where(is_strong, 1.0, -4.0) / config.edge_weight_lr)
    return edge_map


def squares_of(source: Path, size: int, num_frames: int) -> ndarray:
    """What the network sees of the first frames."""
    with VideoReader(source) as reader:
        return np.stack([frame_to_square(frame, size) for frame in islice(reader, num_frames)])


def main() -> None:
    """Time everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("video", type=Path, nargs="?", default=DEMO)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--package", action="store_true", help="also with the weights of the package")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    with VideoReader(arguments.video) as reader:
        times = [frame.time_seconds for frame in islice(reader, arguments.frames + 1)]
        width, height = reader.info.width, reader.info.height
    num_frames = min(len(times), arguments.frames)
    end = times[num_frames] if num_frames < len(times) else None

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = ModelConfig()
        save_weights(folder / "random.safetensors", config, random_detector(config), make_edge_map(config))
        weights = {"reference's size": load_weights(folder / "random.safetensors")}
        ways: dict[str, Callable[[], object]] = {}
        demo = make_reference_demo(weights["reference's size"])
        ways["reference demo, MP4"] = lambda: demo(arguments.video, folder, num_frames)
        if arguments.package:
            weights["package's"] = load_weights(None)
        for name, model in weights.items():
            tracker = Tracker(model, TrackConfig(device="cpu", end_seconds=end))
            squares = squares_of(arguments.video, model.config.image_size, num_frames)
            batches = np.array_split(squares, -(-num_frames // tracker.config.batch_size))
            ways[f"{name}, JSON + MP4"] = lambda t=tracker: track(arguments.video, folder, t, True)
            ways[f"{name}, JSON"] = lambda t=tracker: track(arguments.video, folder, t, False)
            ways[f"{name}, network alone"] = lambda t=tracker, b=batches: [t.detector(part) for part in b]
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for repeat in range(arguments.repeats + 1):
            for name, way in ways.items():
                started = perf_counter()
                way()
                if repeat:  # the first time is for warming up
                    seconds[name].append(perf_counter() - started)

    print(
        f"{arguments.video.name}: {num_frames} frames of {width} x {height}, {arguments.threads} threads;",
        end=" ",
    )
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| what | frames/s | times the demo | outside the detector |\n|---|---|---|---|")
    slowest = median(seconds["reference demo, MP4"])
    for name, taken in seconds.items():
        time = median(taken)
        alone = median(seconds.get(f"{name.partition(',')[0]}, network alone", [0.0]))
        outside = f"{100 * (1 - alone / time):.0f} %" if name.endswith("JSON") else "-"
        print(f"| {name} | {num_frames / time:.1f} | {slowest / time:.1f} | {outside} |")


if __name__ == "__main__":
    main()
