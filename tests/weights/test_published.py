"""Published weights are named in the settings, pinned by their hash, and needed only where something is trained."""

import shutil

import pytest
from safetensors.torch import save_file

from benchmark.config.frozen_grids import signature
from benchmark.config.grid import cells
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.store import Store
from benchmark.registry import build
from benchmark.results.describe import describe_component
from benchmark.utils.errors import UserError
from benchmark.utils.hashing import PinnedFile, by_content, file_sha256
from benchmark.weights import published, trained
from benchmark.weights.published import PUBLISHED, licence_of, locate


@pytest.fixture
def public(desk, monkeypatch):
    """A published Tiny, in the folder of CROWD_DATA."""
    (desk / "data" / "weights").mkdir(parents=True)
    path = desk / "data" / "weights" / "their.safetensors"
    save_file(build("model", "tiny", {}).state_dict(), path)
    monkeypatch.setitem(PUBLISHED, "theirs", PinnedFile(path.name, file_sha256(path), "MIT", "the file of their page"))
    monkeypatch.setenv("CROWD_DATA", str(desk / "data"))
    return path


def cell(weights):
    [only] = cells({"data": "synthetic", "model": {"name": "tiny", "weights": weights}})
    return only


def test_a_name_and_the_path_of_the_same_file_are_the_same_counter(public):
    named, by_path = cell("theirs"), cell(str(public))
    assert signature(named) == signature(by_path) != signature(cell("scratch"))
    graph = StageGraph(Store(public.parent / "store"))
    assert graph.victim(named).key == graph.victim(by_path).key
    assert describe_component(named.model).resolved == describe_component(by_path.model).resolved
    assert named.model.build().weights_note == by_path.model.build().weights_note
    assert trained("tiny", {"weights": "theirs"}, "audit").weights_note.startswith("whole counter: their.safetensors")


def test_without_the_file_a_cell_has_its_name_and_nothing_is_run(public):
    before = signature(cell("theirs")), describe_component(cell("theirs").model)
    public.unlink()
    assert (signature(cell("theirs")), describe_component(cell("theirs").model)) == before
    graph = StageGraph(Store(public.parent / "store"))
    with pytest.raises(UserError, match=r"weights .*their\.safetensors: no such file; expected the file of their page"):
        graph.stages(cell("theirs"))
    with pytest.raises(UserError, match="no such file; expected the file of their page"):
        cell("theirs").model.build()


def test_another_file_of_the_name_is_refused(public):
    sha256 = file_sha256(public)
    shutil.copy(__file__, public)
    with pytest.raises(UserError, match=f"another file, with the SHA-256 hash .*; expected {sha256}, the file of"):
        locate(PUBLISHED["theirs"])


def test_without_a_folder_for_the_data_the_message_says_what_to_set(public, monkeypatch):
    monkeypatch.delenv("CROWD_DATA")
    with pytest.raises(UserError, match="set the environment variable CROWD_DATA.*weights/their.safetensors; it is the"):
        locate(PUBLISHED["theirs"])


def test_a_misspelt_name_is_told_with_the_names(public):
    with pytest.raises(UserError, match="weights = 'thiers': expected 'scratch', .*'theirs', or the path of a file"):
        cell("thiers").model.resolved


def test_every_published_file_has_a_hash_and_an_origin():
    for weights in published.PUBLISHED.values():
        assert len(weights.sha256) == 64 and weights.origin and str(weights).endswith(weights.sha256[:12])


def test_the_licence_of_initial_weights_is_that_of_the_file_and_not_of_the_default(public, tmp_path):
    for weights, licence in (("theirs", "MIT"), (str(public), "MIT"), ("scratch", "from scratch by default")):
        assert licence_of("tiny", by_content(cell(weights).model.changed.get("weights"))) == licence
    (tmp_path / "own").write_bytes(b"of nobody")
    assert licence_of("csrnet", by_content(tmp_path / "own")) is None
    assert "ImageNet" in licence_of("csrnet", None) and licence_of("csrnet", "scratch") == "from scratch"
    assert licence_of("a_plugin", None) is None
