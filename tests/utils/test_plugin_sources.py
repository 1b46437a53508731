"""The version of a plugin covers the local modules that it imports, and nothing that is installed."""

import hashlib

import pytest

from benchmark.utils.plugin_sources import source_hash

PLUGIN = "import json\nimport torch\nfrom benchmark.registry import register\nfrom {module} import RATE\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder on the path of modules, with a plugin and a helper that imports another one."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "first_helper.py").write_text("from second_helper import SHARE\nRATE = 1\n")
    (tmp_path / "second_helper.py").write_text("SHARE = 2\n")
    (tmp_path / "plugin.py").write_text(PLUGIN.format(module="first_helper"))
    return tmp_path


def test_without_local_modules_it_is_the_hash_of_the_file(tmp_path):
    path = tmp_path / "plugin.py"
    path.write_text("import json\nimport torch\nimport numpy as np\nfrom defenses.base import Defense\nfrom nowhere import x\n")
    assert source_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()[:12]


@pytest.mark.parametrize("edited", ["plugin.py", "first_helper.py", "second_helper.py"])
def test_an_edit_of_the_file_or_of_a_module_that_it_imports_is_another_version(folder, edited):
    before = source_hash(folder / "plugin.py")
    assert source_hash(folder / "plugin.py") == before
    (folder / edited).write_text((folder / edited).read_text() + "\nMORE = 3\n")
    assert source_hash(folder / "plugin.py") != before


def test_a_module_that_is_not_imported_does_not_count(folder):
    before = source_hash(folder / "plugin.py")
    (folder / "other.py").write_text("RATE = 5\n")
    assert source_hash(folder / "plugin.py") == before


def test_modules_of_a_package_and_imports_inside_functions_count(folder):
    package = folder / "tools_of_mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "rates.py").write_text("RATE = 1\n")
    path = folder / "plugin.py"
    path.write_text("def apply():\n    from tools_of_mine import rates\n    return rates.RATE\n")
    before = source_hash(path)
    (package / "rates.py").write_text("RATE = 2\n")
    assert source_hash(path) != before


def test_modules_that_import_each_other_end(folder):
    (folder / "second_helper.py").write_text("import first_helper\nSHARE = 2\n")
    assert len(source_hash(folder / "plugin.py")) == 12
