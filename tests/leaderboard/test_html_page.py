"""The page shows what the tables hold, takes what records hold as text, and works without a mouse."""

import json
import re
from html.parser import HTMLParser

import pytest
from attacking import ATTACK_GRID, attack_grid, attack_records
from factories import make_record, submitted

from benchmark.config import frozen_grids
from benchmark.leaderboard.html_page import COLUMNS, OTHER_COLUMNS, page, write_page
from benchmark.leaderboard.load import read_record_files
from benchmark.leaderboard.measures import explain
from benchmark.leaderboard.report import board
from benchmark.leaderboard.strongest_attack import EnteredAttacks
from benchmark.results.record import Choice
from benchmark.results.scenarios import scenarios
from benchmark.strengths import StrengthChoice, StrengthTrial

NASTY = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"


def records():
    return [make_record("add"), make_record("add", seed=1), make_record("minus"), make_record("add", defense="fine_tune"),
            make_record("add", seed=1, defense="fine_tune"), make_record("minus", defense="fine_tune")]


def strengths(target="add"):
    """Records of a repair at two strengths, and at one that it chose itself."""
    def tried(*rates):
        trials = [StrengthTrial(settings={"lr": rate}, validation_mae=1.0) for rate in rates]
        return {"strengths": [StrengthChoice(tried=trials, kept=0)]}

    return [make_record(target, defense="fst", effect=effect, lr=lr).model_copy(update=tried(*rates))
            for effect, lr, rates in [(0.5, 0.1, [0.1]), (0.1, 0.2, [0.2]), (0.3, None, [0.1, 0.2])]]


def content(html):
    return json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])


def data(html):
    return content(html)["rows"]


def test_the_page_holds_the_numbers_of_the_table_of_controls():
    given = records()
    rows = {(row["attack"], row["defense"]): row for row in data(page(scenarios(given), {}))}
    for line in board(given).controls.to_dict("records"):
        if line["images"] == line["images"]:  # what was not run has no row
            row = rows[line["attack"], line["defense"]]
            for key in ("rho_acc", "mae", "rho_asr", "flip_rate", "flip_rate_low", "attainment", "der"):
                assert row[key] == (None if line[key] != line[key] else pytest.approx(line[key], abs=1e-6)), key
    assert [record["seed"] for record in rows["blended/add", "fine_tune"]["records"]] == [0, 1]


def test_a_histogram_counts_every_image_with_people_once():
    for row in data(page(scenarios(records()), {})):
        for record in row["records"]:
            assert sum(record["clean"]) == record["images"]
            assert record["triggered"] is None or sum(record["triggered"]) == record["images"]


def test_what_a_record_holds_can_end_no_element_and_begin_none():
    one = make_record("add")
    one = one.model_copy(update={"warnings": [NASTY], "model": one.model.model_copy(update={"name": NASTY})})
    html = page(scenarios([one]), {})
    assert NASTY not in html and NASTY in json.dumps(data(html))

    class Tags(HTMLParser):
        found = []

        def handle_starttag(self, tag, attributes):
            self.found.append(tag)

    Tags().feed(html)
    assert Tags.found.count("script") == 2 and "img" not in Tags.found


def test_nothing_is_fetched_and_links_lead_to_the_records(tmp_path):
    one = make_record("add")
    write_page(scenarios([one]), {id(one): tmp_path / "records" / "a b.json"}, tmp_path / "out" / "page.html")
    html = (tmp_path / "out" / "page.html").read_text()
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html) and "default-src 'none'" in html
    [row] = [row for row in data(html) if row["target"] == "add"]
    assert row["records"][0]["link"] == "../records/a%20b.json"


def test_the_same_records_give_the_same_bytes():
    assert page(scenarios(records()), {}) == page(scenarios(records()[::-1]), {})


def test_every_column_of_every_board_is_explained_in_one_sentence(grid, run, tmp_path, monkeypatch):
    attacks = attack_grid(tmp_path)
    costs = attack_grid(tmp_path, ATTACK_GRID.replace("[none, jpeg, blur, strip, retrain]", "none"), "costs-1")
    monkeypatch.setattr(frozen_grids, "frozen", lambda: [grid, attacks, costs])
    entered = [record for _, record in read_record_files([submitted(run, tmp_path / "entries")])]
    tables = board([*entered, *attack_records(attacks), *attack_records(costs, attack="attack=multiply")]).rankings
    assert [table.name for table in tables] == ["leaderboard-small-1", "attacks-attacks-1", "cost-costs-1"]
    audits = board([make_record("add", audit=True)]).verdicts
    headings = {*COLUMNS, *OTHER_COLUMNS, *EnteredAttacks({}, {}).columns(Choice(name="none"))}
    for heading in headings.union(*(table.frame.columns for table in [*tables, *audits])):
        assert (explain(heading) or "").endswith("."), heading
    assert explain("my own column") is None
    shown = content(page(scenarios(entered), {}, tables))
    assert [(table["side"], table["grid"]) for table in shown["rankings"]] == [
        ("Defenses", "small-1"), ("Attacks", "attacks-1"), ("Attacks", "costs-1")]
    assert shown["measures"]["entry"] == explain("entry")


def test_a_page_marks_the_strengths_that_were_set_and_those_that_were_chosen():
    rows = data(page(scenarios([*strengths(), make_record("add")]), {}))
    assert {row["defense"]: row["strength"] for row in rows if row["attack"] != "clean"} == {
        "none": None, "fst (lr 0.1)": 0.1, "fst (lr 0.2)": 0.2, "fst (lr not set)": "chosen"}
