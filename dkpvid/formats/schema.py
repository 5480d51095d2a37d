"""The `dkpvid/1` records: what a track looks like as JSON; `dkpvid.formats.reading` reads it back.

A track is a header record, a record per frame, and an end record. JSON Lines holds one record a line; the
JSON document holds the same parts under "frames" and "lost". `dkpvid-1.schema.json` describes both.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy import ndarray

from dkpvid import __version__
from dkpvid.config import SmoothingConfig
from dkpvid.config_json import to_dict
from dkpvid.coordinates import Region
from dkpvid.shapes import Float
from dkpvid.structures import LostPacket, Track, VideoInfo

SCHEMA = "dkpvid/1"
COORDINATES = "pixels of the upright frame, x right, y down, centre of the top-left pixel = (0, 0)"

_PIXEL_DECIMALS = 2
_COVARIANCE_DECIMALS = 3
_CONFIDENCE_DECIMALS = 4
_TIME_DECIMALS = 6
# Plain Python lists take eight times the memory of an array: a long track is turned into them bit by bit.
_FRAMES_AT_ONCE = 256

_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class TrackHeader:
    """Everything about a track that does not change from frame to frame."""

    source: VideoInfo
    model_name: str
    model_sha256: str
    """Of the weights file, 64 hexadecimal digits."""
    model_config: dict[str, Any]
    """Plain JSON values."""
    keypoints: tuple[str, ...]
    """Names, in the order of the track's keypoint axis."""
    skeleton: tuple[tuple[int, int, float], ...]
    """Learned edges: two positions in `keypoints`, and a weight that only compares with the other weights."""
    smoothing: SmoothingConfig
    joints: tuple[str, ...] = ()
    """Names of the joints besides the keypoints; empty when there are none."""
    joints_skeleton: tuple[tuple[int, int], ...] = ()
    """Limbs: two positions in `joints`."""
    region: Region | None = None
    """The part of the frame that the model saw; None = the whole frame, or a window that moved."""
    region_moves: bool = False
    """True when the model saw a window that followed the subject; the track then has it for each frame."""
    created_by: str = f"dkpvid {__version__}"
    fingerprint: str | None = None
    """The same for the same video, model and settings; see `dkpvid.jobs.track.Tracker.fingerprint`."""

    def __post_init__(self) -> None:
        for i, j, _ in self.skeleton:
            if not (0 <= i < len(self.keypoints) and 0 <= j < len(self.keypoints)):
                raise ValueError(f"skeleton edge ({i}, {j}) needs keypoints 0 to {len(self.keypoints) - 1}")
        for i, j in self.joints_skeleton:
            if not (0 <= i < len(self.joints) and 0 <= j < len(self.joints)):
                raise ValueError(f"limb ({i}, {j}) needs joints 0 to {len(self.joints) - 1}")


def json_schema() -> dict[str, Any]:
    """The published JSON Schema (draft 2020-12).

    It validates the JSON document; `$defs` has `header`, `frame` and `end` for the lines of JSON Lines.
    """
    text = files("dkpvid.formats").joinpath("dkpvid-1.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def to_json(value: Any) -> str:
    """Compact JSON in ASCII, on one line.

    Raises:
        ValueError: there is a NaN or an infinity in it, which JSON does not know.

    >>> to_json({"x": 1.5, "y": None})
    '{"x":1.5,"y":null}'
    """
    return _encoder.encode(value)


def header_record(header: TrackHeader) -> dict[str, Any]:
    """The first record."""
    source, region = header.source, header.region
    aspect, tick = source.sample_aspect_ratio, source.time_base
    record: dict[str, Any] = {
        "type": "header",
        "schema": SCHEMA,
        "created_by": header.created_by,
        # Early in the file, so that it can be found without reading all of it.
        **({"fingerprint": header.fingerprint} if header.fingerprint else {}),
        "source": {
            "path": source.path,
            "width": source.width,
            "height": source.height,
            "rotation": source.rotation_degrees,
            "mirrored": source.is_mirrored,
            "sar": f"{aspect.numerator}:{aspect.denominator}",
            "codec": source.codec,
            "average_fps": source.average_fps,
            "time_base": f"{tick.numerator}/{tick.denominator}",
            "coordinates": COORDINATES,
        },
        "region": region and asdict(region),
        "model": {"name": header.model_name, "sha256": header.model_sha256, "config": header.model_config},
        "keypoints": list(header.keypoints),
        "skeleton": [[i, j, float(f"{weight:.4g}")] for i, j, weight in header.skeleton],
        "smoothing": to_dict(header.smoothing),
    }
    if source.hdr:
        record["source"] |= {"hdr": source.hdr, "tone_mapped": False}
    if source.is_interlaced:
        record["source"] |= {"interlaced": True, "deinterlaced": source.is_deinterlaced}
    if header.region_moves:
        record["region_moves"] = True
    if header.joints:
        record["joints"] = list(header.joints)
    if header.joints_skeleton:
        record["joints_skeleton"] = [list(limb) for limb in header.joints_skeleton]
    return record


def frame_records(track: Track, header: TrackHeader) -> Iterator[dict[str, Any]]:
    """One record per frame, rounded.

    A keypoint that is not finite becomes null with confidence as given (NaN: 0); a frame without any keypoint
    has null in place of the list. "raw" is there only when smoothing made a difference, "joints" (and their
    covariance) only when the track has some, "region" only when it moved.
    """
    if len(track) > _FRAMES_AT_ONCE:
        for start in range(0, len(track), _FRAMES_AT_ONCE):
            yield from frame_records(track[start : start + _FRAMES_AT_ONCE], header)
        return
    index = track.index.tolist()
    time = np.round(track.time_seconds.astype(float), _TIME_DECIMALS).tolist()
    keypoints = _points(track, header.keypoints)
    covariance = _rows(track.covariance, _COVARIANCE_DECIMALS)
    raw = None if track.raw_xy is None else _rows(track.raw_xy, _PIXEL_DECIMALS)
    regions = None if track.region is None else track.region.tolist()
    joints = None
    if track.joints is not None:
        spreads = _rows(track.joints.covariance, _COVARIANCE_DECIMALS)
        joints = list(zip(_points(track.joints, header.joints), spreads, strict=True))
    for i in range(len(track)):
        record: dict[str, Any] = {"type": "frame", "frame": index[i], "time": time[i]}
        record["keypoints"] = keypoints[i]
        if raw is not None and header.smoothing.method != "none":
            record["raw"] = raw[i]
        record["covariance"] = covariance[i]
        if joints is not None:
            record["joints"], record["joints_covariance"] = joints[i]
        if regions is not None:
            record["region"] = regions[i]
        if track.flags and track.flags[i]:
            record["flags"] = list(track.flags[i])
        yield record


def _points(track: Track, names: Sequence[str]) -> list[list[dict[str, Any]] | None]:
    """Per frame what is found under each name; None for a frame without anything."""
    confidence = np.round(np.nan_to_num(track.confidence.astype(float)), _CONFIDENCE_DECIMALS).tolist()
    frames: list[list[dict[str, Any]] | None] = []
    for places, values in zip(_rows(track.xy, _PIXEL_DECIMALS), confidence, strict=True):
        if places is None:
            frames.append(None)
            continue
        named = zip(names, (place or (None, None) for place in places), values, strict=True)
        frames.append([{"name": name, "x": x, "y": y, "confidence": value} for name, (x, y), value in named])
    return frames


def _rows(values: Float[ndarray, "frame keypoint value"], decimals: int) -> list[list[Any] | None]:
    """Rounded numbers; None for a keypoint that is not finite and for a frame without a finite one."""
    finite = np.isfinite(values).all(axis=2)
    # In double precision, or 0.1 would be written as 0.10000000149; + 0.0 makes -0.0 a plain 0.0.
    rows: list[Any] = (np.round(values.astype(float), decimals) + 0.0).tolist()
    if not finite.all():
        for frame, keypoint in np.argwhere(~finite).tolist():
            rows[frame][keypoint] = None
        for frame in np.flatnonzero(~finite.any(axis=1)).tolist():
            rows[frame] = None
    return rows


def end_record(num_frames: int, lost: Sequence[LostPacket]) -> dict[str, Any]:
    """The last record, by which a reader knows that nothing was cut off."""
    return {"type": "end", "frames": num_frames, "lost": lost_records(lost)}


def lost_records(lost: Sequence[LostPacket]) -> list[dict[str, Any]]:
    """The stretches of the video that could not be decoded."""
    times = [None if part.time_seconds is None else round(part.time_seconds, _TIME_DECIMALS) for part in lost]
    return [
        {"packet": part.packet, "time": time, "reason": part.reason}
        for part, time in zip(lost, times, strict=True)
    ]
