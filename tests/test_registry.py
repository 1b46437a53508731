"""Names find classes, settings are checked, and a file of one's own becomes an entry."""

import ast
import inspect
import io
import json
import os
import sys
import tokenize
from pathlib import Path

import numpy as np
import pytest

from benchmark import registry
from benchmark.registry import PACKAGES, build, find, load_plugin, names, resolve
from benchmark.utils.errors import UserError

ENTRIES = [(kind, name) for kind in PACKAGES for name in names(kind)]
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
HALVE = '''
"""Every second head stays."""

from typing import ClassVar
from attacks.base import Target
from benchmark.registry import register

@register
class Halve(Target):
    """first: where to begin."""
    increases: ClassVar[bool] = False
    first: int = 0

    def tau(self, count):
        return len(range(self.first, count, 2))

    def alter(self, points, size, rng):
        return points[self.first::2]
'''
LEAVE = '''
"""Leaves the victim as it is."""

from benchmark.registry import register
from defenses.base import Defense

@register
class Leave(Defense):
    """Does nothing."""
    def apply(self, victim, knowledge):
        return victim
'''


@pytest.fixture
def plugin(tmp_path):
    """A function that loads a plugin of some text; what it registered is forgotten after the test."""
    def load(name, text):
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        load_plugin(path)
    yield load
    registry._plugins.clear()


@pytest.mark.parametrize("kind, name", ENTRIES)
def test_an_entry_is_named_after_its_file_and_documented(kind, name):
    entry = find(kind, name)
    module = sys.modules[entry.__module__]
    assert (entry.kind, entry.name) == (kind, name)
    assert module.__name__ == f"{PACKAGES[kind]}.{name}"
    assert inspect.getdoc(module) and vars(entry)["__doc__"]


@pytest.mark.parametrize("kind, name", [(kind, name) for kind, name in ENTRIES if kind != "dataset"])
def test_an_entry_has_at_most_100_lines_of_code(kind, name):
    """Docstrings, comments and blank lines are left out: an entry is to be short, not to be silent."""
    source = inspect.getsource(sys.modules[find(kind, name).__module__])
    documented = {line for node in ast.walk(ast.parse(source))
                  if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
                  for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)}
    code = {line for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type not in NO_CODE
            for line in range(token.start[0], token.end[0] + 1)}
    assert len(code - documented) <= 100


@pytest.mark.parametrize("kind, wrong, right", [
    ("trigger", "blened", "blended"), ("target", "mulitply", "multiply"), ("defense", "finetune", "fine_tune"),
    ("model", "csrnett", "csrnet"), ("dataset", "shanghai", "shanghaitech")])
def test_an_unknown_name_is_answered_with_the_nearest(kind, wrong, right):
    with pytest.raises(UserError, match=f"unknown {kind} '{wrong}': did you mean '{right}'"):
        find(kind, wrong)


@pytest.mark.parametrize("kind", PACKAGES)
def test_the_base_class_of_a_kind_is_no_entry(kind):
    with pytest.raises(UserError, match="unknown"):
        find(kind, "base")


def test_settings_that_are_not_given_have_their_defaults():
    assert resolve("target", "multiply", {"k": 3}) == {"k": 3, "shift": 1.0, "wrap": False}
    assert build("target", "multiply", {"k": 3}).tau(5) == 15
    assert build("model", "tiny", {"width": 8}).output.in_channels == 8


@pytest.mark.parametrize("kind, name, given, message", [
    ("trigger", "blended", {"alfa": 0.1}, "trigger blended: unknown key 'alfa': did you mean 'alpha'"),
    ("model", "tiny", {"widht": 8}, "model tiny: unknown key 'widht': did you mean 'width'"),
    ("defense", "none", {"lr": 1}, "defense none: unknown key 'lr'"),
    ("trigger", "blended", {"alpha": "much"}, "trigger blended: alpha = 'much'"),
    ("trigger", "blended", {"alpha": None}, "trigger blended: alpha = None"),
    ("trigger", "blended", {"alpha": [0.1]}, "alpha = .0.1."),
    ("trigger", "blended", {"alpha": float("nan")}, "alpha = nan: .*finite"),
    ("trigger", "blended", {"alpha": "nan"}, "alpha = 'nan': .*finite"),
    ("trigger", "blended", {"alpha": 1.1}, "alpha = 1.1: .*less than or equal to 1"),
    ("target", "multiply", {"shift": float("inf")}, "shift = inf: .*finite"),
    ("target", "multiply", {"shift": "-inf"}, "shift = '-inf': .*finite"),
    ("target", "multiply", {"k": 2.5}, "target multiply: k = 2.5"),
    ("model", "tiny", {"width": "wide"}, "model tiny: width = 'wide'"),
    ("dataset", "synthetic", {"sigma": 1e300}, "dataset synthetic: sigma = 1e.300: .*less than or equal to 1000"),
    ("dataset", "shanghaitech", {"part": "C"}, "dataset shanghaitech: part = 'C': .*'A' or 'B'")])
def test_a_wrong_setting_is_refused_in_one_line_that_names_it(kind, name, given, message):
    with pytest.raises(UserError, match=message) as refused:
        build(kind, name, given)
    assert "\n" not in str(refused.value)


def test_a_plugin_becomes_an_entry_named_after_its_file(plugin):
    plugin("halve", HALVE)
    assert "halve" in names("target")
    target = build("target", "halve", {"first": 1})
    assert target.alter(np.arange(10).reshape(5, 2), (8, 8), None).tolist() == [[2, 3], [6, 7]]
    with pytest.raises(UserError, match="target halve: unknown key 'frist': did you mean 'first'"):
        build("target", "halve", {"frist": 1})


def test_a_defense_of_ones_own_is_built(plugin):
    plugin("leave", LEAVE)
    assert build("defense", "leave", {}).apply("victim", None) == "victim"


def test_a_plugin_takes_no_other_modules_place(plugin):
    plugin("json", LEAVE)
    assert sys.modules["json"] is json and find("defense", "json").__name__ == "Leave"


def test_a_plugin_that_is_loaded_again_takes_its_own_place(plugin, tmp_path):
    plugin("mine", HALVE + LEAVE)
    before = find("target", "mine").version
    plugin("mine", HALVE.replace("first: int = 0", "first: int = 1") + LEAVE)
    assert build("target", "mine", {}).first == 1 and find("target", "mine").version != before
    plugin("mine", LEAVE)  # without the target, which is forgotten
    assert "mine" in names("defense") and "mine" not in names("target")
    for wrong in ("class:", "x = 1", LEAVE.replace("def apply", "def applied"), LEAVE + "raise SystemExit"):
        with pytest.raises(UserError):
            plugin("mine", wrong)
        assert build("defense", "mine", {}).apply("victim", None) == "victim"


def test_an_edit_in_the_same_second_that_keeps_the_size_is_seen(plugin, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    for first in (1, 2):
        (tmp_path / "mine.py").write_text(HALVE.replace("first: int = 0", f"first: int = {first}"))
        os.utime(tmp_path / "mine.py", (1, 1))
        load_plugin(tmp_path / "mine.py")
        assert build("target", "mine", {}).first == first


def test_a_plugin_of_the_same_name_in_another_folder_takes_no_place(plugin, tmp_path):
    plugin("mine", LEAVE)
    (tmp_path / "other").mkdir()
    for _ in range(2):
        with pytest.raises(UserError, match="there is a defense named 'mine' already; rename the file"):
            plugin("other/mine", LEAVE)
    assert registry.source_file("defense", "mine") == (tmp_path / "mine.py").resolve()


def test_a_plugin_is_not_loaded_again_after_a_module_that_it_imports_has_changed(plugin, tmp_path):
    (tmp_path / "its_rate_of_registry_test.py").write_text("RATE = 1\n")
    text = f"from its_rate_of_registry_test import RATE\n{LEAVE}"
    plugin("mine", text)
    plugin("mine", f"{text}\n")
    before = find("defense", "mine")
    (tmp_path / "its_rate_of_registry_test.py").write_text("RATE = 2\n")
    with pytest.raises(UserError, match="mine.py: .*registry_test.py has changed since .*; expected a new Python process"):
        plugin("mine", text)
    assert find("defense", "mine") is before


@pytest.mark.parametrize("name, text, message", [
    ("fine_tune", LEAVE, "a defense named 'fine_tune' already"),
    ("empty", "x = 1", "empty.py: expected a class decorated with @register, found none"),
    ("half", HALVE.replace("def alter", "def altered"), "target half: expected a method 'alter'"),
    ("idle", LEAVE.replace("def apply", "def applied"), "defense idle: expected a method 'apply'"),
    ("broken", "class:", "broken.py: SyntaxError"),
    ("needy", "import no_such_module", "needy.py: ModuleNotFoundError: .*'no_such_module'")])
def test_a_plugin_that_is_no_entry_is_refused_in_one_line(plugin, name, text, message):
    with pytest.raises(UserError, match=message) as refused:
        plugin(name, text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["missing.py", "folder.py", "notes.txt"])
@pytest.mark.parametrize("as_path", [Path, str])
def test_a_plugin_is_an_existing_python_file(tmp_path, name, as_path):
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=f"{name}: expected an existing .py file"):
        load_plugin(as_path(tmp_path / name))


def test_the_path_of_a_plugin_may_be_text(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_plugins", {})
    (tmp_path / "leave.py").write_text(LEAVE)
    load_plugin(str(tmp_path / "leave.py"))
    assert "leave" in names("defense")
