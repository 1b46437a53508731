import shutil
from pathlib import Path

import pytest
from cli_cases import SCENES, TINY

from benchmark import registry
from benchmark.cli import main
from benchmark.registry import build


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache folder with the tiny scenes."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        build("dataset", "synthetic", SCENES).folder()
    return folder


@pytest.fixture(scope="session")
def grid(tmp_path_factory, cache):
    """A folder in which the tiny grid was run: tiny.yaml, out and store."""
    folder = tmp_path_factory.mktemp("grid")
    (folder / "tiny.yaml").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        assert main(["run", f"{folder}/tiny.yaml", "--out", f"{folder}/out", "--store", f"{folder}/store"]) == 0
    return folder


@pytest.fixture
def scenes(cache, tmp_path):
    """A copy of the tiny scenes, in ShanghaiTech's layout."""
    [drawn] = cache.glob("crowdbench/synthetic-*")
    return Path(shutil.copytree(drawn, tmp_path / "scenes"))


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """An empty working folder with tiny.yaml in it; nothing of the machine's own is seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CROWD_DATA", raising=False)
    (tmp_path / "tiny.yaml").write_text(TINY)


@pytest.fixture
def again(grid, cache, monkeypatch):
    """The run of the tiny grid once more."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.chdir(grid)
    return ["run", "tiny.yaml", "--store", "store"]


@pytest.fixture
def copied(grid, cache, tmp_path, monkeypatch):
    """A copy of the tiny grid's folder, with the scenes in the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(registry, "_plugins", {})
    return Path(shutil.copytree(grid, tmp_path / "grid"))
