"""The page of a tracked video: the video with its keypoints over it, and their curves."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy import ndarray

from dkpvid.drawing import DrawStyle
from dkpvid.formats.schema import TrackHeader, header_record
from dkpvid.pages.page import css_colors, flat, write_page
from dkpvid.shapes import Bool, Float
from dkpvid.structures import LostPacket, Track


def write_track_report(
    path: Path,
    header: TrackHeader,
    track: Track,
    lost: Sequence[LostPacket],
    *,
    source: Path | None,
    annotated: Path | None,
) -> None:
    """Write the page of a tracked video: the video with the keypoints over it, and their curves.

    Args:
        path: The HTML file.
        header: What the track's file says about it.
        track: All of it; NaN and frames without keypoints are gaps.
        lost: Stretches that could not be decoded; they are marked.
        source: The video file. Like the other one it is not part of the page, which finds it by its place
            relative to its own.
        annotated: What is played when a browser cannot play the source: it starts at the track's first frame.
            Without either the keypoints are shown alone.
    """
    parts = [track] if track.joints is None else [track, track.joints]
    xy = np.concatenate([part.xy for part in parts], axis=1)
    confidence = np.concatenate([part.confidence for part in parts], axis=1)
    strongest = max((weight for _, _, weight in header.skeleton), default=1.0)
    marks = sorted([*_gaps(track), *_lost_marks(lost, header)])
    write_page(
        path,
        "track.html.j2",
        header=header,
        source_name=Path(header.source.path).name,
        num_frames=len(track),
        names=[*header.keypoints, *header.joints],
        colors=css_colors(xy.shape[1]),
        mean_confidence=np.nan_to_num(confidence.astype(float)).mean(axis=0).tolist(),
        marks=marks,
        about=_about(header),
        data={
            "width": header.source.width,
            "height": header.source.height,
            "aspect": float(header.source.sample_aspect_ratio),
            "videos": [
                {"address": _address(video, path.parent), "offset": round(offset, 4)}
                for video, offset in ((source, 0.0), (annotated, float(track.time_seconds[0])))
                if video is not None
            ],
            "times": np.round(track.time_seconds.astype(float), 4).tolist(),
            "xy": _with_none(xy.reshape(len(track), -1), 1),
            "confidence": _with_none(confidence, 2),
            "edges": [
                [i, j, round(weight / strongest, 3)]
                for i, j, weight in header.skeleton
                if weight >= DrawStyle.min_edge_weight * strongest
            ]
            + [[len(header.keypoints) + i, len(header.keypoints) + j, 1] for i, j in header.joints_skeleton],
            "marks": [[start, end] for start, end, _ in marks],
        },
    )


def _about(header: TrackHeader) -> list[tuple[str, str]]:
    record = header_record(header)
    kept = ("source", "region", "model", "smoothing", "created_by")
    return list(flat({name: record[name] for name in kept}))


def _address(video: Path, folder: Path) -> str:
    """A relative address; whatever characters are in a name, they become no scheme."""
    return quote(os.path.relpath(video.absolute(), folder.absolute()).replace(os.sep, "/"), errors="replace")


def _with_none(values: Float[ndarray, "frame value"], decimals: int) -> list[Any]:
    flat = (np.round(values.astype(float), decimals) + 0.0).ravel()
    return [
        value if is_finite else None
        for value, is_finite in zip(flat.tolist(), np.isfinite(flat), strict=True)
    ]


def _gaps(track: Track) -> Iterator[tuple[float, float, str]]:
    """(start, end, why) in seconds of frames without a keypoint, and of those with remarks."""
    times = track.time_seconds.astype(float)
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.04
    reasons = [
        ", ".join(sorted({*flags, *(["no keypoint"] if is_empty else [])})).replace("_", " ")
        for flags, is_empty in zip(track.flags or [()] * len(track), _is_empty(track), strict=True)
    ]
    start = 0
    for position in range(1, len(reasons) + 1):
        if position == len(reasons) or reasons[position] != reasons[start]:
            if reasons[start]:
                yield (
                    round(float(times[start]), 4),
                    round(float(times[position - 1]) + step, 4),
                    reasons[start],
                )
            start = position


def _is_empty(track: Track) -> Bool[ndarray, " frame"]:
    empty: ndarray = ~np.isfinite(track.xy).all(axis=2).any(axis=1)
    return empty


def _lost_marks(lost: Sequence[LostPacket], header: TrackHeader) -> Iterator[tuple[float, float, str]]:
    shown = 1 / (header.source.average_fps or 25.0)
    for part in lost:
        if part.time_seconds is not None:
            yield round(part.time_seconds, 4), round(part.time_seconds + shown, 4), f"lost: {part.reason}"
