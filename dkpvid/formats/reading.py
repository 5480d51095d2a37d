"""Reading a track back from its `dkpvid/1` file; `dkpvid.formats.schema` says what is in it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from dkpvid.config import SmoothingConfig
from dkpvid.coordinates import Region
from dkpvid.errors import DataError, UsageError
from dkpvid.formats.schema import SCHEMA, TrackHeader
from dkpvid.shapes import Float, Int
from dkpvid.structures import LostPacket, Track, VideoInfo

_HEADER_START = 1000
"""Bytes of a file that hold the fingerprint."""


@dataclass(frozen=True, eq=False)
class TrackFile:
    """What was read from a file."""

    header: TrackHeader
    track: Track
    lost: tuple[LostPacket, ...]
    complete: bool
    """False for JSON Lines that end before their end record: writing was cut short."""


def read_track(path: Path) -> TrackFile:
    """Read a track from JSON or JSON Lines, whichever it is.

    What the file does not tell (estimated frame count, start, audio) is unknown in the returned header.

    Raises:
        DataError: the file cannot be read, is damaged, or is something else.
    """
    try:
        with path.open(encoding="utf-8") as file:
            line = file.readline()
            first = _parse_or_none(line) or _decoder.decode(line + file.read())
            if not isinstance(first, dict):
                raise ValueError("it does not start with a header")
            header = _header(first)
            if first.get("type") == "header":
                frames, end = _read_lines(file)
            elif not isinstance(first["frames"], list):
                raise ValueError("its frames are no list")
            else:
                frames, end = first["frames"], {"frames": len(first["frames"]), "lost": first["lost"]}
            if not all(isinstance(frame, _Frame) for frame in frames):
                raise ValueError("a frame is no frame record")
            lost = tuple(LostPacket(part["packet"], part["time"], part["reason"]) for part in end["lost"])
            return TrackFile(header, _track(frames, header), lost, end["frames"] == len(frames))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except RecursionError:
        raise DataError(f"{path}: not a {SCHEMA} track: nested too deeply") from None
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, UsageError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise DataError(f"{path}: not a {SCHEMA} track: {reason}") from error


def read_fingerprint(path: Path) -> str | None:
    """The fingerprint in a JSON or JSON Lines file of ours, without reading all of it; None without one."""
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER_START)
    except OSError:
        return None
    is_ours = f'"schema":"{SCHEMA}"'.encode() in start
    found = re.search(rb'"fingerprint":"([0-9a-f]{64})"', start)
    return found[1].decode() if is_ours and found else None


class _Frame(NamedTuple):
    """A frame record with its numbers in arrays; None for null."""

    frame: int
    time: float
    keypoints: ndarray | None
    raw: ndarray | None
    covariance: ndarray | None
    region: list[int] | None
    flags: tuple[str, ...]
    joints: ndarray | None
    joints_covariance: ndarray | None


def _compact(record: dict[str, Any]) -> dict[str, Any] | _Frame:
    """Shrink a frame record as soon as it is parsed: a long document would not fit in memory otherwise."""
    if record.get("type") != "frame":
        return record
    keypoints = _points(record["keypoints"])
    return _Frame(
        frame=record["frame"],
        time=record["time"],
        keypoints=keypoints,
        raw=_array(record.get("raw"), 2),
        covariance=_array(record.get("covariance"), 3),
        region=record.get("region"),
        flags=tuple(record.get("flags", ())),
        joints=_points(record.get("joints")),
        joints_covariance=_array(record.get("joints_covariance"), 3),
    )


def _points(points: list[Any] | None) -> ndarray | None:
    return _array(points and [(point["x"], point["y"], point["confidence"]) for point in points], 3)


def _array(rows: list[Any] | None, width: int) -> ndarray | None:
    # numpy reads None as NaN when it is told that the numbers are floats.
    return np.array([row or (None,) * width for row in rows], dtype=float) if rows else None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_decoder = json.JSONDecoder(object_hook=_compact, parse_constant=_no_number)


def _parse_or_none(line: str) -> Any:
    try:
        return _decoder.decode(line)
    except json.JSONDecodeError:
        return None


def _read_lines(lines: Iterator[str]) -> tuple[list[_Frame], dict[str, Any]]:
    frames: list[_Frame] = []
    end: dict[str, Any] = {"frames": None, "lost": []}
    for number, line in enumerate(lines, start=2):
        record = _parse_or_none(line)
        if isinstance(record, _Frame):
            frames.append(record)
        elif isinstance(record, dict):
            end = record
        elif line.endswith("\n"):
            raise ValueError(f"broken JSON in line {number}")
        # else: the last line was cut while it was written; what came before is good.
    return frames, end


def _header(record: dict[str, Any]) -> TrackHeader:
    if record["schema"] != SCHEMA:
        raise ValueError(f"its schema is {record['schema']!r}, which this version does not read")
    source, model, region = record["source"], record["model"], record["region"]
    names, joints, limbs = record["keypoints"], record.get("joints", []), record.get("joints_skeleton", [])
    for kind, values in (
        (str, [source["path"], source["codec"], model["name"], model["sha256"], record["created_by"]]),
        (str, [*names, *joints]),
        (list, [names, joints]),
        (int, [source["width"], source["height"], source["rotation"]]),
        (int, [position for i, j, _ in record["skeleton"] for position in (i, j)]),
        (int, [position for i, j in limbs for position in (i, j)]),
        (int, list(region.values()) if region else []),
        (dict, [model["config"]]),
    ):
        for value in values:
            if not isinstance(value, kind):
                raise ValueError(f"expected {kind.__name__} in its header, got {str(value)[:40]!r}")
    return TrackHeader(
        source=VideoInfo(
            path=source["path"],
            width=source["width"],
            height=source["height"],
            codec=source["codec"],
            time_base=_fraction(source["time_base"], "/"),
            average_fps=source["average_fps"],
            num_frames_estimate=None,
            rotation_degrees=source["rotation"],
            is_mirrored=source["mirrored"],
            sample_aspect_ratio=_fraction(source["sar"], ":"),
            hdr=source.get("hdr"),
            is_interlaced=source.get("interlaced", False),
            is_deinterlaced=source.get("deinterlaced", False),
        ),
        model_name=model["name"],
        model_sha256=model["sha256"],
        model_config=model["config"],
        keypoints=tuple(names),
        skeleton=tuple((i, j, float(weight)) for i, j, weight in record["skeleton"]),
        smoothing=SmoothingConfig(**record["smoothing"]),
        region=region and Region(**region),
        region_moves=record.get("region_moves", False),
        joints=tuple(joints),
        joints_skeleton=tuple((i, j) for i, j in limbs),
        created_by=record["created_by"],
        fingerprint=record.get("fingerprint"),
    )


def _fraction(text: str, separator: str) -> Fraction:
    # Fraction itself would take 1e999999999, and for ever to work it out.
    match = re.fullmatch(rf"([0-9]{{1,12}}){separator}([0-9]{{1,12}})", text)
    if not match or int(match[2]) == 0:
        raise ValueError(f"{text[:40]!r} is no fraction")
    return Fraction(int(match[1]), int(match[2]))


def _track(frames: list[_Frame], header: TrackHeader) -> Track:
    keypoints = _stack([frame.keypoints for frame in frames], (len(header.keypoints), 3))
    raw = [frame.raw for frame in frames]
    regions = [frame.region for frame in frames if frame.region is not None]
    if not all(isinstance(flag, str) for frame in frames for flag in frame.flags):
        raise ValueError("a flag is no text")
    time_seconds = np.array([frame.time for frame in frames], dtype=float)
    if not np.isfinite(time_seconds).all():
        raise ValueError("a frame has no time")
    index = np.array([frame.frame for frame in frames], dtype=np.int64)
    return Track(
        index=index,
        time_seconds=time_seconds,
        xy=keypoints[..., :2],
        # A frame without keypoints has no confidence in the file, and is nothing to trust.
        confidence=np.nan_to_num(keypoints[..., 2]),
        covariance=_stack([frame.covariance for frame in frames], (len(header.keypoints), 3)),
        raw_xy=_stack(raw, (len(header.keypoints), 2)) if any(part is not None for part in raw) else None,
        region=np.array(regions, dtype=np.int64) if regions else None,
        flags=tuple(frame.flags for frame in frames) if any(frame.flags for frame in frames) else (),
        joints=_joints(frames, index, time_seconds, len(header.joints)) if header.joints else None,
    )


def _joints(
    frames: list[_Frame], index: Int[ndarray, " frame"], time_seconds: Float[ndarray, " frame"], count: int
) -> Track:
    joints = _stack([frame.joints for frame in frames], (count, 3))
    covariance = _stack([frame.joints_covariance for frame in frames], (count, 3))
    return Track(index, time_seconds, joints[..., :2], np.nan_to_num(joints[..., 2]), covariance)


def _stack(parts: list[ndarray | None], shape: tuple[int, int]) -> Float[ndarray, "frame keypoint value"]:
    missing = np.full(shape, np.nan)
    for part in parts:
        if part is not None and part.shape != shape:
            raise ValueError(f"{part.shape[0]} keypoints in a frame, {shape[0]} in the header")
    return np.array([missing if part is None else part for part in parts]).reshape(-1, *shape)
