"""Stages of one title are told apart by what determines them, also through the stages that they come from."""

import json
import re

import pytest

from benchmark.cli import main
from benchmark.pipeline.stage import Stage
from benchmark.pipeline.store import Store


def trained(epochs, title="train tiny clean seed 0", **facts):
    facts = {"model": ["tiny", 1, {}], "recipe": {"epochs": epochs, "lr": 0.1}, "seed": 0} | facts
    return Stage("counters", "counter", title, facts, lambda folder: None)


def counted(counter):
    facts = {"counter": counter.key, "seed": "its own"}
    return Stage("counts", "counts", "count clean images: tiny clean seed 0", facts, lambda folder: None, (counter,))


def listed(tmp_path, capsys, *stages):
    """The names in `store list`, sorted, and its rows in JSON."""
    store = Store(tmp_path / "store")
    for stage in stages:
        store.get(stage)
    assert main(["store", "list", "--store", str(store.root)]) == 0
    names = re.findall(r"^count\w+ +\w+ +(.*?) +finished", capsys.readouterr().out, re.MULTILINE)
    assert main(["store", "list", "--store", str(store.root), "--json"]) == 0
    return sorted(names), json.loads(capsys.readouterr().out)


def test_a_title_that_stands_alone_is_printed_as_it_is(tmp_path, capsys):
    names, rows = listed(tmp_path, capsys, trained(60), trained(70, "train tiny clean seed 1"))
    assert names == ["train tiny clean seed 0", "train tiny clean seed 1"]
    assert [row["differs_in"] for row in rows] == [{}, {}]


def test_counters_and_their_counts_are_told_apart_by_the_settings_that_differ(tmp_path, capsys):
    counters = trained(60), trained(70, model=["tiny", 1, {"width": 16}])
    names, rows = listed(tmp_path, capsys, *map(counted, counters))
    first, second = "(model.width default, training.epochs 60)", "(model.width 16, training.epochs 70)"
    assert names == sorted(f"{title} {settings}" for settings in (first, second)
                           for title in ("count clean images: tiny clean seed 0", "train tiny clean seed 0"))
    assert {"model.width": 16, "training.epochs": 70} in [row["differs_in"] for row in rows]


@pytest.mark.parametrize("change, words", [
    ({"attack": [["blended", 1, {"alpha": 0.2}], ["minus", 1, {}], 0.05]}, "attack.poison_rate 0.05"),
    ({"attack": [["blended", 2, {}], ["minus", 1, {}], 0.1]}, "attack.trigger.version 2"),
    ({"before": {"recipe": {"epochs": 70}}}, "before.training.epochs 70"),
    ({"model": "\x1b[31m"}, r"model \x1b[31m"), ({"model": ["tiny", 1, {"a" * 500: 1}]}, "aaa")])
def test_whatever_differs_is_named_and_shown_escaped(tmp_path, capsys, change, words):
    names, _ = listed(tmp_path, capsys, trained(60), trained(60, **change))
    assert words in "".join(names) and all(len(name) < 600 and name.isprintable() for name in names)


def test_stages_that_come_from_each_other_in_a_circle_end(tmp_path, capsys):
    store = Store(tmp_path / "store")
    for epochs in (60, 70):
        folder = store.get(trained(epochs))
        about = json.loads((folder / "stage.json").read_text())
        (folder / "stage.json").write_text(json.dumps(about | {"facts": {"counter": folder.name, "epochs": epochs}}))
    names, _ = listed(tmp_path, capsys)
    assert len(names) == 2 and "epochs 70" in "".join(names)
