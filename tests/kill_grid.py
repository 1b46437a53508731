"""A small grid, killed with SIGKILL at random instants and started again, must end as if nothing had happened.

    python tests/kill_grid.py 100

After each kill nothing visible is half-written, nothing that was finished is made again, and in the end the records
are those of a run that was left alone. The test suite does a few; this does as many as it is told.
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
training: {epochs: 4, checkpoint_every: 1}
"""


def command(folder):
    return [sys.executable, "-m", "benchmark", "run", f"{folder.parent}/grid.yaml", "--out", f"{folder}/out",
            "--store", f"{folder}/store"]


def environment():
    """One thread: sums in another order are rounded otherwise, and a training makes much of that."""
    return os.environ | {"OMP_NUM_THREADS": "1"}


def results(folder):
    """The records, without how long anything took."""
    found = {}
    for path in sorted((folder / "out/records").glob("*.json")):
        record = Record.read(path).model_dump(mode="json")
        for stage in record["provenance"]["stages"].values():
            stage.pop("seconds")
        found[path.name] = record
    return found


def finished(folder):
    """Finished stages and records, each with the time of its last change."""
    kept = [*folder.glob("store/*/[!.]*"), *folder.glob("out/records/*.json")]
    return {path: path.stat().st_mtime_ns for path in kept}


def wrong(folder):
    """What is half-written; a record that is not whole cannot be read."""
    results(folder)
    return [found for stage in folder.glob("store/*/[!.]*") if (found := damage(stage))]


def run(folder, kill_after=None):
    """One run, killed so many seconds after its first line; whether it came to its end, and how long it took."""
    process = subprocess.Popen(command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment())
    first, began = process.stderr.readline(), time.monotonic()
    try:
        _, error = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return False, kill_after
    assert process.returncode == 0, (first + error).decode()
    return True, time.monotonic() - began


def kill(times, folder, seed=0, say=print):
    """Kill runs so many times in all; returns how many grids that took."""
    rng = random.Random(seed)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    (folder / "grid.yaml").write_text(GRID)
    run(folder / "whole")
    expected, (_, seconds) = results(folder / "whole"), run(folder / "timed")
    killed, grids = 0, 0
    while killed < times:
        grids, done = grids + 1, False
        here = folder / f"grid-{grids}"
        while not done:
            before = finished(here)
            done, _ = run(here, rng.uniform(0, seconds) if killed < times else None)
            killed += not done
            assert not wrong(here), wrong(here)
            assert {path: changed for path, changed in finished(here).items() if path in before} == before
            say(f"{killed} kills, grid {grids}: {len(finished(here))} stages and records are there")
        assert results(here) == expected, f"{here}: other records than {folder / 'whole'}"
    return grids


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(f"{sys.argv[1]} kills over {kill(int(sys.argv[1]), Path(folder))} grids: all ended in the same records")
