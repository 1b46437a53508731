"""The provenance of a result: the commit of the code, and whether the code was changed since."""

import subprocess

import pytest

from benchmark.utils import environment


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout with one file of code, in which the code is taken to be."""
    (tmp_path / "attacks").mkdir()
    (tmp_path / "attacks/mine.py").write_text("x = 1\n")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("path, changed", [
    ("attacks/mine.py", True), ("defenses/new.py", True), ("my_defense.py", False), ("records/entries/a/1.json", False)])
def test_only_code_that_is_not_committed_is_a_change(checkout, path, changed):
    revision = environment.commit()["commit"]
    assert len(revision) == 40 and environment.commit() == {"commit": revision, "dirty": False}
    (checkout / path).parent.mkdir(parents=True, exist_ok=True)
    (checkout / path).write_text("x = 2\n")
    assert environment.commit() == {"commit": revision, "dirty": changed}


def test_code_outside_of_a_checkout_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert environment.commit() == {"commit": None, "dirty": None}
