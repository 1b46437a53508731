"""A list of cells -> their records. A cell that fails is named and the others finish."""

import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.config import Cell
from benchmark.detecting import repairs, wanted
from benchmark.device import state
from benchmark.errors import UserError
from benchmark.facts import attack_facts, attacks, known_by
from benchmark.record import Record
from benchmark.stages import Bench
from benchmark.store import content_key, main_says, write_atomically
from benchmark.training import TrainingFailed


@dataclass
class Outcome:
    """Records of the cells that finished, and a line for each that did not."""

    records: list[Record] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def run(cells: list[Cell], bench: Bench, out: Path) -> Outcome:
    """Run cells one after another; each record is written to `out`/records as soon as it is there."""
    outcome = Outcome()
    paths = [record_path(cell, bench, out) for cell in cells]  # all first: data that is missing is told before training
    (out / "records").mkdir(parents=True, exist_ok=True)  # and so is a folder that cannot be written
    for number, (cell, path) in enumerate(zip(cells, paths), start=1):
        done = main_says(path.is_file())
        _say(f"[{number}/{len(cells)}] {cell.title}{': done before' if done else ''}")
        try:
            record = Record.read(path) if done else bench.record(cell)
        except TrainingFailed as error:
            outcome.failures.append(f"{cell.title}: {error}")
            continue
        except (UserError, OSError):
            raise  # wrong request or full disk: the other cells would fail alike
        except Exception as error:  # a defense's own mistake, out of memory: its author needs the traceback
            traceback.print_exc()
            outcome.failures.append(f"{cell.title}: {type(error).__name__}: {error}")
            continue
        if not done and is_main():
            write_atomically(path, record.dumps())
        outcome.records.append(record)
    return outcome


def plan(cells: list[Cell], bench: Bench, out: Path) -> list[dict[str, str]]:
    """What a run would do: each cell, and which of its stages are in the store already."""
    rows, seen = [], set()
    for cell in cells:
        stages = [] if cell.protocol.audit else [("clean counter", "counters", bench.training_facts(cell, False)),
                                                 *(("trigger", "triggers", facts) for one in attacks(cell)
                                                   if (facts := bench.pattern_facts(one))),
                                                 ("victim", "counters", bench.training_facts(cell, True))]
        if repairs(cell):
            stages.append(("repair", "counters", bench.repair_facts(cell)))
        stages += [("detection", "scores", facts) for facts in wanted(bench, cell)]
        todo = []
        for stage, kind, facts in stages:
            key = content_key(facts)
            if key not in seen and not bench.store.path(kind, facts).is_dir():
                todo.append(stage)
            seen.add(key)
        done = record_path(cell, bench, out).is_file()
        todo = dict.fromkeys(todo)  # a detector has several stages of one name
        rows.append({"cell": cell.title, "to train": "nothing" if done else ", ".join(todo) or "nothing",
                     "record": "done" if done else "to do"})
    return rows


def record_path(cell: Cell, bench: Bench, out: Path) -> Path:
    """Where a cell's record belongs: a readable name and a hash of all that decides it."""
    knows = cell.defense.build().knows
    facts = [bench.training_facts(cell, False), bench.training_facts(cell, True), cell.defense.name != "none" and
             bench.repair_facts(cell), bench.data_facts(cell.data.build(), "test"), cell.protocol.variant, knows.extra]
    if cell.test_trigger:
        facts.append(known_by(cell.test_trigger))
    if cell.also:
        facts.append(attack_facts(cell))  # the victim's are those of both attacks, whichever of them is measured
    target = cell.target.name if cell.target else "clean"
    name = f"{cell.model.name}-{target}-{cell.defense.name}-seed{cell.protocol.seed}-{content_key(facts)[:8]}.json"
    return out / "records" / name


def is_main() -> bool:
    """Whether this process is the one that writes and prints."""
    return state().is_main_process


def _say(line: str) -> None:
    if is_main():
        print(line, file=sys.stderr, flush=True)
