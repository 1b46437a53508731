"""Summary of a run: each defense beside no defense and the controls, with few columns.

The verdicts on the defenses are in `benchmark.tables.verdicts`.
"""

import math
from collections.abc import Collection, Sequence

from benchmark.results.controls import SHARED
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, row_suffixes
from benchmark.tables.controls import chance_flips, control_rows
from benchmark.tables.footnotes import row_notes
from benchmark.tables.formats import Table, as_frame, count, number, with_interval

LEGEND = (
    "rho_Acc: the share of clean images counted to within 10% of the truth. MAE: the mean absolute "
    "error on clean images, in people. flip rate: the share of images that the trigger moves into "
    "success, with its 95% interval; chance flips: that of the clean counter after the same "
    "defense. attainment: the median share of the wanted change that the trigger achieves. Numbers "
    "are means over seeds.")
CAPTION = (
    "Results of each defense beside no defense and the controls. The flip rate is the share of "
    "images that the trigger moves into success, with its 95% interval.")
BRIEF = ("defense", "rho_Acc", "MAE", "flip rate", "chance flips", "attainment")
GROUP = "{model}, {attack}"


def summary_table(scenarios: Sequence[Scenario],
                  defenses: Collection[str] | None = None) -> Table:
    """One row per model, attack and defense that was run; detectors repair nothing: no row.

    defenses: those that have rows beside `none` and the controls; None for all.
    """
    rows: list[tuple[Scenario, Result]] = []
    for scenario, defense, result in control_rows(scenarios):
        if result and (defenses is None or defense in {*defenses, *SHARED}):
            rows.append((scenario, result))
    lines, named_results = [], []
    for (scenario, result), (attack_suffix, defense_suffix) in zip(rows, row_suffixes(rows)):
        names = {"model": scenario.model, "attack": scenario.attack + attack_suffix,
                 "defense": result.defense + defense_suffix}
        lines.append(names | _numbers(result))
        named_results.append((" ".join(names.values()), result))
    return Table("summary", "Summary", as_frame(lines), [LEGEND, *row_notes(named_results)],
                 lead=[what_was_run(rows)], caption=CAPTION, brief=BRIEF)


def _numbers(result: Result) -> dict[str, str]:
    numbers = result.numbers
    flips = with_interval(numbers.get("flip_rate", math.nan), *result.interval("flip_rate"), 2)
    return {"rho_Acc": number(numbers["rho_acc"], 2), "MAE": number(numbers["mae"], 2),
            "flip rate": flips, "chance flips": number(chance_flips(result), 2),
            "attainment": number(numbers.get("attainment", math.nan), 2),
            "images": count(len(result.records[0].images.id)), "seeds": count(len(result.seeds))}


def what_was_run(rows: Sequence[tuple[Scenario, Result]]) -> str:
    """A sentence with the models, the data, and the numbers of images and of seeds."""
    records = [record for _, result in rows for record in result.records]
    models = ", ".join(sorted({scenario.model for scenario, _ in rows}))
    data = ", ".join(sorted({record.data.name for record in records}))
    images = _range({len(record.images.id) for record in records}, "test image")
    seeds = _range({len(result.seeds) for _, result in rows}, "seed")
    return f"What was run: {models} on {data}, {images}, {seeds} for each row."


def _range(numbers: Collection[int], thing: str) -> str:
    """'3 seeds', or '1 to 3 seeds' where the rows differ."""
    low, high = min(numbers, default=0), max(numbers, default=0)
    text = str(low) if low == high else f"{low} to {high}"
    return f"{text} {thing}{'' if text == '1' else 's'}"
