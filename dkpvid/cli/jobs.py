"""What `dkpvid track` does for each video: see whether it is done, do it, say how it went."""

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dkpvid.cli.claims import claim, give_up, owner
from dkpvid.cli.outcome import bug_report, say_how_it_went
from dkpvid.cli.plan import Job
from dkpvid.cli.progress import ProgressReport
from dkpvid.cli.shared import EXIT_BUG, EXIT_PARTIAL, say
from dkpvid.drawing import DrawStyle
from dkpvid.errors import DataError, DkpvidError, UsageError, printable
from dkpvid.files import remove_leftovers
from dkpvid.formats import FORMATS, JsonLinesStream
from dkpvid.formats.reading import read_fingerprint
from dkpvid.formats.schema import TrackHeader

if TYPE_CHECKING:
    from dkpvid.formats.base import TrackSink
    from dkpvid.jobs.track import TrackedVideo, Tracker
    from dkpvid.tracking.render import AnnotatedVideo


@dataclass(frozen=True)
class Manner:
    """How jobs are run."""

    style: DrawStyle
    crf: int
    overwrite: bool = False
    """Replace outputs even where nothing tells that they were made from the same source."""
    skip_existing: bool = False
    """Leave outputs alone that are there already, for the same video, model and settings."""
    resume: bool = False
    """Go on where a run was interrupted."""
    quiet: bool = False

    def drawing_mark(self, fingerprint: str) -> str:
        """What is stored in an annotated MP4 to know it again."""
        return f"dkpvid {fingerprint} {self.style} crf={self.crf}"


def run_job(job: Job, tracker: "Tracker", manner: Manner, stop: list[int]) -> int:
    """Track one video and write its outputs; what goes wrong is one line on stderr.

    Args:
        job: What to do.
        tracker: The model, with its settings.
        manner: How to do it.
        stop: Not empty any more when the work is to end.

    Returns:
        The exit code that it alone would lead to.
    """
    if _can_be_skipped(job, tracker, manner):
        return 0
    tracked: TrackedVideo | None = None
    try:
        _take_name(job, manner)
        tracked, drawing = _track(job, tracker, manner, stop)
        if job.video_path and not drawing:
            drawing = _draw(job, tracked, tracker, manner, stop)
        if drawing and drawing.error:
            raise drawing.error
        _write_report(job, tracked)
    except BrokenPipeError:
        # The reader has what it wanted. Python would complain at exit if it could still flush to the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except DkpvidError as error:
        say(f"error: {error}")
        # Without its drawing, a video's keypoints are still complete.
        return EXIT_PARTIAL if tracked else error.exit_code
    except OSError as error:
        say(f"error: {_why_not_written(job, error)}")
        return EXIT_PARTIAL if tracked else DataError.exit_code
    finally:
        if job.stem and not any(path.exists() for path in [*job.paths, job.journal_path] if path):
            give_up(job.stem)
    if job.journal_path and not stop:
        job.journal_path.unlink(missing_ok=True)
    return say_how_it_went(job, tracked, drawing, is_quiet=manner.quiet)


def _why_not_written(job: Job, error: OSError) -> str:
    """What could not be read or written, and what to do."""
    # The second name, when there is one, is the final name of a file that was to be renamed.
    place = str(error.filename2 or error.filename or (job.source.name if job.stem else "stdout"))
    reason = error.strerror or error
    source = job.source.file
    if source and Path(place).absolute().is_relative_to(source.absolute()):
        return f"{place}: cannot be read ({reason}); check its rights"
    if job.stem is None:
        # Python would complain at exit if it could still flush to a full disk.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return f"{place}: cannot be written ({reason})"
    if error.errno == errno.ENAMETOOLONG:
        return f"{place}: the name is too long for the file system; give the video a shorter one"
    make_room = "make room, or " if error.errno == errno.ENOSPC else ""
    return f"{place}: {reason}; {make_room}choose another folder with -o"


def run_all(jobs: Sequence[Job], tracker: "Tracker", manner: Manner, stop: list[int]) -> list[int]:
    """Track one video after the other: a bug that one of them meets does not keep the others waiting.

    Args:
        jobs: What to do.
        tracker: See `run_job`.
        manner: See `run_job`.
        stop: See `run_job`.

    Returns:
        The exit codes of those that were begun.

    Raises:
        Exception: a bug, where there is a single video.
    """
    codes: list[int] = []
    for job in jobs:
        if stop:
            break
        try:
            codes.append(run_job(job, tracker, manner, stop))
        except typer.Exit:
            raise
        except Exception:
            if len(jobs) == 1:
                raise
            typer.echo(bug_report(job), err=True)
            codes.append(EXIT_BUG)
    return codes


def _can_be_skipped(job: Job, tracker: "Tracker", manner: Manner) -> bool:
    """See what an earlier run left: complete outputs, or pieces of them, which are removed."""
    if not (manner.skip_existing or manner.resume):
        return False
    if job.source.comes_once:
        say(f"{job.source.name}: comes once, so it is neither resumed nor skipped")
    elif manner.skip_existing and is_done(job, tracker.fingerprint(job.source), manner):
        if not manner.quiet:
            say(f"{job.source.name}: skipped, its outputs are complete")
        return True
    for path in job.paths:
        remove_leftovers(path)
    return False


def _take_name(job: Job, manner: Manner) -> None:
    """Make the outputs' name the source's own.

    Raises:
        UsageError: there are outputs of which nobody knows whose they are, or the name is taken.
    """
    if job.stem is None:
        return
    existing = next((path for path in job.paths if path.exists() or path.is_symlink()), None)
    if existing and not manner.overwrite and (job.source.comes_once or owner(job.stem) is None):
        raise UsageError(
            f"{existing} exists, and may be of something else than {job.source.name}; pass --overwrite to "
            "replace it, or choose another folder with -o"
        )
    claim(job.stem, job.source)


def is_done(job: Job, fingerprint: str | None, manner: Manner) -> bool:
    """Whether all outputs of a job are there, made from the same video with the same model and settings.

    JSON, JSON Lines and MP4 tell of themselves what they were made from; other formats are trusted when one
    of those is among the outputs.
    """
    from dkpvid.video.writer import read_comment

    if fingerprint is None or not job.paths or not all(path.exists() for path in job.paths):
        return False
    told = [
        read_fingerprint(path) == fingerprint
        for name, path in zip(job.formats, job.data_paths, strict=True)
        if name in ("json", "jsonl")
    ]
    if job.video_path:
        told.append(read_comment(job.video_path) == manner.drawing_mark(fingerprint))
    has_journal = job.journal_path is not None and job.journal_path.exists()
    return bool(told) and all(told) and not has_journal


def _track(
    job: Job, tracker: "Tracker", manner: Manner, stop: list[int]
) -> "tuple[TrackedVideo, AnnotatedVideo | None]":
    """The keypoint files, and the drawing when it is made in the same pass."""
    from dkpvid.jobs.track import track_video
    from dkpvid.tracking.journal import Journal
    from dkpvid.tracking.render import fits_in_memory

    drawing: AnnotatedVideo | None = None

    def make_sinks(header: TrackHeader) -> "Iterator[TrackSink]":
        nonlocal drawing
        info = header.source
        for remark in () if manner.quiet else info.remarks:
            say(f"warning: {job.source.name}: {remark}")
        if job.stem is None:
            yield JsonLinesStream(sys.stdout, header)
            return
        # One by one: where one cannot be made, those before it are cleaned up.
        for name, path in zip(job.formats, job.data_paths, strict=True):
            yield FORMATS[name](path, header)
        if job.video_path and (not info.can_reopen or fits_in_memory(info, tracker.frames_in_flight(info))):
            drawing = _new_drawing(job, header, manner)
            yield drawing

    journal = None
    fingerprint = tracker.fingerprint(job.source)
    if job.journal_path and fingerprint:
        journal = Journal(
            job.journal_path,
            fingerprint,
            batch_size=tracker.config.batch_size,
            resume=manner.resume,
        )
    with ProgressReport(printable(f"tracking {job.source.name}"), "frames", None, manner.quiet) as progress:
        tracked = track_video(
            job.source,
            tracker,
            make_sinks,
            journal=journal,
            # What cannot be read again is never drawn afterwards.
            keep_all=job.source.kind != "live" or job.report_path is not None,
            on_frame=lambda done, info: progress.update(done, total=info.num_frames_estimate),
            should_stop=lambda: bool(stop),
        )
    return tracked, drawing


def _draw(
    job: Job, tracked: "TrackedVideo", tracker: "Tracker", manner: Manner, stop: list[int]
) -> "AnnotatedVideo":
    """Read a video again and draw what was found: its frames are too large to wait in memory.

    When tracking was stopped, what was tracked is drawn; a request after that ends the drawing.
    """
    from dkpvid.tracking.render import redraw

    assert job.video_path is not None
    num_requests = len(stop)
    with (
        ProgressReport(
            printable(f"drawing {job.source.name}"), "frames", len(tracked.track), manner.quiet
        ) as progress,
        tracker.open(job.source, lambda: len(stop) > num_requests) as reader,
    ):
        drawing = _new_drawing(job, tracked.header, manner)
        redraw(
            reader,
            tracked.track,
            drawing,
            on_frame=progress.update,
            should_stop=lambda: len(stop) > num_requests,
        )
    return drawing


def _write_report(job: Job, tracked: "TrackedVideo") -> None:
    if job.report_path is None:
        return
    from dkpvid.pages.track import write_track_report

    source = job.source.file
    write_track_report(
        job.report_path,
        tracked.header,
        tracked.track,
        tracked.lost,
        source=source if source and source.is_file() else None,
        annotated=job.video_path,
    )


def _new_drawing(job: Job, header: TrackHeader, manner: Manner) -> "AnnotatedVideo":
    from dkpvid.tracking.render import AnnotatedVideo

    mark = manner.drawing_mark(header.fingerprint or "")
    assert job.video_path is not None
    return AnnotatedVideo(
        job.video_path, header, manner.style, sound=job.source.file, crf=manner.crf, comment=mark
    )
