"""The page of a training run, to look at while it goes on and afterwards."""

import math
import platform
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from dkpvid import __version__
from dkpvid.drawing import DrawStyle
from dkpvid.evaluation.track_metrics import dead_keypoints
from dkpvid.files import parse_json
from dkpvid.pages.page import css_colors, flat, write_page

RUN_REPORT = "report.html"
NUM_PREVIEWS = 6
"""The last one, and others spread over the run; a page with all of them would be slow to open."""

_CHART_WIDTH, _CHART_HEIGHT = 560, 200
_CHART_POINTS = 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 8, 10, 24


@dataclass(frozen=True)
class Chart:
    """One measure over the steps, as the SVG needs it; places are in its own pixels."""

    name: str
    latest: str
    lines: tuple[str, str]
    """`points` of two polylines: as logged, and averaged."""
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


def write_run_report(folder: Path, skeleton: Sequence[tuple[int, int, float]]) -> None:
    """Write report.html of a run: losses, previews, learned skeleton, dead keypoints, settings.

    Args:
        folder: Has config.json, metrics.jsonl and preview/, see `dkpvid.training.runs`; each may be missing.
        skeleton: Two keypoints, and the strength of the edge between them.
    """
    metrics = list(_records(folder / "metrics.jsonl"))
    settings = next(_records(folder / "config.json", whole=True), {})
    previews = sorted((folder / "preview").glob("[0-9]*.png"), key=lambda path: path.stem.zfill(12))
    chosen = sorted({round(i) for i in np.linspace(0, len(previews) - 1, NUM_PREVIEWS)} if previews else ())
    seen = next(_records(previews[-1].with_suffix(".json"), whole=True), {}) if previews else {}
    names = [name for name in (metrics[-1] if metrics else ()) if name not in ("step", "loss")]
    write_page(
        folder / RUN_REPORT,
        "run.html.j2",
        name=folder.resolve().name,
        step=metrics[-1].get("step") if metrics else None,
        steps=settings.get("steps"),
        charts=[chart for name in ["loss", *names] if (chart := _chart(name, metrics))],
        previews=[(previews[i].stem.lstrip("0"), _data_uri(previews[i])) for i in chosen],
        keypoints=_preview_keypoints(seen, skeleton),
        settings=sorted(flat(settings)),
        versions=[(name, _version(name)) for name in ("dkpvid", "torch", "numpy", "python")],
    )


def _records(path: Path, whole: bool = False) -> Iterator[dict[str, Any]]:
    """The JSON objects in a file, one a line or a single one; what is damaged is passed over."""
    if path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
        for part in [text] if whole else text.splitlines():
            try:
                record = parse_json(part)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record


def _chart(name: str, records: Sequence[dict[str, Any]]) -> Chart | None:
    rows = [
        (record["step"], record[name])
        for record in records
        if isinstance(record.get(name), int | float) and isinstance(record.get("step"), int)
    ]
    steps, values = np.array(rows, dtype=float).reshape(-1, 2).T
    steps, values = steps[np.isfinite(values)], values[np.isfinite(values)]
    if len(values) < 2 or steps[-1] <= steps[0]:
        return None
    # The first values of a loss are so large that nothing else could be seen: they may leave the chart.
    low, high = float(values.min()), float(np.percentile(values, 98))
    high = high if high > low else low + (abs(low) or 1.0)
    width, height = _CHART_WIDTH - _LEFT - _RIGHT, _CHART_HEIGHT - _TOP - _BOTTOM

    def across(step: Any) -> Any:
        return _LEFT + width * (step - steps[0]) / (steps[-1] - steps[0])

    def down(value: Any) -> Any:
        return _TOP + height * (1 - (np.clip(value, low, high) - low) / (high - low))

    window = max(1, len(values) // 40)
    padded = np.pad(values, (window // 2, window - 1 - window // 2), mode="edge")
    averaged = np.convolve(padded, np.full(window, 1 / window), mode="valid")
    kept = np.unique(np.linspace(0, len(values) - 1, _CHART_POINTS).astype(int))
    lines = [
        " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across(steps)[kept], down(series)[kept], strict=True))
        for series in (values, averaged)
    ]
    return Chart(
        name=name.replace("_", " "),
        latest=f"{values[-1]:.4g}",
        lines=(lines[0], lines[1]),
        x_ticks=tuple(
            (float(across(tick)), f"{tick:g}") for tick in _ticks(float(steps[0]), float(steps[-1]))
        ),
        y_ticks=tuple((float(down(tick)), f"{tick:.4g}") for tick in _ticks(low, high)),
    )


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers between two.

    >>> _ticks(0.0, 10.0)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    power = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = next(step for factor in (1, 2, 5, 10) if (high - low) / (step := factor * power) <= 5.0001)
    return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def _preview_keypoints(
    seen: dict[str, Any], skeleton: Sequence[tuple[int, int, float]]
) -> dict[str, Any] | None:
    """Where the keypoints are on average in the latest preview, what links them, and how far each moves."""
    try:
        xy = np.array(seen["keypoints"], dtype=float)
        cell = 2 / float(seen["heatmap_size"])
        mean, reach = xy.mean(axis=0), np.ptp(xy, axis=0) / cell
        dead = dead_keypoints(xy, np.array([cell, cell]))
        strongest = max((weight for _, _, weight in skeleton), default=1.0)
        # Enlarged: over frames of many videos the means lie close together.
        middle, extent = (
            (mean.min(axis=0) + mean.max(axis=0)) / 2,
            max(float(np.ptp(mean, axis=0).max()), 1e-6),
        )
        places = 2 * (mean - middle) / extent
        edges = [(places[i], places[j], weight / strongest, (i, j)) for i, j, weight in skeleton]
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError):
        return None
    shown = sorted((edge for edge in edges if edge[2] >= DrawStyle.min_edge_weight), key=lambda edge: edge[2])
    return {
        "num_images": len(xy),
        "edges": shown,
        "points": [
            {
                "name": f"kp{k}",
                "xy": places[k],
                "color": color,
                "reach": reach[k].max(),
                "is_dead": bool(dead[k]),
            }
            for k, color in enumerate(css_colors(len(mean)))
        ],
    }


def _version(package: str) -> str:
    if package == "python":
        return platform.python_version()
    try:
        return __version__ if package == "dkpvid" else version(package)
    except PackageNotFoundError:
        return "not installed"


def _data_uri(picture: Path) -> str:
    return "data:image/png;base64," + b64encode(picture.read_bytes()).decode()
