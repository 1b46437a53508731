"""Stages are made once, whoever asks; a failure is named and remembered; a kill loses nothing."""

import re
import json
import shutil
import signal
import subprocess
import threading
from dataclasses import replace

import kill_grid as kill
import pytest

from benchmark import registry
from benchmark.config.cell import display_names
from benchmark.config.grid import cells
from benchmark.pipeline import local_executor, workload
from benchmark.pipeline.dry_run import plan
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.local_executor import run_locally
from benchmark.pipeline.runner import run, shard
from benchmark.pipeline.stage import Stage, Work
from benchmark.pipeline.store import Store
from benchmark.pipeline.time_estimates import Estimator
from benchmark.recipe import Recipe
from benchmark.registry import find, settings_of
from benchmark.training.loop import TrainingFailed
from benchmark.utils import signals
from benchmark.utils.errors import UserError
from benchmark.utils.files import whole_file
from defenses.jpeg import Jpeg

REQUEST = {
    "data": {"name": "synthetic", "train": 20, "test": 6, "height": 64, "width": 96, "people": 25},
    "model": {"name": "tiny", "width": 8}, "attack": [None, "multiply"], "defense": ["none", "retrain", "jpeg"],
    "training": {"epochs": 1, "precision": "fp32"}, "seed": [0, 1],
}


def test_cells_of_one_title_are_told_apart_by_what_differs():
    many = cells({**REQUEST, "attack": [None], "defense": ["none"], "seed": 0, "scale": [0.5, 1],
                  "training": {"epochs": [1, 2], "precision": "fp32"}})
    assert {*display_names(many)} == {f"tiny clean none seed 0 (training.epochs {epochs}, scale {scale})"
                               for epochs in (1, 2) for scale in (0.5, 1.0)}
    assert display_names(cells(REQUEST)) == [cell.title for cell in cells(REQUEST)]


def test_a_rate_that_poisons_no_image_is_told_before_anything_is_trained(tmp_path):
    asked = cells({**REQUEST, "attack": [{"target": "add", "poison_rate": rate} for rate in (0.5, 0.01)]})
    with pytest.raises(UserError, match="0.01 x 18 training images rounds to 0 poisoned images"):
        run(asked, StageGraph(Store(tmp_path / "store")), tmp_path)
    assert not list((tmp_path / "store").glob("*/*"))


# Stages that only write their name.

@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def named(name, *needs, make=lambda folder: (folder / "done").touch()):
    return Stage("counters", "counter", name, name, make, needs)


def fail(folder):
    raise TrainingFailed("the loss is nan")


def told(settled):
    return [(stage.title, failure) for stage, failure in settled]


def test_stages_are_made_in_their_order_and_found_the_next_time(store):
    made = []
    stages = [named(name, make=lambda folder, name=name: made.append(name)) for name in "abc"]
    assert told(run_locally(stages, store)) == [(name, None) for name in "abc"] and made == [*"abc"]
    assert told(run_locally(stages, Store(store.root))) == [(name, None) for name in "abc"] and made == [*"abc"]


def test_what_needs_a_stage_that_failed_fails_with_its_reason_and_the_others_are_made(store):
    victim = named("victim", make=fail)
    repair = named("repair", victim)
    assert told(run_locally([victim, repair, named("count", repair), named("other")], store)) == [
        ("victim", "the loss is nan"), ("repair", "the loss is nan"),
        ("count", "the loss is nan"), ("other", None)]


def test_a_stage_that_failed_is_not_tried_again_until_it_is_forgiven(store):
    assert told(run_locally([named("victim", make=fail)], store))[0][1] == "the loss is nan"
    [(_, failure)] = told(run_locally([named("victim")], store))
    assert failure == f"the loss is nan {local_executor.AGAIN}"
    store.clear_failure(named("victim"))
    assert told(run_locally([named("victim")], store)) == [("victim", None)]


def test_a_mistake_in_a_stage_is_told_with_its_traceback(store, capsys):
    def mistake(folder):
        [][0]

    def leaves(folder):
        raise SystemExit(0)

    [(_, failure)] = told(run_locally([named("another", make=leaves)], store))
    assert failure == "another: SystemExit: 0"
    [(_, failure)] = told(run_locally([named("repair", make=mistake)], store))
    assert failure == "repair: IndexError: list index out of range"
    assert "in mistake" in capsys.readouterr().err


@pytest.mark.parametrize("error", [UserError("wrong"), OSError(28, "No space left on device")])
def test_what_is_wrong_for_all_stages_stops_the_run_and_is_no_failure(store, error):
    def stop(folder):
        raise error

    with pytest.raises(type(error)):
        told(run_locally([named("victim", make=stop), named("other")], store))
    assert store.failure(named("victim")) is None and not store.has(named("other"))


def test_trainings_come_first_as_soon_as_another_process_works_in_the_store(store):
    """Also where it makes what this process does not come to: two share evenly only if the long work is begun."""
    begun, end = threading.Event(), threading.Event()

    def slow(folder):
        begun.set()
        assert end.wait(60)

    def begin(folder):
        thread.start()
        assert begun.wait(60)

    thread = threading.Thread(target=lambda: Store(store.root).get(named("elsewhere", make=slow)))
    first = named("first", make=begin)
    stages = [first, named("repair", first), named("victim"), named("elsewhere", make=fail)]
    settled = run_locally(stages, store)
    order = [next(settled)[0].title, next(settled)[0].title]
    end.set()
    thread.join()
    assert order == ["first", "victim"] and {stage.title for stage, _ in settled} == {"repair", "elsewhere"}
    assert not store.shared()


def test_a_stage_that_another_process_has_in_hand_comes_later_and_what_needs_it_after_it(store, capsys):
    begun, end = threading.Event(), threading.Event()

    def slow(folder):
        begun.set()
        assert end.wait(60)

    def others(folder):
        end.set()

    thread = threading.Thread(target=lambda: Store(store.root).get(named("slow", make=slow)))
    thread.start()
    assert begun.wait(60)
    slow_here = named("slow", make=fail)  # it is not made here
    settled = told(run_locally([slow_here, named("after", slow_here), named("others", make=others)], store))
    thread.join()
    assert settled == [("others", None), ("slow", None), ("after", None)]


def test_a_stage_that_another_process_makes_again_or_has_made_is_not_marked_as_failed(store):
    begun, end = threading.Event(), threading.Event()

    def again(folder):
        begun.set()
        assert end.wait(60)

    def fails(folder):  # the thread waits for the lock, and has it before the failure is written
        thread.start()
        raise TrainingFailed("the loss is nan")

    def fail_late(stage, reason):
        assert begun.wait(60)
        write_failure(stage, reason)

    thread = threading.Thread(target=lambda: Store(store.root).get(named("victim", make=again)))
    write_failure, store.fail = store.fail, fail_late
    assert told(run_locally([named("victim", make=fails)], store)) == [("victim", "the loss is nan")]
    assert store.failure(named("victim")) is None
    end.set()
    thread.join()
    write_failure(named("victim"), "too late")
    assert store.has(named("victim")) and store.failure(named("victim")) is None


# Signals.

def test_a_write_in_hand_is_finished_before_a_signal_stops_the_run(tmp_path):
    kept = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        signals.listen()
        with pytest.raises(KeyboardInterrupt) as stopped:
            with whole_file(tmp_path / "a.json") as temporary:
                signal.raise_signal(signal.SIGTERM)
                temporary.write_text("whole")
        assert stopped.value.args == (signal.SIGTERM,) and (tmp_path / "a.json").read_text() == "whole"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), kept):
            signal.signal(number, handler)


def test_a_signal_stops_the_main_thread_at_once_while_another_thread_ends_its_write(tmp_path):
    begun, end = threading.Event(), threading.Event()

    def write():
        with whole_file(tmp_path / "a.json") as temporary:
            begun.set()
            assert end.wait(60)
            temporary.write_text("whole")

    kept = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    thread = threading.Thread(target=write)
    try:
        signals.listen()
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            assert begun.wait(60)
            signal.raise_signal(signal.SIGTERM)
        assert not (tmp_path / "a.json").exists()
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), kept):
            signal.signal(number, handler)
        end.set()
        thread.join()
    assert (tmp_path / "a.json").read_text() == "whole"


# Cells.

@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """(cells, bench, out) of a small grid that was run."""
    folder = tmp_path_factory.mktemp("grid")
    chosen = cells(REQUEST | {"data": REQUEST["data"] | {"root": str(folder)}})
    graph = StageGraph(Store(folder / "store"))
    assert not run(chosen, graph, folder).failures
    return chosen, graph, folder


@pytest.mark.slow
def test_every_stage_says_what_decides_it_and_comes_after_what_it_needs(grid):
    chosen, graph, _ = grid
    for cell in chosen:
        stages = graph.stages(cell)
        for place, stage in enumerate(stages):
            assert set(stage.needs) <= set(stages[:place])
            about = json.loads((graph.store.path(stage) / "stage.json").read_text())
            assert about["needs"] == [need.key for need in stage.needs] and about["title"] == stage.title


def test_a_setting_with_a_default_that_is_added_later_changes_no_key(grid, monkeypatch):
    chosen, graph, out = grid
    before = [stage.key for cell in chosen for stage in graph.stages(cell)]

    class Later(Recipe):
        dropout: float = 0.0

    monkeypatch.setattr("benchmark.pipeline.cache_keys.Recipe", Later)
    monkeypatch.setattr("benchmark.config.cell.Recipe", Later)
    for kind, name in (("defense", "jpeg"), ("target", "multiply"), ("trigger", "blended"), ("dataset", "synthetic")):
        cls = find(kind, name)
        more = {"__annotations__": {"later": int}, "later": 3, "__module__": cls.__module__}
        later = type(cls.__name__, (cls,), more)
        monkeypatch.setitem(registry._plugins, (kind, name), later)
    data = REQUEST["data"] | {"root": str(out)}
    again = cells(REQUEST | {"data": data})
    assert again[-1].defense.resolved["later"] == 3 and again[0].recipe.dropout == 0
    assert settings_of(find("dataset", "synthetic")).model_fields["later"].default == 3
    assert [stage.key for cell in again for stage in graph.stages(cell)] == before
    changed = cells(REQUEST | {"data": data, "defense": [{"name": "jpeg", "later": 4}]})
    assert graph.repaired(changed[0]).key not in before


def test_shares_of_a_grid_are_all_of_it_and_a_victim_is_in_one(grid):
    chosen, graph, _ = grid
    shares = [shard(chosen, graph, number, 3) for number in (1, 2, 3)]
    assert sorted(cell.title for share in shares for cell in share) == sorted(cell.title for cell in chosen)
    victims = [{graph.victim(cell) for cell in share} for share in shares]
    assert sum(map(len, victims)) == len(set.union(*victims)) == 4


def test_a_finished_grid_is_recognised_without_its_store(grid, monkeypatch, capsys):
    chosen, _, out = grid
    outcome = run(chosen, StageGraph(Store(out / "none")), out)
    assert len(outcome.records) == 12 and not (out / "none").exists()
    assert capsys.readouterr().err == "12 cells, 12 of them done before\n"


@pytest.fixture(params=[ValueError, UserError])
def failing(grid, tmp_path, monkeypatch, request):
    """The grid in a new folder, where JPEG fails until the second list is emptied."""
    chosen, graph, folder = grid
    shutil.copytree(folder / "store", tmp_path / "store")
    for path in (tmp_path / "store").glob("*/*/stage.json"):
        if "jpeg" in json.loads(path.read_text())["title"]:
            shutil.rmtree(path.parent)
    broken, tried, whole = [True], [], Jpeg.apply

    def apply(self, *given):
        tried.append(self)
        if broken:
            raise request.param("no JPEG today")
        return whole(self, *given)

    monkeypatch.setattr(Jpeg, "apply", apply)
    return chosen, StageGraph(Store(tmp_path / "store")), tmp_path, broken, tried


def test_a_failed_cell_is_named_the_others_finish_and_only_retry_tries_it_again(failing):
    chosen, graph, out, broken, tried = failing
    outcome = run(chosen, graph, out)
    assert len(outcome.records) == 8 and len(outcome.failures) == 4 and len(tried) == 4
    assert all(line.endswith(": no JPEG today") for line in outcome.failures)
    broken.clear()
    again = run(chosen, graph, out)
    assert len(tried) == 4 and all(line.endswith(local_executor.AGAIN) for line in again.failures)
    asked = plan(chosen, graph, out)
    assert asked.failed == 4 and sum(row["record"].startswith("failed: repair tiny") for row in asked.cells) == 4
    (out / "records" / next(path.name for path in (out / "records").glob("*none*"))).unlink()
    last = run(chosen, graph, out, retry=True)
    assert len(tried) == 8 and not last.failures and len(last.records) == 12  # the one without a record was run, too
    assert len(run(chosen, graph, out, retry=True).records) == 12 and len(tried) == 8


def test_cells_of_two_shares_that_failed_for_one_stage_are_both_retried(tmp_path):
    chosen = cells({**REQUEST, "attack": ["multiply", "minus"], "defense": "none", "seed": 0})
    graph = StageGraph(Store(tmp_path / "store"))
    shares = [shard(chosen, graph, number, 2) for number in (1, 2)]
    graph.store.fail(graph.clean(chosen[0]), "no memory today")
    assert all(len(run(share, graph, tmp_path).failures) == 1 for share in shares)
    for share in shares:
        assert len(share) == len(run(share, graph, tmp_path, retry=True).records) == 1


# Estimates.

def test_a_time_is_that_of_stages_of_its_sort_else_of_training_else_as_speed_measured_it():
    sort = ("tiny", "fp32", "train")
    estimator = Estimator({sort: 100.0, ("tiny", "fp32", "count"): 300.0})
    repair = Work(("tiny", "fp32", "anp"), trained=200, counted=300)
    assert estimator.seconds(repair) == 3 and estimator.seconds(Work(("mcnn", "fp32", "train"), 1, 1)) is None
    estimator.learn(Work(sort, trained=100, counted=0), 10)  # ten times as slow as measured
    assert estimator.seconds(repair) == pytest.approx(30)
    for seconds in (1, 5, 600):  # one was disturbed
        estimator.learn(repair, seconds)
    assert estimator.seconds(Work(repair.sort, 400, 600)) == pytest.approx(10)


def test_work_is_counted_in_the_pixels_of_the_images_that_a_stage_sees(grid):
    chosen, graph, _ = grid
    cell = next(cell for cell in chosen if cell.trigger and cell.defense.name == "retrain")
    works = {stage.role: stage.work() for stage in graph.stages(cell)}
    pixels = 64 * 96
    assert works["clean counter"].trained == pytest.approx(18 * pixels)  # one epoch of 18 of 20 images
    assert works["victim"].trained == pytest.approx(1.1 * 18 * pixels)
    assert works["victim"].counted == pytest.approx(2 * pixels)  # validation
    assert works["repair"].trained == pytest.approx((18 + 40) * pixels)
    assert works["counts"].counted == 6 * pixels and works["counts"].trained == 0


def test_a_plan_tells_time_and_disk_as_soon_as_something_was_measured(grid, tmp_path):
    chosen, graph, out = grid
    weights = sum(path.stat().st_size for path in (out / "store/counters").glob("*/weights.safetensors"))
    fresh = plan(chosen, StageGraph(Store(tmp_path / "store")), tmp_path)
    assert fresh.seconds is None and "crowdbench speed --model tiny" in fresh.text()
    assert 0.5 * weights < fresh.disk < weights  # the files have headers
    assert "too little" not in fresh.text() and "too little" in replace(fresh, free=fresh.disk).text()
    counted = [stage for stage in graph.stages(chosen[0]) if stage.role == "counts"]
    for stage in counted:
        shutil.copytree(graph.store.path(stage), tmp_path / "store/counts" / stage.key)
    shutil.copytree(graph.store.path(graph.clean(chosen[0])), tmp_path / "store/counters" / graph.clean(chosen[0]).key)
    known = plan(chosen, StageGraph(Store(tmp_path / "store")), tmp_path)
    assert known.stored == 2 and known.seconds > 0 and "about" in known.text()


def test_a_detector_of_counters_works_on_its_clean_images_and_searches_for_its_epochs():
    def work(**settings):
        """Trained and counted images."""
        [cell] = cells(REQUEST | {"seed": 0, "attack": "multiply", "defense": settings})
        found = workload.scoring(cell, None)
        return found.trained / (64 * 96), found.counted / (64 * 96)

    assert work(name="inversion", images=4, epochs=3) == (12, 4 * workload.CORRUPTIONS)
    assert work(name="overlay_shift", images=6) == (0, 6 * workload.CORRUPTIONS)


# Processes.

@pytest.mark.slow
def test_two_processes_on_one_grid_make_each_stage_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "grid.yaml").write_text(kill.GRID)
    folder = tmp_path / "both"
    both = [subprocess.Popen(kill.command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                             env=kill.environment()) for _ in range(2)]
    errors = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    made = [int(number) for error in errors for number in re.findall(r"(\d+) stages made in", error)]
    assert sum(made) == len(list(folder.glob("store/*/[!.]*"))) and len(made) == 2
    assert not kill.wrong(folder) and len(kill.results(folder)) == 9


@pytest.mark.slow
def test_a_grid_that_is_killed_again_and_again_ends_as_one_that_was_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert kill.kill(3, tmp_path, say=lambda line: None) >= 1


@pytest.mark.slow
def test_one_of_two_processes_is_killed_and_the_other_one_finishes_the_grid(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kill.kill_one_of_two(2, tmp_path, say=lambda line: None)
