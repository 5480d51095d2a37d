"""What `dkpvid track` is to do: which videos, and which outputs of each; checked before anything is done."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dkpvid.cli.claims import own_stem
from dkpvid.cli.shared import check_folder
from dkpvid.errors import UsageError
from dkpvid.formats import FORMATS, check_format
from dkpvid.video.inputs import TRACK_REPORT_SUFFIX, VIDEO_OUTPUT_SUFFIX, expand_inputs
from dkpvid.video.sources import Source

_LONGEST_STEM = 240
"""In bytes: file systems take names of 255, and outputs and their journal add to a video's."""

_OUTPUT_SUFFIXES = frozenset({".csv", ".h5", ".html", ".json", ".jsonl", ".mp4", ".nwb"})
"""Of files: a folder of such a name would be a mistake."""


@dataclass(frozen=True)
class Job:
    """One video and what is to be written of it."""

    source: Source
    stem: Path | None
    """Where the outputs go, without their suffixes; None = JSON Lines to stdout."""
    formats: tuple[str, ...]
    with_video: bool
    with_report: bool = False

    @property
    def data_paths(self) -> list[Path]:
        """The keypoint files."""
        return [] if self.stem is None else [self._path(FORMATS[name].suffix) for name in self.formats]

    @property
    def video_path(self) -> Path | None:
        """The annotated MP4, when one is wanted."""
        return self._path(VIDEO_OUTPUT_SUFFIX) if self.with_video and self.stem else None

    @property
    def report_path(self) -> Path | None:
        """The page to look at, when one is wanted."""
        return self._path(TRACK_REPORT_SUFFIX) if self.with_report and self.stem else None

    @property
    def paths(self) -> list[Path]:
        """All files that it writes."""
        return [*self.data_paths, *filter(None, [self.video_path, self.report_path])]

    @property
    def journal_path(self) -> Path | None:
        """Where the detections are kept until the outputs are complete."""
        return self.stem and self.stem.with_name(f".{self.stem.name}.dkp.journal")

    def _path(self, suffix: str) -> Path:
        assert self.stem is not None
        return self.stem.with_name(self.stem.name + suffix)


def plan(
    inputs: list[str],
    output: str,
    formats: str,
    video: bool,
    recursive: bool,
    may_exist: bool,
    report: bool = False,
    on_remark: Callable[[str], None] = lambda line: None,
) -> list[Job]:
    """What to do, all of it checked before anything is done.

    Raises:
        UsageError: a format that is unknown or needs a missing package, a folder that cannot be written to,
            an output that is there already.
        DataError: an input names no video.
    """
    names = tuple(dict.fromkeys(name.strip() for name in formats.split(",")))
    for name in names:
        check_format(name)
    if output != "-":
        if Path(output).suffix.lower() in _OUTPUT_SUFFIXES and not Path(output).exists():
            raise UsageError(
                f"-o names a folder, got {output}; give its folder here, and its kind with --format"
            )
        check_folder(Path(output))
    jobs: list[Job] = []
    stems: set[Path] = set()
    for source in expand_inputs(inputs, recursive, on_remark):
        if output != "-" and len(os.fsencode(source.stem)) > _LONGEST_STEM:
            raise UsageError(
                f"{source.name}: its name is too long for outputs that add to it; give it a shorter one"
            )
        stem = None if output == "-" else own_stem(Path(output), source, stems)
        jobs.append(Job(source, stem, names, video, report))
        stems |= {stem} if stem else set()
    for path in (path for job in jobs for path in job.paths):
        if (path.exists() or path.is_symlink()) and not may_exist:
            raise UsageError(
                f"{path} exists; pass --overwrite to replace it, --skip-existing or --resume to keep what is "
                "complete, or choose another folder with -o"
            )
    return jobs
