"""The flips of a clean counter after the same defense, in the tables and in the findings."""

import numpy as np
import pytest

from benchmark.paper.questions import questions
from benchmark.results.record import Images
from benchmark.results.scenarios import scenarios
from benchmark.tables.controls import control_numbers
from factories import make_record


def with_control(record, effect):
    """The record with a clean counter whose counts the trigger raises by a share of the truth."""
    images = record.images.model_dump()
    clean = np.array(images["reference_clean"])
    images |= {"control_clean": clean.tolist(), "control_triggered": (clean * (1 + effect)).tolist()}
    return record.model_copy(update={"images": Images(**images)})


def flip_share(before, after, truth):
    before, after, truth = map(np.array, (before, after, truth))
    return float(((after / truth > 1.1) & (before / truth <= 1.1)).mean())


def test_chance_flips_are_those_of_the_clean_counter_after_the_same_defense():
    record = with_control(make_record(defense="fine_tune"), 0.15)
    rows = control_numbers(scenarios([make_record(defense="none"), record]))
    by_defense = {row["defense"]: row for row in rows if row["attack"] != "clean"}
    images = record.images
    expected = flip_share(images.control_clean, images.control_triggered, images.truth)
    assert 0 < expected < 1
    assert by_defense["fine_tune"]["chance_flips"] == pytest.approx(expected)
    undefended = flip_share(images.reference_clean, images.reference_triggered, images.truth)
    assert by_defense["none"]["chance_flips"] == pytest.approx(undefended)


def test_without_a_control_there_are_no_chance_flips():
    rows = control_numbers(scenarios([make_record(defense="none"), make_record(defense="fine_tune")]))
    (row,) = [row for row in rows if row["defense"] == "fine_tune" and row["attack"] != "clean"]
    assert np.isnan(row["chance_flips"])


def test_one_column_of_a_control_alone_is_refused():
    images = make_record().images.model_dump()
    with pytest.raises(ValueError, match="only one of control_clean and control_triggered"):
        Images(**images | {"control_clean": images["clean"]})


@pytest.mark.parametrize("effect, answer", [(0.8, 1), (0.02, 0)])
def test_flips_that_are_left_are_compared_with_chance(effect, answer):
    records = [with_control(make_record(defense="fine_tune", effect=effect, seed=seed), 0.0)
               for seed in range(5)]
    (scenario,) = [one for one in scenarios(records) if one.strategy != "clean"]
    (question,) = [one for one in questions([("victim", scenario)], []) if one.name == "fine_tune_left"]
    (test,) = question.tests
    assert test.pair.own.shape == test.pair.other.shape == (5, 40)
    assert (test.pair.own.mean() > test.pair.other.mean() + 0.3) == bool(answer)
