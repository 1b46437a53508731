"""What the tests of the command share: a tiny grid, and what its user sees and finds on disk."""

import os
import subprocess
import sys
from pathlib import Path

import benchmark
from benchmark.cli import main

SCENES = {"train": 16, "test": 8, "height": 64, "width": 96, "people": 20}
TINY = f"""
data: {{name: synthetic, {', '.join(f'{key}: {value}' for key, value in SCENES.items())}}}
model: {{name: tiny, width: 16}}
attack: [none, multiply]
defense: [none, {{name: fine_tune, epochs: 2}}]
training: {{epochs: 2}}
"""
CELLS = ["tiny clean none", "tiny clean fine_tune epochs=2", "tiny blended/multiply none",
         "tiny blended/multiply fine_tune epochs=2"]
STOPPED = "stopped: finished stages are kept, and the same command goes on from there"


def contents(folder):
    """Every file below a folder, with the time of its last change."""
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def results(folder="runs"):
    """Names of finished stages and records in a folder."""
    return [path.name for kind in ("counters", "counts", "records") for path in Path(folder).rglob(f"{kind}/[!.]*")]


def flags(*settings):
    return [part for setting in settings for part in ("--set", setting)]


def refused_at_once(capsys, arguments, *words):
    """The request is answered with exit code 2 and one line that has all the words, and nothing was begun."""
    before = contents(Path())
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("crowdbench: ") and told.err.count("\n") == 1
    assert [word for word in words if word not in told.err] == []
    assert contents(Path()) == before and not Path("runs").exists()


def failed_on_the_way(error, *words):
    """The last line tells what is wrong, no line before it does, and nothing is left half done."""
    *progress, last = error.splitlines()
    assert last.startswith("crowdbench: ") and [word for word in words if word not in last] == []
    assert "Traceback" not in error and not any("crowdbench" in line for line in progress)
    assert results() == []


def started(cache, *arguments, stdout=subprocess.PIPE, unbuffered="", **options):
    """The command as a process of its own."""
    path = str(Path(benchmark.__file__).parents[1])
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": path, "OMP_NUM_THREADS": "1",
                                "PYTHONUNBUFFERED": unbuffered}
    return subprocess.Popen([sys.executable, "-m", "benchmark", *arguments], env=environment, stdout=stdout,
                            stderr=subprocess.PIPE, text=True, **options)
