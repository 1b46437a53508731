"""Copies: columns of counts that agree although other counters, or other images, gave them.

Two counters with different weights, or one counter on clean and on triggered images, differ by more
than rounding on almost every image. In all records of this project, no two such columns agree on a
tenth of the images.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.leaderboard.grid_slots import GridSlot
from benchmark.leaderboard.manifest import identity
from benchmark.results.record import Record
from benchmark.tables.controls import SHARED

TOLERANCE: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-2}  # of one counter's counts by two devices
MOST_ALIKE = 0.5  # share of the images on which two columns may agree
PROBES = 16  # images on which columns are compared first
TRUTH, CLEAN = "the truth", "clean"

FileProblem = tuple[str, str, str]  # a record's file ('' for none), the key, and what is wrong
Placed = Mapping[str, tuple[Record, GridSlot]]  # records in their slots, by the names of the files


@dataclass(frozen=True, eq=False)
class Column:
    """The counts of one counter on the test images.

    key: the column of the record in `file`. counter: the hash of its weights. images: the trigger
    of the images, or CLEAN. repaired_from: the hash of the counter that a defense started from,
    whose counts it may leave as they were; '' for none.
    """

    file: str
    key: str
    counts: np.ndarray
    counter: str
    images: str
    repaired_from: str = ""

    @property
    def is_constant(self) -> bool:
        """Whether the counter counts the same in every image, as one that collapsed does."""
        return bool(np.isclose(self.counts, self.counts[0], **TOLERANCE).all())


def check_copies(placed: Placed) -> Iterator[FileProblem]:
    """The columns that are copies of others in the entry, or of the true counts."""
    by_data: dict[str, dict[str, tuple[Record, GridSlot]]] = {}
    for file, (record, slot) in placed.items():
        by_data.setdefault(slot.data_key, {})[file] = (record, slot)
    for group in by_data.values():
        columns = _columns(group)
        for copy, original, share in _copies(columns):
            yield copy.file, f"images.{copy.key}", (
                f"{share:.0%} of the counts agree with images.{original.key} of {original.file}; "
                "expected counts of their own, since the weights or the images are others")


def _copies(columns: Sequence[Column]) -> Iterator[tuple[Column, Column, float]]:
    """The copies among columns, each with the first column that it agrees with, and how often."""
    counts = np.stack([column.counts for column in columns])
    probes = np.linspace(0, counts.shape[1] - 1, min(PROBES, counts.shape[1])).astype(int)
    places = {(column.counter, column.images): i for i, column in enumerate(columns)}
    ignored = np.array([column.is_constant for column in columns])
    for i, column in enumerate(columns):
        unrepaired = places.get((column.repaired_from, column.images))
        if unrepaired is not None and _agreement(counts[i], counts[unrepaired]) > MOST_ALIKE:
            ignored[i] = True  # the defense changed next to nothing
        if ignored[i]:
            continue
        on_probes = np.isclose(counts[:i, probes], counts[i, probes], **TOLERANCE).mean(axis=1)
        for j in np.flatnonzero(~ignored[:i] & (on_probes > MOST_ALIKE / 2)):
            share = _agreement(counts[i], counts[j])
            if share > MOST_ALIKE and not _may_agree(column, columns[j]):
                yield column, columns[j], share
                break


def _may_agree(first: Column, second: Column) -> bool:
    """Whether both are of one counter, and of images with triggers that may look alike."""
    return first.counter == second.counter and CLEAN not in (first.images, second.images)


def _agreement(first: np.ndarray, second: np.ndarray) -> float:
    """The share of the images on which two columns differ by no more than rounding."""
    return float(np.isclose(first, second, **TOLERANCE).mean())


def _columns(group: Placed) -> list[Column]:
    """The different columns of records with the same images.

    First the truth, then the columns of clean counters and victims, of the controls, and of the
    entry's own defense: of two that agree, the later one is the copy.
    """
    own, shared = [], []
    for file, (record, _) in group.items():
        (shared if record.defense.name in SHARED else own).append(file)
    hashes = _control_hashes(group)
    columns: list[Column] = []
    for file in [*shared, *own]:
        columns += _of_record(file, *group[file], hashes)
    columns.sort(key=lambda column: bool(column.repaired_from))  # keeps the order otherwise
    first_file, (first, _) = next(iter(group.items()))
    truth = Column(first_file, "truth", np.array(first.images.truth), TRUTH, CLEAN)
    distinct: dict[tuple[str, str], Column] = {}
    for column in [truth, *columns]:
        distinct.setdefault((column.counter, column.images), column)
    return list(distinct.values())


def _of_record(file: str, record: Record, slot: GridSlot,
               control_hashes: Mapping[tuple[str, str], str]) -> Iterator[Column]:
    """The columns of the clean counter, of the repaired counter, and of the repaired clean one."""
    stages = record.provenance["stages"]
    clean, victim, repaired = (stages[stage]["weights_sha256"]
                               for stage in ("clean", "victim", "repaired"))
    control = control_hashes.get((slot.counter_key, identity(record.defense)), "")
    counters = [("reference_", clean, ""), ("", repaired, victim if repaired != victim else "")]
    if control:
        counters.append(("control_", control, clean if control != clean else ""))
    for prefix, counter, repaired_from in counters:
        for kind, images in ((CLEAN, CLEAN), ("triggered", slot.trigger_key)):
            counts = getattr(record.images, f"{prefix}{kind}")
            if counts is not None:
                yield Column(file, f"{prefix}{kind}", np.array(counts), counter, images,
                             repaired_from)


def _control_hashes(group: Placed) -> dict[tuple[str, str], str]:
    """The weights of the repaired clean counters, by the clean counter and the defense."""
    hashes = {}
    for record, slot in group.values():
        if record.attack is None:
            repaired = record.provenance["stages"]["repaired"]["weights_sha256"]
            hashes[slot.counter_key, identity(record.defense)] = repaired
    return hashes
