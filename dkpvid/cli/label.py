"""`dkpvid label`."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dkpvid.cli.progress import ProgressReport
from dkpvid.cli.shared import check_folder, interrupt_request, reported_errors, say
from dkpvid.errors import UsageError
from dkpvid.video.inputs import expand_inputs

if TYPE_CHECKING:
    from dkpvid.labeling.folder import Labeling
    from dkpvid.video.sources import Source

# The joints of COCO's people, which most pose models know.
HUMAN = tuple(
    [
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ]
)


def label(
    videos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VIDEO...",
            help="Videos, folders of frames, patterns. None: go on with what is in the folder.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the page, the frames and their labels.")
    ] = Path("labels"),
    frames: Annotated[
        int,
        typer.Option(
            help="Frames to label, those of the folder included; with --correct, frames that wait for labels."
        ),
    ] = 20,
    names: Annotated[
        str | None,
        typer.Option(
            help="Joints, such as nose,left_ear; or human. The page can add more.", show_default=False
        ),
    ] = None,
    correct: Annotated[
        Path | None,
        typer.Option(
            help="Track with named joints: offers the frames where they are least certain or jump most."
        ),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the page to this machine until Ctrl-C; it saves by itself.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="For --serve; 0 = one that is free.")] = 0,
    shown_size: Annotated[
        int, typer.Option(min=64, help="Longer side of pictures in the page, in pixels.")
    ] = 1920,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Run folder, .safetensors, .ckpt or hf://OWNER/REPO.", show_default="those of the package"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look in subfolders too.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only errors.")] = False,
) -> None:
    """Label a few frames by hand, in the browser, to get named joints from them.

    Chooses the frames that differ most, the uncertain ones first, and writes labels.html, a page that needs
    no network. What it saves is read by `dkpvid eval` and, as DeepLabCut's CollectedData and as COCO
    keypoints, by other tools. Frames and labels that are in the folder stay.
    """
    with reported_errors():
        if correct and len(videos or ()) > 1:
            raise UsageError("--correct takes one track, and at most one video, that of the track")
        if frames < 1:
            raise UsageError(f"--frames must be at least 1, got {frames}")
        check_folder(output)
        from dkpvid.labeling.folder import PAGE, read_labeling

        labeling = read_labeling(output, parse_names(names))
        before = len(labeling.frames)
        if correct:
            from dkpvid.labeling.adding import add_corrections  # torch loads here, not for --help

            wanted = frames - labeling.num_untouched
            labeling = add_corrections(output, labeling, correct, videos[0] if videos else None, wanted)
        elif videos:
            wanted = frames - before
            labeling = _choose(
                output, labeling, expand_inputs(videos, recursive), wanted, weights, device, quiet
            )
        else:
            wanted = 0
        from dkpvid.labeling.page import HEAVY_BYTES, write_label_page

        size = write_label_page(output, labeling, shown_size)
        if not quiet:
            _tell(labeling, before, wanted)
        if size > HEAVY_BYTES:
            say(
                f"warning: the page has {size / 2**20:.0f} MB, which makes browsers slow; choose fewer "
                "--frames or a smaller --shown-size"
            )
        if serve:
            _serve(output, labeling, shown_size, port)
        else:
            say(f"open {output / PAGE} in a browser; with --serve it saves by itself")


def parse_names(text: str | None) -> tuple[str, ...]:
    """The joints of `--names`; in quotes, a name may hold commas.

    Raises:
        UsageError: a name is empty or given twice.

    >>> parse_names('nose,"tail, base"')
    ('nose', 'tail, base')
    """
    if text is None:
        return ()
    if text == "human":
        return HUMAN
    names = tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))
    if not names or not all(names) or len(set(names)) < len(names):
        raise UsageError(f"--names {text!r} holds an empty name, or one twice; give such as nose,left_ear")
    return names


def _choose(
    folder: Path,
    labeling: "Labeling",
    videos: "list[Source]",
    count: int,
    weights: str | None,
    device: str,
    quiet: bool,
) -> "Labeling":
    if count < 1:
        return labeling
    from dkpvid.checkpoint import load_weights  # torch loads here, not for --help
    from dkpvid.devices import choose_device
    from dkpvid.labeling.adding import add_from_videos
    from dkpvid.tracking.detect import Detector

    detector = Detector(load_weights(weights), choose_device(device), runtime="auto")
    with ProgressReport("looking for frames", "frames", None, quiet) as progress:
        return add_from_videos(
            folder,
            labeling,
            videos,
            count,
            detector,
            on_frame=lambda video, done, total: progress.update(done, video, total=total),
        )


def _tell(labeling: "Labeling", before: int, wanted: int) -> None:
    added = labeling.frames[before:]
    for frame in added:
        say(f"{frame.video} frame {frame.index}: {frame.reason}")
    if len(added) < wanted:
        say(f"warning: {len(added)} frames of {wanted}: there are no more that are not neighbours of others")
    joints = ", ".join(labeling.names) or "to be named in the page"
    say(f"{len(labeling.frames)} frames, {labeling.num_untouched} of them without a label; joints: {joints}")


def _serve(folder: Path, labeling: "Labeling", shown_size: int, port: int) -> None:
    from dkpvid.labeling.folder import read_labeling
    from dkpvid.labeling.page import write_label_page
    from dkpvid.labeling.server import LabelServer

    def write_page() -> None:
        write_label_page(folder, read_labeling(folder, labeling.names), shown_size)

    try:
        server = LabelServer(folder, labeling, write_page, port)
    except OSError as error:
        raise UsageError(f"port {port} cannot be used ({error.strerror}); leave --port out") from None
    with server, interrupt_request() as stop:
        say(f"label at {server.address} - Ctrl-C ends")
        server.serve_until(lambda: bool(stop))
