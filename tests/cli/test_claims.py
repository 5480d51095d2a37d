"""Two videos of one name, and one folder for their outputs: neither takes the other's place."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dkpvid.cli import app
from dkpvid.cli.claims import claim, own_stem, owner
from dkpvid.errors import UsageError
from dkpvid.video.sources import find_source
from tests.video.clips import make_clip
from tests.video.servers import http_folder

Track = Callable[..., Result]


@pytest.fixture
def track(tiny_weights: Path, tmp_path: Path) -> Track:
    """Run `dkpvid track` on something, with all outputs in one folder."""

    def run(video: str | Path, *options: str) -> Result:
        words = ["track", video, "-o", tmp_path / "out", "--weights", tiny_weights, "--device", "cpu"]
        result = CliRunner().invoke(app, [*(str(word) for word in words), "--no-video", *options])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two clips of the same name, size and time of change, in two folders."""
    paths = tmp_path / "A" / "clip.mp4", tmp_path / "B" / "clip.mp4"
    content = [make_clip(times=tuple(index / 25 for index in range(number))) for number in (3, 4)]
    size = max(len(part) for part in content)
    for path, part in zip(paths, content, strict=True):
        path.parent.mkdir()
        path.write_bytes(part + bytes(size - len(part)))
        os.utime(path, ns=(10, 10))
    return paths


def frames_in(path: Path) -> int:
    return len(json.loads(path.read_text())["frames"])


@pytest.mark.parametrize("option", ["--skip-existing", "--resume", "--overwrite"])
@pytest.mark.parametrize("over_http", [False, True])
def test_two_videos_of_one_name(
    tmp_path: Path, two: tuple[Path, Path], track: Track, option: str, over_http: bool
) -> None:
    with http_folder(tmp_path) as url:
        one, other = (f"{url}/{path.parent.name}/{path.name}" if over_http else path for path in two)
        assert track(one, option).exit_code == 0
        done = track(other, option)
        assert done.exit_code == 0
        assert "clip-2.dkp.json" in done.stderr
        out = tmp_path / "out"
        assert [frames_in(out / f"{name}.dkp.json") for name in ("clip", "clip-2")] == [3, 4]
        # In whatever order they come again.
        for video in (other, one):
            assert track(video, option).exit_code == 0
        assert [frames_in(out / f"{name}.dkp.json") for name in ("clip", "clip-2")] == [3, 4]


def test_without_an_option_the_second_gets_a_name_too(
    tmp_path: Path, two: tuple[Path, Path], track: Track
) -> None:
    assert [track(video, "--format", "csv").exit_code for video in two] == [0, 0]
    assert track(two[0], "--format", "csv").exit_code == 2
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} == {"clip.dkp.csv", "clip-2.dkp.csv"}


@pytest.mark.parametrize("option", ["--skip-existing", "--resume"])
def test_outputs_of_unknown_origin_are_not_replaced(
    tmp_path: Path, two: tuple[Path, Path], track: Track, option: str
) -> None:
    output = tmp_path / "out" / "clip.dkp.json"
    output.parent.mkdir()
    output.write_text("precious")
    refused = track(two[0], option)
    assert refused.exit_code == 2
    assert refused.stderr == (
        f"error: {output} exists, and may be of something else than {two[0]}; pass --overwrite to replace "
        "it, or choose another folder with -o\n"
    )
    assert output.read_text() == "precious"
    assert not list(output.parent.glob(".*"))
    assert track(two[0], "--overwrite").exit_code == 0


@pytest.mark.parametrize("option", ["--skip-existing", "--resume"])
def test_a_pipe_is_neither_skipped_nor_resumed(tmp_path: Path, track: Track, option: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    output = tmp_path / "out" / "pipe.dkp.json"
    output.parent.mkdir()
    output.write_text("of an earlier pipe")
    again = track(tmp_path / "pipe", option)
    assert again.exit_code == 2
    first, second = again.stderr.splitlines()
    assert first == f"{tmp_path / 'pipe'}: comes once, so it is neither resumed nor skipped"
    assert second.startswith(f"error: {output} exists, and may be of something else")
    assert output.read_text() == "of an earlier pipe"


def test_what_gives_nothing_keeps_no_name(tmp_path: Path, two: tuple[Path, Path], track: Track) -> None:
    two[0].write_text("no video")
    assert track(two[0]).exit_code == 4
    assert list((tmp_path / "out").iterdir()) == []


def test_a_name_is_taken_at_once_or_not_at_all(tmp_path: Path, two: tuple[Path, Path]) -> None:
    one, other = map(find_source, two)
    stem = own_stem(tmp_path, one, taken=())
    # Both have looked before either of them begins, as jobs of an array do.
    assert own_stem(tmp_path, other, taken=()) == stem
    claim(stem, one)
    claim(stem, one)
    with pytest.raises(UsageError, match=r"A/clip\.mp4; run it again, and .*B/clip\.mp4 gets a name of its"):
        claim(stem, other)
    assert owner(stem) == str(two[0])
    assert own_stem(tmp_path, other, taken=()) == tmp_path / "clip-2"
    assert own_stem(tmp_path, other, taken={tmp_path / "clip-2"}) == tmp_path / "clip-3"
