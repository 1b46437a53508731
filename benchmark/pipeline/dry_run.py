"""What a run would do: its cells, the stages that are missing, how long they will take and how much disk they need."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmark.config.cell import Cell, display_names
from benchmark.config.frozen_grids import protocol_of
from benchmark.pipeline.counter_files import build_empty
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.runner import learned, record_path
from benchmark.pipeline.stage import Stage
from benchmark.utils.human import duration, size

CHECKPOINT = 4  # times a counter's weights: itself, the best one, and two moments of its gradients


@dataclass(frozen=True)
class Plan:
    """cells: a row each. protocols: how many cells belong to which frozen grid.

    stages, stored, failed: how many stages there are, are in the store, and failed before.

    seconds: to make what is missing, in one process; None where that is not known, for `unmeasured` counters.
    untold: missing stages that nothing is known of. disk, while_training, free: bytes.
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
        """All of it, ready for JSON."""
        return asdict(self)

    def text(self) -> str:
        """A table and three lines."""
        todo = sum(row["record"] != "done" for row in self.cells)
        failed = f", {self.failed} failed before" if self.failed else ""
        lines = [tabulate(self.cells, headers="keys", tablefmt="simple"), "",
                 f"cells: {len(self.cells)}, {todo} to do. stages: {self.stages}, {self.stored} of them in the store"
                 f"{failed}.", *(f"protocol: {number} of the cells are of {name}." for name, number
                                 in self.protocols.items())]
        if not todo:
            return "\n".join(lines)
        untold = f", without {self.untold} stages of which nothing is known" if self.untold else ""
        time = (f"about {duration(self.seconds)} in one process{untold}" if self.seconds is not None else
                f"not known; to measure it: crowdbench speed --model {','.join(self.unmeasured)}")
        return "\n".join([*lines, f"time: {time}.", f"disk: {size(self.disk)} more, and up to "
                          f"{size(self.while_training)} while one training runs; {size(self.free)} are free"
                          f"{', which is too little' if self.disk + self.while_training > self.free else ''}."])


def plan(cells: Sequence[Cell], graph: StageGraph, out: Path) -> Plan:
    """What a run of these cells would do."""
    rows, names, stages = [], [], {}
    for cell, name in zip(cells, display_names(cells)):
        done = record_path(cell, graph, out).is_file()
        needed = [] if done else graph.stages(cell)
        new = [stage for stage in needed if stage not in stages and not graph.store.has(stage)]
        stages |= {stage: cell for stage in needed if stage not in stages}
        failed = next(filter(None, map(graph.store.failure, needed)), None)
        names.append(protocol_of(cell, graph.data.splits))
        rows.append({"cell": name, "to make": ", ".join(dict.fromkeys(stage.role for stage in new)) or "nothing",
                     "record": "done" if done else f"failed: {failed}" if failed else "to do"})
    missing = {stage: cell for stage, cell in stages.items() if not graph.store.has(stage)}
    estimator = learned((stage for stage in stages if stage not in missing), graph.store)
    times = {stage: estimator.seconds(stage.work()) for stage in missing if stage.work}
    unknown = list(dict.fromkeys(missing[stage].model.name for stage, seconds in times.items() if seconds is None))
    disk, largest = _disk(missing)
    failed = sum(map(bool, map(graph.store.failure, missing)))
    return Plan(rows, Counter(filter(None, names)), len(stages), len(stages) - len(missing), failed,
                None if unknown else sum(times.values()), unknown, len(missing) - len(times),
                disk, CHECKPOINT * largest, shutil.disk_usage(_existing(graph.store.root)).free)


def _disk(missing: dict[Stage, Cell]) -> tuple[float, float]:
    """Bytes of all missing counters, and of the largest; all else is small."""
    counters = [cell for stage, cell in missing.items() if stage.kind == "counters"]
    sizes: dict[str, float] = {}
    for cell in counters:
        if cell.model.name not in sizes:
            tensors = build_empty(cell).state_dict().values()
            sizes[cell.model.name] = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return sum(sizes[cell.model.name] for cell in counters), max(sizes.values(), default=0)


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.absolute().parent)
