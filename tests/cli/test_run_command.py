"""`crowdbench run`: what it prints, what it writes, and what it does not do again."""

import json
import re
import shutil
from pathlib import Path

import pytest
from cli_cases import CELLS, contents, flags, started

from benchmark import registry
from benchmark.cli import main
from benchmark.cli.options import SHORTCUTS
from benchmark.pipeline import dry_run
from benchmark.pipeline.dry_run import Plan
from benchmark.results.record import Record

pytestmark = pytest.mark.usefixtures("desk")


def test_a_run_writes_a_record_for_each_cell_and_the_tables(grid):
    records = [Record.read(path) for path in (grid / "out/records").iterdir()]
    attacks = [f"blended/{record.attack.target.name}" if record.attack else "clean" for record in records]
    told = [" ".join(["tiny", attack, record.defense.name, *(f"{k}={v}" for k, v in record.defense.given.items())])
            for attack, record in zip(attacks, records)]
    assert sorted(told) == sorted(CELLS)
    assert {len(record.images.id) for record in records} == {8}
    assert {path.suffix for path in (grid / "out/tables").iterdir()} == {".md", ".csv", ".parquet", ".tex", ".json"}
    assert not [path for path in contents(grid) if path.name.startswith(".") and path.suffix != ".lock"]


def test_a_second_run_does_nothing_again_and_prints_the_same(capsys, again, grid):
    before = contents(grid / "store") | contents(grid / "out/records")
    assert main([*again, "--out", "out"]) == 0
    told = capsys.readouterr()
    assert told.err.splitlines()[0] == "4 cells, 4 of them done before" and "img/s" not in told.err
    assert contents(grid / "store") | contents(grid / "out/records") == before
    assert main([*again, "--out", "out"]) == 0
    assert capsys.readouterr().out == told.out and "multiply" in told.out
    assert main(["leaderboard", "out/records"]) == 0
    assert capsys.readouterr().out.startswith("## Table 1.")


def test_a_run_answers_first_in_the_width_of_the_terminal_and_names_the_files(capsys, again, monkeypatch):
    for columns, width in ("40", 80), ("90", 90), ("500", 120):
        monkeypatch.setenv("COLUMNS", columns)
        assert main([*again, "--out", "out"]) == 0
        told = capsys.readouterr()
        assert max(map(len, told.out.splitlines())) <= width
    assert told.out.startswith("Summary\nWhat was run: tiny on synthetic, 8 test images, 1 seed for each row.\n")
    assert re.search(r"\ntiny, blended/multiply\n +none +\d\.\d\d .*\n +fine_tune +\d", told.out)
    assert re.search(r"\ntiny, fine_tune compared with none\n +blended/multiply .*(better|worse|tie)", told.out)
    assert re.search(r"\ntiny, fine_tune\n +none +1 +\d / \d / \d", told.out)
    assert "not run" not in told.out and "Table 1" not in told.out
    assert f"all tables: {Path('out/tables')}  page: {Path('out/leaderboard.html')}" in told.err.splitlines()[-1]


def test_the_leaderboard_is_for_a_terminal_where_stdout_is_one(capsys, grid, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["leaderboard", f"{grid}/out/records"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Summary\n") and max(map(len, out.splitlines())) <= 80


def test_another_out_folder_takes_what_is_trained_from_the_store(again, grid, tmp_path):
    before = contents(grid / "store")
    assert main([*again, "--out", str(tmp_path / "other")]) == 0
    assert contents(grid / "store") == before
    counted = [{Record.read(path).images.model_dump_json() for path in folder.glob("records/*")}
               for folder in (grid / "out", tmp_path / "other")]
    assert counted[0] == counted[1] and len(list(tmp_path.glob("other/records/*"))) == 4


def test_json_goes_alone_to_stdout(capsys, again):
    assert main([*again, "--out", "out", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) >= 4 and {"tiny"} == {row["model"] for row in rows}
    assert main(["leaderboard", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == rows


def test_a_dry_run_tells_what_is_left_and_writes_nothing(capsys, again, tmp_path):
    assert main([*again, "--out", "out", "--dry-run"]) == 0
    finished = capsys.readouterr().out
    assert finished.count("done") == 4 and finished.count("nothing") == 4 and "4, 0 to do" in finished
    more = [*again, "--dry-run", "--json", "--out", str(tmp_path / "new/out"), "--store", str(tmp_path / "new/store")]
    assert main(more) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [row["to make"] for row in plan["cells"]] == [
        f"{counter}, counts" for counter in ("clean counter", "repair", "victim", "repair")]
    assert (plan["stages"], plan["stored"], plan["seconds"], plan["unmeasured"]) == (12, 0, None, ["tiny"])
    assert not (tmp_path / "new").exists()


def test_the_leaderboard_writes_the_tables_that_the_run_wrote(grid, tmp_path):
    assert main(["leaderboard", f"{grid}/out", "--out", str(tmp_path / "again")]) == 0
    first, second = ({path.name: path.read_bytes() for path in (folder / "tables").iterdir()}
                     for folder in (grid / "out", tmp_path / "again"))
    assert first == second


def test_a_cell_that_fails_is_named_and_the_others_finish(capsys, again, grid, tmp_path):
    shutil.copytree(grid / "store", tmp_path / "store")
    changed = [*again, "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]
    assert main([*changed, *flags("defense.lr=1e30", "training.precision=fp32")]) == 1
    told = capsys.readouterr()
    failures = [line for line in told.err.splitlines() if line.startswith("failed: ")]
    assert [line[8:].partition(" seed 0: ")[0] for line in failures] == [
        f"{CELLS[number]} lr=1e30" for number in (1, 3)]
    assert all("the loss is" in line for line in failures) and "multiply" in told.out
    assert len(list(tmp_path.glob("out/records/*.json"))) == 2


def test_shortcuts_mean_what_set_means_and_set_goes_on_top(monkeypatch):
    asked = []
    monkeypatch.setattr(dry_run, "plan", lambda chosen, *_: asked.append(chosen) or Plan([], {}, *7 * [[]], 0, 0))
    short = ["--set", "model.width=8", "--weights", "scratch", "--attack", "none,multiply", "--model",
             "squeeze", "--defense", "none,fine_tune", "--data", "synthetic",
             *flags("attack.alpha=0.2", "data.test=6")]
    long = flags("model=squeeze", "model.weights=scratch", "attack=none,multiply", "defense=none,fine_tune",
                 "data=synthetic", "model.width=8", "attack.alpha=0.2", "data.test=6")
    for given in (short, long):
        assert main(["run", "paper", "--dry-run", *given]) == 0
    assert asked[0] == asked[1] and len(asked[0]) == 4
    assert {cell.model.given["width"] for cell in asked[0]} == {8}


def test_help_names_the_shortcuts(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    for flag, key in SHORTCUTS.items():
        assert f"--{flag} VALUE short for --set {key}=VALUE; an explicit --set overrides it" in told


def run_mine(copied, *more):
    return main(["run", "tiny.yaml", "--defense", "my_defense", "--plugin", "my_defense.py", "--out", f"{copied}/out",
                 "--store", f"{copied}/store", *more])


def test_a_new_defense_gets_its_row_among_earlier_ones_and_no_victim_is_trained_again(copied, capsys):
    assert main(["new", "defense", "my_defense"]) == 0
    assert capsys.readouterr().out.split() == ["my_defense.py", "test_my_defense.py"]
    before = {path.name for path in (copied / "store/counters").glob("[!.]*")}
    assert run_mine(copied) == 0
    out = capsys.readouterr()
    assert len({path.name for path in (copied / "store/counters").glob("[!.]*")} - before) == 2  # repairs
    assert "train tiny" not in out.err
    assert re.search(r"tiny, blended/multiply\n +none .*\n +my_defense ", out.out) and "Table 1" not in out.out
    assert re.search(r"against other defenses\n(.*\n)+tiny, my_defense\n +fine_tune +1 +\d / ", out.out)
    assert "my_defense" in (copied / "out/tables/defenses.md").read_text()


@pytest.mark.slow
def test_an_edited_defense_runs_again_and_is_printed_once(copied, capsys, monkeypatch):
    main(["new", "defense", "my_defense"])
    assert run_mine(copied) == 0
    Path("my_defense.py").write_text(Path("my_defense.py").read_text().replace("epochs: int = 10", "epochs: int = 1"))
    monkeypatch.setattr(registry, "_plugins", {})
    capsys.readouterr()
    assert run_mine(copied) == 0
    assert len(list((copied / "out/records").glob("*my_defense*"))) == 4  # nothing is lost


@pytest.mark.slow
def test_a_defense_of_ones_own_gets_its_row(cache, grid):
    Path("leave.py").write_text('"""Leaves it."""\nfrom benchmark.registry import register\n'
                                "from defenses.base import Defense\n\n@register\nclass Leave(Defense):\n"
                                "    def apply(self, victim, knowledge):\n        return victim\n")
    table, error = started(cache, "run", "tiny.yaml", "--store", f"{grid}/store", "--plugin", "leave.py", "--set",
                           "defense=none,leave").communicate(timeout=120)
    assert re.search(r"tiny, blended/multiply\n +none .*\n +leave +0\.\d+ ", table), error
