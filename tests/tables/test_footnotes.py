"""Footnotes of tables: common settings, and notes on single rows."""

import re

from factories import make_record

from benchmark.leaderboard import report
from benchmark.paper.findings import findings
from benchmark.results.record import Choice, Detection


def test_notes_name_the_rows_that_need_a_word():
    records = [make_record(), make_record("add", warnings=["weights: from scratch"]), make_record("minus", variant="code"),
               make_record("divide", truth=[0, 30, 40]), make_record(seed=1)]
    notes = "\n".join(report.board(records).tables[0].notes)
    assert re.search(r"In csrnet add \([^)]*\): weights: from scratch\.", notes)
    assert re.search(r"csrnet minus \([^)]*\): variant code", notes)
    assert re.search(r"csrnet divide \([^)]*\): 1 of 3 images show no people", notes)
    assert re.search(r"csrnet add \([^)]*\).*: only seed 0 of seeds 0, 1 was run\.", notes)
    assert "All rows have the settings data shanghaitech (part B), trigger blended (alpha 0.1), poison_rate 0.1." in notes


def test_a_note_on_every_row_names_none():
    records = [make_record(target, warnings=["drawn scenes"]) for target in ("add", "minus")]
    assert "In all rows: drawn scenes." in report.board(records).tables[0].notes


def test_settings_are_those_of_all_rows_only_where_all_rows_have_them():
    drawn = make_record("minus").model_copy(update={"data": Choice(name="synthetic", resolved={"height": 112})})
    [note, *_] = report.board([make_record(), drawn]).tables[-1].notes
    assert note == "All rows have the settings variant text, trigger blended (alpha 0.1), poison_rate 0.1."


def test_a_defense_that_changed_nothing_says_so_in_every_table(tmp_path):
    records = [make_record(defense=defense, effect=effect, seed=seed) for seed in (0, 1)
               for defense, effect in (("none", 0.8), ("idle", 0.8), ("anp", 0.1))]
    note = "its counts equal those of no defense: it changed nothing."
    tables = [table for table in report.board(records).tables if table.name in ("controls", "defenses")]
    for table in [*tables, report.compare(records, "anp"), report.compare(records, "idle")]:
        [found] = [line for line in table.notes if "changed nothing" in line]
        assert "idle" in found and "anp" not in found and note in found
    report.board(records).write(tmp_path)
    for name in ("cells", "strata"):
        assert f"csrnet blended/multiply idle: {note}" in (tmp_path / f"tables/{name}.md").read_text()
    assert f"- In csrnet blended/multiply idle: {note}" in findings(records)


def test_seeds_on_which_a_defense_changed_nothing_are_named():
    records = [make_record(defense=defense, effect=effect, seed=seed)
               for defense, effects in (("none", (0.8, 0.8)), ("idle", (0.8, 0.7))) for seed, effect in enumerate(effects)]
    [found] = [line for line in report.board(records).tables[-1].notes if "changed nothing" in line]
    assert "blended/multiply idle: its counts equal those of no defense with seed 0: it changed nothing" in found


def test_a_counter_that_counts_clean_images_alike_or_was_not_repaired_has_no_such_note():
    same_clean = [make_record(), make_record(defense="jpeg", effect=0.7)]
    detector = make_record(defense="strip").model_copy(update={"detection": Detection(
        of="test images", clean=[0.0] * 40, triggered=[1.0] * 40)})
    for records in (same_clean, [make_record(), detector], [make_record(defense="jpeg")]):
        assert "changed nothing" not in report.board(records).text()


def test_seeds_that_saw_other_images_are_noted():
    def of(fingerprint, seed):
        return make_record(seed=seed).model_copy(update={"provenance": {"data": {"train": fingerprint}}})

    note = "the seeds differ in their training or test images"
    assert note in " ".join(report.board([of("a", 0), of("b", 1)]).tables[0].notes)
    assert note not in " ".join(report.board([of("a", 0), of("a", 1)]).tables[0].notes)
