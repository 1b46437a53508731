"""A broken record is named and made again from the store; it ends no run, and hides no other record."""

import json
import os
import shutil

import pytest
from hard_times import killed_at_each_step, small_disk

from benchmark.cli import main
from benchmark.config.grid import cells
from benchmark.pipeline import record_files
from benchmark.pipeline.dry_run import plan
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.runner import record_path, run
from benchmark.pipeline.store import Store
from benchmark.results.record import Record
from benchmark.utils.errors import UserError

REQUEST = {"data": {"name": "synthetic", "train": 12, "test": 4, "height": 64, "width": 96, "people": 20},
           "model": {"name": "tiny", "width": 8}, "attack": ["multiply", "minus"], "training": {"epochs": 1, "precision": "fp32"}}
BROKEN = {"empty": b"", "half": b'{"audit": false, "at', "zeros": bytes(4096), "not_utf8": b"\xff\xfe", "null": b"null",
          "another": b"{}", "deep": b"[" * 100_000}
KINDS = [*BROKEN, "pipe", "device", "nowhere"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(cells, folder) of a grid of two cells that was run."""
    folder = tmp_path_factory.mktemp("finished")
    chosen = cells(REQUEST | {"data": REQUEST["data"] | {"root": str(folder / "data")}})
    assert len(run(chosen, StageGraph(Store(folder / "store")), folder / "out").records) == 2
    return chosen, folder


@pytest.fixture
def again(finished, tmp_path):
    """(cells, graph, out, path of the second record) of a copy of the grid."""
    chosen, folder = finished
    shutil.copytree(folder / "out", tmp_path / "out")
    shutil.copytree(folder / "store", tmp_path / "store")
    graph = StageGraph(Store(tmp_path / "store"))
    return chosen, graph, tmp_path / "out", record_path(chosen[1], graph, tmp_path / "out")


def spoil(path, how):
    path.unlink()
    if how == "pipe":
        os.mkfifo(path)
    elif how in ("device", "nowhere"):
        path.symlink_to("/dev/zero" if how == "device" else "/nowhere")
    else:
        path.write_bytes(BROKEN[how])


@pytest.mark.parametrize("how", KINDS)
def test_a_broken_record_is_named_and_made_again_with_the_same_bytes(again, capsys, how):
    chosen, graph, out, path = again
    before = path.read_bytes()
    spoil(path, how)
    assert [row["record"] for row in plan(chosen, graph, out).cells] == ["done", "to do"]
    capsys.readouterr()
    outcome = run(chosen, graph, out)
    assert not outcome.failures and len(outcome.records) == 2 and path.read_bytes() == before and graph.store.made == 0
    lines = capsys.readouterr().err.splitlines()
    assert how == "nowhere" or (f"record {path}: " in lines[0] and lines[0].endswith("counts as missing"))
    assert "2 cells, 1 of them done before" in lines


def test_a_folder_in_the_place_of_a_record_is_named_before_anything_is_made(again):
    chosen, graph, out, path = again
    path.unlink()
    path.mkdir()
    shutil.rmtree(graph.store.root)
    for command in (run, plan):
        with pytest.raises(UserError, match=f"record {path}: expected a file, found a folder"):
            command(chosen, graph, out)
    assert not graph.store.root.exists()


def test_a_broken_record_that_is_not_asked_for_is_named_and_the_others_are_shown(again, tmp_path, capsys):
    chosen, graph, out, path = again
    path.write_bytes(b"")
    names = ["other.json", os.fsdecode(b"\xff.json"), "a\nb.json", "folder.json"]
    for name in names[:3]:
        (out / "records" / name).write_text("{")
    (out / "records" / names[3]).mkdir()
    grid = tmp_path / "grid.yaml"
    grid.write_text(json.dumps(REQUEST | {"data": {"name": "synthetic", **chosen[0].data.given}, "attack": "multiply"}))
    capsys.readouterr()
    assert main(["run", str(grid), "--out", str(out), "--store", str(graph.store.root)]) == 0
    told = capsys.readouterr()
    assert "multiply" in told.out
    skipped = [line for line in told.err.splitlines() if line.startswith("skipped: ")]
    assert len(skipped) == 5 and str(path) in told.err and path.read_bytes() == b""


def test_a_retry_runs_the_failed_cells_and_makes_a_broken_record_again(again):
    chosen, graph, out, path = again
    first, whole = record_path(chosen[0], graph, out), path.read_bytes()
    path.write_bytes(b"")
    first.unlink()
    stage = graph.stages(chosen[0])[-1]
    shutil.rmtree(graph.store.path(stage))
    graph.store.fail(stage, "no counts today")
    outcome = run(chosen, graph, out, retry=True)
    assert outcome.paths == [first, path] and not outcome.failures and path.read_bytes() == whole


def test_a_killed_process_leaves_a_record_that_is_whole_or_not_there(finished, tmp_path):
    chosen, folder = finished
    whole = next((folder / "out/records").iterdir()).read_bytes()
    record, path = Record.parse(whole), tmp_path / "records/one.json"

    def check():
        assert not path.exists() or path.read_bytes() == whole

    assert killed_at_each_step(lambda: record_files.write(path, record), check) == 3 and path.read_bytes() == whole


def test_a_disk_that_is_full_for_the_records_is_named_and_the_next_run_goes_on(finished, tmp_path):
    chosen, folder = finished
    with small_disk(tmp_path / "disk", 4) as remount:
        graph, out = StageGraph(Store(folder / "store")), tmp_path / "disk/out"
        with pytest.raises(OSError) as failed:
            run(chosen, graph, out)
        assert failed.value.filename.startswith(f"{out}/records/") and failed.value.strerror == "No space left on device"
        for path in (out / "records").iterdir():
            Record.read(path)
        remount("size=1M")
        outcome = run(chosen, StageGraph(Store(folder / "store")), out)
        assert [path.read_bytes() for path in outcome.paths] == [
            (folder / "out/records" / path.name).read_bytes() for path in outcome.paths]
