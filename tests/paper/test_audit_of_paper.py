"""The audit of the paper: its checks agree with the file of known errors and follow from the printed numbers."""

import csv
import json
import re
import shutil

import pytest

from benchmark.paper import reference
from benchmark.paper.audit import audit
from benchmark.paper.text_checks import CLAIMS
from benchmark.utils.errors import UserError

TABLES = ("I01", "I02", "I03", "I04", "I05", "I06", "I07", "I08", "I09")  # found without being looked for by name
EDGES = {"0.1", "0.3", ".9", "1.1"}  # of bands: definitions
ELSEWHERE = {"I13": {"66.5"}, "I14": {"72.5"}, "I23": {"124"}}  # other claims of the text, and the data's mean count
OURS_DIFFER = {"I12": {"18.7"},  # 0.589 / 0.496 - 1 is 18.75%
               "I26": {"32"}}  # of three-digit shares 32% are k/316 rounded, and 47% rounded or cut off


@pytest.fixture(scope="module")
def known():
    with (reference.FOLDER / "paper_inconsistencies.csv").open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def found():
    return {finding.id: finding for finding in audit().found}


@pytest.fixture
def reprinted(tmp_path, monkeypatch):
    """A copy of the tables in which a misprint can be put right, or made."""
    folder = shutil.copytree(reference.FOLDER, tmp_path / "reference")
    monkeypatch.setattr(reference, "FOLDER", folder)

    def replace(table, old, new):
        path = folder / f"paper_table{table}.csv"
        assert path.read_text().count(old) == 1
        path.write_text(path.read_text().replace(old, new))
    return replace


def numbers(text):
    return re.findall(r"\d*\.?\d+", re.sub(r"\b[TI]\d+\b|\bSE .*", "", text.replace("'", "")))


def says(text, wanted):
    """Whether a number stands in a text, to half a unit of its last digit; as it is, or in percent as a share."""
    half = 0.5001 * 10 ** -len(wanted.partition(".")[2])
    return any(abs(factor * float(number) - float(wanted)) <= half for number in numbers(text) for factor in (1, 100))


# What is found and what the file says

@pytest.mark.parametrize("key", [*TABLES, *CLAIMS])
def test_every_number_of_a_known_error_is_derived_from_the_tables(known, found, key):
    row, finding = known[key], found[key]
    expected = set(numbers(f"{row['where']} {row['claim_or_value']} {row['arithmetic']}"))
    derived = finding.arithmetic if key in CLAIMS else f"{finding.where} {finding.arithmetic}"
    expected -= EDGES | ELSEWHERE.get(key, set()) | OURS_DIFFER.get(key, set())
    assert [number for number in expected if not says(derived, number)] == []


def test_nothing_else_is_found_and_nothing_is_lost(known, found):
    report = audit()
    assert found.keys() == {*TABLES, *CLAIMS} and len(report.found) == len(found)
    assert [row["id"] for row in report.told] == [key for key in known if key not in found]
    assert [known[row["id"]] for row in report.told] == report.told


@pytest.mark.parametrize("key", TABLES[1:7])
def test_the_value_to_use_is_the_files(known, found, key):
    assert float(found[key].verdict.split()[-1]) == float(known[key]["verdict"].split()[-1])


@pytest.mark.parametrize("key, kind", [("I02", "wrong sum"), ("I03", "wrong sum"), ("I04", "digit typo"),
                                       ("I05", "row slip"), ("I06", "unexplained"), ("I07", "digit typo")])
def test_a_wrong_value_is_explained_where_it_can_be(found, key, kind):
    assert found[key].verdict.startswith(kind)


def test_sums_and_images_are_those_of_the_file_of_corrected_values():
    with (reference.FOLDER / "paper_table_corrected_asr.csv").open(newline="") as file:
        told = {(row["model"], row["strategy"] + "_ft" * (row["stage"] == "ft")): row for row in csv.DictReader(file)}
    rows = audit().sums
    assert [(row["model"], row["strategy"]) for row in rows] == list(told)
    for row, other in zip(rows, told.values()):
        assert (row["images"], row["total"]) == (int(other["k_of_316"]), float(other["recommended"]))
        assert sum(row["bands"]) == pytest.approx(float(other["band_sum_T2"]))


@pytest.mark.parametrize("model, strategy, floors", [  # half of the misses, excess over it, and over all of them
    ("CSRnet", "add", (0.297, -0.085, -0.383)), ("CSRnet", "minus_ft", (0.167, 0.577, 0.409)),
    ("CLIP-EBC", "multiply_ft", (0.078, -0.053, -0.13)), ("CLIP-EBC", "divide", (0.092, 0.506, 0.414))])
def test_chance_floors_are_those_computed_elsewhere(model, strategy, floors):
    [row] = [row for row in audit().chance if (row["model"], row["strategy"]) == (model, strategy)]
    assert (row["even"], row["above_even"], row["above_most"]) == pytest.approx(floors, abs=0.0011)


# It is derived

@pytest.mark.parametrize("table, old, new, gone", [
    (1, "multiply,0.496,0.867", "multiply,0.496,0.886", "I02"), (3, "0.544", "0.886", "I03"),
    (3, "0.845,0.911,0.266", "0.845,0.911,0.025", "I05"), (3, "0.788", "0.778", "I08")])
def test_a_number_put_right_is_no_longer_found(reprinted, table, old, new, gone):
    reprinted(table, old, new)
    report = audit()
    assert gone not in {finding.id for finding in report.found}
    assert gone in {row["id"] for row in report.told}


def test_a_new_misprint_is_found_and_has_no_row_in_the_file(reprinted):
    reprinted(1, "divide,0.816,0.598", "divide,0.816,0.541")
    [new] = [finding for finding in audit().found if finding.id == "-"]
    assert new.where == "T1 CLIP-EBC divide rho_Asr 0.541" and new.verdict == "wrong sum; use 0.598"
    assert new.arithmetic == "0.541+0.054+0.003=0.598 (189/316); 0.541=0.541 leaves out 0.3-0.5 (0.054), 0.5-1 (0.003)"


def test_a_band_that_rises_contradicts_the_text(reprinted):
    reprinted(2, "multiply,1,0.845,0.019,0.0,0.006,0.0", "multiply,1,0.845,0.019,0.0,0.006,0.209")
    [claim] = [finding for finding in audit().found if finding.id == "I18"]
    assert claim.verdict == "rises for CLIP-EBC multiply >1"


# As it is shown

def test_the_text_marks_wrong_values_and_says_what_was_not_derived():
    text = audit().text()
    marked = [line.split("|")[1:3] for line in text.splitlines() if "\N{DAGGER}" in line and line.startswith("|")]
    assert [" ".join(map(str.strip, cells)) for cells in marked] == [
        "CSRnet multiply", "CSRnet divide_ft", "CLIP-EBC multiply", "CLIP-EBC multiply_ft", "CLIP-EBC divide_ft"]
    derived, _, told = text.partition("not derived here")
    assert "- I02 0.323+0.335+0.209+0.019=0.886 (280/316)" in derived and "- I31 deterministic 10x10 grid" in told


def test_the_audit_is_ready_for_json():
    report = audit()
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    assert report.to_dict()["found"][1]["id"] == "I02" and len(report.to_dict()["sums"]) == 16


def test_without_the_papers_numbers_the_request_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "FOLDER", tmp_path / "none")
    with pytest.raises(UserError, match="none; expected the paper's numbers"):
        audit()
