"""What a forger does to an entry, and how it is refused."""

import hashlib
import json
import time
import tracemalloc

from factories import rewritten

from benchmark.leaderboard.manifest import revision
from benchmark.leaderboard.validate import validate
from benchmark.utils.human import number

SECONDS, MEMORY = 10, 300 * 2**20  # of the processor and in bytes, for the worst file


def root_of(entry):
    return entry.parents[2]


def cell(entry, name="add-mine-seed0"):
    [path] = (entry / "cells").glob(f"*{name}*")
    return path


def sealed(entry):
    """What a forger does who knows the format: hashes and path follow the cells again."""
    told = json.loads((entry / "entry.json").read_text())
    told["cells"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (entry / "cells").iterdir()}
    (entry / "entry.json").write_text(json.dumps(told))
    return entry.rename(entry.with_name(revision(told["cells"])))


def refused(root, *words, against=None):
    """There are errors, each in one line, and the first has all the words."""
    began = time.process_time()
    tracemalloc.start()
    report = validate([root], against)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not report.ok and time.process_time() - began < SECONDS and most < MEMORY
    *_, last = lines = report.text().split("\n")
    errors = [line for line in lines if line.startswith("error: ")]
    assert [word for word in words if word not in errors[0]] == [], errors[0]
    assert all(len(line) <= 400 and line.isprintable() for line in lines) and number(len(errors), "error") in last
    return errors


def forged(entry, name, change, *words):
    rewritten(entry / "cells", name, change)
    return refused(root_of(sealed(entry)), *words)


def elsewhere(record):
    """A record as another machine would have made it, which rounds differently."""
    record["provenance"]["device_name"] = "another processor"
    for key, counts in record["images"].items():
        if key not in ("id", "truth", "target") and counts:
            record["images"][key] = [count * (1 + 2e-6) for count in counts]


def put(*keys_and_value):
    """A change of a record: a value under keys."""
    *keys, last, value = keys_and_value

    def change(record):
        for key in keys:
            record = record[key]
        record[last] = value(record[last]) if callable(value) else value
    return change
