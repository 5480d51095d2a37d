"""Reading a video by decord, where its wheel exists, checked against PyAV before a frame of it is used.

decord reads some files wrongly without a word: it ignores rotation, invents or loses frames. So it serves
only to build the cache of training frames, and only for files on which the two agree.
"""

from pathlib import Path

import numpy as np
from numpy import ndarray

from dkpvid.errors import UsageError, VideoError
from dkpvid.shapes import UInt8
from dkpvid.video.reader import VideoReader
from dkpvid.video.resize import to_square

CHECKED_FRAMES = 4
"""Frames at the start, where decoders that lose frames begin to differ, and one at the end."""
TOLERANCE = 4.0
"""Mean difference of two decoders' colour conversions, in levels of 255; other frames differ by more."""


def read_by_decord(video: Path, size: int) -> UInt8[ndarray, "_ size size 3"]:
    """All frames of a video, resized to squares.

    Raises:
        UsageError: decord is not installed; its wheels exist for Linux on x86-64 only.
        VideoError: decord cannot read the file, or reads other frames than PyAV does.
    """
    try:
        import decord
    except ImportError:
        raise UsageError("decord is not installed here; use --decoder pyav") from None
    try:
        reader = decord.VideoReader(str(video), num_threads=1)
        frames = [to_square(reader[index].asnumpy(), size) for index in range(len(reader))]
    except (decord.DECORDError, RuntimeError, IndexError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise VideoError(f"{video}: decord cannot read it ({reason})") from None
    wanted = 0
    with VideoReader(video) as checker:
        for frame in checker:
            wanted = frame.index + 1
            if frame.index < CHECKED_FRAMES or frame.index == len(frames) - 1:
                expected = to_square(frame.image, size).astype(float)
                if frame.index >= len(frames) or np.abs(frames[frame.index] - expected).mean() > TOLERANCE:
                    raise VideoError(f"{video}: decord reads another frame {frame.index} than PyAV")
    if wanted != len(frames):
        raise VideoError(f"{video}: decord reads {len(frames)} frames, PyAV {wanted}")
    return np.stack(frames)
