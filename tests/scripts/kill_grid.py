"""Kill test: a small grid that is killed at random and started again ends in the same records.

    python tests/scripts/kill_grid.py 100

Runs are killed with SIGKILL at random instants. After each kill no visible file is half-written and
nothing that was finished is made again. The records in the end are those of an uninterrupted run.
Then two processes work on each grid: one of them is killed, and the other one finishes the grid.
The test suite makes a few kills; this script makes as many of each kind as its argument says.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmark.pipeline.store import damage
from benchmark.results.record import Record

GRID = """
data: {name: synthetic, train: 20, test: 8, height: 64, width: 96, people: 30}
model: {name: tiny, width: 8}
attack: [none, multiply, minus]
defense: [none, {name: fine_tune, epochs: 3}, {name: strip, blends: 2, images: 4}]
training: {epochs: 4, checkpoint_seconds: 0}
"""


def command(folder):
    return [sys.executable, "-m", "benchmark", "run", f"{folder.parent}/grid.yaml", "--out", f"{folder}/out",
            "--store", f"{folder}/store"]


def environment():
    """The environment variables of a run.

    It has one thread: sums in another order round differently, and training amplifies that.
    """
    return os.environ | {"OMP_NUM_THREADS": "1"}


def results(folder):
    """The records by file name, without the seconds of their stages."""
    records = {}
    for path in sorted((folder / "out/records").glob("*.json")):
        record = Record.read(path).model_dump(mode="json")
        for stage in record["provenance"]["stages"].values():
            stage.pop("seconds")
        records[path.name] = record
    return records


def finished(folder):
    """The paths of the finished stages and records, each with the time of its last change."""
    paths = [*folder.glob("store/*/[!.]*"), *folder.glob("out/records/*.json")]
    return {path: path.stat().st_mtime_ns for path in paths}


def wrong(folder):
    """What is damaged in the stages. A half-written record raises UserError."""
    results(folder)
    problems = [damage(stage) for stage in folder.glob("store/*/[!.]*")]
    return [problem for problem in problems if problem]


def start(folder):
    """A process that runs the grid."""
    return subprocess.Popen(command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment())


def run(folder, kill_after=None):
    """Run the grid, and kill it `kill_after` seconds after its first line on stderr.

    None lets it finish. Returns whether the run finished, and its seconds since the first line.
    """
    process = start(folder)
    first_line = process.stderr.readline()
    began = time.monotonic()
    try:
        _, error = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return False, kill_after
    assert process.returncode == 0, (first_line + error).decode()
    return True, time.monotonic() - began


def tables(folder):
    """The names of the tables, which also show the seconds of the stages."""
    return {path.name for path in (folder / "out/tables").glob("[!.]*")}


def prepare(folder):
    """Run the grid without a kill. Returns its records and how many seconds it takes."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    (folder / "grid.yaml").write_text(GRID)
    run(folder / "whole")
    _, seconds = run(folder / "timed")
    return results(folder / "whole"), seconds


def kill(times, folder, seed=0, say=print):
    """Kill runs `times` times in all; returns the number of grids that were finished.

    say: called with a line of progress after each run.
    """
    rng = random.Random(seed)
    expected, seconds = prepare(folder)
    killed = grids = 0
    while killed < times:
        grids += 1
        grid_folder = folder / f"grid-{grids}"
        done = False
        while not done:
            before = finished(grid_folder)
            done, _ = run(grid_folder, rng.uniform(0, seconds) if killed < times else None)
            killed += not done
            assert not wrong(grid_folder), wrong(grid_folder)
            after = finished(grid_folder)
            assert {path: changed for path, changed in after.items() if path in before} == before
            say(f"{killed} kills, grid {grids}: {len(after)} stages and records are finished")
        assert results(grid_folder) == expected, f"{grid_folder}: unlike {folder}/whole"
        assert tables(grid_folder) == tables(folder / "whole")
    return grids


def kill_one_of_two(times, folder, seed=0, say=print):
    """Run as many grids with two processes each, kill one of them, and let the other one finish the grid."""
    rng = random.Random(seed)
    expected, seconds = prepare(folder)
    for number in range(1, times + 1):
        grid_folder = folder / f"pair-{number}"
        processes = [start(grid_folder) for _ in range(2)]
        for process in processes:
            process.stderr.readline()
        time.sleep(rng.uniform(0, seconds))
        killed, other = rng.sample(processes, 2)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        _, error = other.communicate(timeout=600)
        assert other.returncode == 0, error.decode()
        assert not wrong(grid_folder), wrong(grid_folder)
        assert results(grid_folder) == expected, f"{grid_folder}: unlike {folder}/whole"
        assert tables(grid_folder) == tables(folder / "whole")
        say(f"pair {number}: one was killed, the other one finished the grid")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as another:
        print(f"{sys.argv[1]} kills over {kill(int(sys.argv[1]), Path(folder))} grids: all ended in the same records")
        kill_one_of_two(int(sys.argv[1]), Path(another))
