"""recipes/people/render.py: whole strips, from the assets beside the checkout."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dkpvid.errors import UsageError
from recipes.people.assets import Assets

SIZE = 48


def test_a_folder_without_assets_is_refused(tmp_path: Path) -> None:
    (tmp_path / "meshes").mkdir()
    with pytest.raises(UsageError, match="has no folder 'motion'"):
        Assets(tmp_path)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Those of other people's packages.
def test_strips_are_complete_and_only_depend_on_their_number(
    shared: Path, need_package: Any, tmp_path: Path
) -> None:
    need_package("moderngl")
    need_package("anny")
    import typer

    from recipes.people import render

    app = typer.Typer()
    app.command()(render.main)
    arguments = ["--assets", str(shared / "assets" / "people"), "--size", str(SIZE), "--seed", "5"]
    for out, strips in (("a", 2), ("b", 1), ("a", 2)):
        result = CliRunner().invoke(app, [str(strips), str(tmp_path / out), *arguments])
        assert result.exit_code == 0, result.output
    folder = tmp_path / "a" / "train"
    assert len(list(folder.iterdir())) == 6
    for suffix in (".jpg", ".depth.png", ".joints.npz"):
        first, again = (tmp_path / out / "train" / f"00000{suffix}" for out in "ab")
        assert first.read_bytes() == again.read_bytes()
    for number in range(2):
        depth = np.asarray(Image.open(folder / f"{number:05d}.depth.png"))
        assert depth.shape == (SIZE, 8 * SIZE)
        with np.load(folder / f"{number:05d}.joints.npz") as file:
            truth = dict(file)
        assert truth["joints"].shape == (8, 17, 2)
        assert truth["mask"].shape == (8, SIZE, SIZE)
        inside = ((truth["joints"] > -0.5) & (truth["joints"] < SIZE - 0.5)).all(2)
        assert inside[truth["visible"]].all()
        assert truth["visible"].sum() > 8 * 5
        # Joints that are seen lie on the person.
        for joints, visible, mask in zip(truth["joints"], truth["visible"], truth["mask"], strict=True):
            column, row = np.round(joints[visible]).astype(int).clip(0, SIZE - 1).T
            assert mask[row, column].mean() > 0.6
