"""`dkpvid track`."""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dkpvid.annotate import DrawStyle
from dkpvid.cli.shared import EXIT_INTERRUPTED, EXIT_PARTIAL, interrupt_request, reported_errors
from dkpvid.config import SmoothingConfig, TrackConfig
from dkpvid.errors import DataError, DkpvidError, UsageError
from dkpvid.formats import FORMATS, JsonLinesStream
from dkpvid.inputs import STDIN, VIDEO_OUTPUT_SUFFIX, expand_inputs, output_stems, parse_region
from dkpvid.progress import ProgressReport
from dkpvid.schema import TrackHeader

if TYPE_CHECKING:
    from dkpvid.track import TrackedVideo, Tracker, TrackSink


@dataclass(frozen=True)
class Job:
    """One video and what is to be written of it."""

    source: str
    stem: Path | None
    """Where the outputs go, without their suffixes; None = JSON Lines to stdout."""
    formats: tuple[str, ...]
    with_video: bool

    @property
    def data_paths(self) -> list[Path]:
        """The keypoint files."""
        return [] if self.stem is None else [self._path(FORMATS[name].suffix) for name in self.formats]

    @property
    def video_path(self) -> Path | None:
        """The annotated MP4, when one is wanted."""
        return self._path(VIDEO_OUTPUT_SUFFIX) if self.with_video and self.stem else None

    def _path(self, suffix: str) -> Path:
        assert self.stem is not None
        return self.stem.with_name(self.stem.name + suffix)


def track(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="VIDEO...", help="Videos, folders, image strips, patterns, or - for stdin."),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="Folder to write to; - = JSON Lines to stdout.")
    ] = ".",
    formats: Annotated[str, typer.Option("--format", help="json, jsonl, csv; several with commas.")] = "json",
    video: Annotated[bool, typer.Option("--video/--no-video", help="Write the annotated MP4.")] = True,
    weights: Annotated[
        str | None,
        typer.Option(help="Run folder, .safetensors or AutoLink .ckpt.", show_default="those of the package"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = TrackConfig.device,
    half: Annotated[
        bool, typer.Option("--half", help="bfloat16 on CUDA; ignored elsewhere.")
    ] = TrackConfig.half,
    batch_size: Annotated[int, typer.Option(help="Frames per forward pass.")] = TrackConfig.batch_size,
    start: Annotated[float | None, typer.Option(help="First second to track.")] = TrackConfig.start_seconds,
    end: Annotated[float | None, typer.Option(help="Second to stop before.")] = TrackConfig.end_seconds,
    stride: Annotated[
        int, typer.Option(help="Look at every n-th frame; kalman fills the others.")
    ] = TrackConfig.stride,
    smooth: Annotated[
        str, typer.Option(help="kalman, one-euro, savgol, median or none.")
    ] = SmoothingConfig.method,
    smooth_strength: Annotated[
        float, typer.Option(help="2 is smoother, 0.5 follows closer.")
    ] = SmoothingConfig.strength,
    min_confidence: Annotated[
        float, typer.Option(help="Ignore detections below it, 0 to 1.")
    ] = TrackConfig.min_confidence,
    joints: Annotated[
        Path | None, typer.Option(help="File of `eval --save-joints`: adds named joints.")
    ] = None,
    roi: Annotated[str, typer.Option(help="full, or x,y,width,height in pixels: where to look.")] = "full",
    draw: Annotated[
        str, typer.Option(help="points, skeleton, trail, labels; with commas.")
    ] = "points,skeleton,trail",
    crf: Annotated[int, typer.Option(min=0, max=51, help="Quality of the MP4; smaller is better.")] = 20,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look in subfolders too.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that are there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only errors.")] = False,
) -> None:
    """Track keypoints through videos: a JSON file and an annotated MP4 for each.

    One record per decoded frame, with its time in seconds, and for every keypoint its place in pixels of the
    upright frame, its confidence and its covariance.
    """
    with reported_errors():
        config = TrackConfig(
            device=device,
            half=half,
            batch_size=batch_size,
            start_seconds=start,
            end_seconds=end,
            stride=stride,
            region=parse_region(roi),
            min_confidence=min_confidence,
            smoothing=SmoothingConfig(smooth, smooth_strength),  # type: ignore[arg-type]
        )
        style = DrawStyle.from_names(draw)
        jobs = plan(inputs, output, formats, video, recursive, overwrite)
        from dkpvid.checkpoint import load_weights  # torch loads here, not for --help
        from dkpvid.joints import load_joints
        from dkpvid.track import Tracker

        model = load_weights(weights)
        tracker = Tracker(model, config, load_joints(joints, model.sha256) if joints else None)
    with interrupt_request() as stop:
        codes = [run_job(job, tracker, style, crf, stop, quiet) for job in jobs if not stop]
    raise typer.Exit(EXIT_INTERRUPTED if stop else overall_exit_code(codes))


def overall_exit_code(codes: Iterable[int]) -> int:
    """One exit code for several videos: that of the failure only when not one of them gave anything.

    >>> overall_exit_code([0, 0]), overall_exit_code([0, 4]), overall_exit_code([4, 4])
    (0, 3, 4)
    """
    different = set(codes)
    if different <= {0}:
        return 0
    return EXIT_PARTIAL if different & {0, EXIT_PARTIAL} else max(different)


def plan(
    inputs: list[str], output: str, formats: str, video: bool, recursive: bool, overwrite: bool
) -> list[Job]:
    """What to do, all of it checked before anything is done.

    Raises:
        UsageError: an unknown format, a folder that cannot be written to, an output that is there already.
        DataError: an input names no video.
    """
    names = tuple(dict.fromkeys(name.strip() for name in formats.split(",")))
    for name in names:
        if name not in FORMATS:
            raise UsageError(f"unknown format {name!r}; choose from {', '.join(FORMATS)}")
    if output != "-":
        check_folder(Path(output))
    sources = expand_inputs(inputs, recursive)
    jobs = [
        # What comes through a pipe cannot be read a second time, for drawing on it.
        Job(source, None if output == "-" else Path(output) / stem, names, video and source != STDIN)
        for source, stem in zip(sources, output_stems(sources), strict=True)
    ]
    for job in jobs:
        for path in [*job.data_paths, *([job.video_path] if job.video_path else [])]:
            if path.exists() and not overwrite:
                raise UsageError(
                    f"{path} exists; pass --overwrite to replace it, or choose another folder with -o"
                )
    return jobs


def check_folder(folder: Path) -> None:
    """See that outputs can be written to a folder, or that it can be made, before hours of work.

    Raises:
        UsageError: they cannot.
    """
    existing = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    if not existing.is_dir():
        raise UsageError(f"{existing} is not a folder; choose another one with -o")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"{existing} is read-only; choose another folder with -o")


def run_job(job: Job, tracker: "Tracker", style: DrawStyle, crf: int, stop: list[int], quiet: bool) -> int:
    """Track one video and write its outputs; what goes wrong is one line on stderr.

    Returns:
        The exit code that it alone would lead to.
    """
    from dkpvid.track import render, track_video

    tracked: TrackedVideo | None = None

    def make_sinks(header: TrackHeader) -> "list[TrackSink]":
        if job.stem is None:
            return [JsonLinesStream(sys.stdout, header)]
        return [FORMATS[name](path, header) for name, path in zip(job.formats, job.data_paths, strict=True)]

    try:
        with ProgressReport(f"tracking {job.source}", "frames", None, quiet) as progress:
            tracked = track_video(
                job.source,
                tracker,
                make_sinks,
                on_frame=lambda done, info: progress.update(done, total=info.num_frames_estimate),
                should_stop=lambda: bool(stop),
            )
        if job.video_path is not None:
            # When tracking was stopped, what was tracked is drawn; a request after that ends the drawing.
            num_requests = len(stop)
            with ProgressReport(f"drawing {job.source}", "frames", len(tracked.track), quiet) as progress:
                remark = render(
                    job.source,
                    tracked,
                    job.video_path,
                    style=style,
                    crf=crf,
                    on_frame=lambda done, info: progress.update(done),
                    should_stop=lambda: len(stop) > num_requests,
                )
            if remark and not quiet:
                typer.echo(f"note: {remark}", err=True)
    except BrokenPipeError:
        # The reader has what it wanted. Python would complain at exit if it could still flush to the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except DkpvidError as error:
        typer.echo(f"error: {error}", err=True)
        # Without its drawing, a video's keypoints are still complete.
        return EXIT_PARTIAL if tracked else error.exit_code
    except OSError as error:
        # The second name, when there is one, is the final name of a file that was to be renamed.
        place = error.filename2 or error.filename or job.source
        typer.echo(f"error: {place}: {error.strerror}; choose another folder with -o", err=True)
        return EXIT_PARTIAL if tracked else DataError.exit_code
    return report(job, tracked, quiet)


def report(job: Job, tracked: "TrackedVideo", quiet: bool) -> int:
    """Say how it went, in one line; the exit code that it alone would lead to."""
    if tracked.lost:
        first = tracked.lost[0]
        typer.echo(
            f"warning: {job.source}: {len(tracked.lost)} damaged part(s) passed over, the first at packet "
            f"{first.packet} ({first.reason}); {len(tracked.track)} frame(s) tracked",
            err=True,
        )
        return EXIT_PARTIAL
    if not quiet:
        written = ", ".join(str(path) for path in [*job.data_paths, job.video_path] if path)
        typer.echo(f"{job.source}: {len(tracked.track)} frame(s) -> {written or 'stdout'}", err=True)
    return 0
