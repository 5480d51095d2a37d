"""What `import dkpvid` offers to programs; the command line calls the same."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from dkpvid.checkpoint import load_weights
from dkpvid.config import DistillConfig, TrackConfig, TrainConfig
from dkpvid.config_json import combined
from dkpvid.errors import UsageError, need_extra
from dkpvid.formats import FORMATS, check_format
from dkpvid.formats.base import point_arrays, point_names, strong_edges
from dkpvid.formats.reading import TrackFile
from dkpvid.formats.reading import read_track as read_track_file
from dkpvid.jobs.track import Tracker, track_video
from dkpvid.shapes import Float
from dkpvid.tracking.joints import load_joints
from dkpvid.video.sources import Source

if TYPE_CHECKING:
    from dkpvid.training.fitting import Callbacks


@dataclass(frozen=True, eq=False)
class Track(TrackFile):
    """The points of a video over time: its keypoints, then its named joints where there are some.

    Coordinates are pixels of the upright frame, x right, y down; the centre of the top-left pixel is (0, 0).
    """

    @property
    def time(self) -> Float[ndarray, " frame"]:
        """When each frame is shown, in seconds; not necessarily evenly spaced."""
        return self.track.time_seconds

    @property
    def names(self) -> tuple[str, ...]:
        """Of the points."""
        return point_names(self.header)

    @property
    def skeleton(self) -> list[tuple[int, int]]:
        """The learned edges that are drawn, each two positions in `names`."""
        return strong_edges(self.header)

    @property
    def xy(self) -> Float[ndarray, "frame point 2"]:
        """Places in pixels; NaN = not observed."""
        return point_arrays(self.track)[0]

    @property
    def confidence(self) -> Float[ndarray, "frame point"]:
        """0..1."""
        return point_arrays(self.track)[1]

    @property
    def covariance(self) -> Float[ndarray, "frame point 3"]:
        """(xx, xy, yy) of the error, in square pixels."""
        parts = [self.track] if self.track.joints is None else [self.track, self.track.joints]
        return np.concatenate([part.covariance for part in parts], axis=1)

    def save(self, path: str | Path, format: str | None = None) -> None:
        """Write it to a file, replacing what is there.

        Args:
            path: The file, or the folder of `openpose`.
            format: A name of `track --format`; None = the one whose files end like `path`.

        Raises:
            UsageError: no such format, or a package that it needs is not installed.
        """
        path = Path(path)
        name = format or next((name for name, kind in FORMATS.items() if _ends_like(path, kind.suffix)), None)
        if name is None:
            suffixes = ", ".join(kind.suffix for kind in FORMATS.values())
            raise UsageError(f"{path}: unknown kind of track; end it with {suffixes}, or give format=")
        check_format(name)
        writer = FORMATS[name](path, self.header)
        try:
            writer.write(self.track)
            writer.close(self.lost)
        finally:
            writer.abort()

    def to_dataframe(self) -> Any:
        """A pandas DataFrame with a row for each point in each frame: frame, time, point, x, y, confidence.

        Raises:
            UsageError: pandas is not installed.
        """
        pandas = need_extra("to_dataframe()", "pandas", "pandas")
        frames, points = self.confidence.shape
        return pandas.DataFrame(
            {
                "frame": np.repeat(self.track.index, points),
                "time": np.repeat(self.time, points),
                "point": np.tile(self.names, frames),
                "x": self.xy[..., 0].ravel(),
                "y": self.xy[..., 1].ravel(),
                "confidence": self.confidence.ravel(),
            }
        )

    def to_movement(self) -> Any:
        """The xarray Dataset that `movement` calls poses, with the video's own times.

        Raises:
            UsageError: movement is not installed.
        """
        poses = need_extra("to_movement()", "movement.io.load_poses", "movement")
        dataset = poses.from_numpy(
            self.xy.transpose(0, 2, 1)[..., None],
            self.confidence[..., None],
            keypoint_names=list(self.names),
            source_software="dkpvid",
        )
        return dataset.assign_coords(time=self.time).assign_attrs(time_unit="seconds")


def _ends_like(path: Path, suffix: str) -> bool:
    return path.name.endswith((suffix, suffix.removeprefix(".dkp")))


def load_model(
    weights: str | Path | None = None,
    *,
    joints: str | Path = "default",
    config: TrackConfig | None = None,
    **settings: Any,
) -> Tracker:
    """A model on its device, ready for videos.

    Args:
        weights: What `track --weights` takes; None = the weights of the package.
        joints: Named joints: default (those that the weights were taught, if any), none, or a file of
            `eval --save-joints`.
        config: How to track.
        settings: Of `TrackConfig`, instead of those in `config`, such as `device="cpu"`.

    Raises:
        DkpvidError: a file cannot be read, a setting is not allowed, or the device is not there.
    """
    loaded = load_weights(weights)
    named = None if joints in ("default", "none") else load_joints(Path(joints), loaded.sha256)
    settled = replace(config or TrackConfig(), **settings)
    return Tracker(loaded, settled, named, own_joints=joints == "default")


def track(
    video: str | Path | Source,
    model: Tracker | None = None,
    *,
    on_frame: Callable[[int], None] = lambda done: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Track:
    """Track the keypoints of a video.

    Args:
        video: A file, a folder of frames, a URL, the number of a camera.
        model: Of `load_model`; None = that of the package.
        on_frame: Called with the number of frames looked at so far.
        should_stop: Asked before every frame; the track then ends there.

    Raises:
        VideoError: the video cannot be read, or holds no frame.
    """
    tracked = track_video(
        video,
        model or load_model(),
        lambda header: [],
        on_frame=lambda done, info: on_frame(done),
        should_stop=should_stop,
    )
    return Track(tracked.header, tracked.track, tracked.lost, complete=not tracked.is_stopped)


def read_track(path: str | Path) -> Track:
    """Read the JSON or JSON Lines of `dkpvid track` or of `Track.save`.

    Raises:
        DataError: the file cannot be read, is damaged, or is something else.
    """
    return Track(**vars(read_track_file(Path(path))))


def train(
    data: str | Path,
    run: str | Path,
    *,
    preset: str | None = None,
    callbacks: "Callbacks | None" = None,
    resume: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> Path:
    """Fit keypoints to a folder of videos, as `dkpvid train` does.

    Args:
        data: Holds the videos, or `train/` and `test/` with videos.
        run: The run folder to write, which `load_model` takes.
        preset: human36m, deepfashion, taichi or cpu.
        callbacks: What to tell and ask on the way.
        resume: Go on with the run in the folder.
        overwrite: Replace the run in the folder.
        settings: Of `TrainConfig` and its `ModelConfig`, such as `steps=1000, num_keypoints=8`.

    Returns:
        The run folder.

    Raises:
        DkpvidError: what the command would say in one line.
    """
    from dkpvid.jobs.train import train as fit  # not needed by those who track
    from dkpvid.training.fitting import SILENT

    config = combined(TrainConfig, {}, preset, {"data": Path(data), "run": Path(run), **settings})
    fit(config, callbacks or SILENT, resume=resume, overwrite=overwrite)
    return config.run


def distill(
    data: str | Path,
    run: str | Path,
    *,
    teacher: str | Path,
    preset: str | None = None,
    callbacks: "Callbacks | None" = None,
    resume: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> Path:
    """Fit keypoints under a teacher that sees depth, as `dkpvid distill` does; see `train`.

    Args:
        data: See `train`.
        run: See `train`.
        teacher: Run folder of `train(..., modality="depth")`.
        preset: See `train`.
        callbacks: See `train`.
        resume: See `train`.
        overwrite: See `train`.
        settings: Of `DistillConfig` and its `ModelConfig`.

    Returns:
        The run folder.

    Raises:
        DkpvidError: what the command would say in one line.
    """
    from dkpvid.jobs.distill import distill as fit  # not needed by those who track
    from dkpvid.training.fitting import SILENT

    given = {"data": Path(data), "run": Path(run), "teacher": Path(teacher), **settings}
    config = combined(DistillConfig, {}, preset, given)
    fit(config, callbacks or SILENT, resume=resume, overwrite=overwrite)
    return config.run
