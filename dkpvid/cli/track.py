"""`dkpvid track`."""

from typing import Annotated

import typer

from dkpvid.ahead import share_memory_between_threads
from dkpvid.cli.fleet import Recipe, run_fleet
from dkpvid.cli.jobs import Manner, run_all
from dkpvid.cli.outcome import overall_exit_code
from dkpvid.cli.plan import plan
from dkpvid.cli.shared import EXIT_INTERRUPTED, interrupt_request, reported_errors, say
from dkpvid.config import SmoothingConfig, TrackConfig
from dkpvid.drawing import DrawStyle
from dkpvid.errors import UsageError
from dkpvid.formats import FORMATS
from dkpvid.video.inputs import parse_region


def track(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="VIDEO...",
            help="Videos, folders, image strips, patterns, lists, URLs, cameras (0), or - for stdin.",
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="Folder to write to; - = JSON Lines to stdout.")
    ] = ".",
    formats: Annotated[
        str, typer.Option("--format", help=f"{', '.join(FORMATS)}; several with commas.")
    ] = "json",
    video: Annotated[bool, typer.Option("--video/--no-video", help="Write the annotated MP4.")] = True,
    report: Annotated[
        bool, typer.Option("--report", help="Write a page with the video, its keypoints and their curves.")
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Run folder, .safetensors, .ckpt or hf://OWNER/REPO.", show_default="those of the package"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = TrackConfig.device,
    half: Annotated[
        bool, typer.Option("--half", help="bfloat16 on CUDA and CPUs that have it; ignored elsewhere.")
    ] = TrackConfig.half,
    runtime: Annotated[
        str, typer.Option(help="torch, onnx, or auto: onnx on the CPU where dkpvid\\[onnx] is installed.")
    ] = TrackConfig.runtime,
    batch_size: Annotated[int, typer.Option(help="Frames per forward pass.")] = TrackConfig.batch_size,
    start: Annotated[float | None, typer.Option(help="First second to track.")] = TrackConfig.start_seconds,
    end: Annotated[float | None, typer.Option(help="Second to stop before.")] = TrackConfig.end_seconds,
    stride: Annotated[
        int, typer.Option(help="Look at every n-th frame; kalman fills the others.")
    ] = TrackConfig.stride,
    smooth: Annotated[
        str, typer.Option(help="kalman, one-euro, savgol, median or none.")
    ] = SmoothingConfig.method,
    smooth_strength: Annotated[
        float, typer.Option(help="2 is smoother, 0.5 follows closer.")
    ] = SmoothingConfig.strength,
    min_confidence: Annotated[
        float, typer.Option(help="Ignore detections below it, 0 to 1.")
    ] = TrackConfig.min_confidence,
    joints: Annotated[
        str,
        typer.Option(
            help="Named joints: default (the weights' own), none, or a file of `eval --save-joints`."
        ),
    ] = "default",
    roi: Annotated[
        str,
        typer.Option(
            help="Where to look: follow (the subject), auto (what moves), full, or x,y,width,height."
        ),
    ] = "full",
    draw: Annotated[
        str, typer.Option(help="points, skeleton, trail, labels, joints; with commas.")
    ] = "points,skeleton,trail,joints",
    crf: Annotated[int, typer.Option(min=0, max=51, help="Quality of the MP4; smaller is better.")] = 20,
    stream: Annotated[
        int | None, typer.Option(help="Which video stream of a file, from 0.", show_default="the best")
    ] = TrackConfig.stream,
    ignore_rotation: Annotated[
        bool, typer.Option("--ignore-rotation", help="Do not turn frames as the file's header says.")
    ] = False,
    deinterlace: Annotated[
        bool, typer.Option("--deinterlace", help="Make interlaced pictures whole.")
    ] = TrackConfig.deinterlace,
    fps: Annotated[
        float | None,
        typer.Option(
            help="Frames per second, in place of the source's own times; for pictures and bare streams.",
            show_default="the times of the source, 25 where there are none",
        ),
    ] = TrackConfig.fps,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look in subfolders too.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that are there.")] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing", help="Keep outputs of the same video, model and settings; redo others."
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on where a run was killed or interrupted; skip what is complete."),
    ] = False,
    ray: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster that shares the files, or local.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only errors.")] = False,
) -> None:
    """Track keypoints through videos: a JSON file and an annotated MP4 for each.

    One record per decoded frame, with its time in seconds, and for every keypoint its place in pixels of the
    upright frame, its confidence and its covariance.

    Exit codes: 0 all done; 1 a bug; 2 wrong usage; 3 some input failed or lost frames, the rest is complete;
    4 nothing usable in the input; 130 interrupted, complete up to there.
    """
    with reported_errors():
        config = TrackConfig(
            device=device,
            half=half,
            runtime=runtime,
            batch_size=batch_size,
            start_seconds=start,
            end_seconds=end,
            stream=stream,
            apply_rotation=not ignore_rotation,
            deinterlace=deinterlace,
            fps=fps,
            stride=stride,
            region=parse_region(roi),
            min_confidence=min_confidence,
            smoothing=SmoothingConfig(smooth, smooth_strength),  # type: ignore[arg-type]
        )
        manner = Manner(
            DrawStyle.from_names(draw),
            crf,
            overwrite=overwrite,
            skip_existing=skip_existing or resume,
            resume=resume,
            quiet=quiet,
        )
        may_exist = overwrite or skip_existing or resume

        def warn(line: str) -> None:
            if not quiet:
                say(f"warning: {line}")

        jobs = plan(inputs, output, formats, video, recursive, may_exist, report, warn)
        recipe = Recipe(weights, config, joints, manner)
        if ray is not None and (output == "-" or any(job.source.comes_once for job in jobs)):
            raise UsageError("--ray writes files of files; it goes with neither -o - nor live input")
        share_memory_between_threads()
        tracker = recipe.tracker() if ray is None else None
    with reported_errors(), interrupt_request() as stop:
        if tracker is None:
            codes = run_fleet(str(ray), jobs, recipe, stop)
        else:
            codes = run_all(jobs, tracker, manner, stop)
    raise typer.Exit(EXIT_INTERRUPTED if stop else overall_exit_code(codes))
