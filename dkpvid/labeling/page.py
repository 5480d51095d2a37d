"""The page in which joints are labelled: one file that needs no network and no server."""

import io
import shlex
import time
from base64 import b64encode
from pathlib import Path

from PIL import Image

from dkpvid.errors import DataError
from dkpvid.labeling.folder import COCO, PAGE, SCORER, LabelFrame, Labeling, picture_path
from dkpvid.pages.page import css_colors, write_page
from dkpvid.video.images import IMAGE_FORMATS

SHOWN_SIZE = 1920
"""Longer side of the pictures in the page, in pixels; larger frames are shrunken there."""
HEAVY_BYTES = 100 * 2**20
"""Pages above it make browsers slow."""
_JPEG_QUALITY = 90
_FEWEST_COLORS = 28
"""The page may add joints."""

EXPLANATION = (
    "These frames were chosen because they differ most: frames whose tracked keypoints and appearance are "
    "alike were put into one group by k-means, and of every group comes one that is typical and of which the "
    "tracker is not sure; never two neighbours. The most uncertain come first, so that stopping early costs "
    "least."
)
EXPLANATION_OF_CORRECTIONS = (
    "Some of these frames were chosen because named joints are least certain in them, or jump: correct the "
    "joints drawn with dashes. They count as labels only when you move, place or accept them."
)


def write_label_page(folder: Path, labeling: Labeling, shown_size: int = SHOWN_SIZE) -> int:
    """Write labels.html.

    Args:
        folder: Of the labelling, with its pictures.
        labeling: What to show.
        shown_size: Longer side of the pictures in the page, in pixels. Labels are in pixels of the frame.

    Returns:
        How large the page is, in bytes.

    Raises:
        DataError: there are no frames, or a picture cannot be read.
    """
    if not labeling.frames:
        raise DataError(f"{folder}: no frames to label; give the videos that they are to come from")
    path = folder / PAGE
    corrected = any(frame.predicted for frame in labeling.frames)
    write_page(
        path,
        "label.html.j2",
        explanation=EXPLANATION_OF_CORRECTIONS if corrected else EXPLANATION,
        next_command=f"dkpvid eval {shlex.quote(str(folder))} --save-joints joints.json",
        pictures=[_jpeg(picture_path(folder, frame), shown_size) for frame in labeling.frames],
        data={
            "id": labeling.identity,
            # Milliseconds, as the page counts them.
            "created": round(1000 * time.time()),
            "folder": str(folder),
            "scorer": SCORER,
            "coco": COCO,
            "outputs": [*labeling.tables, COCO],
            "names": list(labeling.names),
            "colors": css_colors(max(_FEWEST_COLORS, len(labeling.names))),
            "frames": [
                _entry(frame, joints, labeling.names)
                for frame, joints in zip(labeling.frames, labeling.joints, strict=True)
            ],
        },
    )
    return path.stat().st_size


def _entry(frame: LabelFrame, joints: tuple[object, ...], names: tuple[str, ...]) -> dict[str, object]:
    return {
        "image": frame.image,
        "table": frame.table,
        "title": f"{Path(frame.video).name}, frame {frame.index} ({frame.time_seconds:.2f} s)",
        "reason": frame.reason,
        "video": frame.video,
        "index": frame.index,
        "time": frame.time_seconds,
        "width": frame.width,
        "height": frame.height,
        "hints": frame.hints,
        # By number: a joint may be called anything, and some names mean something to a browser.
        "predicted": [frame.predicted.get(name) for name in names],
        "joints": joints,
    }


def _jpeg(path: Path, shown_size: int) -> str:
    """A picture in base64."""
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as stored:
            picture = stored.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read ({error}); it belongs to the labels") from None
    picture.thumbnail((shown_size, shown_size), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, format="JPEG", quality=_JPEG_QUALITY)
    return b64encode(content.getvalue()).decode()
