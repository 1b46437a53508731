"""Verdicts: whether each defense is better than no defense and the controls, in few columns.

They are read off the rows of a table of differences, which holds the numbers behind them.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from benchmark.metrics.significance import ENOUGH_SEEDS, LEVEL
from benchmark.results.controls import SHARED
from benchmark.results.scenarios import Scenario, defense_settings
from benchmark.tables.comparison import (FOR_COUNTERS, comparisons, difference_rows,
                                         on_their_common_seeds)
from benchmark.tables.formats import NONE, Cell, Table, as_frame, count

Row = Mapping[str, str]
VERDICT = " verdict"  # behind the heading of a number
LEVELS = {"": False, ", method": True}  # what a column adds, and whether it is about the method


def control_differences(scenarios: Sequence[Scenario],
                        defenses: Collection[str] | None = None) -> list[Row]:
    """Rows of differences: each repair against none and the controls, on each victim.

    They are on the seeds that both have. The p values are corrected for all of them.

    defenses: those that are compared; None for all.
    """
    repairs = {result.defense for scenario in scenarios for result in scenario.results
               if not result.detects} - {*SHARED}
    compared = on_their_common_seeds(
        one for defense in sorted(repairs if defenses is None else repairs & {*defenses})
        for one in comparisons(scenarios, defense) if one.other.defense in SHARED)
    compared.sort(key=lambda one: (one.scenario.model, one.own.defense,
                                   SHARED.index(one.other.defense),
                                   json.dumps(defense_settings(one.other), sort_keys=True)))
    return difference_rows(compared)[0]


def verdict_table(rows: Sequence[Row], title: str = "How each defense compares") -> Table:
    """The rows of a table of differences with the differences and the verdicts alone."""
    lines, tests = [], 0
    for row in rows:
        line = {key: row[key] for key in ("model", "defense", "compared with", "attack")}
        for heading in _headings(row):
            line |= {heading: row[heading], heading + VERDICT: _short(row, heading)}
            tests += row[heading] != NONE
        lines.append(line)
    legend = (
        f"{', '.join(_headings(rows[0]) if rows else [])}: the difference on the seeds that both "
        "have. Each verdict has the p of a test over images, with Holm's correction over all "
        f"{tests} tests. "
        f"(better) and (worse) are shown for the counters that were run (p < {LEVEL}); without "
        "brackets, for other counters trained in the same way, too: a test over seeds agrees. tie: "
        "no difference is shown; there may be one.")
    caption = (
        "Verdicts on each defense against no defense and the controls, with the p of an exact "
        "sign-flip test over images, corrected by Holm's method. Those in brackets hold for the "
        "counters that were run, the others for the method.")
    return Table("verdicts", title, as_frame(lines), [legend], caption=caption)


def win_table(rows: Sequence[Row], over: str = "attack") -> Table:
    """Wins, ties and losses of each defense against each other one, over the attacks.

    Clean counters are left out. rows: of a table of differences. over: 'defense' if the rows
    compare attacks.
    """
    subject = "defense" if over == "attack" else "attack"
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if row["attack"] != "clean":
            groups[tuple(row[key] for key in ("model", subject, "compared with"))].append(row)
    lines = []
    for names, of_pair in groups.items():
        line = dict(zip(("model", subject, "compared with"), names))
        lines.append(line | {f"{over}s": count(len(of_pair))} | dict(_wins(of_pair)))
    legend = (
        f"On how many {over}s the {subject} is shown to be better / no difference is shown / it is "
        "shown to be worse, for the counters that were run. method: for other counters trained in "
        f"the same way, too, which takes at least {ENOUGH_SEEDS} seeds.")
    return Table("wins", "Wins / ties / losses", as_frame(lines), [legend], caption=(
        f"Wins, ties and losses of each {subject} over the {over}s. A tie is a difference that is "
        "not shown."))


def _headings(row: Row) -> list[str]:
    """The headings of the numbers that a row of differences has verdicts on."""
    return [key.removesuffix(VERDICT) for key in row if key.endswith(VERDICT)]


def _short(row: Row, heading: str) -> str:
    """A verdict in one word, with its p over images: '(better) 0.012'."""
    verdict, p = row[heading + VERDICT], row[f"{heading} p, images"]
    if verdict == NONE:
        return NONE
    word = "tie" if verdict == "-" else verdict
    if verdict.startswith(FOR_COUNTERS):
        word = f"({verdict.removeprefix(FOR_COUNTERS)})"
    return Cell(f"{word} {p}", {"": word, ", p images": p.data[""],
                                ", p seeds": row[f"{heading} p, seeds"].data[""]})


def _wins(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """The headings and cells of the wins, ties and losses of some rows."""
    for heading in _headings(rows[0]):
        existing = [row for row in rows if row[heading + VERDICT] != NONE]
        for ending, of_method in LEVELS.items():
            tested = [row for row in existing if not of_method
                      or row[f"{heading} p, seeds"] != NONE]
            yield heading + ending, _tally([row[heading + VERDICT] for row in tested], of_method)


def _tally(verdicts: Sequence[str], of_method: bool) -> str:
    """'2 / 0 / 1': wins, ties and losses; '/' without any test.

    of_method: whether verdicts that are shown for the counters alone are ties.
    """
    if not verdicts:
        return NONE
    outcomes = Counter(verdict if of_method else verdict.removeprefix(FOR_COUNTERS)
                       for verdict in verdicts)
    wins, losses = outcomes["better"], outcomes["worse"]
    ties = len(verdicts) - wins - losses
    return Cell(f"{wins} / {ties} / {losses}",
                {", wins": wins, ", ties": ties, ", losses": losses})
