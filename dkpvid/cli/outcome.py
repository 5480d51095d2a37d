"""How the tracking of a video went: what is said of it, and which exit code it leads to."""

import traceback
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dkpvid.cli.plan import Job
from dkpvid.cli.shared import EXIT_PARTIAL, say
from dkpvid.errors import printable
from dkpvid.structures import CORRUPT, TIME_ESTIMATED

if TYPE_CHECKING:
    from dkpvid.jobs.track import TrackedVideo
    from dkpvid.tracking.render import AnnotatedVideo


def say_how_it_went(
    job: Job, tracked: "TrackedVideo", drawing: "AnnotatedVideo | None", *, is_quiet: bool
) -> int:
    """Say how it went, in one line; the exit code that it alone would lead to."""
    if drawing and drawing.audio_note and not is_quiet:
        say(f"note: {drawing.audio_note}")
    num_estimated = tracked.flag_counts.get(TIME_ESTIMATED, 0)
    if num_estimated and not is_quiet and not tracked.header.source.has_no_times:
        say(
            f"warning: {job.source.name}: {num_estimated} frame(s) with a missing or wrong time in the file, "
            f"estimated and flagged {TIME_ESTIMATED}"
        )
    if tracked.lost:
        first = tracked.lost[0]
        num_concealed = tracked.flag_counts.get(CORRUPT, 0)
        concealed = f", {num_concealed} of them flagged {CORRUPT}" if num_concealed else ""
        say(
            f"warning: {job.source.name}: {len(tracked.lost)} damaged part(s), the first at packet "
            f"{first.packet} ({first.reason}); {tracked.num_frames} frame(s) tracked{concealed}"
        )
        return EXIT_PARTIAL
    if not is_quiet:
        written = ", ".join(str(path) for path in job.paths)
        info = tracked.header.source
        turned = [f"turned by {info.rotation_degrees} degrees"] if info.rotation_degrees else []
        turned += ["mirrored"] if info.is_mirrored else []
        name = f"{job.source.name} ({', '.join(turned)})" if turned else job.source.name
        say(f"{name}: {tracked.num_frames} frame(s) -> {written or 'stdout'}")
    return 0


def overall_exit_code(codes: Iterable[int]) -> int:
    """One exit code for several videos: that of the failure only when not one of them gave anything.

    >>> overall_exit_code([0, 0]), overall_exit_code([0, 4]), overall_exit_code([4, 4])
    (0, 3, 4)
    """
    different = set(codes)
    if different <= {0}:
        return 0
    return EXIT_PARTIAL if different & {0, EXIT_PARTIAL} else max(different)


def bug_report(job: Job) -> str:
    """The traceback of the exception that is being handled, and whose video it was."""
    name = printable(job.source.name)
    return f"{traceback.format_exc()}error: {name}: given up because of a bug; please report the lines above"
