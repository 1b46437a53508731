"""Checks of the paper's tables against each other: sums of bands, and values printed twice.

Every printed share is a number of the 316 test images divided by 316. Shares are therefore added
up as whole images, which is exact.
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
NOT_KNOWN = "-"  # the id of a check that has no row in the file

KnownErrors = dict[str, dict[str, str]]  # id -> a row of paper_inconsistencies.csv


@dataclass(frozen=True)
class PaperCounter:
    """The printed numbers of one of the paper's counters.

    strategy: 'clean', 'add', 'add_ft', ... acc, asr: rho_Acc and rho_Asr, by the number of the
    table. bands: the shares of Table 2, by the name of the band.
    """

    model: str
    strategy: str
    acc: dict[int, Decimal]
    asr: dict[int, Decimal]
    bands: dict[str, Decimal]

    @property
    def name(self) -> str:
        return f"{self.model} {self.strategy}"

    @property
    def images(self) -> int:
        """The number of images on which the attack succeeds, as the sum of the bands."""
        return sum(round(IMAGES * share) for share in self.bands.values())

    @property
    def total(self) -> Decimal:
        """rho_Asr as the sum of the bands, to three digits."""
        return round(Decimal(self.images) / IMAGES, 3)

    @property
    def sum_text(self) -> str:
        """The sum of the printed bands, as text: '0.196+0.414+0.348=0.958'."""
        return f"{'+'.join(map(str, self.bands.values()))}={sum(self.bands.values())}"


@dataclass(frozen=True)
class PaperCheck:
    """A check of the printed numbers at one place of the paper.

    id: of the row in paper_inconsistencies.csv, '-' without one. arithmetic, verdict: derived here.
    """

    id: str
    where: str
    arithmetic: str
    verdict: str


def in_images(share: Decimal) -> int | None:
    """The k for which k / 316 is printed as this share, rounded or cut off; None if there is none.

    >>> in_images(Decimal("0.959")), in_images(Decimal("0.414")), in_images(Decimal("0.273"))
    (303, 131, None)
    """
    k = round(IMAGES * share)  # the only candidate: 1/316 is more than what printing loses
    lost = Fraction(k, IMAGES) - Fraction(share)
    return k if Fraction(-1, 2000) <= lost < Fraction(1, 1000) else None


def paper_counters() -> list[PaperCounter]:
    """All counters of the paper in the order of Table 3, each fine-tuned one after its victim."""
    table1, table2, table3 = map(reference.printed, (1, 2, 3))
    counters = []
    for (model, strategy, _), row3 in table3.items():
        for finetuned, ending in ((False, ""), (True, "_ft")):
            key = (model, strategy, finetuned)
            row2 = table2.get(key, {})
            own3 = {column: row3[column + ending] for column in ("rho_acc", "rho_asr")}
            rows = {1: table1.get(key, {}), 2: row2, 3: own3}
            bands = {band.metric.removeprefix("band "): Decimal(row2[band.printed])
                     for band in BANDS if row2.get(band.printed)}
            counters.append(PaperCounter(row3["model"], strategy + ending, _column(rows, "rho_acc"),
                                         _column(rows, "rho_asr"), bands))
    return counters


def _column(rows: dict[int, dict[str, str]], name: str) -> dict[int, Decimal]:
    return {table: Decimal(row[name]) for table, row in rows.items() if row.get(name)}


def wrong_sums(victims: list[PaperCounter], known: KnownErrors) -> Iterator[PaperCheck]:
    """Values of rho_Asr in Tables 1 and 3 that are not, in images, the sum of Table 2's bands."""
    for victim in victims:
        for value in dict.fromkeys(victim.asr.values()):
            if in_images(value) == victim.images:
                continue
            explanation, kind = _explanation(value, victim, victims)
            yield PaperCheck(
                _id(known, victim, "rho_Asr", value),
                f"{_tables(victim.asr, value)} {victim.name} rho_Asr {value}",
                f"{victim.sum_text} ({victim.images}/{IMAGES}){explanation}",
                f"{kind}; use {victim.total}")


def _explanation(value: Decimal, victim: PaperCounter,
                 victims: list[PaperCounter]) -> tuple[str, str]:
    """The source of a wrong sum, as text and as a kind: missing bands, another row, or a digit."""
    k = in_images(value)
    for size in range(1, len(victim.bands)):
        for names in combinations(victim.bands, size):
            shares = [victim.bands[name] for name in names]
            if sum(round(IMAGES * share) for share in shares) == k:
                omitted = ", ".join(f"{name} ({share})" for name, share in victim.bands.items()
                                    if name not in names)
                return f"; {'+'.join(map(str, shares))}={value} leaves out {omitted}", "wrong sum"
    for other in victims:
        if other.images == k:
            return f"; {other.sum_text} is {other.name}", "row slip"
    not_images = f"; {value} is not k/{IMAGES}, rounded or cut off" if k is None else ""
    if sum(a != b for a, b in zip(str(value), str(victim.total))) == 1:
        return f"{not_images}; one digit differs", "digit typo"
    return not_images, "unexplained"


def conflicts(counters: list[PaperCounter], known: KnownErrors) -> Iterator[PaperCheck]:
    """Values of rho_Acc of the same counter that differ between two tables."""
    for counter in counters:
        values = list(dict.fromkeys(counter.acc.values()))
        if len(values) < 2:
            continue
        images = [round(IMAGES * value) for value in values]
        apart = max(images) - min(images)
        places = ", ".join(f"{value} ({_tables(counter.acc, value)})" for value in values)
        shares = "; ".join(f"{k}/{IMAGES}={k / IMAGES:.4f}" for k in images)
        yield PaperCheck(
            _id(known, counter, "rho_Acc", *values), f"{counter.name} rho_Acc {places}",
            f"{shares}; {apart} images are {100 * apart / IMAGES:.1f} points",
            "conflict; both can be shares of images")


def _id(known: KnownErrors, counter: PaperCounter, *words: object) -> str:
    """The id of the file's row that names this counter and all these words; '-' if none does."""
    wanted = {str(word).lower() for word in (counter.model, counter.strategy, *words)}
    for key, row in known.items():
        if wanted <= set(re.findall(r"[\w.-]+", f"{row['where']} {row['claim_or_value']}".lower())):
            return key
    return NOT_KNOWN


def _tables(printed: dict[int, Decimal], value: Decimal) -> str:
    """The tables that print this value, as 'T1+T3'."""
    return "+".join(f"T{table}" for table, other in printed.items() if other == value)
