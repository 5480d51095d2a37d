"""The files that a track is written to: one class per format, each fed with a piece of the track at a time.

A file (a folder, for OpenPose) appears under its final name only when it is complete: it grows under a
temporary name beside it.
"""

from importlib.util import find_spec

from dkpvid.errors import UsageError
from dkpvid.formats.base import TrackSink, TrackWriter
from dkpvid.formats.coco import CocoResults
from dkpvid.formats.deeplabcut import DeepLabCutCsv
from dkpvid.formats.native import JsonDocument, JsonLines, JsonLinesStream
from dkpvid.formats.nwb import NwbFile
from dkpvid.formats.openpose import OpenPoseFolder
from dkpvid.formats.sleap import SleapAnalysis

__all__ = ["FORMATS", "JsonDocument", "JsonLinesStream", "TrackSink", "TrackWriter", "check_format"]

FORMATS: dict[str, type[TrackWriter]] = {
    "json": JsonDocument,
    "jsonl": JsonLines,
    "csv": DeepLabCutCsv,
    "coco": CocoResults,
    "openpose": OpenPoseFolder,
    "sleap-h5": SleapAnalysis,
    "nwb": NwbFile,
}
_EXTRAS = {"sleap-h5": ("h5", ("h5py",)), "nwb": ("nwb", ("h5py", "pynwb", "ndx_pose"))}


def check_format(name: str) -> None:
    """See that a format can be written, before hours of work.

    Raises:
        UsageError: it is unknown, or needs a package that is not installed.
    """
    if name not in FORMATS:
        raise UsageError(f"unknown format {name!r}; choose from {', '.join(FORMATS)}")
    extra, packages = _EXTRAS.get(name, ("", ()))
    for package in packages:
        if find_spec(package) is None:
            raise UsageError(
                f'format {name} needs {package}, which is not installed; run: pip install "dkpvid[{extra}]"'
            )
