"""A stage is made once, whole or not at all, and is found by what decides it; so are weights on disk."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import benchmark
from benchmark.pipeline.stage import Stage
from benchmark.pipeline.store import Store, damage
from benchmark.pipeline.store_admin import contents, remove
from benchmark.utils.errors import UserError
from benchmark.utils.files import write_atomically
from benchmark.utils.hashing import content_key
from benchmark.utils.tensors import read_tensors, write_tensors

FACTS = {"stage": "train", "model": ["tiny", 1, {"width": 16}], "recipe": {"lr": 1e-05}, "sigma": None, "seed": 0}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def stage(make, facts=FACTS):
    return Stage("counters", "counter", "train something", facts, make)


def found(store):
    """What is in the store beside locks."""
    return sorted(path.name for path in store.root.glob("counters/*") if path.suffix != ".lock")


# Keys.

def test_a_key_never_changes_or_years_of_results_are_lost():
    assert content_key(FACTS) == "9aefe5540e4e2e11a22e"


def test_a_key_depends_on_every_value_and_on_no_order():
    assert content_key(dict(reversed(FACTS.items()))) == content_key(FACTS)
    others = [FACTS | change for change in ({"seed": 1}, {"sigma": 1.0}, {"recipe": {"lr": 2e-05}}, {"new": None})]
    assert len({content_key(facts) for facts in [FACTS, *others]}) == 5


def test_a_file_counts_by_its_content_and_not_by_its_path(tmp_path):
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    first.write_bytes(b"picture")
    second.write_bytes(b"picture")
    before = content_key({"image": first})
    assert before == content_key({"image": second})
    first.write_bytes(b"another")
    assert before != content_key({"image": first})


def test_text_counts_as_text_even_where_it_names_a_file(tmp_path):
    (tmp_path / "tiny").write_text("1")
    before = content_key(str(tmp_path / "tiny"))
    (tmp_path / "tiny").write_text("2")
    assert content_key(str(tmp_path / "tiny")) == before


def test_facts_without_a_value_of_their_own_are_refused():
    with pytest.raises(ValueError):
        content_key({"lr": float("nan")})


# Stages.

def test_a_stage_is_made_once_and_keeps_what_decided_it(store):
    made = []

    def make(folder):
        made.append(folder)
        (folder / "result").write_text("done")

    one = stage(make)
    assert not store.has(one)
    first, second = store.get(one), store.get(stage(make))
    assert first == second == store.path(one) and store.has(one)
    assert len(made) == 1 and (first / "result").read_text() == "done"
    about = json.loads((first / "stage.json").read_text())
    assert about["facts"] == FACTS and about["title"] == "train something" and about["files"].keys() == {"result"}
    assert store.seconds(one) == about["seconds"] >= 0
    assert found(store) == [content_key(FACTS)]


def test_a_stage_that_fails_is_not_there_and_the_next_attempt_finds_what_it_left(store):
    def fail(folder):
        (folder / "half").write_text("so far")
        (folder / ".weights.safetensors.123").write_text("not all of it")  # as a killed process leaves it
        raise UserError("no more")

    def finish(folder):
        assert [path.name for path in folder.glob(".*")] == [".title"]
        (folder / "whole").write_text((folder / "half").read_text() + " so good")

    with pytest.raises(UserError):
        store.get(stage(fail))
    assert not store.path(stage(fail)).exists()
    assert (store.get(stage(finish)) / "whole").read_text() == "so far so good"


def test_an_attempt_that_was_killed_when_all_was_written_leaves_a_sound_stage(store):
    def make(folder):
        (folder / "stage.json").write_text("{half")
        (folder / "weights").write_text("w")

    folder = store.get(stage(make))
    assert damage(folder) is None and json.loads((folder / "stage.json").read_text())["files"].keys() == {"weights"}


def test_a_stage_that_is_being_made_is_listed_by_its_title_which_no_finished_one_holds(store):
    def make(folder):
        titles.extend(one.title for one in contents(store.root))
        (folder / "weights").write_text("w")

    titles = []
    folder = store.get(stage(make))
    assert titles == [stage(make).title] and ".title" not in [path.name for path in folder.iterdir()]


def test_a_stage_of_which_nothing_can_be_read_is_listed_and_damaged(store):
    folder = store.get(stage(lambda folder: (folder / "weights").write_text("w")))
    for text in ("", "[]"):
        (folder / "stage.json").write_text(text)
        [one] = contents(store.root)
        assert one.title == "?" and "stage.json" in damage(folder)
    remove([one])
    assert not contents(store.root)
    remove([one])  # another process was faster


def test_a_failure_is_remembered_until_it_is_forgiven_or_the_stage_is_there(store):
    one = stage(lambda folder: (folder / "result").touch())
    assert store.failure(one) is None
    store.fail(one, "the loss is nan")
    assert Store(store.root).failure(one) == "the loss is nan"
    store.clear_failure(one)
    assert store.failure(one) is None
    store.fail(one, "again")
    assert {path.name for path in store.get(one).iterdir()} == {"result", "stage.json"}
    assert store.failure(one) is None


def test_every_process_of_a_distributed_run_gets_the_main_ones_answer_whether_a_stage_failed(store, monkeypatch):
    one = stage(lambda folder: None)
    store.fail(one, "the loss is nan")
    monkeypatch.setattr("benchmark.pipeline.store.main_says", lambda value: None)  # the main one looked before
    assert store.failure(one) is None


def test_a_stage_that_is_not_what_was_written_is_refused_by_name(store):
    one = stage(lambda folder: (folder / "weights").write_bytes(b"weights"))
    folder = store.get(one)
    assert damage(folder) is None
    (folder / "weights").write_bytes(b"weightz")
    told = "weights: the file differs from what was written"
    assert told in damage(folder)
    with pytest.raises(UserError, match=f"{told}.*crowdbench store verify --remove"):
        Store(store.root).get(one)


def test_who_does_not_wait_is_told_that_a_stage_is_in_hand(store):
    asked = []

    def make(folder):
        asked.append(Store(store.root).get(one, wait=False))

    one = stage(make)
    assert store.get(one) is not None and asked == [None]


def test_a_stage_comes_after_all_that_it_needs():
    def named(name, *needs):
        return Stage("counters", "counter", name, name, None, needs)

    clean = named("clean")
    pattern = named("pattern", clean)
    victim = named("victim", pattern)
    assert [one.title for one in named("repair", victim, pattern).in_order()] == [
        "clean", "pattern", "victim", "clean", "pattern", "repair"]
    assert named("clean") == clean and len({named("clean"), clean}) == 1


ANOTHER = """
import os, signal, sys, time
from pathlib import Path
from benchmark.pipeline.store import Stage, Store

how, root = sys.argv[1], Path(sys.argv[2])

def make(folder):
    (folder / str(os.getpid())).touch()
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    deadline = time.monotonic() + 60
    while len(list(root.glob("asks-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    for _ in range(1000):  # time for the other to come in, if it could
        (folder / "work").write_text("done")

(root / f"asks-{os.getpid()}").touch()
print(Store(root).get(Stage("counters", "counter", "count", "facts", make)))
"""


def another(how, root):
    """A process that asks for the stage of the facts 'facts'."""
    path = str(Path(benchmark.__file__).parents[1])
    return subprocess.Popen([sys.executable, "-c", ANOTHER, how, str(root)], stdout=subprocess.PIPE, text=True,
                            env=os.environ | {"PYTHONPATH": path})


def test_two_processes_that_ask_for_a_stage_at_once_make_it_once(tmp_path):
    processes = [another("waits", tmp_path) for _ in range(2)]
    answers = {process.communicate(timeout=120)[0].strip() for process in processes}
    folder = Store(tmp_path).path(stage(None, "facts"))
    assert answers == {str(folder)} and found(Store(tmp_path)) == [folder.name]
    assert len({path.name for path in folder.iterdir()} & {str(process.pid) for process in processes}) == 1


def test_a_killed_process_holds_nobody_up_and_its_work_is_found(tmp_path):
    killed = another("killed", tmp_path)
    assert killed.wait(timeout=120) == -signal.SIGKILL
    folder = Store(tmp_path).get(stage(lambda folder: (folder / "end").touch(), "facts"))
    assert {path.name for path in folder.iterdir()} == {str(killed.pid), "end", "stage.json"}


# Files.

def test_a_file_is_written_whole_into_folders_that_need_not_exist(tmp_path):
    write_atomically(tmp_path / "a" / "b.json", "first")
    write_atomically(tmp_path / "a" / "b.json", "second")
    assert [(path.name, path.read_text()) for path in (tmp_path / "a").iterdir()] == [("b.json", "second")]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    write_atomically(tmp_path / "a.json", "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(tmp_path / "a.json", "new \ud800")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.json", "old")]


@pytest.mark.parametrize("write", [lambda path: write_atomically(path, "text"),
                                   lambda path: write_tensors(path, {"a": torch.zeros(3)}, {})])
def test_a_write_that_fails_names_the_file(tmp_path, write):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError) as failed:
        write(tmp_path / "taken")
    assert failed.value.filename == str(tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


# Weights.

def test_tensors_and_their_note_come_back_as_they_were(tmp_path):
    tensors = {"weight": torch.randn(3, 4).t(), "half": torch.randn(2).bfloat16(), "count": torch.tensor(7),
               "empty": torch.zeros(0, 2)}
    note = {"progress": {"epoch": 3, "best": None}, "losses": [0.1, 1e-30]}
    write_tensors(tmp_path / "a.safetensors", tensors, note)
    read, read_note = read_tensors(tmp_path / "a.safetensors")
    assert read_note == note and read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_file_of_tensors_is_as_readable_as_any_other_file(tmp_path):
    write_tensors(tmp_path / "a.safetensors", {"a": torch.ones(2)}, {})
    (tmp_path / "other").touch()
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_weights_of_other_programs_have_an_empty_note(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    read, note = read_tensors(tmp_path / "a.safetensors")
    assert read["a"].tolist() == [1, 1] and note == {}


@pytest.mark.parametrize("note", ["trained by me", "{", "3", "[]", "[" * 100_000, "9" * 5000])
def test_a_note_of_another_program_is_left_alone(tmp_path, note):
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors", metadata={"note": note})
    read, said = read_tensors(tmp_path / "a.safetensors")
    assert read["a"].tolist() == [1, 1] and said == {}


def test_weights_that_are_missing_or_broken_are_refused_by_name(tmp_path):
    write_tensors(tmp_path / "whole.safetensors", {"a": torch.ones(100)}, {})
    whole = (tmp_path / "whole.safetensors").read_bytes()
    contents = {"cut": whole[:-4], "head": whole[:20], "empty": b"", "text": b"not tensors at all", "zeros": bytes(64)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    for name in [*contents, "folder", "missing"]:
        with pytest.raises(UserError, match=f"{name}: expected a safetensors file"):
            read_tensors(tmp_path / name)
