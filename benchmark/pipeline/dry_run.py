"""Dry runs: the cells of a run, its missing stages, and the time and disk space they will take."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmark.component_source import class_attribute
from benchmark.config.cell import Cell, Component, display_names
from benchmark.config.frozen_grids import protocol_of
from benchmark.pipeline.counter_files import build_empty
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.record_files import read_if_sound
from benchmark.pipeline.runner import learned, record_path
from benchmark.pipeline.stage import Stage
from benchmark.utils.files import free_space
from benchmark.utils.human import duration, size
from benchmark.utils.progress import log

CHECKPOINT = 4  # a checkpoint holds a counter, its best weights, and two moments of its gradients
BYTES = 4  # of a parameter


@dataclass(frozen=True)
class Plan:
    """The plan of a run.

    cells: a row for each cell. protocols: the number of cells that belong to each frozen grid.
    stages, stored, failed: the number of stages in total, in the store, and failed before.
    seconds: the time to make the missing stages in one process; None where it is not known for
        the `unmeasured` models.
    untold: the number of missing stages whose time is not known.
    disk, while_training, free: bytes for the missing counters, for the checkpoint of one training,
        and left on the disk.
    """

    cells: list[dict[str, str]]
    protocols: dict[str, int]
    stages: int
    stored: int
    failed: int
    seconds: float | None
    unmeasured: list[str]
    untold: int
    disk: float
    while_training: float
    free: float

    def to_dict(self) -> dict[str, Any]:
        """The plan, ready for JSON."""
        return asdict(self)

    def text(self) -> str:
        """A table of the cells, and a line each on cells, frozen grids, time and disk space."""
        todo = sum(row["record"] != "done" for row in self.cells)
        failed = f", {self.failed} failed before" if self.failed else ""
        lines = [tabulate(self.cells, headers="keys", tablefmt="simple"), "",
                 f"cells: {len(self.cells)}, {todo} to do. "
                 f"stages: {self.stages}, {self.stored} of them in the store{failed}."]
        lines += [f"protocol: {number} of the cells belong to {name}."
                  for name, number in self.protocols.items()]
        if todo:
            lines += [self._time(), self._space()]
        return "\n".join(lines)

    def _time(self) -> str:
        if self.seconds is None:
            return ("time: not known; to measure it: "
                    f"crowdbench speed --model {','.join(self.unmeasured)}.")
        untold = f", without {self.untold} stages whose time is not known" if self.untold else ""
        return f"time: about {duration(self.seconds)} in one process{untold}."

    def _space(self) -> str:
        needed = self.disk + self.while_training
        warning = ", which is too little" if needed > self.free else ""
        return (f"disk: {size(self.disk)} more, and up to {size(self.while_training)} while one "
                f"training runs; {size(self.free)} are free{warning}.")


def plan(cells: Sequence[Cell], graph: StageGraph, out: Path) -> Plan:
    """The plan of a run of these cells.

    Raises:
        UserError: data, or a file of initial weights, is missing or broken.
    """
    rows, protocols, stages = [], Counter(), {}
    for cell, name in zip(cells, display_names(cells)):
        done = read_if_sound(record_path(cell, graph, out)) is not None
        needed = [] if done else graph.stages(cell)
        new = [stage for stage in needed if stage not in stages]
        rows.append({"cell": name} | _row(done, needed, new, graph))
        stages |= dict.fromkeys(new, cell)
        protocol = protocol_of(cell, graph.data.splits)
        if protocol:
            protocols[protocol] += 1
    for line in graph.data.small_images(stages.values()):
        log(line)
    missing = {stage: cell for stage, cell in stages.items() if not graph.store.has(stage)}
    _load_weights(missing.values())
    estimator = learned((stage for stage in stages if stage not in missing), graph.store)
    times = {stage: estimator.seconds(stage.work()) for stage in missing if stage.work}
    unmeasured = list(dict.fromkeys(missing[stage].model.name
                                    for stage, time in times.items() if time is None))
    disk, largest = _disk(missing)
    return Plan(rows, protocols, len(stages), len(stages) - len(missing),
                sum(graph.store.failure(stage) is not None for stage in missing),
                None if unmeasured else sum(times.values()), unmeasured, len(missing) - len(times),
                disk, CHECKPOINT * largest, free_space(graph.store.root))


def _row(done: bool, needed: list[Stage], new: list[Stage], graph: StageGraph) -> dict[str, str]:
    """The stages that a cell adds to those of the cells before it, and the state of its record."""
    roles = dict.fromkeys(stage.role for stage in new if not graph.store.has(stage))
    failures = [failure for stage in needed if (failure := graph.store.failure(stage))]
    state = "done" if done else f"failed: {failures[0]}" if failures else "to do"
    return {"to make": ", ".join(roles) or "nothing", "record": state}


def _load_weights(cells: Iterable[Cell]) -> None:
    """Load the files of initial weights as the run will, so that a broken one is told now."""
    models = {repr(cell.model.resolved): cell.model for cell in cells
              if isinstance(cell.model.resolved.get("weights"), Path)}
    for model in models.values():
        model.build()


def _disk(missing: dict[Stage, Cell]) -> tuple[float, float]:
    """The bytes of all missing counters and of the largest one. All other stages are small."""
    sizes: dict[str, float] = {}
    models = [cell.model for stage, cell in missing.items() if stage.kind == "counters"]
    for model in models:
        if model.title not in sizes:
            sizes[model.title] = _bytes_of(model)
    return sum(sizes[model.title] for model in models), max(sizes.values(), default=0)


def _bytes_of(model: Component) -> float:
    """The size of a counter: as declared for default settings, else of one that is built."""
    declared = class_attribute("model", model.name, "trained_parameters")
    if declared and model.title == model.name:
        return BYTES * declared
    tensors = build_empty(model).state_dict().values()
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
