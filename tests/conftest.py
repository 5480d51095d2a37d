"""What all tests share: shape checking, the data folder beside the checkout, and a quiet random state."""

import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Shapes in annotations are checked in tests only; the hook must be in place before dkpvid is imported.
from jaxtyping import install_import_hook

_hook = install_import_hook("dkpvid", "beartype.beartype")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from dkpvid.checkpoint import save_weights  # noqa: E402
from dkpvid.config import ModelConfig  # noqa: E402
from dkpvid.models.detector import KeypointDetector  # noqa: E402
from dkpvid.models.edge_map import EdgeMap  # noqa: E402
from dkpvid.models.perceptual import MobileNetV1Features  # noqa: E402
from tests.video.clips import make_clip  # noqa: E402

SHARED = Path(os.environ.get("DKPVID_SHARED", Path(__file__).parents[2] / "shared"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave slow tests out, unless `-m` speaks of them or DKPVID_REQUIRE names them."""
    if "slow" in config.option.markexpr or "slow" in os.environ.get("DKPVID_REQUIRE", "").split(","):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run it with -m slow, or DKPVID_REQUIRE=slow"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The data folder beside the checkout; a missing one skips, or fails under DKPVID_REQUIRE=shared."""
    if not SHARED.is_dir():
        message = f"{SHARED} is missing: the tests that need real videos and golden files cannot run"
        if "shared" in os.environ.get("DKPVID_REQUIRE", "").split(","):
            pytest.fail(message)
        pytest.skip(message)
    return SHARED


@pytest.fixture(scope="session")
def need_package() -> Callable[[str], Any]:
    """Imports a package; a missing one skips, or fails where DKPVID_REQUIRE names it."""

    def need(name: str) -> Any:
        try:
            return importlib.import_module(name)
        except ImportError:
            message = f"{name} is not installed"
            if name.partition(".")[0] in os.environ.get("DKPVID_REQUIRE", "").split(","):
                pytest.fail(message)
            pytest.skip(message)

    return need


@pytest.fixture(scope="session")
def transformers(need_package: Callable[[str], Any]) -> Any:
    """The package whose depth networks are compared with and used."""
    return need_package("transformers")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """24 frames, 96 x 64, 25 frames per second."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(make_clip())
    return path


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights file of a small untrained model with six keypoints, which differ from frame to frame."""
    config = ModelConfig(num_keypoints=6, image_size=64, detector_width=8)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        detector, edge_map = KeypointDetector(config), EdgeMap(config)
        # Untrained heatmaps are nearly flat, which would leave all keypoints at the centre.
        torch.nn.init.normal_(detector.head.weight, std=1.0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, config, detector, edge_map)
    return path


@pytest.fixture(scope="module")
def own_cache_and_perceptual_net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the module's own, and MobileNet with random weights: no other project's file is needed."""
    folder = tmp_path_factory.mktemp("environment")
    torch.manual_seed(0)
    save_file(MobileNetV1Features().state_dict(), folder / "mobilenet.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DKPVID_CACHE", str(folder / "cache"))
        patch.setenv("DKPVID_PERCEPTUAL_WEIGHTS", str(folder / "mobilenet.safetensors"))
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """A random generator with a fixed seed."""
    return np.random.default_rng(7)
