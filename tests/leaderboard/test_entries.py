"""Entries of several people in one leaderboard: each has victims of its own, and none stands for another's."""

import pytest
from test_tables import make

from benchmark.commands.common import pairs
from benchmark.errors import UserError
from benchmark.leaderboard import controls


def write_entry(folder, *records):
    (folder / "cells").mkdir(parents=True)
    (folder / "entry.json").write_text("{}")
    for number, record in enumerate(records):
        (folder / "cells" / f"{number}.json").write_text(record.dumps())


def test_two_entries_with_victims_of_their_own_have_rows_of_their_own(tmp_path):
    first = [make("add", effect=0.4), make("add", effect=0.1, defense="fine_tune")]
    second = [make("add", effect=0.5), make("add", effect=0.2, defense="jpeg")]
    write_entry(tmp_path / "standard-1/fine_tune/aaa", *first)
    write_entry(tmp_path / "standard-1/jpeg/bbb", *second)
    table = controls([record for _, record in pairs([tmp_path])])
    attacked = table[(table["attack"].str.startswith("blended/add")) & table["images"].notna()]
    assert set(zip(attacked["attack"], attacked["defense"])) == {
        ("blended/add (entry fine_tune/aaa)", "none"), ("blended/add (entry fine_tune/aaa)", "fine_tune"),
        ("blended/add (entry jpeg/bbb)", "none"), ("blended/add (entry jpeg/bbb)", "jpeg")}
    with pytest.raises(UserError, match="the same settings and seed"):
        controls(first + second)
