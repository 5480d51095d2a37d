"""`track`: find the keypoints in every frame of a video, smooth them over time, write and draw them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from dkpvid.annotate import Annotator, DrawStyle
from dkpvid.checkpoint import Weights
from dkpvid.config import TrackConfig, to_dict
from dkpvid.coordinates import Region
from dkpvid.detect import Detector, confidence_from_covariance, detect, keypoint_names
from dkpvid.devices import choose_device
from dkpvid.errors import VideoError
from dkpvid.joints import JointMap
from dkpvid.schema import TrackHeader
from dkpvid.smoothing import make_smoother
from dkpvid.structures import Frame, LostPacket, Track, VideoInfo
from dkpvid.video.reader import VideoReader
from dkpvid.video.writer import VideoWriter


@runtime_checkable
class TrackSink(Protocol):
    """Takes a track piece by piece; the classes of `dkpvid.formats` do."""

    def write(self, track: Track) -> None:
        """Append the frames that follow the ones written before."""

    def close(self, lost: Sequence[LostPacket]) -> None:
        """Complete the output."""

    def abort(self) -> None:
        """Give the output up; nothing happens when it is complete."""


@dataclass(frozen=True, eq=False)
class TrackedVideo:
    """What came out of one video."""

    header: TrackHeader
    track: Track
    """Keypoints only, never frames: a kilobyte or less a frame."""
    lost: tuple[LostPacket, ...]
    is_stopped: bool
    """True when tracking was asked to stop before the end of the video."""


class Tracker:
    """A model on a device with settings, ready for videos.

    Args:
        weights: The model; see `dkpvid.checkpoint.load_weights`.
        config: How to track.
        joints: Gives named joints besides the keypoints; see `dkpvid.joints.load_joints`.

    Raises:
        UsageError: the device is not there.
    """

    def __init__(self, weights: Weights, config: TrackConfig, joints: JointMap | None = None) -> None:
        self.weights = weights
        self.config = config
        self.joints = joints
        device = choose_device(config.device)
        self.detector = Detector(weights, device, "bf16" if config.half and device.type == "cuda" else "32")

    def header(self, info: VideoInfo) -> TrackHeader:
        """What an output says about this video, this model and these settings."""
        pairs = self.weights.edge_map.pairs.T.tolist()
        strengths = self.weights.edge_map.weights.tolist()
        return TrackHeader(
            source=info,
            model_name=self.weights.name,
            model_sha256=self.weights.sha256,
            model_config=to_dict(self.weights.config),
            keypoints=keypoint_names(self.weights.config.num_keypoints),
            skeleton=tuple((i, j, weight) for (i, j), weight in zip(pairs, strengths, strict=True)),
            smoothing=self.config.smoothing,
            joints=self.joints.names if self.joints else (),
            region=self._region(info),
        )

    def stream(self, frames: Iterable[Frame], info: VideoInfo) -> Iterator[Track]:
        """Smoothed pieces of the track, in order, each as soon as it is final."""
        region = self._region(info)
        area = region or Region(0, 0, info.width, info.height)
        smoother = make_smoother(self.config.smoothing, float(max(area.width, area.height)))
        found = detect(
            self.detector,
            frames,
            region=region,
            batch_size=self.config.batch_size,
            stride=self.config.stride,
            min_confidence=self.config.min_confidence,
        )
        for piece in found:
            if (final := smoother.push(piece)) is not None:
                yield self._finished(final, area)
        if (final := smoother.finish()) is not None:
            yield self._finished(final, area)

    def _finished(self, track: Track, area: Region) -> Track:
        track = _rate_filled(track, area)
        if self.joints is None:
            return track
        xy, covariance = self.joints.apply(track, area)
        confidence = confidence_from_covariance(covariance, area)
        return replace(track, joints=Track(track.index, track.time_seconds, xy, confidence, covariance))

    def _region(self, info: VideoInfo) -> Region | None:
        region = self.config.region
        return None if region is None else region.clipped(info.width, info.height)


def _rate_filled(track: Track, area: Region) -> Track:
    """Where the smoother bridged a missing detection, its covariance tells how far that is to be trusted."""
    if track.raw_xy is None:
        return track
    is_filled = np.isnan(track.raw_xy).any(axis=2) & np.isfinite(track.xy).all(axis=2)
    filled_confidence = confidence_from_covariance(track.covariance, area)
    return replace(track, confidence=np.where(is_filled, filled_confidence, track.confidence))


def track_video(
    source: str | Path,
    tracker: Tracker,
    make_sinks: Callable[[TrackHeader], Sequence[TrackSink]],
    *,
    on_frame: Callable[[int, VideoInfo], None] = lambda done, info: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrackedVideo:
    """Track one video from start to end, feeding the outputs as it goes.

    Args:
        source: A video file, a folder of frames, a strip, a GIF, or `-` for standard input.
        tracker: The model.
        make_sinks: Makes the outputs once the video is open. They are completed when the video ends, or when
            tracking is stopped; after an error they are aborted.
        on_frame: Called with the number of frames read so far.
        should_stop: Asked before every frame; what was read by then is completed.

    Raises:
        VideoError: the video cannot be read, or holds no frame.
    """
    config = tracker.config
    reader = VideoReader(source, start_seconds=config.start_seconds, end_seconds=config.end_seconds)
    with reader, ExitStack() as after_error:
        header = tracker.header(reader.info)
        is_stopped = False

        def frames() -> Iterator[Frame]:
            nonlocal is_stopped
            for done, frame in enumerate(reader, start=1):
                if should_stop():
                    is_stopped = True
                    return
                yield frame
                on_frame(done, reader.info)

        sinks = make_sinks(header)
        for sink in sinks:
            after_error.callback(sink.abort)
        pieces = []
        for piece in tracker.stream(frames(), reader.info):
            pieces.append(piece)
            for sink in sinks:
                sink.write(piece)
        lost = tuple(reader.lost)
        if not pieces:
            if is_stopped:
                raise VideoError(f"{source}: stopped before its first frame")
            why = f" ({lost[0].reason})" if lost else "; check --start and --end"
            raise VideoError(f"{source}: no frame could be decoded{why}")
        for sink in sinks:
            sink.close(lost)
    return TrackedVideo(header, Track.concatenate(pieces), lost, is_stopped)


def render(
    source: str | Path,
    tracked: TrackedVideo,
    path: Path,
    *,
    style: DrawStyle,
    crf: int = 20,
    on_frame: Callable[[int, VideoInfo], None] = lambda done, info: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> str | None:
    """Read the video once more and write it with its keypoints drawn on it, as MP4.

    Args:
        source: The video that was tracked.
        tracked: What was found in it.
        path: The MP4 to write.
        style: What to draw.
        crf: Quality of x264, 0 to 51; smaller is better.
        on_frame: Called with the number of frames written so far.
        should_stop: Asked before every frame; the MP4 then ends there.

    Returns:
        A remark about the sound when it could not be kept.
    """
    track, info = tracked.track, tracked.header.source
    annotator = Annotator(tracked.header.keypoints, tracked.header.skeleton, info.width, info.height, style)
    # Joints have names worth reading, and no learned edges.
    joint_style = DrawStyle(points=True, skeleton=False, labels=True)
    joint_annotator = Annotator(tracked.header.joints, (), info.width, info.height, joint_style)
    with (
        VideoReader(source) as reader,
        VideoWriter(
            path,
            width=info.width,
            height=info.height,
            time_base=info.time_base,
            crf=crf,
            sample_aspect_ratio=info.sample_aspect_ratio,
            audio_from=Path(source),
        ) as writer,
    ):
        first, last = int(track.index[0]), int(track.index[-1])
        for frame in reader:
            if frame.index > last or should_stop():
                break
            if frame.index >= first:
                position = frame.index - first
                image = annotator.draw(frame.image, track, position)
                if track.joints is not None:
                    image = joint_annotator.draw(image, track.joints, position)
                writer.write(image, frame.time_seconds)
                on_frame(position + 1, info)
    return writer.audio_note
