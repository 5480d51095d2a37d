"""Peak memory of `dkpvid track` on a long and on a short video: `python -m benchmarks.memory [VIDEO]`.

The video is repeated, without encoding it anew, until it lasts 1 and 10 minutes; each is tracked in a process
of its own, to JSON and MP4. What grows with the length of a video would show.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import av

DEMO = Path(__file__).parent / "demo.mp4"

# The peak is that of the process which tracks, without the interpreter that watches it.
MEASURE = """
import resource, sys
from dkpvid.cli import main
sys.argv = ["dkpvid", *sys.argv[1:]]
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)
"""


def repeated(source: Path, path: Path, seconds: float) -> int:
    """Write a video that is the source over and over; returns its number of frames."""
    with av.open(str(path), "w") as output:
        with av.open(str(source)) as video:
            stream = output.add_stream_from_template(video.streams.video[0])
            enough = int(seconds / video.streams.video[0].time_base)
        num_frames, shift = 0, 0
        while shift < enough:
            with av.open(str(source)) as video:
                packets = [packet for packet in video.demux(video=0) if packet.dts is not None]
                length = max(packet.pts + packet.duration for packet in packets)
                for packet in packets:
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = stream
                    output.mux(packet)
            num_frames, shift = num_frames + len(packets), shift + length
    return num_frames


def peak_megabytes(video: Path, folder: Path, options: list[str]) -> int:
    """The most memory that tracking the video took."""
    command = [sys.executable, "-c", MEASURE, "track", str(video), "-o", str(folder), "-q", *options]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    lines = done.stderr.split()
    if done.returncode:
        raise SystemExit(done.stderr)
    return int(lines[-1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("video", type=Path, nargs="?", default=DEMO)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 10.0])
    parser.add_argument("--no-video", action="store_true", help="track to JSON only")
    arguments = parser.parse_args()
    print("| minutes | frames | peak memory, MB | of the first |\n|---|---|---|---|")
    first = 0
    with tempfile.TemporaryDirectory() as temporary:
        for minutes in arguments.minutes:
            video = Path(temporary) / f"{minutes:g}_minutes.mp4"
            num_frames = repeated(arguments.video, video, 60 * minutes)
            peak = peak_megabytes(video, Path(temporary), ["--no-video"] if arguments.no_video else [])
            first = first or peak
            print(f"| {minutes:g} | {num_frames} | {peak} | {peak / first:.3f} |", flush=True)


if __name__ == "__main__":
    main()
