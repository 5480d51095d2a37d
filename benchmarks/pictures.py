"""Make the pictures of the README from the demo clip, with the weights of the package.

    python benchmarks/pictures.py

Writes docs/demo.png: frames of the annotated demo clip side by side.
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from dkpvid.cli import app
from dkpvid.video.reader import VideoReader

ROOT = Path(__file__).parents[1]
FRAMES = (18, 60, 95, 135)
"""One of each motion of the clip."""


def main() -> None:
    """Track the demo clip as a user would, and join some of its frames."""
    with tempfile.TemporaryDirectory() as folder:
        result = CliRunner().invoke(app, ["track", str(ROOT / "benchmarks" / "demo.mp4"), "-o", folder, "-q"])
        if result.exit_code:
            raise SystemExit(result.output)
        with VideoReader(Path(folder) / "demo.dkp.mp4") as reader:
            frames = [frame.image for frame in reader if frame.index in FRAMES]
    rows = [np.concatenate(frames[start : start + 2], axis=1) for start in (0, 2)]
    picture = Image.fromarray(np.concatenate(rows))
    picture.thumbnail((1000, 1000))
    (ROOT / "docs").mkdir(exist_ok=True)
    picture.save(ROOT / "docs" / "demo.png", optimize=True)


if __name__ == "__main__":
    main()
