"""Damaged videos end in an error line or in complete outputs: no traceback, no hang, no half a file."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzzing import KINDS, TIMES, mutated, original

ROOT = Path(__file__).parents[2]


def test_originals_are_small_and_mutations_repeatable() -> None:
    assert all(len(original(suffix)) < 20_000 for suffix in KINDS)
    assert mutated(3) == mutated(3)
    assert len({mutated(seed) for seed in range(60)}) == 60
    assert len(TIMES) == 10


@pytest.mark.skipif(sys.platform == "win32", reason="its memory cannot be limited")
@pytest.mark.parametrize(("first", "last"), [(0, 40), pytest.param(40, 500, marks=pytest.mark.slow)])
def test_damaged_videos(tiny_weights: Path, tmp_path: Path, first: int, last: int) -> None:
    arguments = [str(tiny_weights), str(tmp_path), str(first), str(last)]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.fuzzing", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    seeds = done.stdout.split()
    assert done.returncode == 0, f"seed {seeds[-1] if seeds else 'none'}: {done.stderr}"
    assert seeds == [str(seed) for seed in range(first, last)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"damaged.{suffix}" for suffix in sorted(KINDS)
    ]
