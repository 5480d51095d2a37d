"""What all tests share: shape checking, the data folder beside the checkout, and a quiet random state."""

import os
from pathlib import Path

# Shapes in annotations are checked in tests only; the hook must be in place before dkpvid is imported.
from jaxtyping import install_import_hook

_hook = install_import_hook("dkpvid", "beartype.beartype")

import numpy as np  # noqa: E402
import pytest  # noqa: E402

SHARED = Path(os.environ.get("DKPVID_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The data folder beside the checkout; a missing one skips, or fails under DKPVID_REQUIRE=shared."""
    if not SHARED.is_dir():
        message = f"{SHARED} is missing: the tests that need real videos and golden files cannot run"
        if "shared" in os.environ.get("DKPVID_REQUIRE", "").split(","):
            pytest.fail(message)
        pytest.skip(message)
    return SHARED


@pytest.fixture
def rng() -> np.random.Generator:
    """A random generator with a fixed seed."""
    return np.random.default_rng(7)
