"""A record says enough to run its cell again, and what comes out is held against it."""

import numpy as np
import pytest
from factories import ROOT

from benchmark.config.grid import cells
from benchmark.leaderboard.required_fields import check_fields
from benchmark.leaderboard.reruns import comparison, tier
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.runner import record_path, run
from benchmark.pipeline.store import Store
from benchmark.results.record import Detection, Record
from benchmark.results.rerun_request import cell_of, request_of
from benchmark.utils.errors import UserError

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


@pytest.mark.slow
def test_the_cell_of_a_record_is_the_one_that_it_was_made_of(ran):
    chosen, outcome, folder = ran
    graph = StageGraph(Store(folder / "other"))
    for path, record in zip(outcome.paths, outcome.records):
        [again] = cells(request_of(record))
        assert record_path(again, graph, folder) == path


def test_what_a_run_writes_may_stand_in_an_entry(ran):
    """Whoever adds a key to a record adds it to `required_fields`, too."""
    for record in ran[1].records:
        check_fields(Record.parse(record.dumps().encode()))


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
    wide = record.model_copy(update={"images": wide, "provenance": record.provenance | {"threads": 77}})
    rerun = wide.model_copy(update={"provenance": record.provenance})
    table, agree = comparison([(wide, changed(rerun, 0.97)), (wide, changed(rerun, 0.5))])  # it decreases counts
    assert table.frame["verdict"].tolist() == ["no difference shown", "differs"] and not agree
    assert table.frame["flip rate"].tolist() == ["0.000 / 0.000", "0.000 / 1.000"]


# Under the same circumstances, counts are equal.

def made(record, difference=0.0, column="triggered", stages=None, **provenance):
    """The record of another run, with a difference in its first count."""
    counts = [getattr(record.images, column)[0] + difference, *getattr(record.images, column)[1:]]
    told = {key: value for key, value in (record.provenance | provenance).items() if value is not None}
    told["stages"] = told["stages"] | {stage: told["stages"][stage] | {"weights_sha256": "0" * 64}
                                       for stage in stages or []}
    return record.model_copy(update={"provenance": told, "images": record.images.model_copy(update={column: counts})})


def verdict(record, rerun):
    table, agree = comparison([(record, rerun)])
    return table.frame["verdict"].item(), agree, table.notes[0]


@pytest.mark.parametrize("difference, shown", [(1e-3, "0.001"), (31.0, "31.00")])
def test_any_difference_under_the_same_circumstances_is_a_failure_of_determinism(ran, difference, shown):
    record = ran[1].records[2]
    told, agree, note = verdict(record, made(record, difference))
    assert told == "not deterministic" and not agree
    assert "all weights are equal, and the counts of the repaired counter on triggered images differ" in note
    assert "Expected all draws to come from torch's or a seeded generator" in note
    assert comparison([(record, made(record, difference))])[0].frame["largest difference"].item() == shown


@pytest.mark.parametrize("other", [
    {"device_name": "another"}, {"threads": 77}, {"packages": {"torch": "2.0"}}, {"commit": "1" * 40}, {"python": "3"},
    {"switches": {"torch.backends.mkldnn.enabled": False}}, {"processes": 2}, {"also_made_with": {"threads": [2]}},
    {"device_name": None}])  # nothing told is not the same
def test_a_difference_of_rounding_under_other_circumstances_is_none(ran, other):
    record = ran[1].records[2]
    assert verdict(record, made(record, 1e-3, **other))[:2] == ("the same", True)
    assert verdict(made(record, **other), made(record, 1e-3))[:2] == ("the same", True)
    assert verdict(record, made(record, 31.0, **other))[0] == "no difference shown"  # one image of six proves nothing


def test_memory_that_ran_out_in_one_of_two_runs_is_another_circumstance(ran):
    record = ran[1].records[2]
    other = made(record, 1e-3).model_copy(update={"warnings": ["repaired: memory ran out"]})
    assert verdict(record, other)[:2] == ("the same", True)


@pytest.mark.parametrize("switches, told", [
    (None, "the same"), ({"torch.are_deterministic_algorithms_enabled": True}, "not deterministic"), (5, "the same"),
    ({"torch.are_deterministic_algorithms_enabled": True, "torch.backends.cudnn.benchmark": True}, "the same"),
    ({"torch.are_deterministic_algorithms_enabled": True, "torch.is_deterministic_algorithms_warn_only_enabled": True},
     "the same")])
def test_a_gpu_promises_equal_counts_only_with_deterministic_algorithms(ran, switches, told):
    record = made(ran[1].records[2], device="cuda", switches=switches)
    assert verdict(record, made(record, 1e-3))[0] == told


@pytest.mark.parametrize("column, stages, told", [
    ("reference_clean", ["clean", "victim", "repaired"], "the weights of the clean (reference) counter are the first"),
    ("triggered", ["victim", "repaired"], "the weights of the victim are the first"),
    ("clean", ["repaired"], "the weights of the repaired counter are the first"),
    ("reference_triggered", [], "the counts of the clean counter on triggered images differ")])
def test_the_first_counter_that_differs_is_told(ran, column, stages, told):
    record = ran[1].records[2]
    assert told in verdict(record, made(record, 1.0, column, stages))[2]


def test_scores_of_a_detector_that_differ_are_a_failure_too(ran):
    record = ran[1].records[2]
    scored = [record.model_copy(update={"detection": Detection(of="counters", clean=[0.0], triggered=[score])})
              for score in (1.0, 2.0)]
    told, agree, note = verdict(*scored)
    assert told == "not deterministic" and not agree and "the scores of the detector differ" in note


def test_changes_without_a_commit_are_named_as_a_reason(ran):
    record = made(ran[1].records[2], dirty=True)
    assert "or the code was changed in between" in verdict(record, made(record, 1.0))[2]
    record = made(ran[1].records[2], dirty=False)
    assert "in between" not in verdict(record, made(record, 1.0))[2]


def test_a_rerun_that_is_not_deterministic_takes_the_tier_away(ran):
    record = ran[1].records[2]
    assert tier([record], [made(record, 1e-3)]) == "not reproduced"
    assert tier([record], [made(record, 1e-3, threads=77)]) == "re-run, 1 of 1 cells"


# The cell of a record, which may come from a stranger.


def with_trigger(record, name):
    """A record with another trigger, which has no settings."""
    trigger = record.attack.trigger.model_copy(update={"name": name, "given": {}, "resolved": {}})
    return record.model_copy(update={"attack": record.attack.model_copy(update={"trigger": trigger})})


def with_given(record, part, **given):
    """A record with other settings of its data, model or trigger."""
    if part == "trigger":
        changed = record.attack.trigger.model_copy(update={"given": record.attack.trigger.given | given})
        return record.model_copy(update={"attack": record.attack.model_copy(update={"trigger": changed})})
    choice = getattr(record, part)
    return record.model_copy(update={part: choice.model_copy(update={"given": choice.given | given})})


@pytest.mark.parametrize("part, given, told", [
    ("data", {"root": "/tmp/anywhere"}, "data.root = '/tmp/anywhere': expected no path"),
    ("data", {"root": "anywhere"}, "data.root = 'anywhere': expected no path"),
    ("model", {"weights": "/etc/passwd"}, "model.weights = '/etc/passwd': expected no path"),
    ("model", {"weights": "../passwd"}, "model.weights = '../passwd': expected no path"),
    ("model", {"weights": ["/etc/passwd"]}, "model.weights = ['/etc/passwd']: expected no path"),
    ("data", {"root": ["/tmp/anywhere"]}, "data.root = ['/tmp/anywhere']: expected no path"),
    ("trigger", {"image": "secret.png"}, "attack.image = 'secret.png': expected no path"),
    ("trigger", {"look": {"name": "blended", "image": "/etc/passwd"}}, "attack.look.image = '/etc/passwd': expected no path"),
    ("trigger", {"look": {"name": "if_crowded", "look": {"name": "blended", "image": "../a.png"}}},
     "attack.look.look.image = '../a.png': expected no path"),
    ("trigger", {"alpha": [0.1, 0.2]}, "its settings are those of 2 cells; expected one value of each")])
def test_a_record_that_names_a_path_or_several_cells_is_refused(ran, part, given, told):
    record = ran[1].records[2]
    if "look" in given:
        record = with_trigger(record, "if_crowded")
    with pytest.raises(UserError) as error:
        cell_of(with_given(record, part, **given), [])
    assert told in str(error.value)


def test_the_files_of_a_record_are_set_again_and_nothing_else(ran, tmp_path):
    record = ran[1].records[2]
    assert cell_of(record, [f"data.root={tmp_path}"]).settings.seed == 3
    named = with_given(record, "trigger", image="hat.png sha256 0123456789ab")
    picture = ROOT / "attacks/triggers/blended.png"
    assert cell_of(named, [f"attack.image={picture}"]).trigger.build().image == picture
    second = with_given(named, "trigger", alpha=0.05).attack.model_copy(update={"test_trigger": None})
    both = record.model_copy(update={"attack": named.attack.model_copy(update={"also": second})})
    assert cell_of(both, [f"attack.image={picture}", f"attack.also.image={picture}"]).also.trigger.build().image == picture
    for other in ("seed=1", "seed=3,4", "defense=jpeg", "attack.alpha=0.3", "foo"):
        with pytest.raises(UserError, match=f"--set '{other}'.*expected a file or a folder: attack.choose, data.root"):
            cell_of(record, [other])
