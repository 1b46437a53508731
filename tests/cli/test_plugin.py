"""`crowdbench check` says in a line whether a defense, trigger or target keeps the contract."""

import os
import re
import subprocess
import sys

import pytest

from benchmark import registry
from benchmark.cli import main
from benchmark.cli.scaffold import write_new

COPY = "repaired = victim.copy()"


@pytest.fixture(autouse=True)
def desk(tmp_path, monkeypatch):
    """Each test works in a folder of its own, and what it registers is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_plugins", {})
    return tmp_path


def a_defense(folder, name, old="", new="", template="defense"):
    path, _ = write_new(template, name, folder)
    assert old in path.read_text()
    path.write_text(path.read_text().replace("epochs: int = 10", "epochs: int = 1").replace(old, new))
    return path.name


def test_defenses_that_keep_the_contract_get_a_line_each(desk, capsys):
    names = [a_defense(desk, "first"), a_defense(desk, "second", template="detector")]
    assert main(["check", *names]) == 0
    assert capsys.readouterr().out.splitlines() == ["ok: defense first: it keeps the contract",
                                                    "ok: defense second: it keeps the contract"]


@pytest.mark.parametrize("new, message", [
    ("repaired = victim", "defense mine: it changes the victim; expected it to work on victim.copy()"),
    (f"{COPY}; knowledge.poisoned", "NotDeclared: .*'poisoned' images .mine.py, line 16.$"),
    (f"{COPY}; return repaired", "defense mine: it declares .* and uses"),
    (f"{COPY}; raise KeyError('a\\nb')", "defense mine: KeyError: .*.mine.py, line 16.$"),
    (f"{COPY}; raise SystemExit(0)", "defense mine: SystemExit: 0 .mine.py, line 16.$"),
    (f"{COPY}; raise BaseException('no')", "defense mine: BaseException: no"),
    (f"{COPY}; assert False", "defense mine: AssertionError"),
    ("return None", "defense mine: AttributeError: .*None")])
def test_a_broken_rule_is_told_in_a_line_and_the_other_defense_is_checked_too(desk, capsys, new, message):
    names = [a_defense(desk, "mine", COPY, new), a_defense(desk, "sound")]
    assert main(["check", *names]) == 1
    wrong, ok = capsys.readouterr().out.splitlines()
    assert wrong.startswith("wrong: defense mine: ") and ok == "ok: defense sound: it keeps the contract"
    assert re.search(message, wrong)


@pytest.mark.slow
def test_the_rules_hold_without_assertions_too(desk):
    a_defense(desk, "mine", COPY, "repaired = victim")
    done = subprocess.run([sys.executable, "-P", "-O", "-m", "benchmark", "check", "mine.py"], cwd=desk,
                          capture_output=True, text=True)
    assert done.returncode == 1 and "it changes the victim" in done.stdout


@pytest.mark.parametrize("setting, code, message", [
    ("defense.epochs=1", 0, ""), ("epochs=1", 0, ""), ("epochs=x", 2, "defense mine: epochs = 'x'"),
    ("epochs", 2, "expected key=value")])
def test_a_setting_of_the_defense_may_be_given(desk, capsys, setting, code, message):
    name = a_defense(desk, "mine", "epochs: int = 1", "epochs: int")
    assert main(["check", name, "--set", setting]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("text, message", [
    ("x = 1\n", "plugin mine.py: expected a class decorated with @register"),
    ("class:\n", "plugin mine.py: SyntaxError"),
    (None, "plugin mine.py: expected an existing .py file"),
    ("raise SystemExit(0)\n", "plugin mine.py: SystemExit: 0"),
    ("raise BaseException('no')\n", "plugin mine.py: BaseException: no"),
    ("from models.tiny import Tiny\nfrom benchmark.registry import register\n\n\n"
     "@register\nclass More(Tiny):\n    pass\n",
     "check mine.py: expected a defense, trigger or target, found model mine; only these have a check")])
def test_a_file_without_anything_to_check_is_a_wrong_request(desk, capsys, text, message):
    if text is not None:
        (desk / "mine.py").write_text(text)
    assert main(["check", "mine.py"]) == 2
    out, line = capsys.readouterr()
    assert out == "" and message in line and line.count("\n") == 1


def test_list_tells_a_plugin_without_a_component_and_other_commands_refuse_it(desk, capsys):
    (desk / "helper.py").write_text("x = 1\n")
    assert main(["list", "models", "--plugin", "helper.py"]) == 0
    out, err = capsys.readouterr()
    assert "csrnet" in out and err.count("\n") == 1 and "expected a class decorated with @register" in err
    assert main(["run", "quick", "--dry-run", "--plugin", "helper.py"]) == 2


@pytest.mark.parametrize("what, checked", [("trigger", ["trigger"]), ("target", ["target"]),
                                           ("attack", ["trigger", "target"])])
def test_what_new_writes_for_an_attack_keeps_the_contract(desk, capsys, what, checked):
    write_new(what, "mine", desk)
    assert main(["check", "mine.py"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"ok: {kind} mine: it keeps the contract" for kind in checked]
    assert all(len(line) <= 100 for line in (desk / "mine.py").read_text().splitlines())


def test_a_broken_trigger_and_its_sound_target_get_a_line_each(desk, capsys):
    path, _ = write_new("attack", "mine", desk)
    path.write_text(path.read_text().replace("return images.lerp(", "return images.mul_(0.9).lerp("))
    assert main(["check", "mine.py"]) == 1
    wrong, ok = capsys.readouterr().out.splitlines()
    assert wrong.startswith("wrong: trigger mine: of images 64 x 96, it changes its input; expected")
    assert ok == "ok: target mine: it keeps the contract"


@pytest.mark.parametrize("settings, code, message", [
    (["attack.alpha=0.5"], 0, ""), (["alpha=2"], 2, "trigger mine: alpha = 2: "), (["attack.beta=1"], 2, "unknown key 'beta'"),
    (["attack.alpha=0.5", "defense.epochs=1"], 0, "")])
def test_each_component_gets_the_settings_that_it_has(desk, capsys, settings, code, message):
    write_new("attack", "mine", desk)
    names = ["mine.py"] + ([a_defense(desk, "theirs")] if len(settings) > 1 else [])
    assert main(["check", *names, *(word for text in settings for word in ("--set", text))]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("what, name, message", [
    ("trigger", "blended", "a trigger of that name is registered"), ("target", "add", "a target of that name is registered"),
    ("attack", "patch", "a trigger of that name"), ("attack", "minus", "a target of that name"),
    ("trigger", "Mine", "for instance my_trigger"), ("attack", "a-b", "for instance my_attack"), ("target", "class", "my_target")])
def test_new_refuses_a_name_and_writes_nothing(desk, capsys, what, name, message):
    assert main(["new", what, name]) == 2
    assert message in capsys.readouterr().err and not list(desk.iterdir())


@pytest.mark.slow
def test_check_and_the_test_that_new_writes_work_beside_a_package_models(desk):
    for name in ("models", "attacks", "defenses", "benchmark"):
        (desk / name).mkdir()
        (desk / name / "__init__.py").touch()
    a_defense(desk, "mine")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for command in ([os.path.join(os.path.dirname(sys.executable), "crowdbench"), "check", "mine.py"],
                    [sys.executable, "-m", "pytest", "-q", "test_mine.py"]):
        done = subprocess.run(command, cwd=desk, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
