"""The runner: makes the stages and records of cells; a failed cell does not stop the others."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from benchmark.config.cell import Cell, display_names
from benchmark.pipeline import cache_keys, record_files
from benchmark.pipeline.circumstances import told, watched
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.local_executor import Executor, run_locally
from benchmark.pipeline.record_builder import build_record
from benchmark.pipeline.record_files import read_if_sound
from benchmark.pipeline.stage import Stage
from benchmark.pipeline.store import Store
from benchmark.pipeline.time_estimates import Estimator
from benchmark.profiling.stored_rates import known_rates
from benchmark.results.record import Record
from benchmark.utils.device import main_says
from benchmark.utils.human import duration, number
from benchmark.utils.progress import log
from benchmark.utils.switches import switches

# Seconds between looks at what others have made, which takes time on a network file system.
LOOK = 10


@dataclass
class Outcome:
    """The records of the finished cells, the path of each, and one line for each failed cell."""

    records: list[Record] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def run(cells: Sequence[Cell], graph: StageGraph, out: Path, executor: Executor = run_locally,
        retry: bool = False) -> Outcome:
    """Run cells. Each record is written to `out`/records as soon as its stages are there.

    retry: also try again what failed before. It does not leave out the other cells: once a run of
        another share has forgiven a stage, nothing tells any more which cells failed for it.

    Raises:
        UserError: data is missing or broken, which is found before anything is trained, or a stage
            changes a switch of torch.
        OSError: `out` cannot be written.
    """
    began, began_with = time.monotonic(), switches()
    paths = [record_path(cell, graph, out) for cell in cells]
    (out / "records").mkdir(parents=True, exist_ok=True)
    done = {path: read_if_sound(path) for path in dict.fromkeys(paths)}
    todo = {path: cell for path, cell in zip(paths, cells) if main_says(done[path] is None)}
    log(f"{number(len(cells), 'cell')}, {len(paths) - len(todo)} of them done before")
    stages = {path: [watched(stage, cell, began_with) for stage in graph.stages(cell)]
              for path, cell in todo.items()}
    for line in graph.data.small_images(todo[path] for path in stages):
        log(line)
    for path in stages:
        graph.data.test_of(todo[path])  # finds broken images
    names = dict(zip(paths, display_names(cells)))
    failures: dict[Path, str] = {}
    if stages:
        with graph.store.in_use():
            if retry:
                for stage in dict.fromkeys(chain.from_iterable(stages.values())):
                    graph.store.clear_failure(stage)
            failures = _make_records(stages, todo, names, graph, executor)
        other = time.monotonic() - began - graph.store.spent
        log(f"waiting and everything else took {other:.1f} s")
    # The main process has written all records before it says so of the first.
    made = {path: Record.read(path) for path in stages if main_says(path not in failures)}
    records = {path: record for path, record in (done | made).items() if record}
    return Outcome(list(records.values()), list(records), list(failures.values()))


def _make_records(stages: dict[Path, list[Stage]], cells: dict[Path, Cell],
                  names: dict[Path, str], graph: StageGraph,
                  executor: Executor) -> dict[Path, str]:
    """Make stages, and each record when its last stage is there.

    Returns a line for each failed cell, by the path of its record.
    """
    missing = {path: set(needed) for path, needed in stages.items()}
    distinct = dict.fromkeys(chain.from_iterable(stages.values()))
    progress = _Progress(distinct, graph.store)
    failures: dict[Path, str] = {}
    for stage, failure in executor(list(progress.stages), graph.store):
        progress.settle(stage, failure)
        for path in [path for path, needed in missing.items() if stage in needed]:
            missing[path].discard(stage)
            if failure is not None:
                failures[path] = f"{names[path]}: {failure}"
            elif missing[path]:
                continue
            else:
                record_files.write(path, _record(graph, cells[path], stages[path]))
            del missing[path]
            failed = ": failed" if failure else ""
            done = f"{len(stages) - len(missing)}/{len(stages)}"
            log(f"[{done}{progress.time_left()}] {names[path]}{failed}")
    log(progress.summary())
    return failures


class _Progress:
    """The time that stages took, and the time that the others will take."""

    def __init__(self, stages: Iterable[Stage], store: Store):
        self.stages, self.store, self.made = stages, store, 0
        self.missing = {stage: None for stage in stages if not store.has(stage)}
        self.estimator = learned((stage for stage in stages if stage not in self.missing), store)
        self.todo, self.looked = list(self.missing), time.monotonic()

    def settle(self, stage: Stage, failure: str | None) -> None:
        """Note that a stage is there or has failed."""
        if stage in self.missing and failure is None:
            self.made += 1
            _learn(self.estimator, stage, self.store)
        self.missing.pop(stage, None)

    def time_left(self) -> str:
        """', about 3 min left', or an empty text where that is not known."""
        if time.monotonic() - self.looked > LOOK:  # other processes make some of the stages
            self.todo = [stage for stage in self.missing if not self.store.path(stage).is_dir()]
            self.looked = time.monotonic()
        times = [self.estimator.seconds(stage.work()) for stage in self.todo
                 if stage.work and stage in self.missing]
        return f", about {duration(sum(times))} left" if times and None not in times else ""

    def summary(self) -> str:
        """The number of stages that were made, by this process and by others."""
        others = self.made - self.store.made
        parts = []
        if self.store.made or others <= 0:
            parts.append(f"{number(self.store.made, 'stage')} made in {duration(self.store.spent)}")
        if others > 0:
            parts.append(f"{number(others, 'stage')} made by other processes")
        return ", ".join(parts)


def learned(finished: Iterable[Stage], store: Store) -> Estimator:
    """An estimator that knows the times of finished stages and what `crowdbench speed` measured."""
    estimator = Estimator(known_rates())
    for stage in finished:
        _learn(estimator, stage, store)
    return estimator


def _learn(estimator: Estimator, stage: Stage, store: Store) -> None:
    """Tell an estimator how long a finished stage took, if that is known."""
    seconds = store.seconds(stage) if stage.work else None
    if seconds is not None:
        estimator.learn(stage.work(), seconds)


def shard(cells: Sequence[Cell], graph: StageGraph, number: int, shards: int) -> list[Cell]:
    """The cells of share `number`, counted from 1, of `shards` shares.

    Cells with the same victim are in the same share.
    """
    victims = [graph.victim(cell) for cell in cells]
    index = {victim: i for i, victim in enumerate(dict.fromkeys(victims))}
    return [cell for cell, victim in zip(cells, victims) if index[victim] % shards == number - 1]


def record_path(cell: Cell, graph: StageGraph, out: Path) -> Path:
    """The path of a cell's record."""
    return out / "records" / cache_keys.record(graph.data, cell)


def _record(graph: StageGraph, cell: Cell, stages: Sequence[Stage]) -> Record:
    """The record of a cell, which tells the circumstances of its stages where they are unusual."""
    record = build_record(graph, cell)
    provenance = record.provenance | told(graph.store, stages, cell)
    return record.model_copy(update={"provenance": provenance})
