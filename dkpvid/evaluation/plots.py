"""Pictures of a regression's errors; matplotlib is loaded here only, and only when a picture is asked for."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dkpvid.errors import UsageError
from dkpvid.evaluation.pictures import read_rows
from dkpvid.evaluation.regression import PCK_THRESHOLDS, RegressionScores
from dkpvid.files import write_then_rename

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_SAMPLES = 12


def require_matplotlib() -> None:
    """Fail before the work instead of after it.

    Raises:
        UsageError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise UsageError("--plots needs matplotlib; install dkpvid[plots]")


def plot_regression(scores: RegressionScores, folder: Path) -> list[Path]:
    """Write `joints.png` (error of each), `pck.png`, and `samples.png` (predicted and annotated places).

    Returns:
        The files.
    """
    figures = {"joints": _joints(scores), "pck": _pck(scores), "samples": _samples(scores)}
    paths = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        with write_then_rename(path) as temporary:
            figure.savefig(temporary, dpi=120)
        paths.append(path)
    return paths


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _joints(scores: RegressionScores) -> "Figure":
    joints = [joint for joint in scores.keypoints.joints if joint.error_percent is not None]
    figure = _figure(7.0, 1.5 + 0.28 * len(joints))
    axes = figure.subplots()
    places = np.arange(len(joints))[::-1]
    means = np.array([joint.error_percent for joint in joints], dtype=float)
    ends = np.array([joint.interval_percent for joint in joints], dtype=float).reshape(-1, 2)
    # A bootstrap interval need not hold the mean when few places are annotated.
    reach = np.abs(np.stack([np.minimum(ends[:, 0] - means, 0), np.maximum(ends[:, 1] - means, 0)]))
    axes.barh(places, means, xerr=reach, height=0.6, label=scores.model)
    for name, regression, marker in (
        ("untrained detector", scores.untrained, "x"),
        ("mean pose", scores.mean_pose, "|"),
    ):
        values = [joint.error_percent for joint in regression.joints if joint.error_percent is not None]
        axes.plot(values, places, marker, color="black", label=name)
    axes.set_yticks(places, [joint.name for joint in joints])
    axes.set_xlabel("mean error, % of the body's size (95 % interval)")
    axes.legend()
    return figure


def _pck(scores: RegressionScores) -> "Figure":
    figure = _figure(6.0, 4.0)
    axes = figure.subplots()
    for name, regression, style in (
        (scores.model, scores.keypoints, "-o"),
        ("untrained detector", scores.untrained, "--x"),
        ("mean pose", scores.mean_pose, ":|"),
    ):
        axes.plot(PCK_THRESHOLDS, 100 * np.array(regression.pck), style, label=name)
    axes.set(xlabel="threshold, % of the body's size", ylabel="joints within it, %", ylim=(0, 100))
    axes.legend()
    return figure


def _samples(scores: RegressionScores) -> "Figure":
    scored = np.flatnonzero(~np.isnan(scores.predicted).any(axis=(1, 2)))
    rows = scored[np.linspace(0, len(scored) - 1, min(NUM_SAMPLES, len(scored))).astype(int)]
    figure = _figure(12.0, 3.2 * -(-len(rows) // 4))
    cells = figure.subplots(-(-len(rows) // 4), 4, squeeze=False).ravel()
    images = read_rows(tuple(scores.annotations.sources[row] for row in rows))
    for axes in cells:
        axes.set_axis_off()
    for position, image in images:
        row, axes = rows[position], cells[position]
        truth, guess = scores.annotations.xy[row], scores.predicted[row]
        axes.imshow(image)
        for a, b in zip(truth, guess, strict=True):
            axes.plot(*np.stack([a, b]).T, color="white", linewidth=0.8)
        axes.plot(*truth.T, "o", color="#009E73", markersize=4)
        axes.plot(*guess.T, "x", color="#D55E00", markersize=4)
        axes.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    figure.suptitle("annotated (o) and predicted (x)")
    return figure
