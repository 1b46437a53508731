"""Comparing an attack with others: which results are paired, and whether the differences are those of the counts."""

import json

import numpy as np
import pytest
from factories import make_record

from benchmark.cli import main
from benchmark.leaderboard.report import compare
from benchmark.metrics import counting
from benchmark.metrics.significance import sign_flip_test
from benchmark.utils.errors import UserError


def record(target="add", defense="none", trigger="blended", **more):
    made = make_record(target, defense, **more)
    if target is None:
        return made
    attack = made.attack.model_copy(update={"trigger": made.attack.trigger.model_copy(update={"name": trigger})})
    return made.model_copy(update={"attack": attack})


def mine(defense="none", effect=0.9, **more):
    return record("multiply", defense, "mine", effect=effect, **more)


def test_each_defense_that_both_met_is_a_row_with_the_differences_of_the_counts():
    records = [mine(), mine("fine_tune", 0.4), record(), record("add", "fine_tune", effect=0.1), record("minus"), record(None)]
    frame = compare(records, "mine/multiply").frame
    assert set(map(tuple, frame[["defense", "compared with"]].values)) == {
        ("none", "blended/add"), ("fine_tune", "blended/add"), ("none", "blended/minus")} and len(frame) == 3
    row = frame[(frame["defense"] == "fine_tune")].iloc[0]
    own, other = records[1].images, records[3].images
    for heading, measure in (("RA", lambda images: counting.rho_acc(images.triggered, images.truth)),
                             ("rho_Acc", lambda images: counting.rho_acc(images.clean, images.truth))):
        difference = measure(own) - measure(other)
        assert float(row[heading]) == pytest.approx(difference, abs=5e-4)


def test_the_test_is_paired_over_images():
    records = [mine(), record()]
    [row] = compare(records, "mine/multiply").frame.to_dict("records")
    own, other = ([counting.bands(one.images.triggered, one.images.truth) == 0] for one in records)
    p = min(1.0, 3 * sign_flip_test(own, other))  # at most: Holm's correction over RA, flip rate and rho_Acc
    printed = row["RA p, images"]
    assert (0.0 if printed == "<.001" else float(printed)) <= p + 5e-4


def test_only_seeds_that_both_have_are_compared_and_the_row_says_which():
    records = [mine(seed=seed) for seed in (0, 1)] + [record(seed=seed) for seed in (1, 2)]
    [row] = compare(records, "mine/multiply").frame.to_dict("records")
    assert row["seeds"] == "1" and row["RA p, seeds"] == "/"


@pytest.mark.parametrize("effect, verdict", [(0.9, "these counters: better"), (0.02, "these counters: worse")])
def test_better_is_better_for_the_attacker(effect, verdict):
    truth = np.random.default_rng(1).integers(10, 400, 200)
    [row] = compare([mine(effect=effect, truth=truth), record("minus", effect=0.3, truth=truth)], "mine/multiply").frame.to_dict(
        "records")
    assert row["RA verdict"] == row["flip rate verdict"] == verdict


def test_other_counters_data_or_settings_of_a_defense_are_not_compared():
    records = [mine("fine_tune"), record("add", "fine_tune", model="mcnn"), record("add", "fine_tune", data={"part": "A"}),
               record("add", "fine_tune", lr=0.5), record("add", "fine_tune", training={"epochs": 7})]
    with pytest.raises(UserError, match="no record of another attack on the same clean counter"):
        compare(records, "mine/multiply")


def test_detectors_repair_nothing_and_are_left_out():
    from benchmark.results.record import Detection

    scores = Detection(of="test images", clean=[0.0] * 40, triggered=[1.0] * 40)
    records = [mine("strip", detection=scores), record("add", "strip", detection=scores), mine(), record()]
    assert set(compare(records, "mine/multiply").frame["defense"]) == {"none"}


def test_an_attack_without_a_direction_has_no_flips():
    records = [record("stay", trigger="mine"), record()]
    [row] = compare(records, "mine/stay").frame.to_dict("records")
    assert row["flip rate"] == "/" and row["RA"] != "/"


def test_two_strengths_of_one_attack_are_compared_and_named():
    frame = compare([mine(), mine(alpha=0.2), record()], "mine/multiply").frame
    assert set(frame["attack"]) == {"mine/multiply (alpha 0.1)", "mine/multiply (alpha 0.2)"}
    assert len(frame) == 4


@pytest.mark.parametrize("attack", ["mine/add", "blended/", "/", "a/b/c"])
def test_an_unknown_attack_is_answered_with_the_known_ones(tmp_path, capsys, attack):
    for number, one in enumerate([mine(), record()]):
        (tmp_path / f"{number}.json").write_text(one.dumps())
    assert main(["compare", attack, str(tmp_path)]) == 2
    out, line = capsys.readouterr()
    assert out == "" and line.count("\n") == 1 and "(known: blended/add, mine/multiply)" in line


def test_the_command_prints_json_too(tmp_path, capsys):
    for number, one in enumerate([mine(), record()]):
        (tmp_path / f"{number}.json").write_text(one.dumps())
    assert main(["compare", "mine/multiply", str(tmp_path), "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["compared with"] == "blended/add"
