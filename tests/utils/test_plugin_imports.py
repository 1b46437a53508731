"""A plugin imports what lies beside it, also from packages that are named like ours; ours stay ours."""

import sys

import pytest

import models
from benchmark import registry
from benchmark.registry import find, load_plugin, names
from benchmark.utils.errors import UserError
from benchmark.utils.plugin_imports import import_beside
from benchmark.utils.plugin_sources import source_hash

HEAD = """from benchmark import import_beside
from benchmark.registry import register
from defenses.base import Defense
"""
BODY = "\n@register\nclass Mine(Defense):\n    def apply(self, victim, knowledge):\n        return {result}\n"
FILES = {
    "models/__init__.py": "from models.csrnet import WIDTH\nHEIGHT = WIDTH + 1\n",
    "models/csrnet.py": "from .parts.layers import DEPTH\nfrom models.base import Base\n"
                        "from beside_util import UNIT\nWIDTH = 4\n",
    "models/base.py": "class Base:\n    mine = True\n",
    "models/parts/__init__.py": "", "models/parts/layers.py": "DEPTH = 3\n",
    "models/own_net.py": "SIZE = 5\n", "beside_util.py": "UNIT = 1\n"}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A function that loads a plugin of some lines beside the FILES, and returns what its defense returns."""
    monkeypatch.setattr(registry, "_plugins", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(models, "__path__", [*models.__path__])
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def load(lines, result="None"):
        (tmp_path / "mine.py").write_text(HEAD + lines + BODY.format(result=result))
        load_plugin(tmp_path / "mine.py")
        return find("defense", "mine")().apply(None, None)

    yield load
    for name in [name for name in sys.modules if name in ("models.own_net", "beside_util")]:
        del sys.modules[name]


def test_modules_of_a_package_named_like_ours_are_imported_as_usual(mine):
    lines = "from models.base import Counter\nfrom models.own_net import SIZE\nfrom beside_util import UNIT\n"
    assert mine(lines, "(Counter.__module__, Counter.kind, SIZE, UNIT)") == ("models.base", "model", 5, 1)
    assert "own_net" not in names("model") and "csrnet" in names("model")


def test_import_beside_imports_the_module_that_ours_hides_and_ours_stays(mine):
    ours, csrnet = sys.modules["models"], find("model", "csrnet")
    lines = 'net = import_beside(__file__, "models.csrnet")\nwhole = import_beside(__file__, "models")\n'
    result = mine(lines, "(net.WIDTH, net.DEPTH, net.Base.mine, net.UNIT, whole.HEIGHT, whole.csrnet is net)")
    assert result == (4, 3, True, 1, 5, True)
    assert sys.modules["models"] is ours and find("model", "csrnet") is csrnet
    assert sys.modules["models.csrnet"].__file__ == str(registry.source_file("model", "csrnet"))


def test_a_folder_without_init_is_a_package_too(mine, tmp_path):
    (tmp_path / "models/__init__.py").unlink()
    assert mine('net = import_beside(__file__, "models.csrnet")\n', "net.WIDTH") == 4


@pytest.mark.parametrize("lines, message", [
    ("from models import build_model\n", "'models' is a package of CrowdBackdoorBench, and import_beside"),
    ("from models.nothing import Net\n", "No module named 'models.nothing'; 'models' is a package of Crowd"),
    ("import no_such_module\n", "No module named 'no_such_module'$"),
    ('import_beside(__file__, "models.nothing")\n', "expected a file .*/models/nothing.py or a folder"),
    ('name = "models.csrnet"\nimport_beside(__file__, name)\n', "expected the name as text in the call"),
    ("raise SystemExit(3)\n", "SystemExit: 3")])
def test_what_cannot_be_imported_is_told_in_one_line(mine, lines, message):
    with pytest.raises(UserError, match=message) as refused:
        mine(lines)
    assert "\n" not in str(refused.value) and sys.modules["models"] is models


def test_an_error_in_a_module_beside_leaves_ours_in_place(mine, tmp_path):
    (tmp_path / "models/csrnet.py").write_text("raise ValueError('broken')\n")
    with pytest.raises(UserError, match="mine.py: ValueError: broken"):
        mine('import_beside(__file__, "models.csrnet")\n')
    assert sys.modules["models"] is models and sys.path.count(str(tmp_path)) == 1


@pytest.mark.parametrize("lines, told", [
    ("from models.csrnet import WIDTH\n", None), ("import models.csrnet\n", "models.csrnet"),
    ("from models.base import Counter\n", None), ("from models.own_net import SIZE\n", None),
    ("import models.mcnn\n", None)])
def test_a_module_of_ours_that_might_have_been_meant_otherwise_is_told(mine, capsys, lines, told):
    if "WIDTH" in lines:  # ours has no such name
        with pytest.raises(UserError, match="import_beside"):
            mine(lines)
    else:
        mine(lines)
    line = capsys.readouterr().err
    assert (f"{told} is that of CrowdBackdoorBench, not" in line) if told else line == ""


@pytest.mark.parametrize("lines", [
    'net = import_beside(__file__, "models")\n', "def late():\n    import_beside(__file__, 'models')\n",
    'import benchmark\nnet = benchmark.import_beside(__file__, "models")\n'])
@pytest.mark.parametrize("name, counts", [(name, "own_net" not in name) for name in FILES])
def test_the_version_of_a_plugin_covers_what_is_imported_beside(mine, tmp_path, lines, name, counts):
    mine(lines)
    before = source_hash(tmp_path / "mine.py")
    (tmp_path / name).write_text((tmp_path / name).read_text() + "# edited\n")
    assert (source_hash(tmp_path / "mine.py") != before) == counts


@pytest.mark.parametrize("name, counts", [
    ("models/own_net.py", True), ("models/base.py", False), ("beside_util.py", True)])
def test_it_covers_what_is_imported_as_usual(mine, tmp_path, name, counts):
    mine("from models.base import Counter\nfrom models.own_net import SIZE\nimport beside_util\n")
    before = source_hash(tmp_path / "mine.py")
    (tmp_path / name).write_text((tmp_path / name).read_text() + "# edited\n")
    assert (source_hash(tmp_path / "mine.py") != before) == counts


def test_a_name_that_leads_out_of_the_folder_is_no_module(tmp_path):
    (tmp_path / "mine.py").write_text("")
    with pytest.raises(UserError, match="expected a file"):
        import_beside(tmp_path / "mine.py", "models/../../x")
