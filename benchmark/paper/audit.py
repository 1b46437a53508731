"""The audit of the paper: checks its printed numbers against each other and against chance."""

from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

import pandas as pd

from benchmark.paper import reference
from benchmark.paper.table_checks import (IMAGES, PaperCheck, PaperCounter, conflicts, in_images,
                                          paper_counters, wrong_sums)
from benchmark.paper.tables import DAGGER
from benchmark.paper.text_checks import text_checks
from benchmark.tables.formats import NONE, Table, markdown, number
from benchmark.utils.errors import UserError


@dataclass(frozen=True)
class Audit:
    """The result of an audit. Its attributes are the keys of `crowdbench audit paper --json`.

    sums: for each victim its printed rho_Asr and the sum of its bands. chance: for each victim the
    rho_Asr that chance could give. found: the checks, derived from the printed numbers. told: the
    rows of paper_inconsistencies.csv that no check derives.
    """

    sums: list[dict[str, Any]]
    chance: list[dict[str, Any]]
    found: list[PaperCheck]
    told: list[dict[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)

    def text(self) -> str:
        """Four tables as Markdown."""
        tables = (_sum_table(self.sums), _chance_table(self.chance), _check_table(self.found),
                  _other_errors_table(self.told))
        return "\n".join(map(markdown, tables))


def audit() -> Audit:
    """Check the paper's tables, and claims of its text, against each other.

    Raises:
        UserError: the folder with the paper's numbers does not exist.
    """
    if not reference.present():
        raise UserError(f"audit paper: no folder {reference.FOLDER}; expected the paper's numbers, "
                        "which are in records/reference of a clone")
    known = reference.inconsistencies()
    counters = paper_counters()
    victims = [counter for counter in counters if counter.bands]
    checks = [*wrong_sums(victims, known), *conflicts(counters, known)]
    checks += text_checks(counters, known)
    checks.sort(key=lambda check: check.id)
    derived = {check.id for check in checks}
    others = [row for key, row in known.items() if key not in derived]
    return Audit(list(map(_sum, victims)), list(map(_chance, victims)), checks, others)


def _sum(victim: PaperCounter) -> dict[str, Any]:
    """The printed rho_Asr of a victim and the sum of its bands. wrong: tables that differ."""
    wrong = [table for table, value in victim.asr.items() if in_images(value) != victim.images]
    return {"model": victim.model, "strategy": victim.strategy,
            "table1": _float(victim.asr.get(1)), "table3": _float(victim.asr.get(3)),
            "bands": [float(share) for share in victim.bands.values()],
            "images": victim.images, "total": float(victim.total), "wrong": wrong}


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _chance(victim: PaperCounter) -> dict[str, Any]:
    """The rho_Asr that clean errors alone could give.

    most: all of them lie in the attacker's direction. even: half of them do.
    """
    most = 1 - victim.acc[2]
    return {"model": victim.model, "strategy": victim.strategy, "rho_acc": float(victim.acc[2]),
            "rho_asr": float(victim.total), "even": float(most / 2), "most": float(most),
            "above_even": float(victim.total - most / 2),
            "above_most": float(victim.total - most)}


def _sum_table(rows: list[dict[str, Any]]) -> Table:
    def printed(row: dict[str, Any], table: int) -> str:
        value = row[f"table{table}"]
        if value is None:
            return NONE
        return number(value) + (DAGGER if table in row["wrong"] else "")

    lines = [{"model": row["model"], "strategy": row["strategy"],
              "rho_Asr (Table 1)": printed(row, 1), "rho_Asr (Table 3)": printed(row, 3),
              "bands (Table 2)": " + ".join(map(number, row["bands"])),
              "sum": number(row["total"]), "images": str(row["images"])} for row in rows]
    title = "The paper's rho_Asr compared with the bands of its Table 2"
    return Table("audit_sums", title, pd.DataFrame(lines), [
        f"images: the sum of the bands as a number of the {IMAGES} test images. sum: that number "
        f"divided by {IMAGES}. {DAGGER} marks a value that is not this number of images, rounded "
        "or cut off."])


def _chance_table(rows: list[dict[str, Any]]) -> Table:
    lines = []
    for row in rows:
        shown = {key: value if isinstance(value, str) else number(value)
                 for key, value in row.items()}
        lines.append({
            "model": shown["model"], "strategy": shown["strategy"],
            "rho_Acc (Table 2)": shown["rho_acc"], "rho_Asr (bands)": shown["rho_asr"],
            "base, even": shown["even"], "base, at most": shown["most"],
            "above even": shown["above_even"], "above most": shown["above_most"]})
    title = "The part of the paper's rho_Asr that chance could explain"
    return Table("audit_chance", title, pd.DataFrame(lines), [
        "base: the share of clean images on which the same model already errs as the attacker "
        "wants. The paper does not print it. It is at most 1 - rho_Acc (at most), and half of "
        "that if the model errs equally often in both directions (even). above: rho_Asr minus this "
        "base."])


def _check_table(checks: list[PaperCheck]) -> Table:
    lines = [{"id": check.id, "where": check.where, "verdict": check.verdict} for check in checks]
    return Table("audit_found", "What follows from the printed numbers", pd.DataFrame(lines),
                 [f"{check.id} {check.arithmetic}." for check in checks])


def _other_errors_table(rows: list[dict[str, str]]) -> Table:
    lines = [{key: row[key] for key in ("id", "where", "confidence")} for row in rows]
    notes = []
    for row in rows:
        details = filter(None, (row["claim_or_value"], row["arithmetic"], row["verdict"]))
        notes.append(f"{row['id']} {'; '.join(details)}.")
    title = ("Other errors, not derived here: copied from "
             "records/reference/paper_inconsistencies.csv")
    return Table("audit_told", title, pd.DataFrame(lines), notes)
