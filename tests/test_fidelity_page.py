"""The page docs/fidelity.md: it names every component, and the script that makes it runs."""

import subprocess
from contextlib import redirect_stdout
from io import StringIO

import pytest
import torch
from fidelity import PAGE, main, measured, table
from fidelity_public import COMMITS, COMPARISONS, Clone, Comparison

from benchmark.registry import names

KINDS = ("model", "trigger", "target", "defense")


@pytest.fixture(scope="module")
def without_clones(tmp_path_factory):
    """The page made without any public code, and what the script printed."""
    folder = tmp_path_factory.mktemp("public")
    out = folder / "page.md"
    before = PAGE.read_bytes()
    with redirect_stdout(StringIO()) as printed:
        assert main(["--public", str(folder), "--out", str(out)]) == 0
    assert PAGE.read_bytes() == before
    return out.read_text(), printed.getvalue().splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_every_component_is_named_on_the_page(kind):
    text = PAGE.read_text()
    missing = [name for name in names(kind) if f"{kind} `{name}`" not in text]
    assert not missing


def test_every_comparison_has_its_row_with_a_number(without_clones):
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    for comparison in COMPARISONS:
        own = [row for row in rows if comparison.what in row and comparison.entry in row]
        assert len(own) == 1 and "(values up to " in own[0] and "not compared" not in own[0]


def test_without_clones_rows_are_not_compared_and_the_script_says_what_is_missing(without_clones):
    text, printed = without_clones
    needed = {comparison.repository for comparison in COMPARISONS} - {None}
    assert needed == set(COMMITS)
    assert text.count("| not compared |") == sum(bool(row.repository) for row in COMPARISONS)
    for repository in needed:
        line, = (line for line in printed if f"https://github.com/{repository} " in line)
        assert line.startswith("missing: ") and COMMITS[repository] in line


def test_a_comparison_that_cannot_fail_is_refused():
    def run_of(ours, original):
        return measured(Comparison("entry", None, "", "", lambda: [(ours, original)]), None)

    numbers = torch.tensor([0, 0.5, -2])
    for original in (torch.ones(3), torch.full((3,), torch.nan), torch.arange(2)):
        with pytest.raises(ValueError):
            run_of(torch.zeros(3), original)
    with pytest.raises(ValueError, match="finite"):
        run_of(torch.tensor([0, 0.5, torch.nan]), numbers)
    assert run_of(torch.zeros(3), numbers) == "2 (values up to 2)"


@pytest.fixture
def clone(tmp_path):
    """A repository with one commit of one file, in the place of a public one."""
    (tmp_path / "code.py").write_text("import missing\n\nSIZE = 3\n\ndef size() -> Missing:\n"
                                      "    return SIZE + given\n")
    for command in ("init -q", "add code.py",
                    "-c user.name=a -c user.email=a@b commit -q -m first"):
        subprocess.run(["git", "-C", str(tmp_path), *command.split()], check=True)
    return Clone(next(iter(COMMITS)), tmp_path)


def test_only_a_clone_at_the_pinned_commit_is_used(clone, tmp_path, monkeypatch):
    assert clone.problem().startswith("the clone is at commit ")
    monkeypatch.setitem(COMMITS, clone.repository, clone.git("rev-parse", "HEAD").strip())
    assert clone.problem() == ""
    inside = tmp_path / "folder"  # of a repository: not a clone of its own
    inside.mkdir()
    assert Clone(clone.repository, inside).problem() == "there is no clone"


def test_definitions_are_read_from_the_commit_without_their_imports(clone, monkeypatch):
    monkeypatch.setitem(COMMITS, clone.repository, clone.git("rev-parse", "HEAD").strip())
    (clone.folder / "code.py").write_text("changed after the commit")
    assert clone.load("code.py", "SIZE", "size", given=4).size() == 7
    with pytest.raises(NameError, match="expected a definition of other"):
        clone.load("code.py", "other")
    with pytest.raises(FileNotFoundError, match="expected a file nothing.py"):
        clone.load("nothing.py")


def test_a_table_has_a_line_for_each_row():
    assert table(["a", "b"], [["1", "2"]]).splitlines() == ["| a | b |", "| --- | --- |",
                                                            "| 1 | 2 |"]
