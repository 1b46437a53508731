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
from benchmark.results.controls import SHARED
from benchmark.results.record import Record

TOLERANCE: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-2}  # of one counter's counts by two devices
MOST_ALIKE = 0.5  # share of the images on which two columns may agree
PROBES = 16  # images on which columns are compared first
PROPORTIONAL = 0.99  # correlation above which one column may be another one times a number
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


def check_copies(placed: Placed, may_be_idle: bool = True) -> Iterator[FileProblem]:
    """The columns that are copies of others in the entry, or of the true counts.

    may_be_idle: whether a defense may leave all counts as they were. The author of a defense has
        nothing to gain from that, but the author of an attack would have.
    """
    by_data: dict[str, dict[str, tuple[Record, GridSlot]]] = {}
    for file, (record, slot) in placed.items():
        by_data.setdefault(slot.data_key, {})[file] = (record, slot)
    for group in by_data.values():
        columns = _columns(group)
        for copy, original, share in _copies(columns, may_be_idle):
            yield copy.file, f"images.{copy.key}", (
                f"{share:.0%} of the counts agree with images.{original.key} of {original.file}; "
                "expected counts of their own, since the weights or the images are others")


def _copies(columns: Sequence[Column], may_be_idle: bool) -> Iterator[tuple[Column, Column, float]]:
    """The copies among columns, each with the first column that it agrees with, and how often."""
    counts = np.stack([column.counts for column in columns])
    carriers, correlations = _carriers(columns), _correlations(counts)
    probes = np.linspace(0, counts.shape[1] - 1, min(PROBES, counts.shape[1])).astype(int)
    places = {(column.counter, column.images): i for i, column in enumerate(columns)}
    ignored = np.array([column.is_constant for column in columns])
    for i, column in enumerate(columns):
        unrepaired = places.get((column.repaired_from, column.images))
        is_idle = (unrepaired is not None
                   and _agreement(counts[i], counts[unrepaired]) > MOST_ALIKE)
        if is_idle and may_be_idle:
            ignored[i] = True  # the defense changed next to nothing
        if ignored[i]:
            continue
        on_probes = np.isclose(counts[:i, probes], counts[i, probes], **TOLERANCE).mean(axis=1)
        alike = (on_probes > MOST_ALIKE / 2) | (correlations[i, :i] > PROPORTIONAL)
        for j in np.flatnonzero(~ignored[:i] & alike):
            compared = _compared(column, columns[j], carriers)
            agreement = _agreement if _are_related(column, columns[j]) else _agreement_scaled
            share = agreement(counts[i, compared], counts[j, compared])
            if share > MOST_ALIKE and not _may_agree(column, columns[j]):
                yield column, columns[j], share
                break


def _carriers(columns: Sequence[Column]) -> dict[str, np.ndarray]:
    """For each trigger the images that carry it, bool [N]: some counter counts them otherwise.

    A conditional trigger leaves the others as they are, so that every counter counts them alike.
    """
    clean = {column.counter: column.counts for column in columns if column.images == CLEAN}
    carriers: dict[str, np.ndarray] = {}
    for column in columns:
        if column.images != CLEAN and column.counter in clean:
            changed = ~np.isclose(column.counts, clean[column.counter], **TOLERANCE)
            carriers[column.images] = carriers.get(column.images, False) | changed
    return carriers


def _compared(first: Column, second: Column, carriers: Mapping[str, np.ndarray]) -> np.ndarray:
    """The images on which two columns may not agree: those that carry a trigger, if one has it.

    If none carries it, all images are compared: a trigger that changes nothing is none.
    """
    compared = np.ones(len(first.counts), bool)
    if first.counter == second.counter:
        for column in (first, second):
            carried = carriers.get(column.images)
            if carried is not None and carried.any():
                compared &= carried
    return compared


def _may_agree(first: Column, second: Column) -> bool:
    """Whether both are of one counter, and of images with triggers that may look alike."""
    return first.counter == second.counter and CLEAN not in (first.images, second.images)


def _agreement(first: np.ndarray, second: np.ndarray) -> float:
    """The share of the images on which two columns differ by no more than rounding."""
    return float(np.isclose(first, second, **TOLERANCE).mean())


def _agreement_scaled(first: np.ndarray, second: np.ndarray) -> float:
    """The share of the images on which one column is a x the other + b, up to rounding.

    a and b are the least-squares fit, or the median ratio and 0, or 1 and 0, whichever fits best.
    """
    shares = [_agreement(first, second)]
    counted = second >= 1
    if counted.any() and np.ptp(second):
        ratio = np.median(first[counted] / second[counted])
        slope, shift = np.polyfit(second, first, 1)
        shares += [_agreement(first, ratio * second), _agreement(first, slope * second + shift)]
    return max(shares)


def _correlations(counts: np.ndarray) -> np.ndarray:
    """The correlation of each column with each other one, [C, C]; 0 for a constant column."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(np.atleast_2d(np.corrcoef(counts)))


def _are_related(first: Column, second: Column) -> bool:
    """Whether one counter was made from the other, and both count the same images.

    A mild repair can change all counts in about the same proportion.
    """
    origins = {first.repaired_from, second.repaired_from} - {""}
    return first.images == second.images and bool(origins & {first.counter, second.counter})


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
    """The weights of the repaired clean counters, by the clean counter and the defense.

    A record with an attack names them as its control; all records name the same ones.
    """
    hashes = {}
    for record, slot in group.values():
        stage = record.provenance["stages"].get("control" if record.attack else "repaired")
        if stage:
            hashes[slot.counter_key, identity(record.defense)] = stage["weights_sha256"]
    return hashes
