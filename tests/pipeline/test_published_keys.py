"""The committed records still have the store keys and the file names that they were published with.

A stored result that cannot be found again under its key would be trained again, and a record under another name would
no longer be the published one. Records of a component whose version has been raised since are left out: their keys
must differ.
"""

from functools import cache

import pytest
from factories import ROOT

from benchmark.config.frozen_grids import protocol_of
from benchmark.config.grid import cells
from benchmark.config.request import override
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.runner import record_path
from benchmark.pipeline.store import Store
from benchmark.registry import find
from benchmark.results.record import Record
from benchmark.results.rerun_request import request_of
from benchmark.weights.published import PUBLISHED

FOLDERS = {path.parent.name for path in (ROOT / "records").glob("*/*-seed*.json")}


@cache
def graph():
    return StageGraph(Store(ROOT / "no store is read"))


def is_current(record):
    """Whether the components of a record still have the versions that it was made with."""
    components = [("model", record.model), ("defense", record.defense)]
    if record.attack:
        components += [("trigger", record.attack.trigger), ("target", record.attack.target)]
    return all(find(kind, component.name).version == component.version for kind, component in components)


def test_there_are_published_records():
    assert FOLDERS >= {"standard-quick", "laptop"}


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_published_records_have_the_keys_and_the_grid_that_they_were_published_with(folder, request, monkeypatch):
    paths = sorted((ROOT / "records" / folder).glob("*.json"))
    records = {path: Record.read(path) for path in paths}
    files = []
    if any(record.audit for record in records.values()):
        pytest.skip("the key of an audit holds the hash of the file that was audited, which is not here")
    if any(record.data.name == "shanghaitech" for record in records.values()):
        real_data = request.getfixturevalue("real_data")
        monkeypatch.setenv("CROWD_DATA", str(real_data))
        files = [f"model.weights={real_data}/weights/squeezenet1_1_features.safetensors"]
    current = {path: record for path, record in records.items() if is_current(record)}
    assert current
    for path, record in current.items():
        precision = f"training.precision={record.provenance['precision']}"  # 'auto' differs between machines
        named = record.model.given.get("weights") in PUBLISHED  # such weights need no file
        asked = override(request_of(record), [] if named else files)
        [cell] = cells(override(asked, [precision]))
        assert record_path(cell, graph(), path.parent.parent).name == path.name
        assert protocol_of(*cells(asked), graph().data.splits) == record.protocol
        stages = {"victim": graph().victim(cell), "repaired": graph().repaired(cell), "clean": graph().clean(cell)}
        keys = {name: stage["key"] for name, stage in record.provenance["stages"].items() if name in stages}
        assert keys == {name: stages[name].key for name in keys} and keys, path
