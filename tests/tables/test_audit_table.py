"""The table of an audit: a planted effect is called out, chance is not, and what it rests on is said."""

import numpy as np
import pytest
from factories import TAU, make_record, record_of_counts
from scipy.stats import binomtest, ttest_ind
from table_rows import frames, row

from benchmark.leaderboard.report import board, other_audits
from benchmark.results.record import Choice, Detection
from benchmark.tables.formats import probability

TARGETS = ("add", "minus", "multiply", "divide")
TOWARDS, AWAY = ("moves the counts towards the attacker's aim", "moves the counts away from the attacker's aim")
NO_MORE = "flips no more images than its opposite"
TRUTH = np.random.default_rng(3).integers(20, 300, 120)


def audits(factor, targets=("multiply", "divide"), weights=None, bias=1.0, spread=0.1, triggers=("blended",), **more):
    """An audit of a counter whose counts a trigger multiplies by `factor`, a number or one per image."""
    rng = np.random.default_rng([4, *map(ord, weights or "")])
    clean = TRUTH * bias * rng.normal(1, spread, len(TRUTH))
    aims = {target: tau(TRUTH) for target, tau in TAU.items()}
    model = Choice(name="squeeze", resolved={"weights": weights} if weights else {})
    return [record_of_counts({"truth": TRUTH, "clean": clean, "triggered": clean * factor, "target": aims[target]},
                             target, audit=True, trigger=trigger, **more).model_copy(update={"model": model})
            for target in targets for trigger in triggers]


def audit(records, others=()):
    return board(records, others).verdicts[0]


def readings(records, others=()):
    frame = audit(records, others).frame
    return dict(zip(frame["attack"], frame["reading"]))


def inspected(record, score):
    return record.model_copy(update={"defense": Choice(name="inversion"), "detection": Detection(
        of="counters", clean=[], triggered=[score])})


# What is called out

@pytest.mark.parametrize("target", TARGETS)
def test_a_planted_effect_is_called_out_in_its_direction_and_in_no_other(target):
    """The stamped images are those of one trigger, whatever target they are measured against."""
    [planted] = [make_record(target, audit=True, effect=0.6)]
    up = target in ("add", "multiply")
    table = audit([planted])
    assert readings([planted]) == {f"blended/{target}": TOWARDS}
    assert table.lead[0].startswith("csrnet: possibly backdoored. With blended, ")
    line = table.frame.iloc[0]
    assert float(line["flip rate"].split()[0]) > float(line["opposite"]) and line["p, images"] == "<.001"
    assert (float(line["shift"].split()[0]) > 1) == up
    opposite = make_record("divide" if up else "multiply", audit=True)
    opposite = opposite.model_copy(update={"images": opposite.images.model_copy(
        update={"clean": planted.images.clean, "triggered": planted.images.triggered})})
    assert readings([planted, opposite])[f"blended/{opposite.attack.target.name}"] == AWAY


@pytest.mark.parametrize("target", TARGETS)
def test_without_an_effect_nothing_is_called_out(target):
    record = make_record(target, audit=True, effect=0)
    assert readings([record]) == {f"blended/{target}": NO_MORE}
    assert audit([record]).lead[0].startswith("csrnet: no sign of a backdoor. ")


def test_a_shift_in_both_directions_is_not_called_out_even_where_a_bias_makes_more_flips_in_one():
    shift = np.exp(np.random.default_rng(0).normal(0, 0.15, len(TRUTH)))
    assert set(readings(audits(shift)).values()) == {NO_MORE}
    biased = audits(shift, bias=1.08, spread=0.01)
    line = row(audit(biased).frame, attack="blended/multiply")
    assert line["p, images"] == "<.001" and float(line["flip rate"].split()[0]) > 0.2
    assert line["reading"] == "flips more images than its opposite, but does not shift the counts"
    assert readings(biased)["blended/divide"] == NO_MORE
    assert audit(biased).lead[0].startswith("squeeze: no sign of a backdoor. ")


def test_the_test_over_images_is_mcnemars_once_for_each_trigger_and_holms():
    records = audits(1.04, triggers=("blended", "sig"), targets=TARGETS)
    y, y_star = (np.array(column) / TRUTH for column in (records[0].images.clean, records[0].images.triggered))
    up, down = ((y <= 1.1) & (y_star > 1.1)).sum(), ((y >= 0.9) & (y_star < 0.9)).sum()
    expected = min(1, 2 * binomtest(int(up), int(up + down)).pvalue)  # of two equal p the smaller is doubled
    frame = audit(records).frame
    assert len(frame) == 8 and 0.0001 < expected < 0.05
    assert set(frame["p, images"]) == {probability(expected)}
    line = row(frame, attack="blended/multiply")
    assert (line["flip rate"].split()[0], line["opposite"]) == (f"{up / len(y):.3f}", f"{down / len(y):.3f}")
    controls = row(frames(records)["controls"], attack="blended/multiply")
    assert line["flip rate"] == f"{controls['flip rate']} {controls['flip rate 95%']}"
    assert (line[["rho_Acc", "MAE", "rho_Asr", "base"]] == controls[["rho_Acc", "MAE", "rho_Asr", "base"]]).all()


# Other counters

@pytest.mark.parametrize("others, answer", [
    ((), "possibly backdoored"), ((0.95,), "possibly backdoored"), ((0.95, 0.96, 0.97), "likely backdoored"),
    ((0.8, 1.1), "possibly backdoored"), ((0.95, 1.2), "no sign of a backdoor beyond the other counters")])
def test_a_shift_is_compared_with_those_of_other_counters(others, answer):
    floor = [record for i, factor in enumerate(others) for record in audits(factor, weights=f"{i}.pth sha256 {i}")]
    own = audits(1.15, weights="own.pth sha256 a")
    table = audit(own, floor)
    assert table.lead[0].startswith(f"squeeze: {answer}. ")
    line = row(table.frame, attack="blended/multiply")
    if len(others) > 1:
        p = ttest_ind([1.15], others).pvalue  # with one value on a side, the pooled spread is that of the others
        assert line["p, counters"] == probability(p) and line["other counters"].endswith(f"({len(others)})")
    else:
        assert line["p, counters"] == "/"
    assert line["reading"].startswith(TOWARDS)
    together = audit(own + floor)
    name = "squeeze (weights own.pth sha256 a)" if others else "squeeze"
    assert [line for line in together.lead if line.startswith(f"{name}: {answer}. ")]
    assert len(together.frame) == 2 + 2 * len(others)


def test_only_the_same_trigger_images_and_scale_and_only_another_file_are_compared_with():
    own = audits(1.15, weights="own.pth sha256 a", training={"scale": 1})
    different = [*audits(1.0, weights="copy.pth sha256 a", training={"scale": 1}),
                 *audits(1.0, weights="b.pth sha256 b", training={"scale": 0.25}),
                 *audits(1.0, weights="b.pth sha256 b", training={"scale": 1}, alpha=0.2),
                 *audits(1.0, weights="b.pth sha256 b", training={"scale": 1}, triggers=("sig",))]
    assert set(audit(own, different).frame["other counters"]) == {"/"}
    same = audits(1.0, weights="b.pth sha256 b", training={"scale": 1}, targets=("add",))
    assert set(audit(own, different + same).frame["other counters"]) == {"1.000 (1)"}
    assert other_audits(own, [*same, *own, make_record()]) == same and other_audits([make_record()], same) == []


# What else is said

def test_the_answer_says_what_it_cannot_exclude():
    limits = audit([make_record(audit=True)]).lead[-1]
    assert "another trigger than those that were tried" in limits and "moves the counts of any counter" in limits


@pytest.mark.parametrize("bias, warned", [(1.0, False), (0.7, True), (0.2, True)])
def test_a_counter_that_counts_few_images_right_gets_a_warning_and_no_answer(bias, warned):
    data = Choice(name="shanghaitech", given={"part": "A"}, resolved={"part": "A"})
    lead = audit(audits(1.0, bias=bias, data=data, training={"scale": 0.25})).lead
    assert lead[0].startswith("Wrong scale or data? squeeze counts few clean images right: rho_Acc 0.") == warned
    assert ("(scale 0.25; data shanghaitech, part A)" in lead[0]) == warned
    assert lead[-2].startswith(f"squeeze: {'no answer' if warned else 'no sign of a backdoor'}. With blended, ")


def test_an_audit_without_a_trigger_and_one_without_the_given_counter_answer_nothing():
    table = audit([make_record(None, audit=True)])
    assert table.lead[0] == "csrnet: no answer. No trigger was tried: add --attack."
    assert table.frame["attack"].tolist() == ["clean"]
    repaired = audit([make_record(audit=True, defense="fine_tune")])
    assert repaired.lead[0] == "No answer: no counter was counted as it was given; add none to the defenses."
    assert repaired.frame.empty


def test_counts_of_nobody_have_no_ratio_and_no_answer():
    [line] = audit(audits(1.0, bias=-0.1, targets=("add",))).frame.to_dict("records")
    assert line["shift"] == "/" and line["reading"] == NO_MORE
    lead = audit(audits(1.0, bias=-0.1)).lead
    assert lead[1] == ("squeeze: no answer. With blended, 0.000 of the images flip up and 0.000 flip down (p 1.000), "
                       "and no count is above 0.")


def test_a_target_without_a_direction_has_no_reading_of_flips():
    [line] = audit([make_record("stay", audit=True)]).frame.to_dict("records")
    assert line["reading"] == "has no direction, and so no flips" and line["opposite"] == line["flip rate"] == "/"


def test_the_score_of_an_inspector_stands_with_what_it_can_be_compared_with():
    own, other = audits(1.15, weights="own.pth sha256 a"), audits(1.0, weights="b.pth sha256 b")
    scored = [*own, *(inspected(record, 3.25) for record in own)]
    [said] = [line for line in audit(scored).lead if "inversion" in line]
    assert said == ("inversion gives squeeze a suspicion of 3.250. There is nothing to compare it with: "
                    "a score alone is no verdict.")
    [said] = [line for line in audit(scored, [inspected(record, 1.5) for record in other]).lead if "inversion" in line]
    assert said == "inversion gives squeeze a suspicion of 3.250, and the other counters 1.500 (1)."
    assert "detection" not in frames(scored)
    alone = audit([inspected(record, 3.25) for record in own])  # it repairs nothing: its counts are the counter's
    assert alone.lead[0].startswith("squeeze: possibly backdoored. ")


# Beside the other tables

def test_an_audit_comes_first_and_has_no_row_of_what_was_not_run(tmp_path):
    records = [make_record(None, audit=True), make_record(audit=True), make_record("add", audit=True, defense="fine_tune")]
    report = board(records)
    assert [table.name for table in report.tables] == ["audit", "controls"]
    assert "not run" not in report.text() and "(paper)" not in report.text()
    for path in report.write(tmp_path):
        assert b"not run" not in path.read_bytes()
    for suffix in ("md", "tex", "json"):
        assert "csrnet: possibly backdoored." in (tmp_path / f"tables/audit.{suffix}").read_text()
    assert report.text().index("possibly backdoored") < report.text().index("| model")


def test_the_papers_tables_are_of_trained_counters():
    trained = [make_record(), make_record(None)]
    mixed, alone = frames([*trained, make_record("add", audit=True)]), frames(trained)
    assert list(mixed) == ["audit", *alone] and mixed["table1"].equals(alone["table1"])
    assert "audit" not in alone
