import gc
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: each worker has one thread

import numpy as np
import pytest
import torch


def pytest_collection_finish():
    """Let the garbage collector leave alone what was imported: Accelerate collects after each of the many trainings."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    """Let the interpreter clear up what was frozen, without warnings of leaks."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def seeded():
    """Draws without a seed of their own do not depend on which tests ran before in the same worker."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that holds ShanghaiTech: CROWD_DATA, or shared/data beside the repository."""
    folder = Path(os.environ.get("CROWD_DATA") or Path(__file__).parents[2] / "shared/data")
    if not (folder / "ShanghaiTech").is_dir():
        pytest.skip("ShanghaiTech is not here; set CROWD_DATA to the folder that holds it")
    return folder


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return type(self.path).mkdir, (self.path,)


@pytest.fixture
def trap(tmp_path_factory) -> Trap:
    """A trap that has not sprung."""
    return Trap(tmp_path_factory.mktemp("trap") / "sprung")
