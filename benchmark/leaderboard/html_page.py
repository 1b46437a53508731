"""HTML page: the leaderboard as one file, in which rows are sorted, filtered and opened.

The page needs no network: its style and its scripts, which are files of their own in the folder
`templates`, are put into it. All text of records, which anybody may have written, goes into the
page as JSON in which no markup can end or begin an element, and its scripts show it as text.
"""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from benchmark.leaderboard.measures import explain
from benchmark.results.controls import CONTROLS
from benchmark.results.record import Record
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, entry_of, row_suffixes
from benchmark.strengths import fixed_strength
from benchmark.tables.controls import result_numbers
from benchmark.tables.defenses import images_used
from benchmark.tables.formats import Table
from benchmark.utils.files import write_atomically

EDGES = np.append(np.linspace(0, 2, 41), math.inf)  # bins of the ratio r = count / truth
ORIGIN = ("commit", "dirty", "crowdbench", "device_name", "precision", "threads")  # of provenance
ENTRY = ("path", "name", "paper", "code", "tier")
COLUMNS = {  # the numbers of a result by the headings of their columns
    "RA": "ra", "rho_Acc": "rho_acc", "flip rate": "flip_rate", "chance flips": "chance_flips",
    "attainment": "attainment", "rho_Asr": "rho_asr", "Opp": "opp", "base": "base", "ASR0": "asr0",
    "eASR": "easr", "DER": "der", "MAE": "mae", "RMSE": "rmse"}
INTERVALS = ("flip_rate", "attainment")  # the numbers that have one
OTHER_COLUMNS = ("defense", "attack", "model", "knows", "seeds", "images", "strength")
SIDES = {"audit": "Audit", "leaderboard": "Defenses", "attacks": "Attacks", "cost": "Attacks"}
TEMPLATES = files("benchmark") / "templates"
STYLE = "page.css"
SCRIPTS = ("page_tools.js", "page_tip.js", "page_filters.js", "page_table.js", "page_rankings.js",
           "page_cells.js", "page_frontiers.js", "page_tabs.js")


def write_page(scenarios: Sequence[Scenario], paths: Mapping[int, Path], out: Path,
               rankings: Sequence[Table] = ()) -> None:
    """Write the page, with the leaderboards of frozen grids above all results of repairs.

    rankings: the leaderboards, and before them the table of an audit.
    paths: the file of each record, by the id() of the record; one without a file gets no link.
    Links are relative to the page. Raises OSError if the page cannot be written.
    """
    links = {}
    for key, path in paths.items():
        relative = os.path.relpath(path, out.parent).replace(os.sep, "/")
        links[key] = quote(os.fsencode(relative))  # a name may be no text
    write_atomically(out, page(scenarios, links, rankings))


def page(scenarios: Sequence[Scenario], links: Mapping[int, str],
         rankings: Sequence[Table] = ()) -> str:
    """The HTML of the page. links: to the file of each record, by the id() of the record."""
    content = {"rankings": [_ranking(table) for table in rankings],
               "rows": _rows(scenarios, links), "columns": list(COLUMNS.items()),
               "measures": _measures(rankings)}
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    # Escaped, these characters are the same JSON, but cannot end the element or begin another.
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    parts = {"STYLE": _template(STYLE), "SCRIPT": "\n".join(map(_template, SCRIPTS)), "DATA": text}
    return re.sub("|".join(parts), lambda match: parts[match[0]], _template("page.html"))


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _ranking(table: Table) -> dict[str, Any]:
    """A table as the page shows it. Its name is KIND-GRID, or that of an audit."""
    kind, _, grid = table.name.partition("-")
    return {"id": table.name, "side": SIDES[kind], "grid": grid, "title": table.title,
            "columns": list(table.frame.columns), "rows": table.frame.values.tolist(),
            "lead": list(table.lead), "notes": table.every_note}


def _measures(rankings: Sequence[Table]) -> dict[str, str]:
    """The sentence about each column of the page that has one."""
    headings = {*COLUMNS, *OTHER_COLUMNS}.union(*(table.frame.columns for table in rankings))
    sentences = {heading: explain(heading) for heading in headings}
    return {heading: sentence for heading, sentence in sentences.items() if sentence}


def _rows(scenarios: Sequence[Scenario], links: Mapping[int, str]) -> list[dict[str, Any]]:
    """One row per result; detectors repair nothing and have none."""
    pairs = [(scenario, result) for scenario in scenarios for result in scenario.results
             if not result.detects]
    rows = []
    for (scenario, result), (attack, defense) in zip(pairs, row_suffixes(pairs)):
        settings, first = scenario.settings, result.records[0]
        rows.append({
            "model": scenario.model, "attack": scenario.attack + attack,
            "name": result.defense, "defense": result.defense + defense,
            "strength": _strength(result), "target": scenario.strategy,
            "trigger": settings.get("trigger", ""), "rate": settings.get("poison_rate", ""),
            "alpha": settings.get("trigger.alpha", ""), "protocol": first.protocol or "none",
            "entry": _entry(first), "knows": images_used([result]), **_numbers(scenario, result),
            "records": [_record(record, links.get(id(record))) for record in result.records]})
    return rows


def _entry(record: Record) -> dict[str, str]:
    """The facts of the entry that a record is from; none outside of entries."""
    entry = entry_of(record)
    return {key: entry[key] for key in ENTRY if key in entry}


def _strength(result: Result) -> float | str | None:
    """The strength that a repair was set to, as the mean over seeds, or 'chosen' by itself.

    None for a defense without strengths, and for one that chose only with some seeds.
    """
    has_strengths = all(record.strengths for record in result.records)
    if result.defense in CONTROLS or not has_strengths:
        return None
    strengths = [fixed_strength(record.strengths) for record in result.records]
    fixed = [strength for strength in strengths if strength is not None]
    if not fixed:
        return "chosen"
    return float(np.mean(fixed)) if len(fixed) == len(strengths) else None


def _numbers(scenario: Scenario, result: Result) -> dict[str, float | None]:
    numbers = result_numbers(scenario, result)
    ends = [f"{key}_{end}" for key in INTERVALS for end in ("low", "high")]
    return {key: _plain(numbers.get(key, math.nan)) for key in [*COLUMNS.values(), *ends]}


def _record(record: Record, link: str | None) -> dict[str, Any]:
    """The details of one seed that an open row shows."""
    images, provenance = record.images, record.provenance
    repaired = provenance.get("stages", {}).get("repaired", {})
    return {"seed": record.seed, "link": link, "warnings": record.warnings,
            "images": len(images.id), "seconds": repaired.get("seconds"),
            "poisoned": len(record.attack.poisoned) if record.attack else None,
            "made": {key: provenance.get(key) for key in ORIGIN},
            "weights": repaired.get("weights_sha256"),
            "clean": _histogram(images.clean, images.truth),
            "triggered": _histogram(images.triggered, images.truth)}


def _histogram(counts: list[float] | None, truth: list[int]) -> list[int] | None:
    """The number of images in each bin of the ratio; counts below 0 are in the first bin."""
    if counts is None:
        return None
    has_people = np.array(truth) > 0
    ratios = np.array(counts)[has_people].clip(min=0) / np.array(truth)[has_people]
    return np.histogram(ratios, EDGES)[0].tolist()


def _plain(value: float) -> float | None:
    """A number for JSON, rounded; null where it does not exist."""
    return round(float(value), 6) if math.isfinite(value) else None
