"""A folder with the name of one of our packages is named where it hides ours, and is no hindrance to the command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.utils.packages import OURS, check_not_hidden

COMMAND = Path(sys.executable).with_name("crowdbench")
OLD_TEST = "from benchmark.testing import check_defense\n\n\ndef test_it():\n    pass\n"


def started(folder, *arguments, **variables):
    return subprocess.run(list(map(str, arguments)), cwd=folder, capture_output=True, text=True, timeout=120,
                          env=os.environ | {"PYTHONPATH": ""} | variables)


def a_package(folder, name, style="package"):
    if style == "file":
        (folder / f"{name}.py").write_text("x = 1\n")
        return folder / f"{name}.py"
    (folder / name).mkdir()
    (folder / name / ("__init__.py" if style == "package" else "net.py")).write_text("x = 1\n")
    return folder / name


def test_here_nothing_is_hidden():
    check_not_hidden()


@pytest.mark.parametrize("name, style", [*((name, "package") for name in OURS if name != "benchmark"),
                                         ("models", "folder"), ("defenses", "file")])
def test_python_m_names_the_folder_in_one_line_and_the_command_works(name, style, tmp_path):
    hiding = a_package(tmp_path, name, style)
    done = started(tmp_path, sys.executable, "-m", "benchmark", "list", "models")
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    for word in (f"{hiding} hides the package '{name}'", "torchrun --no-python", "--no_python", "crowdbench check"):
        assert word in done.stderr
    done = started(tmp_path, COMMAND, "list", "models")
    assert done.returncode == 0 and "csrnet" in done.stdout and done.stderr == ""


def test_the_command_works_beside_a_package_benchmark(tmp_path):
    a_package(tmp_path, "benchmark")
    assert started(tmp_path, COMMAND, "list", "models").returncode == 0


def test_a_folder_in_pythonpath_is_told_as_such(tmp_path):
    hiding = a_package(tmp_path, "models")
    for path in (".", str(tmp_path)):
        done = started(tmp_path, COMMAND, "list", "models", PYTHONPATH=path)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
        assert f"{hiding} hides" in done.stderr and f"PYTHONPATH without {tmp_path}" in done.stderr


def test_the_python_api_and_a_test_name_the_folder_too(tmp_path):
    hiding = a_package(tmp_path, "models")
    done = started(tmp_path, sys.executable, "-c", "import benchmark as cb; cb.run")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and last.startswith(f"benchmark.utils.errors.UserError: {hiding} hides")
    (tmp_path / "test_old.py").write_text(OLD_TEST)
    done = started(tmp_path, sys.executable, "-m", "pytest", "-q", "test_old.py")
    assert done.returncode == 2 and f"{hiding} hides the package 'models'" in done.stdout
