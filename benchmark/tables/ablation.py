"""Records -> an ablation: what an attack does at each pair of values of two settings, as data and as tables."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.results.record import Record
from benchmark.results.result import Result, Settings
from benchmark.results.scenarios import OWNERS, scenarios, short, suffixes
from benchmark.tables.footnotes import remarks, shared
from benchmark.tables.formats import MISSING, Table, csv, latex, markdown, number, with_interval
from benchmark.utils.errors import UserError, did_you_mean
from benchmark.utils.files import write_atomically

NAMES = ("model", "trigger", "target", "defense")
LEGEND = ("Means over seeds. eASR: 0 is what a clean counter does by chance, 1 is always. clean rho_Acc: of the clean "
          "counter with the same settings and seeds. flip rate: images that the trigger moves into success, with a 95% "
          "interval, bootstrap over seeds and images; with one seed, the interval of that one model.")


@dataclass(frozen=True)
class Axis:
    """A setting that was varied. key: as in `settings_of`. name: as printed. values: in order."""

    key: str
    name: str
    values: list[str]


@dataclass(frozen=True)
class Grid:
    """The cells that differ in nothing but two settings and the seed: one table.

    label: what tells it apart, 'tiny, blended, multiply, none'. figure: the same without the target. panel: the target.
    cells: by the values (row, column) of the two settings; a pair that was not run is not there.
    """

    label: str
    figure: str
    panel: str
    settings: Settings
    results: dict[tuple[str, str], Result]


@dataclass(frozen=True)
class Ablation:
    """All grids of two settings. left_out: names of the attacked cells that lack one of the two."""

    rows: Axis
    columns: Axis
    grids: list[Grid]
    left_out: list[str]

    @property
    def compared(self) -> list[Grid]:
        """The grids of two cells or more."""
        return [grid for grid in self.grids if len(grid.results) > 1]

    @property
    def figures(self) -> dict[str, list[Grid]]:
        """Names of figures and the grids compared in them; those that differ in nothing but the target share one."""
        together = defaultdict(list)
        for grid in self.compared:
            together[grid.figure].append(grid)
        return {f"ablation-{number}": grids for number, grids in enumerate(together.values(), start=1)}


def ablation(records: Iterable[Record], rows: str, columns: str) -> Ablation:
    """The ablation over two settings, each named as in `settings_of` or, where that is clear, without its kind.

    Records without an attack are left out; each victim's record holds the counts of its clean counter.

    Raises:
        UserError: no attack, a setting that is unknown, ambiguous or has one value, no cells that differ in the two
            alone, or in more than can be told apart, or as `scenarios` does.
    """
    results = [result for scenario in scenarios(records) for result in scenario.results if "target" in result.settings]
    if not results:
        raise UserError("ablation: no record has an attack; expected attacks of which two settings vary")
    keys = _setting("rows", rows, results), _setting("columns", columns, results)
    if keys[0] == keys[1]:
        raise UserError(f"ablation: rows and columns are both {keys[0]}; expected two settings")
    found = [result for result in results if result.settings.keys() >= {*keys}]
    rest = sorted({_name(result.settings) for result in results if not result.settings.keys() >= {*keys}})
    if not found:
        raise UserError(f"ablation: no record has both {keys[0]} and {keys[1]}; expected two settings of one attack")
    names = keys if short(keys[0]) == short(keys[1]) else tuple(map(short, keys))
    grids = _grids(found, keys)
    if not (places := [place for grid in grids if len(grid.results) > 1 for place in grid.results]):
        raise UserError(f"ablation: no two cells differ in {keys[0]} or {keys[1]} alone; expected cells that do")
    axes = [Axis(key, name, sorted(set(values), key=_place)) for key, name, values in zip(keys, names, zip(*places))]
    return Ablation(*axes, grids, rest)


def tidy(found: Ablation) -> pd.DataFrame:
    """A row per cell and seed: names, settings that vary, seed, and every number of `metrics.summary`.

    poison_rate is of the original training images, poison_rate_of_total of all, the added ones too.
    reference_rho_acc is the clean counter's rho_Acc. What does not exist is None or nan.
    """
    results = [result for grid in found.grids for result in grid.results.values()]
    every = sorted(set().union(*(result.settings for result in results)))
    varied = [key for key in every if len({result.settings.get(key) for result in results}) > 1]
    keys = list(dict.fromkeys([*NAMES, *varied, "poison_rate"]))
    frame = pd.DataFrame([_row(result, record, keys) for result in results for record in result.records])
    for key in keys:
        if not (values := frame[key].map(as_number)).isna().any():
            frame[key] = values
    return frame


def tables(found: Ablation) -> dict[str, list[Table]]:
    """For each figure, by its name, a table per grid: rows x columns -> eASR, rho_Acc, the flip rate, seeds."""
    return {name: [_pivot(found, grid, f"{name}-{number}") for number, grid in enumerate(grids, start=1)]
            for name, grids in found.figures.items()}


def show(found: Ablation) -> str:
    """The tables as Markdown."""
    return "\n".join(markdown(table) for beside in tables(found).values() for table in beside)


def write(found: Ablation, folder: Path) -> None:
    """Write folder/ablation.{csv,md,tex}: the tidy table, and the others with the figures that belong to them.

    The same records give the same bytes, whatever their order. Raises OSError.
    """
    page, paper = [], []
    for name, beside in tables(found).items():
        page += [*map(markdown, beside), f"![curves]({name}.png)\n"]
        paper += map(latex, beside)
    write_atomically(folder / "ablation.csv", csv(Table("ablation", "Ablation", tidy(found).map(_in_full), [])))
    write_atomically(folder / "ablation.md", "\n".join(page))
    write_atomically(folder / "ablation.tex", "\n".join(paper))


def as_number(text: str | None) -> float:
    """A setting's value; nan where it is no number."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return math.nan
    return value if math.isfinite(value) else math.nan


def _setting(flag: str, name: str, results: Sequence[Result]) -> str:
    """The varied setting that is meant by a name, with its kind or without. Raises UserError where there is not one."""
    values = defaultdict(set)
    for result in results:
        for key, value in result.settings.items():
            values[key].add(value)
    varied = [key for key in values if len(values[key]) > 1]
    meant = [name] if name in values else [key for key in values if short(key) == name]
    if len(hits := [key for key in meant if key in varied]) == 1:
        return hits[0]
    if hits:
        raise UserError(f"ablation: --{flag} {name}: expected {' or '.join(sorted(hits))}")
    if not meant:
        known = {short(key) if sum(short(key) == short(other) for other in varied) == 1 else key for key in varied}
        raise UserError(f"ablation: --{flag} {name!r}: no such setting varies: {did_you_mean(name, known)}")
    raise UserError(f"ablation: --{flag} {name}: expected a setting with two values or more, all records have "
                    f"{' or '.join(f'{key} {value}' for key in meant for value in values[key])}")


def _place(value: str) -> tuple[bool, float, str]:
    """Where a value stands among others: numbers by size, then text."""
    size = as_number(value)
    return math.isnan(size), 0 if math.isnan(size) else size, value


def _grids(results: Sequence[Result], keys: tuple[str, str]) -> list[Grid]:
    found: dict[tuple, dict[tuple[str, str], Result]] = defaultdict(dict)
    for result in results:
        grid = found[tuple(item for item in result.settings.items() if not _decided(item[0], keys))]
        place = result.settings[keys[0]], result.settings[keys[1]]
        if place in grid:
            differ = {key for key, _ in set(result.settings.items()) ^ set(grid[place].settings.items())}
            raise UserError(f"ablation: several cells have {keys[0]} {place[0]} and {keys[1]} {place[1]}; expected "
                            f"records in which each has one value of {', '.join(sorted(differ))}")
        grid[place] = result
    rows = [dict(items) for items in found]
    targets = [{key: value for key, value in row.items() if _kind(key) == "target"} for row in rows]
    others = [{key: value for key, value in row.items() if _kind(key) != "target"} for row in rows]
    grids = map(Grid, _labels(rows), _labels(others), _labels(targets), rows, found.values())
    return sorted(grids, key=lambda grid: grid.label)


def _decided(key: str, keys: tuple[str, str]) -> bool:
    """Whether a setting is one of the two, or means something only beside the value of one: a trigger's own settings
    where the trigger varies, the images' checksum where the data does."""
    owners = OWNERS.get(_kind(key), ()) if "." in key else ()
    return key in keys or bool({*owners} & {*keys}) or (key == "data.images" and "data" in map(_kind, keys))


def _kind(key: str) -> str:
    return key.partition(".")[0]


def _labels(rows: Sequence[Settings]) -> list[str]:
    return [_name(row) + told for row, told in zip(rows, suffixes(rows, shown=NAMES))]


def _name(row: Settings) -> str:
    return ", ".join(row[name] for name in NAMES if name in row)


def _row(result: Result, record: Record, keys: list[str]) -> dict[str, Any]:
    rate, also = record.attack.poison_rate, record.attack.also
    of_total = rate / (1 + rate + (also.poison_rate if also else 0))
    told = {key: result.settings.get(key) for key in keys} | {"poison_rate_of_total": of_total, "seed": record.seed}
    return told | replace(result, records=(record,)).numbers


def _in_full(value: Any) -> str:
    """A value as text: a number in all its digits and without an exponent, which could be taken for a formula."""
    if isinstance(value, float):
        return "" if math.isnan(value) else np.format_float_positional(value, trim="-")
    return "" if value is None else str(value)


def _pivot(found: Ablation, grid: Grid, name: str) -> Table:
    printed = {place: _printed(result) for place, result in grid.results.items()}
    columns = [f"{found.columns.name} {column}" for column in found.columns.values]
    lines = [[heading, row, *(printed.get((row, column), {}).get(heading, MISSING) for column in found.columns.values)]
             for heading in next(iter(printed.values())) for row in found.rows.values]
    left_out = f"Left out, without {found.rows.name} or {found.columns.name}: {'; '.join(found.left_out)}."
    alone = len(found.grids) - len(found.compared)
    not_shown = f"Other settings with one {found.rows.name} and {found.columns.name} each, only in the data: {alone}."
    named = [(f"{found.rows.name} {row}, {found.columns.name} {column}", result)
             for (row, column), result in sorted(grid.results.items(), key=lambda item: tuple(map(_place, item[0])))]
    return Table(name, f"Ablation: {grid.label}", pd.DataFrame(lines, columns=["", found.rows.name, *columns]),
                 [*shared([grid.settings]), LEGEND, *([left_out] if found.left_out else []),
                  *([not_shown] if alone else []), *remarks(named)])


def _printed(result: Result) -> dict[str, str]:
    means = result.numbers
    return {"eASR": number(means["easr"]), "rho_Acc": number(means["rho_acc"]),
            "clean rho_Acc": number(means["reference_rho_acc"]),
            "flip rate": with_interval(means["flip_rate"], *result.interval("flip_rate")),
            "seeds": str(len(result.records))}
