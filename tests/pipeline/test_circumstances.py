"""Draws and switches that no seed and no record would tell: refused by the contract test and by a run, or noted."""

import json

import pytest
import torch

from benchmark.config.grid import cells
from benchmark.pipeline.circumstances import MADE
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.runner import run
from benchmark.pipeline.store import Store
from benchmark.registry import _plugins, load_plugin
from benchmark.results.record import Record
from benchmark.testing import check_defense
from benchmark.utils.errors import UserError
from benchmark.utils.switches import switches

HEAD = """
import random
import numpy as np
import torch
from benchmark.registry import register
from defenses.base import Defense, Detector, Inspector, Knows

def shifted(victim, by):
    repaired = victim.copy()
    repaired.output.bias.data += float(by)
    return repaired

@register
class Plugin(Defense):
    '''A plugin.'''
    def apply(self, victim, knowledge):
"""
UNSEEDED = {
    "numpys_global": "return shifted(victim, np.random.rand())",
    "pythons_global": "return shifted(victim, random.random())",
    "torchs_reseeded": "torch.seed(); return shifted(victim, torch.rand(()))",
    "own_generator": "return shifted(victim, np.random.default_rng().random())",
    "own_random": "return shifted(victim, random.Random().random())",
    "systems": "return shifted(victim, random.SystemRandom().random())"}
SEEDED = {
    "torchs_global": "return shifted(victim, torch.rand(()))",
    "own_seeded": "return shifted(victim, np.random.default_rng(0).random() + random.Random(0).random())"}
FLIPS = {
    "flips_cudnn": ("torch.backends.cudnn.benchmark = True; return shifted(victim, 1)",
                    "torch.backends.cudnn.benchmark"),
    "flips_dtype": ("torch.set_default_dtype(torch.float64); return shifted(victim, 1)", "torch.get_default_dtype"),
    "flips_threads": ("torch.set_num_threads(3); return shifted(victim, 1)", "torch.get_num_threads")}
PUTS_BACK = """with torch.backends.cudnn.flags(benchmark=True):
            return shifted(victim, 1)"""
REQUEST = {"data": {"name": "synthetic", "train": 10, "test": 3, "height": 64, "width": 96, "people": 25},
           "model": {"name": "tiny", "width": 8}, "attack": None, "training": {"epochs": 1, "precision": "fp32"}}


@pytest.fixture
def plugin(tmp_path):
    """A function that writes a defense whose `apply` has the given lines, and loads it as a plugin."""
    def write(name, lines, text=HEAD):
        path = tmp_path / f"{name}.py"
        path.write_text(f"{text}        {lines}\n")
        load_plugin(path)
        return path

    before, threads = dict(_plugins), torch.get_num_threads()
    yield write
    _plugins.clear()
    _plugins.update(before)
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)
    torch.backends.cudnn.benchmark = False


def ran(folder, defense, **more):
    """The record of a run of one cell in a new folder."""
    outcome = run(cells({**REQUEST, "defense": defense, **more}), StageGraph(Store(folder / "store")), folder)
    assert not outcome.failures
    return outcome.records[-1]


# Random numbers.

@pytest.mark.parametrize("name", UNSEEDED)
def test_the_contract_test_refuses_draws_without_a_seed(plugin, name):
    plugin(name, UNSEEDED[name])
    with pytest.raises(AssertionError, match=r"a second run ends in other .* numpy.random.default_rng\(0\)") as refused:
        check_defense(name)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind, method", [("Detector", "scorer"), ("Inspector", "suspicion")])
def test_the_contract_test_refuses_scores_that_are_drawn_without_a_seed(plugin, kind, method):
    text = HEAD.replace("Plugin(Defense)", f"Plugin({kind})").replace("def apply", f"def {method}")
    draw = "lambda images: torch.rand(3) * 0 + np.random.rand()" if kind == "Detector" else "random.random()"
    plugin("drawn_scores", f"return {draw}", text)
    with pytest.raises(AssertionError, match="a second run ends in other weights or scores"):
        check_defense("drawn_scores")


@pytest.mark.parametrize("name", SEEDED)
def test_draws_with_a_seed_keep_the_contract(plugin, name):
    plugin(name, SEEDED[name])
    check_defense(name)


@pytest.mark.parametrize("name", ["numpys_global", "pythons_global", "torchs_global"])
def test_a_run_seeds_the_global_generators_before_a_defense_is_applied(plugin, tmp_path, name):
    plugin(name, (UNSEEDED | SEEDED)[name])
    first = ran(tmp_path / "a", name, seed=3)
    assert ran(tmp_path / "b", name, seed=3).images == first.images
    assert ran(tmp_path / "c", name, seed=4).images != first.images


# Switches.

@pytest.mark.parametrize("name", ["flips_cudnn", "flips_dtype"])
def test_the_contract_test_refuses_a_defense_that_leaves_a_switch_changed(plugin, name):
    lines, switch = FLIPS[name]
    plugin(name, lines)
    with pytest.raises(AssertionError, match=f"defense {name}: {switch} was changed from its default to"):
        check_defense(name)


@pytest.mark.parametrize("name", FLIPS)
def test_a_run_refuses_it_names_the_switch_and_keeps_nothing_of_it(plugin, tmp_path, name):
    lines, switch = FLIPS[name]
    plugin(name, lines)
    told = f"repair tiny clean {name} seed 0: {switch} was changed from .* within a `with` block"
    with pytest.raises(UserError, match=told):
        ran(tmp_path, name)
    assert not list((tmp_path / "records").iterdir())
    finished = [json.loads(path.read_text())["title"] for path in (tmp_path / "store").glob("*/[!.]*/stage.json")]
    assert finished and not any(name in title for title in finished)


def test_a_switch_that_is_put_back_is_nobodys_business(plugin, tmp_path):
    plugin("puts_back", PUTS_BACK)
    check_defense("puts_back")
    assert ran(tmp_path, "puts_back").provenance.get("switches", {}) == switches()


def test_a_switch_that_is_changed_between_stages_is_refused_before_the_next_one(tmp_path):
    chosen, graph = cells({**REQUEST, "defense": "none"}), StageGraph(Store(tmp_path / "store"))

    def executor(stages, store):
        for stage in stages:
            store.get(stage)
            yield stage, None
            torch.backends.cudnn.deterministic = True

    try:
        with pytest.raises(UserError, match="since the run began, torch.backends.cudnn.deterministic was changed"):
            run(chosen, graph, tmp_path, executor)
    finally:
        torch.backends.cudnn.deterministic = False


# What a record tells.

def test_the_record_of_an_ordinary_run_tells_nothing_more(tmp_path):
    told = {"switches", "also_made_with"} & {*ran(tmp_path, "none").provenance}
    assert told == ({"switches"} if switches() else set())  # the variables of whoever runs the tests


def test_switches_that_were_changed_before_a_run_are_told(tmp_path):
    torch.use_deterministic_algorithms(True)
    try:
        record = ran(tmp_path, "none", eval_batch=3)
    finally:
        torch.use_deterministic_algorithms(False)
    assert record.provenance["switches"] == switches() | {
        "torch.are_deterministic_algorithms_enabled": True, "eval_batch": 3}
    assert "also_made_with" not in record.provenance


def test_stages_that_were_made_under_other_circumstances_are_told(tmp_path, monkeypatch):
    ran(tmp_path, "none")
    [made] = {path.read_text() for path in (tmp_path / "store").glob("*/*/made.json")}
    [here] = json.loads(made)
    for path in (tmp_path / "records").iterdir():
        path.unlink()
    monkeypatch.setattr("benchmark.pipeline.circumstances.machine", lambda: here | {"threads": 77})
    record = ran(tmp_path, ["none", "jpeg"])
    assert record.provenance["also_made_with"] == {"threads": [here["threads"]]}


def test_a_killed_attempt_under_other_circumstances_is_told(tmp_path):
    chosen, graph = cells({**REQUEST, "defense": "none"}), StageGraph(Store(tmp_path / "store"))
    final = graph.store.path(graph.victim(chosen[0]))
    (final.parent / f".{final.name}").mkdir(parents=True)
    (final.parent / f".{final.name}" / MADE).write_text('[{"device_name": "a lost machine"}]')
    record = ran(tmp_path, "none")
    assert record.provenance["also_made_with"]["device_name"] == ["a lost machine"]


def test_a_stage_of_an_older_store_tells_nothing(tmp_path):
    ran(tmp_path, "none")
    for path in [*(tmp_path / "store").glob("*/*/made.json"), *(tmp_path / "records").iterdir()]:
        path.unlink()
    graph = StageGraph(Store(tmp_path / "store"))
    for path in graph.store.root.glob("*/*/stage.json"):
        about = json.loads(path.read_text())
        about["files"].pop(MADE)
        path.write_text(json.dumps(about))
    [record] = run(cells({**REQUEST, "defense": "none"}), graph, tmp_path).records
    assert "also_made_with" not in record.provenance


# The precision of repairs.

def test_a_repair_in_another_precision_takes_the_same_victim_and_is_told(tmp_path, monkeypatch):
    automatic = {"defense": ["none", {"name": "fine_tune", "epochs": 1}], "training": REQUEST["training"] | {"precision": "auto"}}
    monkeypatch.setenv("CROWD_PRECISION", "bf16")
    ran(tmp_path, **automatic)
    [before] = (tmp_path / "records").glob("*fine_tune*")
    monkeypatch.setenv("CROWD_REPAIRS", "fp32")
    ran(tmp_path, **automatic)
    [after] = set((tmp_path / "records").glob("*fine_tune*")) - {before}
    first, second = Record.read(before), Record.read(after)
    for stage in ("clean", "victim"):
        assert first.provenance["stages"][stage] == second.provenance["stages"][stage]
    assert first.provenance["stages"]["repaired"]["weights_sha256"] != second.provenance["stages"]["repaired"]["weights_sha256"]
    assert (first.provenance["precision"], second.provenance["precision"]) == ("bf16", "bf16")
    assert "also_made_with" not in first.provenance and second.provenance["also_made_with"] == {"precision": ["fp32"]}
    assert len(list((tmp_path / "records").glob("*none*"))) == 1
