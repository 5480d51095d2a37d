"""Damage small videos at random and track them, in a process of its own: `python -m tests.fuzzing`.

Arguments: weights, a folder to work in, the first seed and the one to stop before. Prints the number of each
seed before it is tried, so that after a crash or a hang the last line tells which it was.
"""

import faulthandler
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from dkpvid.cli import app
from dkpvid.video.reader import VideoReader
from tests.video.clips import make_clip

TIMES = tuple(index / 25 for index in range(10))
SIZE = (64, 48)
HANGS_AFTER_SECONDS = 60
MOST_MEMORY = 6 << 30
"""Of address space: torch alone takes 1 GiB or more."""

X264 = (("crf", "25"), ("preset", "ultrafast"), ("g", "5"))
KINDS = {
    "mp4": {"container": "mp4", "options": X264, "sound": "aac"},
    "mkv": {"container": "matroska", "options": X264},
    "gif": {"container": "gif", "codec": "gif", "pix_fmt": "rgb8", "options": ()},
}
EXTREMES = (bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\xff\xff", b"\xff\xff\0\0")


def original(suffix: str) -> bytes:
    """A video of ten frames, below 20 kB."""
    return make_clip(times=TIMES, size=SIZE, **KINDS[suffix])


def mutated(seed: int) -> tuple[str, bytes]:
    """A suffix, and a video that was damaged in its header, its index or its body."""
    rng = np.random.default_rng(seed)
    suffix = list(KINDS)[seed % len(KINDS)]
    content = bytearray(original(suffix))
    # The index of an MP4 is at its end.
    parts = {"start": (0, 600), "end": (len(content) - 1500, len(content)), "anywhere": (0, len(content))}
    first, last = parts[str(rng.choice(list(parts)))]
    for _ in range(rng.integers(1, 8)):
        place = int(rng.integers(first, last))
        match rng.integers(5):
            case 0:
                content[place : place + 1] = rng.bytes(1)
            case 1:
                content[place : place + 4] = EXTREMES[rng.integers(len(EXTREMES))]
            case 2:
                content[place : place + 16] = rng.bytes(16)
            case 3:
                content[place : place + 4] = b""
            case _:
                content[place:place] = content[place : place + 40]
    if rng.integers(8) == 0:
        del content[int(rng.integers(len(content) // 4, len(content))) :]
    return suffix, bytes(content)


def try_seed(seed: int, weights: str, folder: Path) -> None:
    """Track a damaged video.

    Raises:
        AssertionError: the outputs do not fit the exit code.
        Exception: whatever is a bug.
    """
    suffix, content = mutated(seed)
    source, output = folder / f"damaged.{suffix}", folder / "out"
    source.write_bytes(content)
    words = ["track", str(source), "-o", str(output), "--weights", weights, "--device", "cpu"]
    words += ["--deinterlace"] if seed % 2 else []
    result = CliRunner().invoke(app, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 3, 4), result.stderr
    assert "Traceback" not in result.stderr
    written = sorted(path.name for path in output.iterdir()) if output.is_dir() else []
    if result.exit_code == 4:
        assert written == [], result.stderr
    else:
        assert "damaged.dkp.json" in written, result.stderr
        assert set(written) <= {".damaged.dkp.source", "damaged.dkp.json", "damaged.dkp.mp4"}
        num_frames = len(json.loads((output / "damaged.dkp.json").read_text())["frames"])
        assert num_frames > 0
        if "damaged.dkp.mp4" in written:
            with VideoReader(output / "damaged.dkp.mp4") as video:
                assert len(list(video)) == num_frames
        else:
            assert result.exit_code == 3, result.stderr
    shutil.rmtree(output, ignore_errors=True)


def main(weights: str, folder: str, first: str, last: str) -> None:
    """Try seeds one after the other; the first that finds something ends the process."""
    import resource  # not there on Windows

    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    for seed in range(int(first), int(last)):
        os.write(1, f"{seed}\n".encode())
        faulthandler.dump_traceback_later(HANGS_AFTER_SECONDS, exit=True)
        try_seed(seed, weights, Path(folder))
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main(*sys.argv[1:])
