"""A list of cells -> their records. A cell that fails is named and the others finish."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.config.cell import Cell, display_names
from benchmark.pipeline import cache_keys
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.local_executor import Executor, run_locally
from benchmark.pipeline.record_builder import record
from benchmark.pipeline.stage import Stage
from benchmark.pipeline.store import Store
from benchmark.pipeline.time_estimates import Estimator
from benchmark.profiling import speed
from benchmark.results.record import Record
from benchmark.utils.device import main_says, state
from benchmark.utils.errors import UserError
from benchmark.utils.files import write_atomically
from benchmark.utils.human import duration
from benchmark.utils.progress import log

LOOK = 10  # seconds until it is looked again what others have made: a network file system takes its time


@dataclass
class Outcome:
    """Records of the cells that finished, where each lies, and a line for each that did not."""

    records: list[Record] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def run(cells: Sequence[Cell], graph: StageGraph, out: Path, executor: Executor = run_locally, retry: bool = False) -> Outcome:
    """Run cells; each record is written to `out`/records as soon as its stages are there.

    retry: run only the cells that failed before, once more.
    """
    began = time.monotonic()
    paths = [record_path(cell, graph, out) for cell in cells]  # all first: data that is missing is told before training
    (out / "records").mkdir(parents=True, exist_ok=True)  # and so is a folder that cannot be written
    todo = {path: cell for path, cell in zip(paths, cells) if not main_says(path.is_file())}
    log(f"{len(cells)} cells, {len(paths) - len(todo)} of them done before")
    stages = {path: graph.stages(cell) for path, cell in todo.items()}
    if retry:
        stages = _failed_before(stages, graph.store)
    for path in stages:  # a broken image, too, is told before training
        graph.data.test_of(todo[path])
    names = dict(zip(paths, display_names(cells)))
    outcome, left = Outcome(), {path: set(needed) for path, needed in stages.items()}
    clock = _Clock(dict.fromkeys(stage for needed in stages.values() for stage in needed), graph.store)
    for stage, failure in executor(list(clock.stages), graph.store):
        clock.settle(stage, failure)
        for path in [path for path, needed in left.items() if stage in needed]:
            left[path].discard(stage)
            if failure is not None:
                outcome.failures.append(f"{names[path]}: {failure}")
            elif not left[path]:
                _write(path, record(graph, todo[path]))
            if failure is not None or not left[path]:
                del left[path]
                log(f"[{len(stages) - len(left)}/{len(stages)}{clock.left()}] {names[path]}"
                    f"{': failed' if failure else ''}")
    if stages:
        elsewhere = f", {clock.made - graph.store.made} elsewhere" if clock.made > graph.store.made else ""
        log(f"{graph.store.made} stages made here in {duration(graph.store.spent)}{elsewhere}; waiting and all else "
            f"took {time.monotonic() - began - graph.store.spent:.1f} s")
    outcome.paths = [path for path in dict.fromkeys(paths) if main_says(path.is_file())]
    outcome.records = list(map(Record.read, outcome.paths))
    return outcome


class _Clock:
    """How long stages took, and how long the others will."""

    def __init__(self, stages: Iterable[Stage], store: Store):
        self.stages, self.store, self.made = stages, store, 0
        self.missing = {stage: None for stage in stages if not store.has(stage)}
        self.estimator = learned((stage for stage in stages if stage not in self.missing), store)
        self.todo, self.looked = list(self.missing), time.monotonic()

    def settle(self, stage: Stage, failure: str | None) -> None:
        if stage in self.missing and failure is None:
            self.made += 1
            if stage.work:
                self.estimator.learn(stage.work(), self.store.seconds(stage))
        self.missing.pop(stage, None)

    def left(self) -> str:
        """', about 3 min left', or nothing where that is not known."""
        if time.monotonic() - self.looked > LOOK:  # others make some of them
            self.todo = [stage for stage in self.missing if not self.store.path(stage).is_dir()]
            self.looked = time.monotonic()
        times = [self.estimator.seconds(stage.work()) for stage in self.todo if stage.work and stage in self.missing]
        return f", about {duration(sum(times))} left" if times and None not in times else ""


def learned(finished: Iterable[Stage], store: Store) -> Estimator:
    """An estimator that knows what finished stages took, and what `speed` measured on this machine."""
    estimator = Estimator(speed.known())
    for stage in finished:
        if stage.work:
            estimator.learn(stage.work(), store.seconds(stage))
    return estimator


def _failed_before(stages: dict[Path, list[Stage]], store: Store) -> dict[Path, list[Stage]]:
    """Those of the cells that have a stage that failed, which is forgiven."""
    failed = {path: needed for path, needed in stages.items() if any(map(store.failure, needed))}
    if not failed:
        raise UserError("--retry-failed: no cell of this grid failed before; leave it out to run what is missing")
    for stage in {stage for needed in failed.values() for stage in needed}:
        store.clear_failure(stage)
    return failed


def shard(cells: Sequence[Cell], graph: StageGraph, number: int, shards: int) -> list[Cell]:
    """The cells of one of several shares, numbered from 1. Cells of one victim are of one share."""
    victims = [graph.victim(cell) for cell in cells]
    place = {victim: place for place, victim in enumerate(dict.fromkeys(victims))}
    return [cell for cell, victim in zip(cells, victims) if place[victim] % shards == number - 1]


def record_path(cell: Cell, graph: StageGraph, out: Path) -> Path:
    """The path of a cell's record."""
    return out / "records" / cache_keys.record(graph.data, cell)


def _write(path: Path, record: Record) -> None:
    if state().is_main_process:
        write_atomically(path, record.dumps())
