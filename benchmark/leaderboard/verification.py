"""Verification: cells of an entry that a maintainer ran again with fresh seeds.

The folder of an entry may hold verification/COMMIT/*.json, the records of the first cells that
`drawn_cells` gives for the entry's revision and this commit. What the rank of the entry goes by is
compared, in each of them, with its mean over the entry's own seeds of the same cell: the RA of a
defense, and the damage of an attack. The damage is the RA of the clean counter on the triggered
images minus the RA of the repaired counter.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Self

import numpy as np

from benchmark.config.frozen_grids import FrozenGrid
from benchmark.leaderboard.copies import FileProblem
from benchmark.leaderboard.fresh_seeds import (DrawnCell, check_drawn, drawn_cells, identity_of,
                                               is_commit, own_cells)
from benchmark.leaderboard.manifest import Manifest, revision
from benchmark.metrics.counting import rho_acc
from benchmark.metrics.significance import LEVEL
from benchmark.results.record import Record
from benchmark.results.result import Result
from benchmark.results.scenarios import settings_of
from benchmark.tables.formats import NONE, Table, as_frame, interval, number, signed

VERIFIED, UNDECIDED, NOT_CONFIRMED = "verified", "undecided", "not confirmed"
MARGIN = 0.2  # a loss of RA, or of damage, that a verified entry does not have
Verified = tuple[DrawnCell, Record]  # a drawn cell, and the record of its run


@dataclass(frozen=True)
class Verification:
    """The drawn cells of an entry with the records of their runs.

    cells: the `own_cells` of the entry. pairs: at least one. is_attack: whether the damage is
    compared, and not the RA.
    """

    cells: Mapping[str, Sequence[Record]]
    pairs: Sequence[Verified]
    is_attack: bool

    @classmethod
    def of(cls, manifest: Manifest, records: Sequence[Record], commit: str,
           runs: Sequence[Record]) -> Self:
        """The verification of an entry. runs: the records of its first drawn cells, in any order."""
        cells = own_cells(manifest, records)
        by_identity = {identity_of(record): record for record in runs}
        drawn = islice(drawn_cells(cells, revision(manifest.cells), commit), len(runs))
        pairs = [(cell, by_identity[cell.identity]) for cell in drawn]
        return cls(cells, pairs, manifest.attack is not None)

    @property
    def measure(self) -> str:
        """The name of the number that is compared: 'RA' or 'damage'."""
        return "damage" if self.is_attack else "RA"

    def measured(self, record: Record) -> float:
        """The RA, or the damage, of a record."""
        numbers = Result(settings_of(record), (record,)).numbers
        if not self.is_attack:
            return numbers["ra"]
        images = record.images
        return rho_acc(images.reference_triggered, images.truth) - numbers["ra"]

    @cached_property
    def differences(self) -> list[float]:
        """For each drawn cell what was measured, minus the mean over the entry's seeds of it."""
        return [self.measured(record) - float(np.mean([*map(self.measured, cell.entered)]))
                for cell, record in self.pairs]

    @property
    def difference(self) -> float:
        """The mean of the differences."""
        return float(np.mean(self.differences))

    @cached_property
    def spread(self) -> tuple[float, int]:
        """The standard error of `difference` if nothing but the seed differs, and its freedom.

        The variance between seeds is pooled over all cells of the entry. A cell that was drawn k
        times, and was entered with S seeds, adds k + k^2 / S variances to that of the sum: those of
        its k runs, and that of the entry's mean, which all of them are compared with. The error is
        nan if no cell has two seeds.
        """
        values = [[*map(self.measured, cell)] for cell in self.cells.values()]
        freedom = sum(len(cell) - 1 for cell in values)
        if not freedom:
            return math.nan, 0
        squares = sum(float(np.var(cell) * len(cell)) for cell in values)
        times = Counter(cell.key for cell, _ in self.pairs)
        terms = sum(k + k**2 / len(self.cells[key]) for key, k in times.items())
        return math.sqrt(squares / freedom * terms) / len(self.pairs), freedom

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the difference, by Student's t; nan without a standard error."""
        from scipy.special import stdtrit  # imported here because few commands need scipy

        error, freedom = self.spread
        if math.isnan(error):
            return math.nan, math.nan
        reach = float(stdtrit(freedom, 1 - LEVEL / 2)) * error
        return self.difference - reach, self.difference + reach

    @property
    def verdict(self) -> str:
        """VERIFIED, UNDECIDED or NOT_CONFIRMED.

        NOT_CONFIRMED if the whole interval of the difference speaks against the entry; VERIFIED if
        no part of it does so by more than MARGIN; UNDECIDED if more cells would have to be run.
        """
        low, high = self.interval
        if high < 0:
            return NOT_CONFIRMED
        return VERIFIED if low >= -MARGIN else UNDECIDED

    @property
    def tier(self) -> str:
        """The tier of an entry: 'verified with 3 fresh seeds: RA -0.012 [-0.080, 0.056]'."""
        seeds = f"{len(self.pairs)} fresh seed{'s' if len(self.pairs) > 1 else ''}"
        return f"{self.verdict} with {seeds}: {self.measure} {self._difference}"

    @property
    def _difference(self) -> str:
        ends = interval(*self.interval)
        return signed(self.difference) + ("" if ends == NONE else f" {ends}")

    def table(self) -> Table:
        """The table of the drawn cells, with the answer above it."""
        name = self.measure
        rows = [{"cell": cell.title, f"{name} entered": number(self.measured(record) - difference),
                 "seeds entered": ", ".join(str(own.seed) for own in cell.entered),
                 name: number(self.measured(record)),
                 f"{name} - {name} entered": signed(difference)}
                for (cell, record), difference in zip(self.pairs, self.differences)]
        explained = ("damage is the RA of the clean counter on the triggered images minus the RA "
                     "of the repaired one. " if self.is_attack else "")
        return Table(
            "verification", "Cells with fresh seeds", as_frame(rows),
            [f"{explained}{name} entered is the mean over the entry's own seeds of the same cell. "
             f"The mean difference is {self._difference}, with its 95% interval by Student's t, "
             "from the variance between the entry's own seeds, pooled over its cells. The entry is "
             f"{NOT_CONFIRMED!r} if the {name} of the fresh seeds is lower by more than that "
             "spread explains, that is if the whole interval is below 0. It is "
             f"{VERIFIED!r} if no part of the interval is below -{MARGIN}. "
             f"Otherwise it is {UNDECIDED!r}, and more cells are needed."],
            lead=[f"{self.tier}."])


def check_verification(folder_name: str, runs: Mapping[str, Record], manifest: Manifest,
                       records: Sequence[Record], grid: FrozenGrid) -> Iterator[FileProblem]:
    """The problems of a verification. runs: its records, by the names of their files."""
    if not is_commit(folder_name):
        yield folder_name, "path", "expected the full hash of the commit that published the entry"
        return
    drawn = drawn_cells(own_cells(manifest, records), revision(manifest.cells), folder_name)
    cells = {cell.identity: cell for cell in islice(drawn, len(runs))}
    missing = dict(cells)
    for file, record in runs.items():
        if missing.pop(identity_of(record), None) is None:
            expected = next(iter(missing.values()), None) or next(iter(cells.values()))
            yield f"{folder_name}/{file}", "seed", (
                f"{record.seed}: not one of the first {len(runs)} cells and seeds that this "
                f"revision and commit give, or a second record of it; expected {expected.title}")
            continue
        for key, message in check_drawn(cells[identity_of(record)], record, manifest, grid):
            yield f"{folder_name}/{file}", key, message
