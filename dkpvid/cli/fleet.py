"""Many videos on many machines: what `dkpvid track --ray` does."""

from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dkpvid.cli.jobs import Manner, run_job
from dkpvid.cli.outcome import bug_report
from dkpvid.cli.plan import Job
from dkpvid.cli.progress import ProgressReport
from dkpvid.cli.shared import EXIT_BUG, say
from dkpvid.config import TrackConfig
from dkpvid.errors import DataError, DkpvidError, printable

if TYPE_CHECKING:
    from dkpvid.checkpoint import Weights
    from dkpvid.jobs.track import Tracker
    from dkpvid.tracking.joints import JointMap


@dataclass(frozen=True)
class Recipe:
    """How all videos of a command are tracked and drawn."""

    weights: str | None
    config: TrackConfig
    joints: str
    """default (those that the model was taught), none, or a file of `eval --save-joints`."""
    manner: Manner

    def load(self) -> "tuple[Weights, JointMap | None]":
        """What is to be read before the first video.

        Raises:
            DkpvidError: a file cannot be read, or the two do not belong together.
        """
        from dkpvid.checkpoint import load_weights  # torch loads here, not for --help
        from dkpvid.tracking.joints import load_joints

        weights = load_weights(self.weights)
        if self.joints in ("default", "none"):
            return weights, None
        return weights, load_joints(Path(self.joints), weights.sha256)

    def tracker(self) -> "Tracker":
        """The model on its device, ready for videos.

        Raises:
            DkpvidError: a file cannot be read, or the device is not there.
        """
        from dkpvid.api import load_model

        return load_model(self.weights, joints=self.joints, config=self.config)


@lru_cache(maxsize=1)
def _tracker(recipe: Recipe) -> "Tracker":
    """A process tracks one video after the other with the same model."""
    return recipe.tracker()


def run_elsewhere(recipe: Recipe, job: Job) -> tuple[int, str]:
    """One job in a process of the cluster: its exit code, and what it would have printed."""
    said = StringIO()
    # When this is not its first try, what the one before it detected is in the journal.
    manner = replace(recipe.manner, resume=True, quiet=True)
    try:
        with redirect_stderr(said):
            code = run_job(job, _tracker(recipe), manner, stop=[])
    except DkpvidError as error:  # of this process alone, such as a missing device
        return error.exit_code, f"error: {printable(job.source.name)}: {error}\n"
    except Exception:
        return EXIT_BUG, f"{bug_report(job)}\n"
    return code, said.getvalue()


def run_fleet(address: str, jobs: Sequence[Job], recipe: Recipe, stop: list[int]) -> list[int]:
    """Track all videos on a Ray cluster, with one bar for all, and a summary; what failed is named.

    Returns:
        The exit code that each job alone would lead to; those that were given up are missing.

    Raises:
        DkpvidError: there is no cluster, or a file that all jobs need cannot be read.
    """
    from dkpvid.cli.cluster import MAX_RETRIES, require_ray, run_jobs

    require_ray()
    recipe.load()

    codes: dict[int, int] = {}
    remarks: dict[int, str] = {}

    def note(number: int, result: tuple[int, str] | None) -> None:
        source = printable(jobs[number].source.name)
        died = f"error: {source}: its process died {MAX_RETRIES + 1} times; track it alone to see why\n"
        codes[number], remarks[number] = result or (DataError.exit_code, died)
        progress.update(len(codes))

    with ProgressReport(f"tracking {len(jobs)} videos", "videos", len(jobs), recipe.manner.quiet) as progress:
        run_jobs(
            address,
            partial(run_elsewhere, recipe),
            jobs,
            on_done=note,
            should_stop=lambda: bool(stop),
            use_gpu=recipe.config.device != "cpu",
        )
    # In the order of the videos, not of their ends.
    for number in sorted(remarks):
        typer.echo(remarks[number], err=True, nl=False)
    if not recipe.manner.quiet:
        done = sum(code == 0 for code in codes.values())
        rest = len(jobs) - len(codes)
        words = f"{len(jobs)} videos: {done} done, {len(codes) - done} failed or lost frames"
        say(words + (f", {rest} not finished" if rest else ""))
    return [codes[number] for number in sorted(codes)]
