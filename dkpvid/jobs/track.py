"""`track`: find the keypoints in every frame of a video, smooth them over time, write and draw them."""

import hashlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from dkpvid import __version__
from dkpvid.checkpoint import Weights
from dkpvid.config import TrackConfig
from dkpvid.config_json import to_dict
from dkpvid.coordinates import Region
from dkpvid.devices import choose_device
from dkpvid.errors import VideoError
from dkpvid.formats.base import TrackSink
from dkpvid.formats.schema import TrackHeader, to_json
from dkpvid.structures import Frame, LostPacket, Track, VideoInfo
from dkpvid.tracking.detect import (
    FRAMES_AHEAD,
    Detector,
    confidence_from_covariance,
    detect,
    keypoint_names,
    rate_filled,
)
from dkpvid.tracking.joints import JointMap, limbs
from dkpvid.tracking.journal import Journal, check_same_frames
from dkpvid.tracking.render import AnnotatedVideo
from dkpvid.tracking.smoothing import Smoother, kept_back, make_smoother, region_scale
from dkpvid.tracking.windows import cut_at_jumps, held_back, placed
from dkpvid.video.reader import VideoReader
from dkpvid.video.sources import Source, find_source


@dataclass(frozen=True, eq=False)
class TrackedVideo:
    """What came out of one video."""

    header: TrackHeader
    num_frames: int
    track: Track
    """Keypoints only, never frames: a kilobyte or less a frame. Its end only, where the rest was not kept."""
    lost: tuple[LostPacket, ...]
    is_stopped: bool
    """True when tracking was asked to stop before the end of the video."""
    flag_counts: Mapping[str, int]
    """How many frames have each flag."""


class Tracker:
    """A model on a device with settings, ready for videos.

    Args:
        weights: The model; see `dkpvid.checkpoint.load_weights`.
        config: How to track.
        joints: Gives named joints besides the keypoints; see `dkpvid.tracking.joints.load_joints`.
        own_joints: Without such a map, give the joints that the model was taught by name, if any.

    Raises:
        UsageError: the device or the runtime is not there.
    """

    def __init__(
        self,
        weights: Weights,
        config: TrackConfig,
        joints: JointMap | None = None,
        *,
        own_joints: bool = True,
    ) -> None:
        self.weights = weights
        self.config = config
        self.joints = joints
        self._own_joints = weights.config.joints if own_joints and joints is None else ()
        device, precision = choose_device(config.device), "bf16" if config.half else "32"
        with_joints = bool(self._own_joints)
        self.detector = Detector(weights, device, precision, config.runtime, with_joints=with_joints)

    def open(
        self, source: str | Path | Source, should_stop: Callable[[], bool] = lambda: False
    ) -> VideoReader:
        """The video, ready to be read; see `VideoReader`."""
        config = self.config
        return VideoReader(
            source,
            stream=config.stream,
            apply_rotation=config.apply_rotation,
            deinterlace=config.deinterlace,
            fps=config.fps,
            start_seconds=config.start_seconds,
            end_seconds=config.end_seconds,
            should_stop=should_stop,
        )

    def fingerprint(self, source: Source) -> str | None:
        """The same for the same video, model and settings: 64 hexadecimal digits.

        A file counts as the same by its size and time of change, so that no long video must be read for it.
        What comes once has none.
        """
        if source.identity is None:
            return None
        settings = to_dict(self.config)
        del settings["device"]
        joints = self.joints.digest if self.joints else self._own_joints or None
        key = to_json([__version__, source.identity, self.weights.sha256, settings, joints])
        return hashlib.sha256(key.encode()).hexdigest()

    def frames_in_flight(self, info: VideoInfo) -> int:
        """Most frames of a video that have been decoded and whose smoothed keypoints are not known yet."""
        waiting = kept_back(self.config.smoothing, info.average_fps)
        return waiting + held_back(self.config.region) + self.config.batch_size + FRAMES_AHEAD

    def header(self, info: VideoInfo, source: Source) -> TrackHeader:
        """What an output says about this video, this model and these settings."""
        joints = self.joints.names if self.joints else self._own_joints
        return TrackHeader(
            source=info,
            model_name=self.weights.name,
            model_sha256=self.weights.sha256,
            model_config=to_dict(self.weights.config),
            keypoints=keypoint_names(self.weights.config.num_keypoints),
            skeleton=self.weights.edge_map.skeleton,
            smoothing=self.config.smoothing,
            joints=joints,
            joints_skeleton=limbs(joints),
            region=self._region(info),
            region_moves=self.config.region in ("auto", "follow"),
            fingerprint=self.fingerprint(source) if info.can_reopen else None,
        )

    def stream(
        self,
        frames: Iterator[Frame],
        info: VideoInfo,
        journal: Journal | None = None,
        on_batch: Callable[[int], None] = lambda done: None,
    ) -> Generator[Track, None, None]:
        """Smoothed pieces of the track, in order, each as soon as it is final.

        Args:
            frames: Used by another thread, until this iterator is exhausted or closed.
            info: About the video.
            journal: See `track_video`.
            on_batch: Called with the number of frames looked at so far.
        """
        area = self._region(info) or Region(0, 0, info.width, info.height)
        frames = placed(frames, self.config.region, self.detector)
        smoother: Smoother | None = None
        num_done = 0
        with closing(self._detections(frames, self._region(info), journal)) as found:
            for piece, is_start in cut_at_jumps(found):
                num_done += len(piece)
                on_batch(num_done)
                if smoother is None or is_start:
                    # What is known of one subject, or before a gap of unknown length, says nothing here.
                    if smoother is not None and (final := smoother.finish()) is not None:
                        yield self._finished(final, area)
                    scale = region_scale(piece, area)
                    smoother = make_smoother(self.config.smoothing, scale, info.average_fps)
                if (final := smoother.push(piece)) is not None:
                    yield self._finished(final, area)
        if smoother is not None and (final := smoother.finish()) is not None:
            yield self._finished(final, area)

    def _detections(
        self, frames: Iterator[Frame], region: Region | None, journal: Journal | None
    ) -> Generator[Track, None, None]:
        """What is found in the frames, batch by batch: first what the journal knows, then the rest."""
        for known in journal.batches if journal else []:
            again = list(islice(frames, len(known)))
            check_same_frames(known, again)
            yield replace(known, flags=tuple(frame.flags for frame in again))
        found = detect(
            self.detector,
            frames,
            region=region,
            batch_size=self.config.batch_size,
            stride=self.config.stride,
            min_confidence=self.config.min_confidence,
        )
        with closing(found):
            for piece in found:
                if journal:
                    journal.append(piece)
                yield piece

    def _finished(self, track: Track, area: Region) -> Track:
        regions = area if track.region is None else track.region
        track = rate_filled(track, regions)
        if self._own_joints:
            count = self.weights.config.num_keypoints
            joints = replace(track.some(slice(count, None)), region=None, flags=())
            return replace(track.some(slice(count)), joints=joints)
        if self.joints is None:
            return track
        xy, covariance = self.joints.apply(track, regions)
        confidence = confidence_from_covariance(covariance, regions)
        return replace(track, joints=Track(track.index, track.time_seconds, xy, confidence, covariance))

    def _region(self, info: VideoInfo) -> Region | None:
        region = self.config.region
        return region.clipped(info.width, info.height) if isinstance(region, Region) else None


def track_video(
    source: str | Path | Source,
    tracker: Tracker,
    make_sinks: Callable[[TrackHeader], Iterable[TrackSink]],
    *,
    journal: Journal | None = None,
    keep_all: bool = True,
    on_frame: Callable[[int, VideoInfo], None] = lambda done, info: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrackedVideo:
    """Track one video from start to end, feeding the outputs as it goes.

    Args:
        source: A video file, a folder of frames, a strip, a GIF, a URL, the number of a camera, or `-` for
            standard input.
        tracker: The model.
        make_sinks: Makes the outputs once the video is open. They are completed when the video ends, or when
            tracking is stopped; after an error they are aborted.
        journal: Remembers the detections; those that are in it already are not made again.
        keep_all: Return the whole track; False where the outputs are enough, and a day may be long.
        on_frame: Called with the number of frames looked at so far.
        should_stop: Asked before every frame, and while one is waited for; what came before is completed.

    Raises:
        VideoError: the video cannot be read, or holds no frame.
    """
    source = find_source(source)
    with tracker.open(source, should_stop) as reader, ExitStack() as after_error:
        header = tracker.header(reader.info, source)
        sinks = []
        for sink in make_sinks(header):
            after_error.callback(sink.abort)
            sinks.append(sink)
        feed = _Feed(
            reader, [sink for sink in sinks if isinstance(sink, AnnotatedVideo)], journal, should_stop
        )
        pieces: list[Track] = []
        num_frames = 0
        flag_counts: Counter[str] = Counter()
        found = tracker.stream(iter(feed), reader.info, journal, lambda done: on_frame(done, reader.info))
        with closing(found):
            for piece in found:
                if not keep_all:
                    pieces.clear()
                pieces.append(piece)
                num_frames += len(piece)
                flag_counts.update(flag for flags in piece.flags for flag in flags)
                for sink in sinks:
                    sink.write(piece)
        lost = tuple(reader.lost)
        if not pieces:
            raise VideoError(f"{source.name}: {_why_empty(reader, feed.is_stopped)}")
        for sink in sinks:
            sink.close(lost)
        return TrackedVideo(header, num_frames, Track.concatenate(pieces), lost, feed.is_stopped, flag_counts)


@dataclass(eq=False)
class _Feed:
    """The frames of a video on their way to the detector."""

    reader: VideoReader
    drawings: Sequence[AnnotatedVideo]
    """What frames are shown to before anybody has looked at them."""
    journal: Journal | None
    should_stop: Callable[[], bool]
    is_stopped: bool = False
    """True once it was asked to stop."""

    def __iter__(self) -> Iterator[Frame]:
        for frame in self.reader:
            if self.should_stop():
                break
            for drawing in self.drawings:
                drawing.keep(frame)
            yield frame
        # Where data is waited for, the reader itself ends on request.
        self.is_stopped = self.should_stop()
        if self.is_stopped and self.journal:
            self.journal.close()


def _why_empty(reader: VideoReader, is_stopped: bool) -> str:
    if is_stopped:
        return "stopped before its first frame"
    if reader.first_seconds is not None and reader.last_seconds is not None:
        times = f"its frames go from {reader.first_seconds:.2f} s to {reader.last_seconds:.2f} s"
        return f"no frame between --start and --end; {times}"
    reason = f" ({reader.lost[0].reason})" if reader.lost else ""
    return f"no frame could be decoded{reason}; check it with `ffprobe`, or convert it"
