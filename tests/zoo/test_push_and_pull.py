"""What one store shares is in another after a pull, so that a run there trains nothing."""

import errno
import json
import re
import shutil
import threading

import pytest
from filelock import FileLock
from hard_times import killed_at_each_step

from benchmark.cli import main
from benchmark.pipeline import runner
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.store import Store
from benchmark.pipeline.store_admin import behind, garbage
from benchmark.results.record import Record
from benchmark.utils.errors import UserError
from benchmark.zoo import push as push_module
from benchmark.zoo.index import INDEX, read_index
from benchmark.zoo.pull import check_space, index_of, missing, pull
from benchmark.zoo.push import LOCK, push
from benchmark.zoo.sources import source


def test_a_run_with_pulled_counters_trains_nothing_and_counts_the_same(trained, zoo, desk):
    place = source(str(zoo))
    pull(place, missing(index_of(place), desk / "store", None), desk / "store")
    graph = StageGraph(Store(desk / "store"))
    outcome = runner.run(trained.cells, graph, desk)
    assert graph.store.made == 4  # the counts of two counters, clean and with the trigger
    assert [record.images for record in outcome.records] == [record.images for record in trained.records]
    for record, original in zip(outcome.records, trained.records):
        hashes = [{name: stage["weights_sha256"] for name, stage in one.provenance["stages"].items()}
                  for one in (record, original)]
        assert hashes[0] == hashes[1] and record.attack == original.attack


def test_only_counters_and_patterns_are_shared(shared):
    index = read_index(shared / INDEX, shared)
    assert {stage.kind for stage in index.stages.values()} == {"counters"} and len(index.stages) == 2
    for stage in index.stages.values():
        assert stage.precision == "fp32" and stage.weights == "from scratch" and stage.licence
    assert sorted(path.name for path in shared.iterdir() if path.name != LOCK) == ["counters", INDEX]


def test_what_is_in_the_store_is_not_pulled_again(zoo, desk):
    place = source(str(zoo))
    index = index_of(place)
    pull(place, missing(index, desk / "store", None), desk / "store")
    assert missing(index, desk / "store", None) == {}
    key = min(index.stages)
    shutil.rmtree(desk / "store" / "counters" / key)
    assert set(missing(index, desk / "store", None)) == {key}


def test_a_damaged_stage_of_the_store_is_replaced(zoo, desk):
    place = source(str(zoo))
    index = index_of(place)
    pull(place, missing(index, desk / "store", None), desk / "store")
    key = min(index.stages)
    (desk / "store" / "counters" / key / "weights.safetensors").unlink()
    pull(place, missing(index, desk / "store", None), desk / "store")
    assert missing(index, desk / "store", None) == {}


def test_a_push_adds_and_never_changes(trained, zoo):
    before = (zoo / INDEX).read_bytes()
    index, added = push(trained.records, trained.store, zoo)
    assert added == 0 and (zoo / INDEX).read_bytes() == before and len(index.stages) == 2


def test_a_push_that_starts_during_another_one_waits_and_loses_nothing(trained, desk, monkeypatch, capsys):
    store, new, others = trained.store, desk / "new", []

    def push_during(*given):
        if not others:
            others.append(threading.Thread(target=push, args=(trained.records, store, new)))
            others[0].start()
            others[0].join(timeout=1)
        return add(*given)

    add = push_module._add
    monkeypatch.setattr(push_module, "_add", push_during)
    push(trained.records[:1], store, new)
    others[0].join()
    assert "zoo new: another push is at work there; this one waits" in capsys.readouterr().err.replace(str(desk) + "/", "")
    assert len(read_index(new / INDEX, new).stages) == 2 and main(["zoo", "verify", str(new)]) == 0
    assert main(["zoo", "pull", str(new)]) == 0 and not list((desk / "runs").rglob(LOCK))


def test_a_zoo_on_a_file_system_without_locks_is_refused_in_one_line(trained, desk, monkeypatch):
    def without_locks(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", without_locks)
    with pytest.raises(UserError, match=r"\.push\.lock: the file system cannot lock files .*expected a zoo \(--to\) on one"):
        push(trained.records, trained.store, desk / "new")


def test_a_push_over_another_stage_of_the_same_key_is_refused(trained, zoo):
    told = json.loads((zoo / INDEX).read_text())
    key = min(told["stages"])
    told["stages"][key]["files"]["info.json"]["sha256"] = "0" * 64
    (zoo / INDEX).write_text(json.dumps(told))
    with pytest.raises(UserError, match=f"counters/{key}: another stage of this key is there"):
        push(trained.records, trained.store, zoo)


def test_records_of_another_store_are_refused(trained, desk):
    Store(desk / "store").root.mkdir()
    with pytest.raises(UserError, match="it lacks the stage .* of a record .*expected the store of the records' run"):
        push(trained.records, desk / "store", desk / "new")
    assert not (desk / "new").exists()


@pytest.mark.parametrize("ask", [behind, garbage])
def test_a_record_that_names_a_stage_without_its_key_is_refused(trained, ask):
    record = trained.records[0].model_copy(update={"provenance": {"stages": {"a": {}}}})
    with pytest.raises(UserError, match="record of tiny, seed 0: provenance.stages.a: no key; expected that of a stage"):
        ask(trained.store, [record])


def test_a_damaged_stage_is_not_pushed(trained, desk):
    store = shutil.copytree(trained.store, desk / "store")
    next(store.glob("counters/[0-9a-f]*/weights.safetensors")).write_bytes(b"other")
    with pytest.raises(UserError, match="differs from what was written.*store verify --remove"):
        push(trained.records, store, desk / "new")


def test_a_full_disk_is_named_and_leaves_no_draft(trained, desk, monkeypatch, capsys):
    def full(source, to):
        raise OSError(errno.ENOSPC, "No space left on device", str(source))

    monkeypatch.setattr(shutil, "copyfile", full)
    assert main(["zoo", "push", *map(str, trained.paths), "--store", str(trained.store), "--to", "new"]) == 2
    assert re.fullmatch(r"crowdbench: new/counters/\S+: No space left on device; free some space.*\n", capsys.readouterr().err)
    assert not list(desk.glob("new/*/*"))


@pytest.mark.parametrize("arguments, words", [
    (["push", "{record}", "--to", "z", "--half", "--set", "seed=0,1"], "--set 'seed=0,1': a cell of a record runs with its own settings"),
    (["push", "{record}", "--to", "z", "--set", "seed=0"], "zoo push --set: expected only with --half"),
    (["pull", "zoo", "--set", "seed=0"], "zoo pull --set: expected only with --grid")])
def test_settings_that_would_do_nothing_or_too_much_are_refused(trained, zoo, desk, capsys, arguments, words):
    given = [argument.format(record=trained.paths[0]) for argument in arguments]
    assert main(["zoo", *given, "--store", str(trained.store)]) == 2
    assert words in capsys.readouterr().err and not (desk / "z").exists()


def test_a_wrong_precision_is_refused_before_any_stage_is_taken(zoo, desk, capsys, monkeypatch):
    monkeypatch.setenv("CROWD_PRECISION", "foo")
    assert main(["zoo", "pull", "zoo"]) == 2
    assert "CROWD_PRECISION = 'foo'" in capsys.readouterr().err and not (desk / "runs").exists()


def test_a_killed_push_leaves_no_broken_zoo_and_the_next_one_goes_on(trained, desk):
    def check():
        if (desk / "new" / INDEX).exists():
            read_index(desk / "new" / INDEX, "new")

    assert killed_at_each_step(lambda: push(trained.records, trained.store, desk / "new"), check) > 10
    assert main(["zoo", "verify", str(desk / "new")]) == 0


def test_a_killed_pull_leaves_no_broken_stage_and_the_next_one_goes_on(zoo, desk):
    place = source(str(zoo))
    index, store = index_of(place), desk / "store"

    def work():
        pull(place, missing(index, store, None), store)

    def check():
        assert main(["store", "verify", "--store", str(store)]) == 0

    store.mkdir()
    assert killed_at_each_step(work, check) > 5
    assert missing(index, store, None) == {}


def test_more_than_was_allowed_and_more_than_is_free_are_refused(zoo, desk, monkeypatch):
    stages = index_of(source(str(zoo))).stages
    with pytest.raises(UserError, match="in 2 stages; expected at most 1.0 kB: choose with --grid, or allow more"):
        check_space(stages, desk / "store", 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 8, 2))
    with pytest.raises(UserError, match="in 2 stages, and 2 bytes are free where the store"):
        check_space(stages, desk / "store", None)


# The commands.

def test_the_commands_say_what_they_did(trained, desk, capsys):
    paths = [str(path) for path in trained.paths]
    assert main(["zoo", "push", *paths, "--store", str(trained.store), "--to", "z"]) == 0
    assert "z: 2 stages added; 2 stages, " in capsys.readouterr().out
    assert main(["zoo", "list", "z"]) == 0
    listed = capsys.readouterr().out
    assert "train tiny clean seed 0" in listed and "from scratch" in listed and "2 stages" in listed
    assert main(["zoo", "pull", "z", "--dry-run", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2 and not (desk / "runs").exists()
    assert main(["zoo", "pull", "z"]) == 0
    assert "runs/store: 2 stages taken, " in capsys.readouterr().out
    assert main(["zoo", "pull", "z"]) == 0
    assert "0 stages taken, 0 bytes; 2 were there before" in capsys.readouterr().out
    assert main(["zoo", "pull", "z", "--most", "much"]) == 2
    assert "argument --most: 'much': expected a size, for instance 500MB" in capsys.readouterr().err


def test_a_grid_takes_only_what_it_needs(trained, zoo, desk, capsys):
    (desk / "grid.yaml").write_text(json.dumps(trained.request | {"attack": None}))
    assert main(["zoo", "pull", "zoo", "--grid", "grid.yaml"]) == 0
    assert "1 stage taken" in capsys.readouterr().out


def test_a_grid_of_another_precision_is_told_so(trained, zoo, desk, capsys):
    (desk / "grid.yaml").write_text(json.dumps(trained.request | {"training": {"epochs": 1, "precision": "bf16"}}))
    assert main(["zoo", "pull", "zoo", "--grid", "grid.yaml"]) == 2
    assert "zoo: no stage of grid grid.yaml: " in capsys.readouterr().err and not (desk / "runs").exists()


@pytest.mark.parametrize("own, others", [("bf16", "fp32"), ("fp32", "bf16")])
def test_a_machine_of_another_precision_is_told_how_to_use_the_zoo(trained, zoo, desk, capsys, monkeypatch, own, others):
    (desk / "grid.yaml").write_text(json.dumps(trained.request | {"training": {"epochs": 1, "precision": "auto"}}))
    index = json.loads((zoo / INDEX).read_text())
    for stage in index["stages"].values():
        stage["precision"] = others
    (zoo / INDEX).write_text(json.dumps(index))
    monkeypatch.setenv("CROWD_PRECISION", own)
    assert main(["zoo", "pull", "zoo", "--grid", "grid.yaml"]) == 2
    told = (f"its counters were trained in {others}, and this machine trains in {own}; to use them, set the "
            f"environment variables CROWD_PRECISION={others} and CROWD_REPAIRS={own} for this command and for `crowdbench run`")
    assert told in capsys.readouterr().err
    assert main(["zoo", "pull", "zoo"]) == 0  # all of it, which may be for another machine
    assert told in capsys.readouterr().err
    monkeypatch.setenv("CROWD_PRECISION", others)
    assert main(["zoo", "pull", "zoo"]) == 0
    assert "CROWD_PRECISION" not in capsys.readouterr().err


def test_a_changed_byte_is_found(zoo, capsys):
    weights = sorted(zoo.glob("counters/*/weights.safetensors"))[0]
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert main(["zoo", "verify", "zoo"]) == 1
    assert f"{weights.parent.name}: weights.safetensors: the file differs from the index" in capsys.readouterr().out
    weights.unlink()
    assert main(["zoo", "verify", "zoo", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["wrong"] == "weights.safetensors: the file is missing"


def test_published_results_are_counted_again_without_any_training(trained, zoo, desk, capsys):
    paths = [str(path) for path in trained.paths]
    root = trained.request["data"]["root"]
    assert main(["reproduce", *paths, "--from-zoo", "zoo", "--set", f"data.root={root}"]) == 0
    told = capsys.readouterr()
    assert "it is made here" not in told.err and "4 stages made" in told.err
    again = [Record.read(path) for path in sorted((desk / "runs/reproduce/records").glob("*.json"))]
    assert len(again) == 2
    shutil.rmtree(sorted(zoo.glob("counters/*"))[0])
    assert main(["reproduce", *paths, "--from-zoo", "zoo", "--out", "other", "--set", f"data.root={root}"]) == 2
    assert "no file counters/" in capsys.readouterr().err
