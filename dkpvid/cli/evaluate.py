"""`dkpvid eval`."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from dkpvid.cli.progress import ProgressReport
from dkpvid.cli.shared import check_folder, print_result, reported_errors
from dkpvid.config import EvalConfig
from dkpvid.errors import UsageError

if TYPE_CHECKING:
    from dkpvid.evaluation.motion import MotionScores
    from dkpvid.evaluation.regression import JointScore, RegressionScores


def evaluate(
    data: Annotated[
        Path, typer.Argument(help="Annotated set; for motion, a video or a folder of videos.", metavar="DATA")
    ],
    protocol: Annotated[
        str, typer.Option(help="human36m, deepfashion, taichi, regression or motion.")
    ] = "regression",
    weights: Annotated[
        str | None,
        typer.Option(
            help="Run folder, .safetensors, .ckpt or hf://OWNER/REPO.", show_default="those of the package"
        ),
    ] = None,
    runs: Annotated[
        list[str] | None, typer.Option(help="Several of them, for mean and deviation: --runs A --runs B.")
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option(
            help="Where the annotated videos or pictures are.", show_default="beside the annotations"
        ),
    ] = None,
    background: Annotated[
        bool, typer.Option("--background/--no-background", help="human36m: as filmed, or masked.")
    ] = EvalConfig.with_background,
    folds: Annotated[
        int, typer.Option(help="regression: parts to hold out in turn, whole videos each.")
    ] = EvalConfig.folds,
    seed: Annotated[int, typer.Option(help="Deals the videos out.")] = EvalConfig.seed,
    as_json: Annotated[bool, typer.Option("--json", help="All results as JSON on stdout.")] = False,
    plots: Annotated[
        Path | None, typer.Option(help="regression: folder for plots; needs dkpvid\\[plots].")
    ] = None,
    save_joints: Annotated[
        Path | None, typer.Option(help="regression: write the fitted map for track --joints.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = EvalConfig.device,
    batch_size: Annotated[int, typer.Option(help="Images per forward pass.")] = EvalConfig.batch_size,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no tables.")] = False,
) -> None:
    """Score keypoints: against annotated joints, under the papers' protocols, or by their motion alone.

    regression: DATA is a DeepLabCut project, a Lightning Pose CSV, a COCO keypoints JSON, or .pose.npz files.

    motion: DATA is what `dkpvid track` takes; nothing need be annotated, but the camera should stand still.

    human36m: DATA holds S1 to S11, each with WithBackground/ACTION/N.jpg, Landmarks/ACTION/N.mat and, for
    --no-background, BackgroudMask/ACTION/N.png.

    deepfashion: DATA holds img/, and data_train and data_test as .csv and as .json.

    taichi: DATA holds eval_images/taichi-256/ with train/ and test/, and landmark/ with taichi_train_gt and
    taichi_test_gt as .npz, .csv or .pkl.
    """
    with reported_errors():
        if weights is not None and runs:
            raise UsageError("give --weights for one model or --runs for several, not both")
        for name, folder in (("--plots", plots), ("--save-joints", save_joints and save_joints.parent)):
            if folder is not None and protocol != "regression":
                raise UsageError(f"{name} goes with --protocol regression, not with {protocol}")
            if folder is not None:
                check_folder(folder)
        if save_joints is not None and len(runs or ()) > 1:
            raise UsageError("--save-joints takes one model; give --weights")
        config = EvalConfig(
            data=data,
            protocol=protocol,
            weights=tuple(runs) if runs else (weights,),
            videos=videos,
            with_background=background,
            folds=folds,
            seed=seed,
            device=device,
            batch_size=batch_size,
        )
        console = Console(stderr=True, quiet=quiet)
        report: dict[str, Any]
        if protocol == "motion":
            report = _motion(config, console, quiet)
        elif protocol == "regression":
            report = _regression(config, console, quiet, plots, save_joints)
        else:
            report = _papers(config, console, quiet)
        if as_json:
            result = {"protocol": protocol, "data": str(data), **report}
            print_result(json.dumps(result, indent=1, allow_nan=False))


def _papers(config: EvalConfig, console: Console, quiet: bool) -> dict[str, Any]:
    from dkpvid.jobs.evaluate import evaluate_protocol  # torch loads here, not for --help

    with ProgressReport(f"evaluating {config.data}", "images", None, quiet) as progress:
        scores = evaluate_protocol(config, on_row=lambda done, total: progress.update(done, total=total))
    summary = _summary([score.value for score in scores])
    column = (
        "human36m_background" if config.protocol == "human36m" and config.with_background else config.protocol
    )
    papers = json.loads(files("dkpvid.evaluation").joinpath("papers.json").read_text(encoding="utf-8"))
    table = Table("method", "supervision", "score", title=papers["columns"][column], box=SIMPLE)
    for method in papers["methods"]:
        if column in method:
            cell = _plus_minus(method[column], method.get(f"{column}_std"))
            table.add_row(method["method"], method["supervision"], cell)
    table.add_section()
    for score in scores:
        table.add_row(score.model, "none", f"{score.value:.2f}", style="bold")
    if len(scores) > 1:
        cell = _plus_minus(summary["mean"], summary["std"])
        table.add_row(f"mean of {len(scores)} runs", "none", cell, style="bold")
    console.print(table)
    return {
        "unit": papers["columns"][column],
        "runs": [asdict(score) for score in scores],
        "summary": summary,
        "papers": [
            {"method": method["method"], "mean": method[column], "std": method.get(f"{column}_std")}
            for method in papers["methods"]
            if column in method
        ],
    }


def _regression(
    config: EvalConfig, console: Console, quiet: bool, plots: Path | None, save_joints: Path | None
) -> dict[str, Any]:
    from dkpvid.evaluation.regression import PCK_THRESHOLDS
    from dkpvid.jobs.evaluate import evaluate_regression

    if plots is not None:
        from dkpvid.evaluation.plots import require_matplotlib

        require_matplotlib()
    with ProgressReport(f"evaluating {config.data}", "images", None, quiet) as progress:
        scores = evaluate_regression(config, on_row=lambda done, total: progress.update(done, total=total))
    for score in scores:
        console.print(_regression_table(score, PCK_THRESHOLDS))
        for part in score.rounds:
            error = _number(part.error_percent)
            console.print(f"fitted on {part.count} frames, up to {part.name}: {error} % on all frames")
    if save_joints is not None:
        scores[0].joints.save(save_joints)
        console.print(f"joints -> {save_joints}", markup=False)
    if plots is not None:
        from dkpvid.evaluation.plots import plot_regression

        for number, score in enumerate(scores):
            folder = plots if len(scores) == 1 else plots / f"{number:02d}-{score.model}"
            for path in plot_regression(score, folder):
                console.print(f"plot -> {path}", markup=False)
    percents = [score.keypoints.total.error_percent for score in scores]
    summary = _summary([percent for percent in percents if percent is not None])
    if len(scores) > 1:
        cell = _plus_minus(summary["mean"], summary["std"])
        console.print(f"mean of {len(scores)} runs: {cell} % of the body size")
    return {
        "unit": "mean distance, % of the body size",
        "pck_thresholds_percent": list(PCK_THRESHOLDS),
        "rows": len(scores[0].annotations),
        "runs": [
            {
                "model": score.model,
                "sha256": score.sha256,
                "penalty": score.joints.penalty,
                "keypoints": asdict(score.keypoints),
                "untrained": asdict(score.untrained),
                "mean_pose": asdict(score.mean_pose),
                "rounds": [asdict(part) for part in score.rounds],
                "by_name": score.by_name and asdict(score.by_name),
            }
            for score in scores
        ],
        "summary": summary,
    }


def _regression_table(score: "RegressionScores", thresholds: Sequence[float]) -> Table:
    rows, groups = len(score.annotations), len(score.annotations.group_names)

    def within(pck: Sequence[float]) -> str:
        shares = zip(thresholds, pck, strict=True)
        return ", ".join(f"{share:.0%} within {limit:g} %" for limit, share in shares if limit in (5, 10, 20))

    caption = within(score.keypoints.pck)
    if score.by_name:
        caption += f"; joints by name: {within(score.by_name.pck)}"
    table = Table(
        title=f"{score.model}: {rows} frames, {groups} videos or folders; errors in % of the body's size",
        caption=caption,
        box=SIMPLE,
        padding=(0, 0, 0, 1),
    )
    table.add_column("joint", no_wrap=True)
    for name in ("error", "95 %", "untrained", "mean pose", "px", "places"):
        table.add_column(name, justify="right", no_wrap=True)

    def add(name: str, ours: "JointScore", *baselines: "JointScore", style: str = "") -> None:
        interval = ours.interval_percent
        table.add_row(
            name,
            _number(ours.error_percent),
            f"{interval[0]:.1f}-{interval[1]:.1f}" if interval else "",
            *([_number(baseline.error_percent) for baseline in baselines] or ["", ""]),
            _number(ours.error_px),
            str(ours.count),
            style=style,
        )

    for joint in zip(score.keypoints.joints, score.untrained.joints, score.mean_pose.joints, strict=True):
        add(joint[0].name, *joint)
    table.add_section()
    add("all", score.keypoints.total, score.untrained.total, score.mean_pose.total, style="bold")
    if score.by_name:
        add("joints by name", score.by_name.total, style="bold")
    return table


def _motion(config: EvalConfig, console: Console, quiet: bool) -> dict[str, Any]:
    from dkpvid.evaluation.motion import evaluate_motion

    with ProgressReport(f"measuring {config.data}", "frames", None, quiet) as progress:
        scores = evaluate_motion(config, on_frame=progress.update)
    for score in scores:
        console.print(_motion_table(score))
    measures = ("on_foreground", "jitter_px", "jitter_percent", "num_dead", "swap_rate")
    # One number a run, the mean over its videos.
    means = {
        name: [statistics.fmean(values) for score in scores if (values := _known(score.videos, name))]
        for name in measures
    }
    return {
        "runs": [asdict(score) for score in scores],
        "summary": {name: _summary(values) for name, values in means.items()},
    }


def _motion_table(score: "MotionScores") -> Table:
    table = Table(title=f"{score.model}: keypoints by their motion", box=SIMPLE)
    table.add_column("video")
    for name in ("frames", "on moving", "(chance)", "jitter, px", "dead", "swaps"):
        table.add_column(name, justify="right", no_wrap=True)
    for video in score.videos:
        table.add_row(
            Path(video.video).name,
            str(video.num_frames),
            "" if video.on_foreground is None else f"{video.on_foreground:.0%}",
            f"{video.foreground_area:.0%}",
            _number(video.jitter_px),
            str(video.num_dead),
            f"{video.swap_rate:.1%}",
        )
    return table


def _known(records: Sequence[object], name: str) -> list[float]:
    return [float(value) for record in records if (value := getattr(record, name)) is not None]


def _summary(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean and sample deviation over runs; null where there are too few."""
    finite = [value for value in values if math.isfinite(value)]
    return {
        "mean": statistics.fmean(finite) if finite else None,
        "std": statistics.stdev(finite) if len(finite) > 1 else None,
        "num_runs": len(finite),
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _plus_minus(mean: float | None, std: float | None) -> str:
    return _number(mean) + (f" ± {std:.2g}" if std is not None else "")
