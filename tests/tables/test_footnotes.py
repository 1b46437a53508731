"""Footnotes of tables: common settings, and notes on single rows."""

import re

from factories import make_record

from benchmark.leaderboard import report
from benchmark.results.record import Choice


def test_notes_name_the_rows_that_need_a_word():
    records = [make_record(), make_record("add", warnings=["weights: from scratch"]), make_record("minus", variant="code"),
               make_record("divide", truth=[0, 30, 40]), make_record(seed=1)]
    notes = "\n".join(report.board(records).tables[0].notes)
    assert re.search(r"In csrnet add \([^)]*\): weights: from scratch\.", notes)
    assert re.search(r"csrnet minus \([^)]*\): variant code", notes)
    assert re.search(r"csrnet divide \([^)]*\): 1 of 3 images show no people", notes)
    assert re.search(r"csrnet add \([^)]*\).*: only seed 0 of seeds 0, 1 was run\.", notes)
    assert "All rows have the settings data shanghaitech, part B, trigger blended, alpha 0.1, poison_rate 0.1." in notes


def test_a_note_on_every_row_names_none():
    records = [make_record(target, warnings=["drawn scenes"]) for target in ("add", "minus")]
    assert "In all rows: drawn scenes." in report.board(records).tables[0].notes


def test_settings_are_those_of_all_rows_only_where_all_rows_have_them():
    drawn = make_record("minus").model_copy(update={"data": Choice(name="synthetic", resolved={"height": 112})})
    [note, *_] = report.board([make_record(), drawn]).tables[-1].notes
    assert note == "All rows have the settings variant text, trigger blended, alpha 0.1, poison_rate 0.1."


def test_seeds_that_saw_other_images_are_noted():
    def of(fingerprint, seed):
        return make_record(seed=seed).model_copy(update={"provenance": {"data": {"train": fingerprint}}})

    note = "the seeds differ in their training or test images"
    assert note in " ".join(report.board([of("a", 0), of("b", 1)]).tables[0].notes)
    assert note not in " ".join(report.board([of("a", 0), of("a", 1)]).tables[0].notes)
