"""Frames per second of the detector: `python -m benchmarks.inference [VIDEO ...]`.

For the reference implementation's network (128 pixels, 16 keypoints, random weights), the reference in eager
PyTorch; for that and for the weights of the package, the training network in eval mode and what `track` runs,
besides int8, which was tried and not kept. Ways take turns, batch by batch, with a large matrix product among
them that tells what the processor can do: other work on the machine meets all alike. Frames/s are by the
median time, the share of that peak is by the least. Before that, how far each way moves the points of the
videos (int8 is calibrated on other frames of them).

    --device cuda        PyTorch only; on a GPU nothing of this has been run yet
    --busy               one thread, by the processor time of this process: for a machine that does other work
    --landmarks FILE...  networks that take turns with those at batch 1, such as the pose_landmark_*.tflite of
                         MediaPipe (npm package @mediapipe/pose); needs ai-edge-litert
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np
import torch
from numpy import ndarray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.reference_autolink import Detector as ReferenceDetector
from dkpvid.checkpoint import load_weights
from dkpvid.config import ModelConfig
from dkpvid.models.detector import KeypointDetector
from dkpvid.models.networks import Detector, fuse
from dkpvid.tracking.runtimes import TorchRuntime, make_runtime
from dkpvid.video.reader import VideoReader
from dkpvid.video.resize import to_square

Way = Callable[[ndarray], ndarray]
"""From uint8 [batch, size, size, 3] RGB to keypoints [batch, keypoint, 2], (x, y) in [-1, 1]."""

DEMO = Path(__file__).parent / "demo.mp4"


def reference_of(detector: KeypointDetector, config: ModelConfig) -> ReferenceDetector:
    """The reference's network with our weights."""
    reference = ReferenceDetector(config.num_keypoints, config.image_size, config.detector_width)
    pairs, layers = [], iter(reference.conv)
    for block in detector.down_blocks:
        theirs = next(layers)
        pairs += [(theirs.net[0], block.conv1), (theirs.net[2], block.norm1)]
        pairs += [(theirs.net[4], block.conv2), (theirs.net[5], block.norm2)]
        pairs += [(theirs.conv_res[0], block.skip_conv), (theirs.conv_res[2], block.skip_norm)]
    for block in detector.up_blocks:
        theirs = next(layers)
        pairs += [(theirs.net[1], block.conv), (theirs.net[2], block.norm)]
    pairs.append((next(layers), detector.head))
    for theirs, ours in pairs:
        theirs.load_state_dict(ours.state_dict())
    return reference.eval()


def random_detector(config: ModelConfig) -> KeypointDetector:
    """Untrained, but with batch norm to fold."""
    detector = KeypointDetector(config).eval()
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
    return detector


def plain(network: nn.Module, device: torch.device, memory_format: torch.memory_format) -> Way:
    """A network that takes pictures in [-1, 1] and gives its keypoints first."""
    network = network.to(device, memory_format=memory_format)

    @torch.inference_mode()
    def run(images: ndarray) -> ndarray:
        pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        keypoints = network(pixels.contiguous(memory_format=memory_format))[0]
        return keypoints.cpu().numpy()

    return run


def exact_ways(detector: Detector, config: ModelConfig, device: torch.device) -> dict[str, Way]:
    """Those with the trained network's points; the first is what the others are compared with."""
    ways: dict[str, Way] = {}
    if isinstance(detector, KeypointDetector):
        reference = plain(reference_of(detector, config), device, torch.contiguous_format)
        ways["reference, eager PyTorch"] = lambda images: reference(images)[:, :, ::-1]  # (row, column)
    ways |= {
        "training network in eval mode": plain(detector, device, torch.channels_last),
        "`--runtime torch`": first(make_runtime(detector, device)),
    }
    if device.type == "cpu":
        ways["`--runtime onnx`"] = first(make_runtime(detector, device, name="onnx"))
    return ways


def inexact_ways(detector: Detector, device: torch.device, calibration: ndarray) -> dict[str, Way]:
    """Those that are faster, or were hoped to be, and move keypoints."""
    ways = {"`--runtime torch --half`": first(make_runtime(detector, device, "bf16"))}
    if device.type == "cuda":
        ways["float16, PyTorch"] = first(TorchRuntime(fuse(detector), device, torch.float16))
        return ways
    from benchmarks.int8 import int8  # ONNX Runtime may be missing where there is a GPU

    ways["int8, ONNX Runtime"] = int8(fuse(detector), calibration)
    return ways


def landmark_way(file: Path) -> tuple[str, Way]:
    """A foreign network on one thread, and its name with the size of its input."""
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(model_path=str(file), num_threads=1)
    network.allocate_tensors()
    (images,) = network.get_input_details()
    picture = np.random.default_rng(0).random(images["shape"], dtype=np.float32)

    def run(_: ndarray) -> ndarray:
        network.set_tensor(images["index"], picture)
        network.invoke()
        return picture

    return f"{file.stem}, {images['shape'][1]} pixels", run


def first(runtime: Callable[[ndarray], tuple[ndarray, ndarray]]) -> Way:
    """Keypoints only."""
    return lambda images: runtime(images)[0]


def seconds(
    ways: dict[str, Callable[[ndarray], object]],
    images: ndarray,
    repeats: int,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, list[float]]:
    """Of each way, one after the other, again and again."""
    for way in ways.values():
        way(images)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = clock()
            way(images)
            taken[name].append(clock() - start)
    return taken


def work(
    network: nn.Module, call: Callable[[torch.Tensor], object], pixels: torch.Tensor
) -> tuple[float, float]:
    """Floating-point operations of the convolutions for one frame, and the bytes that they must move."""
    num_bytes = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal num_bytes
        num_bytes += 4 * (inputs[0].numel() + output.numel())

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        call(pixels)
    for hook in hooks:
        hook.remove()
    return counter.get_total_flops(), num_bytes


def yardsticks(device: torch.device) -> dict[str, tuple[Callable[[ndarray], object], int]]:
    """What the machine can do: a large matrix product, with its operations; a large copy, with its bytes."""
    a, b = torch.randn(2, 1536, 1536, device=device)
    large = torch.zeros(16 * 2**20, device=device)
    # Reading one number waits for the device.
    return {
        "product": (lambda _: (a @ b)[0, 0].item(), 2 * 1536**3),
        "copy": (lambda _: large.clone()[0].item(), 8 * large.numel()),
    }


def frames_of(videos: list[Path], size: int) -> tuple[ndarray, ndarray]:
    """Frames to calibrate with and frames to measure on: the two halves of each video."""
    halves: tuple[list[ndarray], list[ndarray]] = [], []
    for video in videos:
        with VideoReader(video) as reader:
            squares = [to_square(frame.image, size) for frame in reader if frame.index % 4 == 0]
        halves[0].extend(squares[: len(squares) // 2])
        halves[1].extend(squares[len(squares) // 2 :])
    return np.stack(halves[0]), np.stack(halves[1])


def print_speed(
    detector: Detector,
    config: ModelConfig,
    device: torch.device,
    repeats: int,
    landmarks: list[Path],
    busy: bool,
) -> None:
    """The tables of one network."""
    rng = np.random.default_rng(0)
    size = config.image_size
    images = rng.integers(0, 256, (32, size, size, 3), dtype=np.uint8)
    fused = fuse(detector)
    pixels = torch.zeros(1, 3, size, size)
    counts = {"training": work(detector, detector, pixels), "fused": work(fused, fused.logits, pixels)}
    if isinstance(detector, KeypointDetector):
        reference = reference_of(detector, config)
        counts["reference"] = work(reference, reference, pixels)
    weights = 4 * sum(parameter.numel() for parameter in fused.parameters())
    sticks = yardsticks(device)
    clock = process_time if busy else perf_counter
    for threads in (1,) if busy else (1, 2) if device.type == "cpu" else (torch.get_num_threads(),):
        torch.set_num_threads(threads)
        exact = exact_ways(detector, config, device)
        ways = exact | inexact_ways(detector, device, images)
        for batch in (32, 1):
            others = dict(map(landmark_way, landmarks)) if threads == batch == 1 else {}
            all_ways = ways | others | {name: way for name, (way, _) in sticks.items()}
            taken = seconds(all_ways, images[:batch], repeats if batch > 1 else 4 * repeats, clock)
            peak, bandwidth = (amount / min(taken.pop(name)) for name, (_, amount) in sticks.items())
            name_of_base = next(iter(exact))
            base = taken[name_of_base]
            print(f"\n{size} pixels, {threads} thread(s), batch {batch}\n")
            print(
                f"| way | frames/s | times {name_of_base} | by the fastest of each | GFLOP/s | of the peak |"
            )
            print("|---|---|---|---|---|---|")
            for name, times in taken.items():
                kind = next((kind for kind in counts if name.startswith(kind)), "fused")
                rate = counts[kind][0] * batch / min(times)
                cells = f"{rate / 1e9:.1f} | {rate / peak:.0%}" if name in exact else "|"
                times_median, times_least = median(base) / median(times), min(base) / min(times)
                speed = batch / median(times)
                print(f"| {name} | {speed:.1f} | {times_median:.2f} | {times_least:.2f} | {cells} |")
            flops, num_bytes = counts["fused"]
            intensity = flops * batch / (num_bytes * batch + weights)
            print(
                f"\nThe fused network does {intensity:.0f} operations a byte at this batch; the machine has "
                f"{peak / bandwidth:.0f}, at {peak / 1e9:.0f} GFLOP/s and {bandwidth / 1e9:.1f} GB/s."
            )
    print(f"\nGFLOP a frame: {', '.join(f'{name} {flops / 1e9:.2f}' for name, (flops, _) in counts.items())}")


def print_accuracy(videos: list[Path], device: torch.device) -> None:
    """How far the ways move the points of the package's weights."""
    weights = load_weights(None)
    size = weights.config.image_size
    calibration, frames = frames_of(videos, size)
    ways = exact_ways(weights.detector, weights.config, device)
    name_of_base = next(iter(ways))
    want = ways.pop(name_of_base)(frames)
    ways |= inexact_ways(weights.detector, device, calibration)
    print(f"\nKeypoints of {len(frames)} frames, distance from those of {name_of_base} in pixels of {size}\n")
    print("| way | mean | 95 % of them within | largest |\n|---|---|---|---|")
    for name, way in ways.items():
        moved = np.linalg.norm(way(frames)[:, : want.shape[1]] - want, axis=2) * (size - 1) / 2
        print(f"| {name} | {moved.mean():.4f} | {np.percentile(moved, 95):.4f} | {moved.max():.4f} |")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="*", type=Path, default=[DEMO])
    parser.add_argument("--device", default="cpu", type=torch.device)
    parser.add_argument("--repeats", default=15, type=int)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--landmarks", nargs="*", default=[], type=Path, metavar="FILE")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores")
    print_accuracy(arguments.videos, arguments.device)
    config = ModelConfig(num_keypoints=16)
    weights = load_weights(None)
    for detector, settings, landmarks in (
        (random_detector(config), config, []),
        (weights.detector, weights.config, arguments.landmarks),
    ):
        print_speed(detector, settings, arguments.device, arguments.repeats, landmarks, arguments.busy)
    print(f"\nload at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
