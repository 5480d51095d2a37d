"""The annotated MP4: frames with their keypoints drawn on them, in the same pass as tracking or after it."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from dkpvid.ahead import ahead
from dkpvid.drawing import Annotator, DrawStyle
from dkpvid.errors import VideoError
from dkpvid.formats.base import TrackSink
from dkpvid.formats.schema import TrackHeader
from dkpvid.structures import Frame, LostPacket, Track, VideoInfo
from dkpvid.video.reader import VideoReader
from dkpvid.video.writer import VideoWriter

MOST_KEPT_BYTES = 400 * 2**20
"""Frames wait for their smoothed keypoints in memory if all that ever wait fit into this; otherwise the video
is decoded once more."""

FRAMES_AHEAD = 8
"""Frames that are decoded before they are drawn."""

_BYTES_PER_PIXEL = 1.5
"""Of a decoded picture of 8 bits with halved colour resolution, as nearly all are."""


def fits_in_memory(info: VideoInfo, num_frames: int) -> bool:
    """Whether so many decoded frames of a video may be kept."""
    return info.width * info.height * _BYTES_PER_PIXEL * num_frames <= MOST_KEPT_BYTES


class AnnotatedVideo(TrackSink):
    """An MP4 that is fed with frames and, later, with what was found in them, as a `TrackSink`.

    When it cannot be written it stays silent, so that the other outputs are completed, and tells `error`.

    Args:
        path: The MP4 to write.
        header: Of the track.
        style: What to draw.
        sound: The file whose sound is to be copied; anything that is no file has none.
        crf: Quality of x264, 0 to 51; smaller is better.
        comment: Text to store in the file.
    """

    def __init__(
        self,
        path: Path,
        header: TrackHeader,
        style: DrawStyle,
        *,
        sound: Path | None = None,
        crf: int = 20,
        comment: str = "",
    ) -> None:
        info = header.source
        self.error: VideoError | None = None
        self.audio_note: str | None = None
        """A remark about the sound when it could not be kept."""
        self._waiting: deque[Frame] = deque()
        self._trail_seconds = style.trail_seconds if style.trail else 0.0
        self._recent: Track | None = None
        self._annotator = Annotator(header.keypoints, header.skeleton, info.width, info.height, style)
        self._draws_joints = style.joints
        # Where no limbs say what they are, joints have names worth reading.
        joint_style = DrawStyle(labels=style.labels or not header.joints_skeleton)
        limbs = [(i, j, 1.0) for i, j in header.joints_skeleton]
        self._joint_annotator = Annotator(header.joints, limbs, info.width, info.height, joint_style)
        sound = sound if sound and sound.is_file() else None
        if info.has_audio and sound is None:
            self.audio_note = f"{info.path}: sound left out, since it is copied from files only"
        self._writer = VideoWriter(
            path,
            width=info.width,
            height=info.height,
            time_base=info.time_base,
            crf=crf,
            sample_aspect_ratio=info.sample_aspect_ratio,
            audio_from=sound,
            comment=comment,
        )

    def keep(self, frame: Frame) -> None:
        """Take the next frame; it waits for its keypoints."""
        if self.error is None:
            self._waiting.append(frame)

    def write(self, track: Track) -> None:
        """Draw the next frames, which must have been given to `keep`."""
        if self.error is not None:
            return
        # The trail needs what came before.
        first = 0 if self._recent is None else len(self._recent)
        track = track if self._recent is None else Track.concatenate([self._recent, track])
        try:
            for position in range(first, len(track)):
                self.draw(self._waiting.popleft(), track, position)
        except VideoError as error:
            self._give_up(error)
        start = np.searchsorted(track.time_seconds, track.time_seconds[-1] - self._trail_seconds)
        self._recent = track[int(start) :]

    def draw(self, frame: Frame, track: Track, position: int) -> None:
        """Write one frame.

        Raises:
            VideoError: the file cannot be written.
        """
        image = self._annotator.draw(frame.image, track, position)
        if track.joints is not None and self._draws_joints:
            image = self._joint_annotator.draw(image, track.joints, position)
        self._writer.write(image, frame.time_seconds)

    def close(self, lost: Sequence[LostPacket]) -> None:
        """Complete the file and give it its name."""
        if self.error is None:
            try:
                self._writer.close()
                self.audio_note = self.audio_note or self._writer.audio_note
            except VideoError as error:
                self._give_up(error)

    def abort(self) -> None:
        """Remove the unfinished file. Does nothing after `close`."""
        self._writer.abort()

    def _give_up(self, error: VideoError) -> None:
        self.error = error
        self._writer.abort()
        self._waiting.clear()


def redraw(
    reader: VideoReader,
    track: Track,
    video: AnnotatedVideo,
    *,
    on_frame: Callable[[int], None] = lambda done: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Read a video once more and complete its annotated MP4.

    Args:
        reader: The video that was tracked, from its start.
        track: All that was found in it.
        video: The MP4, still empty.
        on_frame: Called with the number of frames drawn so far.
        should_stop: Asked before every frame; the MP4 then ends there.

    Raises:
        VideoError: the file cannot be written.
    """
    first, last = int(track.index[0]), int(track.index[-1])
    try:
        with closing(ahead(iter(reader), FRAMES_AHEAD)) as frames:
            for frame in frames:
                if frame.index > last or should_stop():
                    break
                if frame.index >= first:
                    video.draw(frame, track, frame.index - first)
                    on_frame(frame.index - first + 1)
        video.close(())
    finally:
        video.abort()
    if video.error is not None:
        raise video.error
