"""A stage in which something is missing is named, put aside and made again; no file in a store ends a command badly."""

import errno
import fcntl
import json
import os
import warnings

import pytest
from factories import make_record
from hard_times import killed_at_each_step, small_disk

from benchmark.cli import main
from benchmark.config.grid import cells
from benchmark.pipeline.circumstances import MADE, told, watched
from benchmark.pipeline.local_executor import run_locally
from benchmark.pipeline.stage import Stage
from benchmark.pipeline.stage_folder import damage
from benchmark.pipeline.store import Store
from benchmark.pipeline.store_admin import contents, damaged, garbage, remove, remove_damaged
from benchmark.utils.errors import UserError
from benchmark.utils.files import write_atomically
from benchmark.utils.switches import switches

ABOUT = {"title": "t", "seconds": 1, "files": {}, "needs": [], "facts": None}
CONTENTS = {
    "empty": b"", "zeros": bytes(200), "not_json": b"{half", "not_utf8": b"\xff\xfe{}", "list": b"[1, 2]", "null": b"null",
    "nothing_in_it": b"{}", "deep": b"[" * 100_000, "long_number": b"9" * 100_000,
    "title": json.dumps(ABOUT | {"title": [1]}).encode(), "seconds": json.dumps(ABOUT | {"seconds": "x"}).encode(),
    "infinite": json.dumps(ABOUT | {"seconds": float("inf")}).encode(), "files": json.dumps(ABOUT | {"files": [1]}).encode(),
    "file": json.dumps(ABOUT | {"files": {"weights": 5}}).encode(), "size": json.dumps(ABOUT | {"files": {"weights": ["7", "x"]}}).encode(),
    "outside": json.dumps(ABOUT | {"files": {"../../x": [1, "x"]}}).encode(),
    "no_name": json.dumps(ABOUT | {"files": {"a\0b": [1, "x"]}}).encode(),
    "long_name": json.dumps(ABOUT | {"files": {"a" * 5000: [1, "x"]}}).encode(),
    "needs": json.dumps(ABOUT | {"needs": [{}]}).encode(), "surrogate": json.dumps(ABOUT | {"title": "\ud800"}).encode()}


def spoil(path, how):
    """Put something else in the place of a file."""
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "link":
        path.symlink_to("/dev/zero")
    elif how == "huge":
        path.touch()
        os.truncate(path, 10**12)
    elif how != "missing":
        path.write_bytes(CONTENTS[how])


def stage(make=lambda folder: (folder / "weights").write_bytes(b"weights"), needs=(), facts="facts"):
    return Stage("counters", "counter", "train something", facts, make, needs)


def names(root):
    return sorted(path.name for path in root.glob("counters/*") if path.suffix != ".lock")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


# Damage.

@pytest.mark.parametrize("how", [*CONTENTS, "folder", "pipe", "link", "huge", "missing"])
def test_any_description_is_survived_named_and_made_again(store, capsys, how):
    folder = store.get(stage())
    spoil(folder / "stage.json", how)
    assert main(["store", "list", "--store", str(store.root)]) == 0
    assert main(["store", "gc", "--dry-run", "--store", str(store.root)]) == 0
    assert main(["store", "verify", "--store", str(store.root)]) == 1
    told_of = capsys.readouterr()
    assert f"{folder / 'stage.json'}: expected the description of a finished stage" in told_of.out and told_of.err == ""
    again = Store(store.root)
    assert not again.has(stage()) and again.get(stage()) == folder and damage(folder) is None
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{folder / 'stage.json'}: expected") and f".{folder.name}.old until" in line
    assert names(store.root) == [f".{folder.name}.old", folder.name]
    remove(garbage(store.root, None))
    assert names(store.root) == [folder.name]


@pytest.mark.parametrize("how, words", [("missing", "the file is missing"), ("folder", "the file is missing"),
                                        ("pipe", "the file is missing"), ("empty", "0 bytes, expected 7")])
def test_a_stage_without_its_weights_is_made_again_and_what_needs_it_goes_on(store, capsys, how, words):
    victim = stage()
    repair = stage(lambda folder: (folder / "r").write_bytes((Store(store.root).get(victim) / "weights").read_bytes()),
                   (victim,), "repair")
    spoil(store.get(victim) / "weights", how)
    settled = list(run_locally([victim, repair], Store(store.root)))
    assert settled == [(victim, None), (repair, None)] and (store.path(repair) / "r").read_bytes() == b"weights"
    [line] = capsys.readouterr().err.splitlines()
    assert f"weights: {words}" in line.replace("the file differs from what was written: ", "")
    assert list(damaged(store.root)) == []


def test_what_was_put_aside_is_replaced_the_next_time(store):
    for _ in range(2):
        (store.get(stage()) / "weights").unlink()
        store = Store(store.root)
    store.get(stage())
    assert sorted(one.status for one in contents(store.root)) == ["finished", "put aside"]


def test_a_file_in_the_place_of_a_stage_is_named_before_anything_is_made(store):
    store.path(stage()).parent.mkdir(parents=True)
    store.path(stage()).touch()
    made = []
    with pytest.raises(UserError, match=f"{stage().key}: expected the folder of a stage"):
        store.get(stage(made.append))
    assert made == []


@pytest.mark.parametrize("how", [*CONTENTS, "folder", "pipe"])
def test_a_broken_note_of_a_failure_is_none_and_the_stage_is_tried_again(store, how):
    store.fail(stage(), "the loss is nan")
    [note] = store.root.glob("counters/.*/failed.json")
    spoil(note, how)
    assert store.failure(stage()) is None
    assert [one.title for one in contents(store.root)] == ["?"]
    assert list(run_locally([stage()], store)) == [(stage(), None)]


@pytest.mark.parametrize("how", ["empty", "not_json", "not_utf8", "list", "null", "deep"])
def test_a_broken_note_of_the_circumstances_ends_no_run(store, how):
    [cell] = cells({"data": "synthetic", "model": "tiny"})
    one = watched(stage(), cell, switches())
    partial = store.path(one).with_name(f".{one.key}")
    partial.mkdir(parents=True)
    (partial / MADE).write_bytes(CONTENTS[how])
    folder = store.get(one)
    assert len(json.loads((folder / MADE).read_text())) == 1 and "also_made_with" not in told(store, [one], cell)


def test_a_killed_process_leaves_a_stage_that_is_whole_or_not_there(store):
    def make(folder):
        for name in ("a", "b"):
            (folder / name).write_bytes(b"content")

    def check():
        assert list(damaged(store.root)) == [] and len(contents(store.root)) == 1
        assert Store(store.root).shared() is False

    assert killed_at_each_step(lambda: Store(store.root).get(stage(make)), check) > 5
    assert damage(store.path(stage(make))) is None and names(store.root) == [stage().key]


# The clock, names, and the other commands.

@pytest.mark.parametrize("time", [4e9, 9e15, 2**62, -1e11])
def test_a_clock_that_was_set_otherwise_changes_nothing(store, time):
    folder = store.get(stage())
    for path in [*folder.iterdir(), folder]:
        os.utime(path, ns=(int(min(time * 1e9, 9e18)),) * 2)
    assert Store(store.root).has(stage()) and len(contents(store.root)) == 1 and not list(damaged(store.root))
    assert main(["store", "list", "--store", str(store.root)]) == 0


@pytest.mark.parametrize("name", [b"a\xff", b"a\nb", b"\x1b[31m", "é".encode(), b"a" * 255])
def test_a_name_that_cannot_be_printed_ends_no_command(tmp_path, capsysbinary, name):
    folder = tmp_path / "store" / os.fsdecode(name)[:100] / os.fsdecode(name)
    folder.mkdir(parents=True)
    (folder / "stage.json").write_text(json.dumps(ABOUT | {"title": "\x1b[31mred", "files": {"w": [1, "x"]}}))
    for command, code in (("list", 0), ("verify", 1), ("gc", 0)):
        assert main(["store", command, "--store", str(tmp_path / "store")]) == code
    told_of = capsysbinary.readouterr()
    assert b"\x1b" not in told_of.out + told_of.err and b"\xff" not in told_of.out and not told_of.err


def test_a_store_whose_path_is_no_text_is_refused_at_once(tmp_path):
    with pytest.raises(UserError, match="expected a path in UTF-8"):
        Store(tmp_path / os.fsdecode(b"a\xff"))


def test_nothing_finished_is_deleted_while_a_run_works_in_the_store(store):
    store.get(stage())
    with store.in_use():
        with pytest.raises(UserError, match="a run works in this store.*--keep when it has ended"):
            garbage(store.root, [make_record()])
        assert garbage(store.root, None) == []
    assert [one.key for one in garbage(store.root, [make_record()])] == [stage().key]
    assert not list(store.root.glob(".*"))


def test_a_killed_run_does_not_protect_the_store_for_ever(store):
    store.get(stage())

    def work():
        with store.in_use():
            write_atomically(store.root / "note", "text")

    assert killed_at_each_step(work, lambda: None) == 3 and len(list(store.root.glob(".run-*"))) == 3
    assert len(garbage(store.root, [make_record()])) == 1 and not list(store.root.glob(".run-*"))


def test_a_stage_of_which_it_is_not_known_what_it_needs_stops_the_deletion_of_finished_ones(store):
    (store.get(stage()) / "stage.json").write_text("")
    record = make_record()
    record.provenance["stages"] = {"victim": {"key": stage().key}}
    with pytest.raises(UserError, match="cannot be read which stages this one needs.*store verify --remove"):
        garbage(store.root, [record])


def test_a_damaged_stage_that_a_run_has_made_again_is_not_deleted(store):
    (store.get(stage()) / "weights").unlink()
    found = [one for one, _ in damaged(store.root)]
    Store(store.root).get(stage())
    remove_damaged(found)
    assert stage().key in names(store.root)


# File systems.

@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_before_anything_is_made(store, monkeypatch, code):
    def refuse(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    made = []
    with warnings.catch_warnings(action="error"), pytest.raises(UserError) as failed:
        store.get(stage(made.append))
    assert str(store.root) in str(failed.value) and "cannot lock files" in str(failed.value) and made == []
    assert "expected a store (--store) on one that can" in str(failed.value)


def test_a_store_that_is_only_read_is_listed_and_verified(tmp_path):
    with small_disk(tmp_path / "disk", 1000) as remount:
        store = Store(tmp_path / "disk/store")
        store.get(stage())
        store.fail(stage(facts="other"), "the loss is nan")
        remount("ro")
        again = Store(store.root)
        assert again.get(stage()) == store.path(stage()) and list(damaged(store.root)) == []
        assert {one.status for one in contents(store.root)} == {"finished", "failed"}
        with pytest.raises(OSError) as failed:
            again.get(stage(facts="new"))
        assert failed.value.errno == errno.EROFS and str(store.root) in failed.value.filename


def test_a_disk_that_fills_up_keeps_what_is_finished_and_the_next_run_goes_on(tmp_path):
    def large(folder):
        (folder / "weights").write_bytes(bytes(100_000))

    with small_disk(tmp_path / "disk", 150) as remount:
        store = Store(tmp_path / "disk/store")
        stages = [stage(large, facts=facts) for facts in "abc"]
        with pytest.raises(OSError) as failed:
            list(run_locally(stages, store))
        assert failed.value.errno == errno.ENOSPC and not list(damaged(store.root))
        assert [one.status for one in contents(store.root)].count("finished") == 1
        remount("size=1M")
        assert list(run_locally(stages, Store(store.root))) == [(one, None) for one in stages]
        assert not list(damaged(store.root)) and len(contents(store.root)) == 3


@pytest.mark.parametrize("kind", ["counters", "counts", "scores", "triggers"])
def test_a_file_in_place_of_the_stages_of_a_kind_is_told(tmp_path, capsys, kind):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / kind).write_text("")
    for command in ("list", "verify", "gc"):
        assert main(["store", command, "--store", str(tmp_path / "store")]) == 2
        assert f"{kind}: expected a folder of stages, found a file" in capsys.readouterr().err
