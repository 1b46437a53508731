"""The paper's printed numbers as counters, and its tables against each other: sums of bands, and values printed twice.

Every printed share is a number of the 316 test images, so that shares are added up in images, exactly.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import combinations

from benchmark.paper import reference
from benchmark.paper.tables import BANDS

IMAGES = 316
NOT_KNOWN = "-"  # a finding that the file does not have

Told = dict[str, dict[str, str]]  # id -> a row of paper_inconsistencies.csv


@dataclass(frozen=True)
class Row:
    """A counter in all tables: rho_Acc and rho_Asr by the number of the table, and Table 2's bands by their names."""

    model: str
    strategy: str  # 'clean', 'add', 'add_ft', ...
    acc: dict[int, Decimal]
    asr: dict[int, Decimal]
    bands: dict[str, Decimal]

    @property
    def name(self) -> str:
        return f"{self.model} {self.strategy}"

    @property
    def images(self) -> int:
        """Successes, as the bands add up to them."""
        return sum(round(IMAGES * share) for share in self.bands.values())

    @property
    def total(self) -> Decimal:
        """rho_Asr, as the bands add up to it."""
        return round(Decimal(self.images) / IMAGES, 3)


@dataclass(frozen=True)
class Finding:
    """id: its row in paper_inconsistencies.csv, '-' where it has none. Arithmetic and verdict are derived here."""

    id: str
    where: str
    arithmetic: str
    verdict: str


def in_images(share: Decimal) -> int | None:
    """The k for which k / 316 is printed like that, rounded or cut off; None where there is none.

    >>> in_images(Decimal("0.959")), in_images(Decimal("0.414")), in_images(Decimal("0.273"))
    (303, 131, None)
    """
    k = round(IMAGES * share)  # 316 shares lie further apart than what is lost in printing: there is no other
    return k if Fraction(-1, 2000) <= Fraction(k, IMAGES) - Fraction(share) < Fraction(1, 1000) else None


def counters() -> list[Row]:
    """All counters, in the order of Table 3; a fine-tuned one after its victim."""
    one, two, three = map(reference.printed, (1, 2, 3))
    found = []
    for (model, strategy, _), last in three.items():
        for after, end in ((False, ""), (True, "_ft")):
            key = model, strategy, after
            third = {name: last[name + end] for name in ("rho_acc", "rho_asr")}
            tables = {table: row for table, row in enumerate((one.get(key), two.get(key), third), 1) if row}
            found.append(Row(last["model"], strategy + end, _column(tables, "rho_acc"), _column(tables, "rho_asr"), {
                band.metric.removeprefix("band "): Decimal(two[key][band.printed])
                for band in BANDS if two.get(key, {}).get(band.printed)}))
    return found


def _column(tables: dict[int, dict[str, str]], name: str) -> dict[int, Decimal]:
    return {table: Decimal(row[name]) for table, row in tables.items() if row.get(name)}


def wrong_sums(victims: list[Row], told: Told) -> Iterator[Finding]:
    """rho_Asr of Tables 1 and 3 that is not, in images, the sum of the bands of Table 2."""
    for row in victims:
        for value in dict.fromkeys(row.asr.values()):
            if in_images(value) != row.images:
                why, kind = _explanation(value, row, victims)
                yield Finding(_id(told, row, "rho_Asr", value), f"{_tables(row.asr, value)} {row.name} rho_Asr {value}",
                              f"{added(row)} ({row.images}/{IMAGES}){why}", f"{kind}; use {row.total}")


def _explanation(value: Decimal, row: Row, victims: list[Row]) -> tuple[str, str]:
    """Where a wrong sum comes from: bands left out, another row, or a digit."""
    k, why = in_images(value), ""
    for size in range(1, len(row.bands)):
        for left_in in combinations(row.bands.items(), size):
            if sum(round(IMAGES * share) for _, share in left_in) == k:
                left_out = ", ".join(f"{band} ({share})" for band, share in row.bands.items()
                                     if (band, share) not in left_in)
                return f"; {'+'.join(str(share) for _, share in left_in)}={value} leaves out {left_out}", "wrong sum"
    for other in victims:
        if other.images == k:
            return f"; {added(other)} is {other.name}", "row slip"
    if k is None:
        why = f"; {value} is not k/{IMAGES}, rounded or cut off"
    if sum(a != b for a, b in zip(str(value), str(row.total))) == 1:
        return f"{why}; one digit differs", "digit typo"
    return why, "unexplained"


def conflicts(rows: list[Row], told: Told) -> Iterator[Finding]:
    """rho_Acc of the same counter that two tables print differently."""
    for row in rows:
        values = list(dict.fromkeys(row.acc.values()))
        if len(values) > 1:
            counts = [round(IMAGES * value) for value in values]
            apart = max(counts) - min(counts)
            yield Finding(
                _id(told, row, "rho_Acc", *values),
                f"{row.name} rho_Acc " + ", ".join(f"{value} ({_tables(row.acc, value)})" for value in values),
                "; ".join(f"{k}/{IMAGES}={k / IMAGES:.4f}" for k in counts)
                + f"; {apart} images are {100 * apart / IMAGES:.1f} points", "conflict; both can be shares of images")


def _id(told: Told, row: Row, *words: object) -> str:
    """The id of the file's row that names this counter, column and values."""
    wanted = {str(word).lower() for word in (row.model, row.strategy, *words)}
    return next((key for key, line in told.items() if wanted <= set(
        re.findall(r"[\w.-]+", f"{line['where']} {line['claim_or_value']}".lower()))), NOT_KNOWN)


def _tables(printed: dict[int, Decimal], value: Decimal) -> str:
    """'T1+T3', the tables that print this value."""
    return "+".join(f"T{table}" for table, other in printed.items() if other == value)


def added(row: Row) -> str:
    return f"{'+'.join(map(str, row.bands.values()))}={sum(row.bands.values())}"
