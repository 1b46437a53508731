"""A record says enough to run its cell again, and what comes out is held against it."""

import numpy as np
import pytest

from benchmark.config.grid import cells
from benchmark.leaderboard.reruns import comparison
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.runner import record_path, run
from benchmark.pipeline.store import Store
from benchmark.results.rerun_request import request_of

REQUEST = {
    "data": {"name": "synthetic", "train": 20, "test": 6, "height": 64, "width": 96, "people": 25},
    "model": {"name": "tiny", "width": 8}, "training": {"epochs": 1, "precision": "fp32"},
    "scale": 0.9, "hold_out": 0.2,
    "attack": [None, {"target": "minus", "n": 5, "alpha": 0.2, "test_alpha": 0.3, "poison_rate": 0.2},
               {"target": "add", "choose": "most", "latent": 0.5, "also": {"trigger": "rain", "target": "minus"}}],
    "defense": ["none", {"name": "fine_tune", "epochs": 1, "extra": 2}], "seed": 3,
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ran")
    chosen = cells(REQUEST)
    outcome = run(chosen, StageGraph(Store(folder / "store")), folder)
    return chosen, outcome, folder


def test_the_cell_of_a_record_is_the_one_that_it_was_made_of(ran):
    chosen, outcome, folder = ran
    graph = StageGraph(Store(folder / "other"))
    for path, record in zip(outcome.paths, outcome.records):
        [again] = cells(request_of(record))
        assert record_path(again, graph, folder) == path


def test_a_cell_that_is_run_again_gives_the_same_counts(ran, tmp_path):
    _, outcome, _ = ran
    again = run(cells(request_of(outcome.records[2])), StageGraph(Store(tmp_path)), tmp_path)
    table, agree = comparison([(outcome.records[2], again.records[0])])
    assert agree and table.frame["verdict"].tolist() == ["the same"]
    assert table.frame["largest difference"].tolist() == ["0.00"]


@pytest.mark.parametrize("change, told", [
    (lambda record: {"defense": record.defense.model_copy(
        update={"resolved": record.defense.resolved | {"epochs": 9}})},
     "defense.epochs is 9 in the record and 1 in the rerun"),
    (lambda record: {"provenance": record.provenance | {"data": record.provenance["data"] | {"test": "0" * 32}}},
     "the test images have the hash 00000000"),
    (lambda record: {"images": record.images.model_copy(update={"truth": record.images.truth[::-1]})}, "images.truth of the record differs")])
def test_a_record_that_says_something_else_than_what_is_run_again_differs(ran, change, told):
    record = ran[1].records[1]
    table, agree = comparison([(record.model_copy(update=change(record)), record), (record, record)])
    assert not agree and table.frame["verdict"].tolist() == ["differs", "the same"]
    assert told in " ".join(table.notes)


def changed(record, factor):
    triggered = list(np.array(record.images.triggered) * factor)
    return record.model_copy(update={"images": record.images.model_copy(update={"triggered": triggered})})


def test_counts_that_differ_in_nothing_that_matters_agree_and_others_do_not(ran):
    record = ran[1].records[2]
    truth = record.images.truth * 20
    wide = record.images.model_copy(update={
        "id": [str(i) for i in range(len(truth))], "truth": truth, "clean": [float(t) for t in truth],
        "triggered": [float(t) for t in truth], "target": [t / 2 for t in truth],
        "reference_clean": [float(t) for t in truth], "reference_triggered": [float(t) for t in truth]})
    wide = record.model_copy(update={"images": wide})
    table, agree = comparison([(wide, changed(wide, 0.97)), (wide, changed(wide, 0.5))])  # it decreases counts
    assert table.frame["verdict"].tolist() == ["no difference shown", "differs"] and not agree
    assert table.frame["flip rate"].tolist() == ["0.000 / 0.000", "0.000 / 1.000"]
