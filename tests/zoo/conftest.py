import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from zoo_grid import request_for

from benchmark.config.grid import cells
from benchmark.pipeline import runner
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.store import Store
from benchmark.zoo.push import push


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run of a clean counter and a victim: its request, cells, store and records."""
    folder = tmp_path_factory.mktemp("trained")
    request = request_for(folder / "drawings")
    grid, graph = cells(request), StageGraph(Store(folder / "store"))
    outcome = runner.run(grid, graph, folder)
    assert not outcome.failures
    return SimpleNamespace(request=request, cells=grid, store=graph.store.root, records=outcome.records,
                           paths=outcome.paths)


@pytest.fixture(scope="session")
def shared(trained, tmp_path_factory):
    """The zoo of that run, which no test changes."""
    folder = tmp_path_factory.mktemp("shared") / "zoo"
    push(trained.records, trained.store, folder)
    return folder


@pytest.fixture
def zoo(shared, desk) -> Path:
    """A copy of the zoo in the folder of the test, which is the working directory."""
    return Path(shutil.copytree(shared, desk / "zoo"))


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path
