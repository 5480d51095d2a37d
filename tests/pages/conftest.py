"""What the tests of the pages share."""

import json
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with three previews and thirty logged steps."""
    folder = tmp_path / "mice"
    (folder / "preview").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"steps": 300, "model": {"num_keypoints": 3}}))
    lines = [{"step": 10 * i, "loss": 2 + 1 / i, "perceptual": float(i)} for i in range(1, 31)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for step in (100, 200, 300):
        Image.new("RGB", (16, 8)).save(folder / f"preview/{step:06d}.png")
        # The last keypoint moves by less than a cell of the heatmap, 2 / 32.
        keypoints = [[[-0.5 + 0.1 * i, 0], [0.5, 0.3 * i], [0.02 * i, 0.9]] for i in range(4)]
        found = {"keypoints": keypoints, "heatmap_size": 32}
        (folder / f"preview/{step:06d}.json").write_text(json.dumps(found))
    return folder
