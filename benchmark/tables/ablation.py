"""Ablation: the effect of an attack at each pair of values of two settings, as data and tables."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.results.record import Record
from benchmark.results.result import Result, Settings
from benchmark.results.scenarios import OWNERS, scenarios, short_name, suffixes
from benchmark.tables.controls import chance_flips
from benchmark.tables.footnotes import common_settings, row_notes
from benchmark.tables.data import frame_csv
from benchmark.tables.formats import (MISSING, Table, as_frame, count, markdown, number,
                                      with_interval)
from benchmark.tables.latex import latex
from benchmark.utils.errors import UserError, did_you_mean
from benchmark.utils.files import write_atomically

NAMES = ("model", "trigger", "target", "defense")
LEGEND = [
    "Numbers are means over seeds. eASR is the success rate above chance: 0 is the rate of a "
    "clean counter, 1 is success on every image. rho_Acc is the share of clean images that are "
    "counted to within 10% of the truth; clean rho_Acc is that of the clean counter with the "
    "same settings and seeds. The flip rate is the share of images that the trigger moves into "
    "success, with a 95% interval by bootstrap over seeds and images; with one seed, the "
    "interval holds for that one model. chance flips is that of the clean counter after the same "
    "defense; flips beyond it are the backdoor's.",
]
Place = tuple[str, str]  # a value of the rows' setting and one of the columns' setting


@dataclass(frozen=True)
class Axis:
    """A varied setting. key: as in `settings_of`. name: as printed. values: in order."""

    key: str
    name: str
    values: list[str]


@dataclass(frozen=True)
class Grid:
    """The results of one table, which differ only in two settings.

    label: what tells the table apart, such as 'tiny, blended, multiply, none'.
    figure: the label without the target. panel: the target.
    settings: those that the results share.
    results: by the values (row, column) of the two settings, without pairs that were not run.
    """

    label: str
    figure: str
    panel: str
    settings: Settings
    results: dict[Place, Result]


@dataclass(frozen=True)
class Ablation:
    """All grids of two settings. left_out: names of attacked cells that lack one of the two."""

    rows: Axis
    columns: Axis
    grids: list[Grid]
    left_out: list[str]

    @property
    def compared(self) -> list[Grid]:
        """The grids with two results or more."""
        return [grid for grid in self.grids if len(grid.results) > 1]

    @property
    def figures(self) -> dict[str, list[Grid]]:
        """Names of figures and their grids, which differ only in the target."""
        groups = defaultdict(list)
        for grid in self.compared:
            groups[grid.figure].append(grid)
        return {f"ablation-{index}": grids for index, grids in enumerate(groups.values(), start=1)}


def ablation(records: Iterable[Record], rows: str, columns: str) -> Ablation:
    """The ablation over two settings, each named as in `settings_of` or, if unambiguous, in short.

    Records without an attack are left out: the victims' records hold the clean counters' counts.

    Raises:
        UserError: no record has an attack; a setting is unknown, ambiguous or has one value; no
            results differ in the two settings alone; several results share a pair of values; or as
            `scenarios` does.
    """
    attacked = [result for scenario in scenarios(records) for result in scenario.results
                if "target" in result.settings]
    if not attacked:
        raise UserError("ablation: no record has an attack; expected attacks in which two settings "
                        "vary")
    keys = _setting("rows", rows, attacked), _setting("columns", columns, attacked)
    if keys[0] == keys[1]:
        raise UserError(f"ablation: rows and columns are both {keys[0]}; expected two settings")
    results = [result for result in attacked if result.settings.keys() >= {*keys}]
    left_out = {_name(result.settings) for result in attacked
                if not result.settings.keys() >= {*keys}}
    if not results:
        raise UserError(f"ablation: no record has both {keys[0]} and {keys[1]}; expected two "
                        "settings of the same attack")
    grids = _grids(results, keys)
    places = [place for grid in grids if len(grid.results) > 1 for place in grid.results]
    if not places:
        raise UserError(f"ablation: no two cells differ in {keys[0]} or {keys[1]} alone; expected "
                        "cells that differ in nothing else")
    return Ablation(*_axes(keys, places), grids, sorted(left_out))


def tidy(ablation: Ablation) -> pd.DataFrame:
    """One row per cell and seed: names, varying settings, seed, and all numbers of a result.

    poison_rate is a share of the original training images, poison_rate_of_total one of all
    training images including the added ones. reference_rho_acc is the clean counter's rho_Acc.
    A setting that a row lacks is None, and a number that does not exist is nan.
    """
    results = [result for grid in ablation.grids for result in grid.results.values()]
    settings = sorted(set().union(*(result.settings for result in results)))
    varied = [key for key in settings if len({result.settings.get(key) for result in results}) > 1]
    keys = list(dict.fromkeys([*NAMES, *varied, "poison_rate"]))
    lines = [_tidy_row(result, record, keys) for result in results for record in result.records]
    frame = pd.DataFrame(lines)
    for key in keys:
        values = frame[key].map(as_number)
        if not values.isna().any():
            frame[key] = values
    return frame


def tables(ablation: Ablation) -> dict[str, list[Table]]:
    """Tables by the name of their figure: one per grid, with the numbers of `_cells`."""
    return {name: [_pivot(ablation, grid, f"{name}-{index}")
                   for index, grid in enumerate(grids, start=1)]
            for name, grids in ablation.figures.items()}


def write(ablation: Ablation, folder: Path) -> None:
    """Write the tidy table as folder/ablation.{csv,parquet}, and the tables as ablation.{md,tex}.

    The page links to the figures. The same records give the same bytes, whatever their order.
    Raises OSError.
    """
    page, document = [], []
    for name, group in tables(ablation).items():
        page += [*map(markdown, group), f"![curves]({name}.png)\n"]
        document += map(latex, group)
    data = tidy(ablation)
    write_atomically(folder / "ablation.csv", frame_csv(data.map(_in_full)))
    write_atomically(folder / "ablation.parquet", data.to_parquet(index=False))
    write_atomically(folder / "ablation.md", "\n".join(page))
    write_atomically(folder / "ablation.tex", "\n".join(document))


def as_number(text: str | None) -> float:
    """The value of a setting; nan if it is not a finite number."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return math.nan
    return value if math.isfinite(value) else math.nan


def _setting(flag: str, name: str, results: Sequence[Result]) -> str:
    """The varied setting of this full or short name. Raises UserError unless exactly one has it."""
    values = defaultdict(set)
    for result in results:
        for key, value in result.settings.items():
            values[key].add(value)
    varied = [key for key in values if len(values[key]) > 1]
    named = [name] if name in values else [key for key in values if short_name(key) == name]
    matches = [key for key in named if key in varied]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UserError(f"ablation: --{flag} {name} is ambiguous; "
                        f"expected {' or '.join(sorted(matches))}")
    if not named:
        occurrences = Counter(map(short_name, varied))
        known = {short_name(key) if occurrences[short_name(key)] == 1 else key for key in varied}
        raise UserError(f"ablation: --{flag} {name!r}: no setting of this name varies: "
                        f"{did_you_mean(name, known)}")
    constant = " or ".join(f"{key} {value}" for key in named for value in values[key])
    raise UserError(f"ablation: --{flag} {name}: all records have {constant}; "
                    "expected a setting with two values or more")


def _axes(keys: Place, places: Sequence[Place]) -> list[Axis]:
    """The axes of two settings, with the values that occur; with short names if these differ."""
    names = tuple(map(short_name, keys))
    if names[0] == names[1]:
        names = keys
    return [Axis(key, name, sorted(set(values), key=_value_order))
            for key, name, values in zip(keys, names, zip(*places))]


def _value_order(value: str) -> tuple[bool, float, str]:
    """Sort key of a value: numbers by size, then text."""
    size = as_number(value)
    is_text = math.isnan(size)
    return is_text, 0 if is_text else size, value


def _grids(results: Sequence[Result], keys: Place) -> list[Grid]:
    """The results in grids by their other settings. Raises UserError if two share a place."""
    groups: dict[tuple, dict[Place, Result]] = defaultdict(dict)
    for result in results:
        settings = result.settings
        group = groups[tuple(item for item in settings.items() if not _varies_with(item[0], keys))]
        place = settings[keys[0]], settings[keys[1]]
        if place in group:
            items = set(settings.items()) ^ set(group[place].settings.items())
            raise UserError(f"ablation: several cells have {keys[0]} {place[0]} and {keys[1]} "
                            f"{place[1]}; expected records in which each has one value of "
                            f"{', '.join(sorted({key for key, _ in items}))}")
        group[place] = result
    rows = [dict(items) for items in groups]
    targets, others = [], []
    for row in rows:
        targets.append({key: value for key, value in row.items() if _kind(key) == "target"})
        others.append({key: value for key, value in row.items() if _kind(key) != "target"})
    grids = map(Grid, _labels(rows), _labels(others), _labels(targets), rows, groups.values())
    return sorted(grids, key=lambda grid: grid.label)


def _varies_with(key: str, keys: Place) -> bool:
    """Whether a setting is one of the two of an ablation, or must vary with one of them.

    The trigger's own settings vary with the trigger, and the checksum of the images varies with
    every setting of the dataset.
    """
    owners = OWNERS.get(_kind(key), ()) if "." in key else ()
    is_owned = not {*owners}.isdisjoint(keys)
    is_checksum = key == "data.images" and "data" in map(_kind, keys)
    return key in keys or is_owned or is_checksum


def _kind(key: str) -> str:
    return key.partition(".")[0]


def _labels(rows: Sequence[Settings]) -> list[str]:
    return [_name(row) + suffix for row, suffix in zip(rows, suffixes(rows, shown=NAMES))]


def _name(row: Settings) -> str:
    return ", ".join(row[name] for name in NAMES if name in row)


def _tidy_row(result: Result, record: Record, keys: list[str]) -> dict[str, Any]:
    rate = record.attack.poison_rate
    attacks = filter(None, [record.attack, record.attack.also])
    copies = sum(attack.poison_rate + attack.cover_rate for attack in attacks)
    row: dict[str, Any] = {key: result.settings.get(key) for key in keys}
    row |= {"poison_rate_of_total": rate / (1 + copies), "seed": record.seed}
    return row | replace(result, records=(record,)).numbers


def _in_full(value: Any) -> str:
    """A value as text: a number with all digits and no exponent, which could pass for a formula."""
    if isinstance(value, float):
        return "" if math.isnan(value) else np.format_float_positional(value, trim="-")
    return "" if value is None else str(value)


def _pivot(ablation: Ablation, grid: Grid, name: str) -> Table:
    """The table of a grid: for each number, the rows' values times the columns' values."""
    rows, columns = ablation.rows, ablation.columns
    cells = {place: _cells(result) for place, result in grid.results.items()}
    lines = []
    for heading in next(iter(cells.values())):
        for row in rows.values:
            line = [cells.get((row, column), {}).get(heading, MISSING) for column in columns.values]
            lines.append([heading, row, *line])
    headings = ["number", rows.name, *(f"{columns.name} {value}" for value in columns.values)]
    notes = [*common_settings([grid.settings]), *LEGEND]
    if ablation.left_out:
        notes.append(f"Left out, because they have no {rows.name} or no {columns.name}: "
                     f"{'; '.join(ablation.left_out)}.")
    alone = len(ablation.grids) - len(ablation.compared)
    if alone:
        notes.append("Combinations of other settings that were run with a single pair of "
                     f"{rows.name} and {columns.name} are only in the data: {alone}.")
    places = sorted(grid.results, key=lambda place: tuple(map(_value_order, place)))
    named_results = [(f"{rows.name} {row}, {columns.name} {column}", grid.results[row, column])
                     for row, column in places]
    return Table(name, f"Ablation: {grid.label}", as_frame(lines, columns=headings),
                 notes + row_notes(named_results),
                 caption=f"Effect of {rows.name} (rows) and {columns.name} (columns) on the attack "
                         f"{grid.label}, as means over seeds.")


def _cells(result: Result) -> dict[str, str]:
    """The numbers of a result as they are printed, by their headings."""
    means = result.numbers
    return {"eASR": number(means["easr"]), "rho_Acc": number(means["rho_acc"]),
            "clean rho_Acc": number(means["reference_rho_acc"]),
            "flip rate": with_interval(means["flip_rate"], *result.interval("flip_rate")),
            "chance flips": number(chance_flips(result)),
            "seeds": count(len(result.records))}
