"""What the paper's printed numbers say of each other: what cannot be right, the arithmetic, and what chance allows."""

from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

import pandas as pd

from benchmark.paper import reference
from benchmark.paper.table_checks import IMAGES, Finding, Row, conflicts, counters, in_images, wrong_sums
from benchmark.paper.tables import DAGGER
from benchmark.paper.text_checks import claims
from benchmark.tables.formats import NONE, Table, markdown, number
from benchmark.utils.errors import UserError


@dataclass(frozen=True)
class Audit:
    """sums, chance: a row per victim. found: what follows from the tables. told: the file's other rows."""

    sums: list[dict[str, Any]]
    chance: list[dict[str, Any]]
    found: list[Finding]
    told: list[dict[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)

    def text(self) -> str:
        """Four tables as Markdown."""
        return "\n".join(map(markdown, (_sum_table(self.sums), _chance_table(self.chance), _found_table(self.found),
                                        _told_table(self.told))))


def audit() -> Audit:
    """Recompute what the paper's tables say of each other, and of claims in its text.

    Raises:
        UserError: the paper's numbers are not there.
    """
    if not reference.present():
        raise UserError(f"audit paper: no folder {reference.FOLDER}; expected the paper's numbers, which are in "
                        "records/reference of a clone")
    told, rows = reference.inconsistencies(), counters()
    victims = [row for row in rows if row.bands]
    found = sorted([*wrong_sums(victims, told), *conflicts(rows, told), *claims(rows, told)],
                   key=lambda finding: finding.id)
    derived = {finding.id for finding in found}
    return Audit(list(map(_sum, victims)), list(map(_chance, victims)), found,
                 [row for key, row in told.items() if key not in derived])


def _sum(row: Row) -> dict[str, Any]:
    return {"model": row.model, "strategy": row.strategy, "table1": _float(row.asr.get(1)),
            "table3": _float(row.asr.get(3)), "bands": [float(share) for share in row.bands.values()],
            "images": row.images, "total": float(row.total),
            "wrong": [table for table, value in row.asr.items() if in_images(value) != row.images]}


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _chance(row: Row) -> dict[str, Any]:
    """What rho_Asr would be without a trigger, at most and if the clean misses lay on both sides alike."""
    most = 1 - row.acc[2]
    return {"model": row.model, "strategy": row.strategy, "rho_acc": float(row.acc[2]), "rho_asr": float(row.total),
            "even": float(most / 2), "most": float(most), "above_even": float(row.total - most / 2),
            "above_most": float(row.total - most)}


def _sum_table(rows: list[dict[str, Any]]) -> Table:
    def shown(row: dict[str, Any], table: int) -> str:
        value = row[f"table{table}"]
        return NONE if value is None else number(value) + (DAGGER if table in row["wrong"] else "")

    frame = pd.DataFrame([{"model": row["model"], "strategy": row["strategy"], "rho_Asr (Table 1)": shown(row, 1),
                           "rho_Asr (Table 3)": shown(row, 3), "bands (Table 2)": " + ".join(map(number, row["bands"])),
                           "sum": number(row["total"]), "images": str(row["images"])} for row in rows])
    return Table("audit_sums", "The paper's rho_Asr beside the bands of its Table 2", frame, [
        f"sum: of the bands, in images of {IMAGES}. {DAGGER} is not that number of images, rounded or cut off."])


def _chance_table(rows: list[dict[str, Any]]) -> Table:
    headings = {"model": "model", "strategy": "strategy", "rho_acc": "rho_Acc (Table 2)", "rho_asr": "rho_Asr (bands)",
                "even": "base, even", "most": "base, at most", "above_even": "above even", "above_most": "above most"}
    frame = pd.DataFrame([{heading: row[key] if isinstance(row[key], str) else number(row[key])
                           for key, heading in headings.items()} for row in rows])
    return Table("audit_chance", "What of the paper's rho_Asr chance could explain", frame, [
        "base: the share of clean images that the same model already counts in S. The paper does not print it: it is "
        "at most 1 - rho_Acc, and half of that if errors go both ways alike (even). Above: rho_Asr less that."])


def _found_table(found: list[Finding]) -> Table:
    frame = pd.DataFrame([{"id": one.id, "where": one.where, "verdict": one.verdict} for one in found])
    return Table("audit_found", "What follows from the printed numbers", frame,
                 [f"{one.id} {one.arithmetic}." for one in found])


def _told_table(told: list[dict[str, str]]) -> Table:
    frame = pd.DataFrame([{"id": row["id"], "where": row["where"], "confidence": row["confidence"]} for row in told])
    return Table("audit_told", "What the tables cannot show: from records/reference/paper_inconsistencies.csv, not "
                 "derived here", frame, [f"{row['id']} " + "; ".join(filter(None, (
                     row["claim_or_value"], row["arithmetic"], row["verdict"]))) + "." for row in told])
