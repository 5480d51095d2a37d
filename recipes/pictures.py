"""Make the pictures of the README, with the commands and the weights that a user has.

python -m recipes.pictures demo                frames of the annotated demo clip
python -m recipes.pictures distillation OUT    what a teacher and two students see; OUT is where
                                                  structured_background.py wrote its runs
python -m recipes.pictures held-out OUT        what the package's weights find in people that they were not
                                                  trained on; OUT is where held_out.py wrote its scores
"""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy import ndarray
from PIL import Image
from typer.testing import CliRunner

from dkpvid.checkpoint import load_weights
from dkpvid.cli import app as dkpvid_app
from dkpvid.drawing import Annotator, DrawStyle
from dkpvid.structures import Frame
from dkpvid.tracking.detect import Detector, detect, keypoint_names
from dkpvid.video.reader import VideoReader

ROOT = Path(__file__).parents[1]
DEMO_FRAMES = (18, 60, 95, 135)
"""One of each motion of the clip."""
CLIPS = 6
HELD_OUT_CLIPS = 4
SIDE = 192
"""Of one picture of the distillation sheet, in pixels."""

app = typer.Typer(help=__doc__, rich_markup_mode=None, pretty_exceptions_show_locals=False)


@app.command()
def demo() -> None:
    """Track the demo clip as a user would, and join some of its frames."""
    with tempfile.TemporaryDirectory() as folder:
        clip = str(ROOT / "benchmarks" / "demo.mp4")
        result = CliRunner().invoke(dkpvid_app, ["track", clip, "-o", folder, "-q"])
        if result.exit_code:
            raise SystemExit(result.output)
        with VideoReader(Path(folder) / "demo.dkp.mp4") as reader:
            frames = [frame.image for frame in reader if frame.index in DEMO_FRAMES]
    rows = [np.concatenate(frames[start : start + 2], axis=1) for start in (0, 2)]
    picture = Image.fromarray(np.concatenate(rows))
    picture.thumbnail((1000, 1000))
    picture.save(ROOT / "docs" / "demo.png", optimize=True)


@app.command()
def distillation(
    out: Annotated[Path, typer.Argument(help="Output folder of structured_background.py.")],
) -> None:
    """Rows: picture, depth map with the teacher's keypoints, the student alone, the distilled student."""
    test = out / "data" / "test"
    clips = sorted(path for path in test.iterdir() if path.is_dir())
    chosen = clips[:: max(1, len(clips) // CLIPS)][:CLIPS]
    images = [first_picture(clip) for clip in chosen]
    depths = [first_picture(clip / "depth") for clip in chosen]
    rows = [
        [enlarged(image) for image in images],
        [drawn(depth, out / "runs" / "teacher-seed0") for depth in depths],
        [drawn(image, out / "runs" / "student-seed0") for image in images],
        [drawn(image, out / "runs" / "distilled-output-0.4-seed0") for image in images],
    ]
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    Image.fromarray(sheet).save(ROOT / "docs" / "distillation.png", optimize=True)


@app.command()
def held_out(out: Annotated[Path, typer.Argument(help="Output folder of held_out.py, split test.")]) -> None:
    """Two frames of the clips that gain most over the mean pose (above), and least (below)."""
    scores = {}
    for line in (out / "test.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if not entry["model"].endswith("joints by name"):
            scores[entry["model"].split()[0]] = entry["clips"]
    gains = {name: scores["mean"][name] - error for name, error in scores["default"].items()}
    ranked = sorted(gains, key=gains.__getitem__, reverse=True)
    rows = []
    for names in (ranked[:HELD_OUT_CLIPS], ranked[-HELD_OUT_CLIPS:]):
        row = []
        for name in names:
            with VideoReader(out / "test" / f"{Path(name).stem}.png") as reader:
                frames = [frame.image for frame in reader]
            row += [drawn(frames[len(frames) * part // 3], None) for part in (1, 2)]
            print(f"{name}: {scores['default'][name]:.1f}, mean pose {scores['mean'][name]:.1f}")
        rows.append(np.concatenate(row, axis=1))
    picture = Image.fromarray(np.concatenate(rows))
    picture.thumbnail((1400, 1400))
    picture.save(ROOT / "docs" / "held_out.jpg", quality=85)


def first_picture(folder: Path) -> ndarray:
    """RGB of the first frame in a folder."""
    with Image.open(min(folder.glob("*.png"))) as picture:
        return np.asarray(picture.convert("RGB"))


def enlarged(image: ndarray) -> ndarray:
    """For the eye; the networks see the small picture."""
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def drawn(image: ndarray, run: Path | None) -> ndarray:
    """The picture with what a run, or the package's weights, find in it."""
    weights = load_weights(run)
    frame = Frame(enlarged(image), index=0, time_seconds=0.0)
    (track,) = detect(Detector(weights, torch.device("cpu")), [frame])
    names = keypoint_names(weights.config.num_keypoints)
    annotator = Annotator(names, weights.edge_map.skeleton, SIDE, SIDE, DrawStyle())
    return annotator.draw(frame.image, track, 0)


if __name__ == "__main__":
    app()
