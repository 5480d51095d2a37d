"""Reading a video once from start to end: upright RGB frames with their own times."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from dkpvid.structures import Frame, LostPacket, VideoInfo
from dkpvid.video.animations import has_bare_frames, num_pages, open_animation
from dkpvid.video.images import IMAGE_SUFFIXES, PICTURES_FPS, open_images
from dkpvid.video.sources import Source, find_source

if TYPE_CHECKING:
    from dkpvid.video.containers import VideoContainer


class VideoReader:
    """The frames of a video in presentation order, once; a context manager.

    Reads whatever FFmpeg does, GIFs too, folders of pictures, and strips of square frames in one picture.
    Damaged stretches are passed over and listed in `lost`. A video may turn out to have no frames.

    Args:
        source: A file, a folder of frames, a URL that FFmpeg understands, the number of a camera, or `-` for
            standard input. Live streams are opened again when they are lost; the first frame after that is
            flagged `reconnected`.
        stream: Which of a file's video streams to read, from 0; None takes the best, cover pictures aside.
        apply_rotation: Turn and mirror the frames as the file says they should be shown.
        deinterlace: Make interlaced pictures whole, one frame for one; others stay as they are.
        thread_type: AUTO decodes on all processor cores; SLICE gives the same frames with less memory.
        fps: Frames per second, in place of the source's own times; None = those, and 25 for pictures.
        start_seconds: Frames before this time are decoded and dropped; indices count from the file's first.
        end_seconds: Frames at and after this time are not read.
        should_stop: Asked while a pipe, a camera or a stream is waited for. The video ends there.

    Raises:
        VideoError: the source cannot be read.
        UsageError: there is no video stream with that number.
    """

    _container: "VideoContainer | None" = None

    def __init__(
        self,
        source: str | Path | Source,
        *,
        stream: int | None = None,
        apply_rotation: bool = True,
        deinterlace: bool = False,
        thread_type: Literal["AUTO", "SLICE"] = "AUTO",
        fps: float | None = None,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.lost: list[LostPacket] = []
        """What could not be decoded so far; complete after the last frame."""
        self.info: VideoInfo
        source = find_source(source)
        path = source.file
        frames: Iterator[Frame]
        if path and (path.is_dir() or (path.is_file() and _is_picture(path))):
            if (count := num_pages(path)) > 1:
                self.info, frames = open_animation(path, count, fps=fps, lost=self.lost)
            else:
                self.info, frames = open_images(path, fps=fps or PICTURES_FPS, lost=self.lost)
        else:
            from dkpvid.video.containers import VideoContainer  # pictures are read without PyAV

            self._container = VideoContainer(
                source,
                stream=stream,
                apply_rotation=apply_rotation,
                deinterlace=deinterlace,
                thread_type=thread_type,
                fps=fps,
                lost=self.lost,
                should_stop=should_stop,
            )
            self.info, frames = self._container.info, self._container.frames
        self.first_seconds: float | None = None
        """When the first frame is shown, once it was decoded; also of one before `start_seconds`."""
        self.last_seconds: float | None = None
        """The same for the last one that was decoded so far."""
        self._frames = self._between(frames, start_seconds, end_seconds)

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _between(self, frames: Iterator[Frame], start: float | None, end: float | None) -> Iterator[Frame]:
        for frame in frames:
            self.last_seconds = frame.time_seconds
            if self.first_seconds is None:
                self.first_seconds = frame.time_seconds
            if end is not None and frame.time_seconds >= end:
                return
            if start is None or frame.time_seconds >= start:
                yield frame

    def close(self) -> None:
        """Give the file back; no frames come after it."""
        if self._container is not None:
            self._container.close()


def _is_picture(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES or (suffix == ".gif" and has_bare_frames(path))
