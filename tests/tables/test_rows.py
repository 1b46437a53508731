"""Rows of tables: which records are averaged in one row, and the label of each row."""

import numpy as np
import pytest
from factories import make_record
from table_rows import frames, ratio_share, row

from benchmark.leaderboard import report
from benchmark.results.record import Choice
from benchmark.utils.errors import UserError


def defenses_of(*records):
    return set(frames([make_record(), *records])["controls"]["defense"])


# Averages and labels

def test_numbers_are_means_over_seeds():
    records = [make_record("minus", seed=seed, effect=0.1 * seed) for seed in range(4)]
    line = row(frames(records)["table1"], model="csrnet", strategy="minus")
    assert line["rho_Asr"] == f"{np.mean([ratio_share(record, lambda r: r < 0.9) for record in records]):.3f}"
    bands = row(frames(records)["table2"], model="csrnet", strategy="minus")
    expected = np.mean([ratio_share(record, lambda r: 0.7 <= r < 0.9) for record in records])
    assert bands["rho_Asr 0.1-0.3"] == f"{expected:.3f}" and bands["rho_Asr >1"] == "/"
    assert row(frames(records)["controls"], attack="blended/minus", defense="none")["seeds"] == "4"


def test_settings_that_differ_make_rows_of_their_own():
    tables = frames([make_record(alpha=0.1), make_record(alpha=0.2), make_record(alpha=0.2, seed=1)])
    assert row(tables["table1"], strategy="multiply (alpha 0.1)")["rho_Asr (paper)"] == "0.867\N{DAGGER}"
    assert row(tables["controls"], attack="blended/multiply (alpha 0.2)")["seeds"] == "2"
    assert row(tables["controls"], attack="clean")["seeds"] == "2"


def test_rows_without_a_neighbour_name_what_sets_them_apart_too():
    strategies = frames([make_record("add", alpha=0.1), make_record("minus", alpha=0.2)])["table1"]["strategy"].tolist()
    assert "add (alpha 0.1)" in strategies and "minus (alpha 0.2)" in strategies


def test_settings_of_different_models_and_defenses_are_not_compared():
    tables = frames([make_record(defense="fine_tune", lr=1e-5), make_record(model="clip_ebc", training={"epochs": 150}),
                     make_record(model="clip_ebc", training={"epochs": 150}, defense="fine_tune", lr=1e-4)])
    assert not tables["table3"]["strategy"].str.contains("(", regex=False).any()


def test_two_fine_tunings_of_one_victim_are_two_rows():
    tables = frames([make_record(), make_record(defense="fine_tune", lr=1e-5), make_record(defense="fine_tune", lr=1e-4, effect=0)])
    strong = row(tables["table3"], model="csrnet", strategy="multiply (lr 0.0001)")
    weak = row(tables["table3"], model="csrnet", strategy="multiply (lr 1e-05)")
    assert strong["rho_Asr"] == weak["rho_Asr"] and float(strong["rho_Asr ft"]) < float(weak["rho_Asr ft"])
    assert {"none", "fine_tune (lr 1e-05)", "fine_tune (lr 0.0001)"} <= set(tables["controls"]["defense"])


@pytest.mark.parametrize("settings, names", [
    ([{"images": None, "extra": 40}, {"images": 40, "extra": 0}, {"images": 40, "extra": 40}],
     ["all clean images + 40 extra", "40 clean images", "40 clean images + 40 extra"]),
    ([{"images": None, "extra": 40}, {"images": 40, "extra": 40}], ["all clean images", "40 clean images"]),
    ([{"extra": 0}, {"extra": 40}], ["no extra images", "40 extra images"]),
    ([{"images": 40, "epochs": None}, {"images": 80, "epochs": 5}],
     ["40 clean images, epochs not set", "80 clean images, epochs 5"]),
    ([{"images": 40}, {}], ["40 clean images", "images not recorded"])])
def test_the_control_retrain_is_named_by_its_training_images(settings, names):
    labels = defenses_of(*(make_record(defense="retrain", **chosen) for chosen in settings))
    assert labels - {"none"} == {f"retrain ({name})" for name in names}


def test_a_null_of_any_other_defense_is_a_setting_that_is_not_set():
    labels = defenses_of(*(make_record(defense="mine", images=images) for images in (None, 40)))
    assert {"mine (images not set)", "mine (images 40)"} < labels


def test_a_version_that_is_not_recorded_is_the_first():
    first, second = (make_record(defense="mine") for _ in range(2))
    second = second.model_copy(update={"defense": second.defense.model_copy(update={"version": 2})})
    assert {"mine (version 1)", "mine (version 2)"} < defenses_of(first, second)


def test_keys_of_one_name_keep_their_kind():
    records = [make_record(defense="fine_tune", lr=1, training={"lr": 1}), make_record(defense="fine_tune", lr=2, training={"lr": 2})]
    strategies = frames(records)["table3"]["strategy"].tolist()
    assert "multiply (defense.lr 1, training.lr 1)" in strategies


def test_other_test_images_are_another_cell():
    attacks = frames([make_record(), make_record(seed=1, truth=[50, 60])])["controls"]["attack"]
    assert attacks.str.fullmatch(r"(clean|blended/multiply) \(images [0-9a-f]{8}\)").all() and attacks.nunique() == 4


def test_a_value_given_or_by_default_is_the_same_cell():
    model = Choice(name="csrnet", given={"width": 2}, resolved={"width": 2})
    given = make_record(seed=1, training={"given": {"lr": 1}, "resolved": {"lr": 1}}).model_copy(update={"model": model})
    model = Choice(name="csrnet", resolved={"width": 2})
    resolved = make_record(training={"given": {}, "resolved": {"lr": 1}}).model_copy(update={"model": model})
    assert row(frames([given, resolved])["controls"], attack="blended/multiply")["seeds"] == "2"


def test_two_records_of_one_seed_are_refused():
    with pytest.raises(UserError, match="2 records of csrnet, blended/multiply, none .* seed 0"):
        report.board([make_record(), make_record(effect=0.1)]).tables


# The clean counter

def test_the_clean_row_is_its_record_or_else_the_reference_of_its_victims():
    def accuracy(counts):
        return f"{np.mean(np.abs(np.divide(counts, images.truth) - 1) <= 0.1):.3f}"

    images, where = make_record().images, {"model": "csrnet", "strategy": "clean"}
    assert accuracy(images.reference_clean) != accuracy(images.clean)
    assert row(frames([make_record(), make_record("add")])["table1"], **where)["rho_Acc"] == accuracy(images.reference_clean)
    assert row(frames([make_record(), make_record(target=None)])["table1"], **where)["rho_Acc"] == accuracy(images.clean)


def test_victims_that_disagree_on_the_clean_counter_are_refused_unless_it_has_a_record():
    other = make_record("add")
    images = other.images.model_copy(update={"reference_clean": [2 * y for y in other.images.reference_clean]})
    other = other.model_copy(update={"images": images})
    with pytest.raises(UserError, match="reference_clean"):
        report.board([make_record(), other]).tables
    assert report.board([make_record(), other, make_record(target=None)]).tables
