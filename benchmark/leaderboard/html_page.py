"""The leaderboard as one HTML file that needs nothing else: sorted, filtered and opened where it is read.

What records hold is data, whoever wrote them: it goes into the page as JSON that no markup can leave, and the page's
script shows it as text.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from benchmark.results.record import Record
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, defense_settings, entry_of, suffixes
from benchmark.tables.controls import result_numbers
from benchmark.tables.defenses import known
from benchmark.tables.formats import Table
from benchmark.utils.files import write_atomically

EDGES = np.append(np.linspace(0, 2, 41), math.inf)  # of r = count / truth
MADE = ("commit", "dirty", "crowdbench", "device_name", "precision", "threads")  # of the provenance
TEMPLATE = files("benchmark") / "templates" / "page.html"
NUMBERS = ("rho_acc", "mae", "rmse", "rho_asr", "ra", "opp", "base", "asr0", "easr", "flip_rate", "flip_rate_low",
           "flip_rate_high", "attainment", "attainment_low", "attainment_high", "der")


def write_page(found: Sequence[Scenario], paths: Mapping[int, Path], out: Path,
               rankings: Sequence[Table] = ()) -> None:
    """Write the page of all cells that repair or attack something, below the leaderboards of frozen grids.

    paths: where each record lies, by its id(); a record without one has no link. Links are relative to the page.
    """
    links = {key: quote(os.path.relpath(path, out.parent).replace(os.sep, "/")) for key, path in paths.items()}
    write_atomically(out, page(found, links, rankings))


def page(found: Sequence[Scenario], links: Mapping[int, str], rankings: Sequence[Table] = ()) -> str:
    """The page's HTML. links: to each record, by its id()."""
    told = [{"title": table.title, "columns": list(table.frame.columns), "rows": table.frame.values.tolist(),
             "notes": table.notes} for table in rankings]
    data = json.dumps({"rankings": told, "rows": _rows(found, links)}, sort_keys=True, allow_nan=False)
    for character in "<>&\u2028\u2029":  # the JSON stays the same, and can neither end its element nor begin one
        data = data.replace(character, f"\\u{ord(character):04x}")
    return TEMPLATE.read_text(encoding="utf-8").replace("DATA", data, 1)


def _rows(found: Sequence[Scenario], links: Mapping[int, str]) -> list[dict[str, Any]]:
    pairs = [(scenario, result) for scenario in found for result in scenario.results if not result.detects]
    attacks = suffixes([scenario.settings for scenario, _ in pairs], shown=("model", "trigger", "target"))
    defenses = suffixes([defense_settings(result) for _, result in pairs], shown=("model", "defense"))
    return [{"model": scenario.model, "attack": scenario.attack + attack, "defense": result.defense + told,
             "target": scenario.strategy, "trigger": scenario.settings.get("trigger", ""),
             "rate": scenario.settings.get("poison_rate", ""), "alpha": scenario.settings.get("trigger.alpha", ""),
             "protocol": result.records[0].protocol or "none", "entry": _entry(result), "knows": known([result]),
             **_numbers(scenario, result),
             "records": [_record(record, links.get(id(record))) for record in result.records]}
            for (scenario, result), attack, told in zip(pairs, attacks, defenses)]


def _entry(result: Result) -> dict[str, str]:
    """Whose entry a cell is of, and how far it is proven; a link only where it is one to the web."""
    told = entry_of(result.records[0])
    return {key: told[key] for key in ("path", "name", "paper", "code", "tier") if key in told}


def _numbers(scenario: Scenario, result: Result) -> dict[str, float | None]:
    numbers = result_numbers(scenario, result)
    return {key: _plain(numbers.get(key, math.nan)) for key in NUMBERS}


def _record(record: Record, link: str | None) -> dict[str, Any]:
    """What a row opens to, for one seed."""
    images, made = record.images, record.provenance
    repaired = made.get("stages", {}).get("repaired", {})
    return {"seed": record.seed, "link": link, "warnings": record.warnings, "images": len(images.id),
            "seconds": repaired.get("seconds"), "poisoned": len(record.attack.poisoned) if record.attack else None,
            "made": {key: made.get(key) for key in MADE},
            "weights": repaired.get("weights_sha256"),
            "clean": _histogram(images.clean, images.truth), "triggered": _histogram(images.triggered, images.truth)}


def _histogram(counts: list[float] | None, truth: list[int]) -> list[int] | None:
    """How many images have r in each bin; what counts below 0 is in the first."""
    if counts is None:
        return None
    people = np.array(truth) > 0
    ratios = np.array(counts)[people].clip(min=0) / np.array(truth)[people]
    return np.histogram(ratios, EDGES)[0].tolist()


def _plain(number: float) -> float | None:
    return round(float(number), 6) if math.isfinite(number) else None
