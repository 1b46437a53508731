import pytest
import torch

from benchmark.registry import build


@pytest.fixture(autouse=True)
def desk(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def squeeze():
    """The tensors of a whole counter."""
    torch.manual_seed(0)
    return build("model", "squeeze", {"weights": "scratch"}).state_dict()
