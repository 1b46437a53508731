"""`crowdbench ablation` and `crowdbench compare`, on the records of a run."""

import json
import re

import pytest
from cli_cases import refused_at_once

from benchmark.cli import main

pytestmark = pytest.mark.usefixtures("desk")


@pytest.fixture
def ablated(grid, tmp_path):
    """A folder of records that differ in the poison rate and in alpha."""
    [victim] = grid.glob("out/records/tiny-multiply-none-*.json")
    for rate in (0.05, 0.1):
        for alpha in (0.1, 0.2):
            record = json.loads(victim.read_text())
            record["attack"]["poison_rate"] = rate
            record["attack"]["trigger"]["resolved"]["alpha"] = alpha
            (tmp_path / "some/records").mkdir(parents=True, exist_ok=True)
            (tmp_path / f"some/records/{rate}-{alpha}.json").write_text(json.dumps(record))
    return tmp_path / "some/records"


@pytest.mark.slow
def test_an_ablation_is_printed_and_written_beside_its_records(capsys, ablated):
    assert main(["ablation", str(ablated)]) == 0
    told = capsys.readouterr()
    assert re.search(r"\| flip rate +\| 0\.05 +\| [01]\.\d+ \[.*\] +\| [01]\.\d+ \[", told.out)
    assert "tables and curves: " in told.err and "some/ablation" in told.err
    assert sorted(path.name for path in (ablated.parent / "ablation").iterdir()) == [
        "ablation-1.pdf", "ablation-1.png", "ablation-1.txt", "ablation.csv", "ablation.md", "ablation.parquet", "ablation.tex"]
    assert told.out.split("\n\n- ")[0] in (ablated.parent / "ablation/ablation.md").read_text()


def test_an_ablation_as_json_with_the_settings_the_other_way_round(capsys, ablated, tmp_path):
    choices = ["--rows", "trigger.alpha", "--columns", "poison_rate", "--out", str(tmp_path / "there"), "--json"]
    assert main(["ablation", *(str(path) for path in ablated.iterdir()), *choices]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert sorted((row["poison_rate"], row["trigger.alpha"]) for row in rows) == [
        (0.05, 0.1), (0.05, 0.2), (0.1, 0.1), (0.1, 0.2)]
    assert "| alpha " in (tmp_path / "there/ablation.md").read_text() and not (ablated.parent / "ablation").exists()


@pytest.mark.parametrize("choice, words", [
    ([], ["--rows poison_rate", "two values", "poison_rate 0.1"]),
    (["--rows", "defense", "--columns", "alhpa"], ["--columns 'alhpa'", "known: defense"])])
def test_an_ablation_without_two_settings_that_vary_is_refused(capsys, grid, choice, words):
    refused_at_once(capsys, ["ablation", f"{grid}/out/records", *choice], *words)


def test_compare_prints_a_table_or_json_and_refuses_what_is_not_there(copied, capsys):
    assert main(["compare", "fine_tune", f"{copied}/out/records"]) == 0
    out = capsys.readouterr().out
    assert out.index("Wins / ties / losses") < out.index("Differences of fine_tune")
    assert re.search(r"\ntiny, fine_tune\n +none +1 +\d / \d / \d", out) and max(map(len, out.splitlines())) <= 100
    assert main(["compare", "fine_tune", f"{copied}/out/records", "--out", str(copied / "compared")]) == 0
    assert {path.name for path in (copied / "compared").iterdir()} == {
        f"{name}.{kind}" for name in ("differences", "wins") for kind in ("md", "csv", "parquet", "tex", "json")}
    capsys.readouterr()
    assert main(["compare", "fine_tune", f"{copied}/out/records", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {line["compared with"] for line in rows} == {"none"} and len(rows) == 2
    assert {type(line["rho_Acc p, images"]) for line in rows} == {float} and rows[0]["flip rate_low, seeds"] is None
    assert main(["compare", "fine_tone", f"{copied}/out/records"]) == 2
    assert "did you mean 'fine_tune'" in capsys.readouterr().err
