"""Counters in 16 bits: half as large, where the rounded weights give the very same counts.

Under bf16 autocast a convolution rounds its weights to 16 bits itself, so that a counter of
convolutions alone, such as CSRNet, counts the same when its weights are rounded before. BatchNorm
computes with 32 bits, and a counter with it counts differently. Which is the case is not derived
but tried, on all test images of the records.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from benchmark.config.cell import Cell
from benchmark.pipeline.counter_files import INFO, WEIGHTS, load_counter
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.stage import Stage
from benchmark.pipeline.stage_folder import ABOUT
from benchmark.pipeline.stage_functions import counts_of
from benchmark.pipeline.store import Store
from benchmark.pipeline.store_admin import StoredStage
from benchmark.results.record import Record
from benchmark.results.rerun_request import cell_of
from benchmark.utils.device import DTYPES, resolve_precision
from benchmark.utils.files import copy_files, write_atomically
from benchmark.utils.hashing import file_sha256
from benchmark.utils.tensors import read_tensors, write_tensors
from models.base import Counter

Use = tuple[Cell, Stage, bool]  # a counter that counts the test images, triggered or not


class Halving:
    """Rounds the counters behind records to 16 bits.

    settings: 'KEY=VALUE' for what a record only names, such as the folder of the data.

    Raises:
        UserError: as `cell_of`.
    """

    def __init__(self, records: Sequence[Record], store: Path, settings: Sequence[str]):
        self.graph = StageGraph(Store(store))
        self.uses: dict[str, dict[str, Use]] = {}  # by the counter's key and that of its counts
        for record in records:
            cell = cell_of(record, settings)
            for counter, triggered in _counted(self.graph, cell):
                counts = self.graph.counts(cell, counter, triggered)
                self.uses.setdefault(counter.key, {})[counts.key] = cell, counter, triggered

    def write(self, stage: StoredStage, folder: Path) -> bool:
        """Write a stage with rounded weights to a new folder, if it counts the same.

        Returns whether it does. A counter that no record counts with stays as it is, as one that
        counts in 32 bits does.
        """
        uses = list(self.uses.get(stage.key, {}).values())
        if not uses:
            return False
        cell, counter_stage, _ = uses[0]
        precision = resolve_precision(cell.recipe.precision)
        if precision not in DTYPES:
            return False
        counter = load_counter(self.graph.store, cell, counter_stage)
        counter.load_state_dict(_in_16_bits(counter.state_dict(), precision))
        if not all(self._counts_the_same(counter, *use) for use in uses):
            return False
        copy_files(stage.folder, folder)
        tensors, note = read_tensors(folder / WEIGHTS)
        write_tensors(folder / WEIGHTS, _in_16_bits(tensors, precision), note)
        info = json.loads((folder / INFO).read_text())
        info |= {"weights_sha256": file_sha256(folder / WEIGHTS), "rounded": precision}
        write_atomically(folder / INFO, json.dumps(info))
        about = json.loads((folder / ABOUT).read_text())
        about["files"] = {path.name: [path.stat().st_size, file_sha256(path)]
                          for path in sorted(folder.iterdir()) if path.name != ABOUT}
        write_atomically(folder / ABOUT, json.dumps(about, indent=1, sort_keys=True))
        return True

    def _counts_the_same(self, rounded: Counter, cell: Cell, stage: Stage,
                         triggered: bool) -> bool:
        graph = self.graph
        patterns = graph.patterns(cell) if triggered else ()
        counts = counts_of(graph.store, graph.data, cell, rounded, patterns, triggered)
        return counts == graph.stored_counts(cell, stage, triggered)


def _counted(graph: StageGraph, cell: Cell) -> Iterator[tuple[Stage, bool]]:
    """The counters of a cell that count, and whether triggered."""
    counters = [graph.repaired(cell), graph.control(cell)]
    if not cell.settings.audit:
        counters.append(graph.clean(cell))
    for counter in filter(None, counters):
        for triggered in [False, True] if cell.trigger else [False]:
            yield counter, triggered


def _in_16_bits(tensors: dict[str, Tensor], precision: str) -> dict[str, Tensor]:
    """The tensors, those of floating point numbers in 16 bits."""
    return {name: tensor.to(DTYPES[precision]) if tensor.is_floating_point() else tensor
            for name, tensor in tensors.items()}
