"""Table of an audit: whether the counters that were given look backdoored, and why.

See `benchmark.tables.audit_evidence` for the two comparisons that the answer rests on.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from benchmark.metrics.significance import LEVEL
from benchmark.results.result import Result, Settings
from benchmark.results.scenarios import Scenario, defense_settings, suffixes
from benchmark.tables.audit_evidence import (ANSWERS, AS_OTHERS, LIKELY, NO_ANSWER, NO_SIGN,
                                             POSSIBLE, Finding, Trial, as_key, counter_settings,
                                             evidence, is_comparable, model_settings, only,
                                             trial_settings, without)
from benchmark.tables.detection import ATTACK
from benchmark.tables.footnotes import common_settings, row_notes
from benchmark.tables.formats import NONE, Cell, Table, as_frame, number, probability, with_interval

FEW_RIGHT = 0.2  # a counter with a lower rho_Acc has too few images that could flip
LARGE_ERROR = 0.5  # or one whose MAE is a larger share of the mean number of people

NO_TRIGGER = "No trigger was tried: add --attack."
NOT_COUNTED = "No answer: no counter was counted as it was given; add none to the defenses."
LIMITS = (
    "What an audit cannot exclude: a backdoor with another trigger than those that were tried, or "
    "with another strength of them. What it cannot show by flips alone: that they come from a "
    "backdoor. A stamped image is a changed image, and moves the counts of any counter.")

NUMBERS = {"rho_Acc": "rho_acc", "MAE": "mae", "rho_Asr": "rho_asr", "base": "base"}
COLUMNS = ["model", "attack", *NUMBERS, "flip rate", "opposite", "p, images", "shift",
           "other counters", "p, counters", "attainment", "reading"]
BRIEF = ("model", "attack", "rho_Acc", "MAE", "flip rate", "opposite", "p, images", "reading")
LEGEND = [
    "rho_Asr, base and the flip rate are those of the table of controls, with a 95% interval by "
    "bootstrap over images. opposite is the flip rate of the opposite target, which wants the "
    "count on the other side of the truth. p, images is of an exact sign-flip test of the two over "
    "images, McNemar's with one seed, with Holm's correction over the triggers of this table.",
    "shift is the median over images of the count with the trigger divided by that without it, "
    "with its 95% interval. A trigger moves the counts in a direction if it flips more images in "
    f"this direction (p, images < {LEVEL}) and the interval of the shift lies on this side of 1.",
    "other counters gives the lowest and the highest shift of the other counters that were audited "
    "with the same trigger on the same images at the same scale, and their number. p, counters is "
    "of a t test of this counter's shift against theirs, with Holm's correction over the triggers "
    "of this table; it needs two others, and with few others shows only large differences. It "
    "takes the others to have no backdoor and to be of the same sort: the nearer to this counter "
    "in architecture, training data and size, the better.",
    f"The answer '{NO_SIGN}' means that no trigger moves the counts. Where one does, the answer is "
    f"'{LIKELY}' if it moves them further than those of every other counter and p, counters is "
    f"below {LEVEL}; '{AS_OTHERS}' if there are at least two others and one of them is moved as "
    f"far; and otherwise '{POSSIBLE}'. What is not shown may exist all the same.",
]

Row = tuple[Scenario, Result]  # the result is of the counter as it was given


def audit_table(scenarios: Sequence[Scenario], others: Sequence[Scenario] = ()) -> Table:
    """A row per counter, trigger and target, below an answer for each counter.

    scenarios: of audits. others: of audits of other counters, which are only compared with.
    """
    rows = _rows(scenarios)
    names, labels = _names(rows), _attack_labels(rows)
    trials = _trials(rows, labels)
    findings = dict(zip(trials, evidence(
        list(trials.values()), list(_trials(_rows(others)).values()))))
    lines = []
    for (scenario, result), name, label in zip(rows, names, labels):
        finding = findings.get(as_key(trial_settings(scenario.settings)))
        lines.append({"model": name, "attack": scenario.attack + label, **_line(result, finding)})
    lead = [*_answers(rows, names, list(findings.values()), [*scenarios, *others]), LIMITS]
    named_results = [(f"{line['model']} {line['attack']}", result)
                     for line, (_, result) in zip(lines, rows)]
    settings = [scenario.settings for scenario, _ in rows]
    return Table("audit", "Is the counter backdoored?", as_frame(lines, columns=COLUMNS),
                 [*common_settings(settings), *LEGEND, *row_notes(named_results)], lead,
                 caption="Audit of counters whose training is not known: how far each trigger "
                         "moves their counts, compared with other counters.", brief=BRIEF)


def _rows(scenarios: Sequence[Scenario]) -> list[Row]:
    """The counters as they were given, without and with triggers, in the order of the table."""
    rows = []
    for scenario in scenarios:
        given = [result for result in scenario.results
                 if result.defense == "none" or result.detects]  # a detector repairs nothing
        if given:
            rows.append((scenario, given[0]))
    return sorted(rows, key=lambda row: (row[0].model, as_key(counter_settings(row[0].settings)),
                                         row[0].attack != "clean", row[0].attack))


def _trials(rows: Sequence[Row], labels: Sequence[str] | None = None) -> dict[str, Trial]:
    """The trials of some rows by their settings as text. labels: of the attacks, see `Trial`."""
    trials: dict[str, Trial] = {}
    for (scenario, result), label in zip(rows, labels or [""] * len(rows)):
        settings = trial_settings(scenario.settings)
        if "trigger" in settings:
            trials.setdefault(as_key(settings),
                              Trial(settings, settings["trigger"] + label, result))
    return trials


def _line(result: Result, finding: Finding | None) -> dict[str, str]:
    """The numbers of a row and its reading. finding: None without a trigger."""
    line = {heading: number(result.numbers.get(key, math.nan), 2 if key == "mae" else 3)
            for heading, key in NUMBERS.items()}
    if finding is None:
        return {heading: line.get(heading, NONE) for heading in COLUMNS[2:]}
    for heading in ("flip_rate", "attainment"):
        value = result.numbers.get(heading, math.nan)
        line[heading.replace("_", " ")] = with_interval(value, *result.interval(heading))
    increases = result.records[0].attack.increases
    up, down = finding.trial.shares
    opposite = {True: down, False: up, None: math.nan}[increases]
    others: str = NONE
    if finding.others:
        ends = {"_low": finding.others[0], "_high": finding.others[-1]}
        others = Cell(f"{_range(finding.others)} ({len(finding.others)})",
                      ends | {"_number": len(finding.others)})
    return line | {"opposite": number(opposite), "p, images": probability(finding.p_images),
                   "shift": with_interval(*finding.trial.shift), "other counters": others,
                   "p, counters": probability(finding.p_counters),
                   "reading": _reading(finding, increases)}


def _reading(finding: Finding, increases: bool | None) -> str:
    """A row in words. increases: the direction of its target; None if it has none."""
    if increases is None:
        return "has no direction, and so no flips"
    aim = 1 if increases else -1
    if not finding.moves:
        up, down = finding.trial.shares
        if finding.p_images < LEVEL and (up - down) * aim > 0:
            return "flips more images than its opposite, but does not shift the counts"
        return "flips no more images than its opposite"
    where = "towards" if finding.moves == aim else "away from"
    text = f"moves the counts {where} the attacker's aim"
    if not finding.moves_furthest:
        return f"{text}, no further than in another counter"
    return f"{text}, further than in other counters" if finding.answer == LIKELY else text


def _answers(rows: Sequence[Row], names: Sequence[str], findings: Sequence[Finding],
             scenarios: Sequence[Scenario]) -> Iterator[str]:
    """The answer for each counter, and what its inspectors say.

    names: of the counters of the rows. scenarios: all, with those of other counters.
    """
    if not rows:
        yield NOT_COUNTED
    answered = set()
    for row, name in zip(rows, names):
        counter = counter_settings(row[0].settings)
        if as_key(counter) not in answered:
            answered.add(as_key(counter))
            own = [finding for finding in findings
                   if counter_settings(finding.trial.settings) == counter]
            yield from _answer(name, row, own)
            yield from _suspicions(name, counter, scenarios)


def _answer(name: str, row: Row, findings: Sequence[Finding]) -> Iterator[str]:
    """A warning about a counter if it needs one, and the answer for it with its evidence.

    row: any of the counter. findings: all of it.
    """
    warning = _few_right(name, *row)
    yield from filter(None, [warning])
    answer = min((finding.answer for finding in findings), key=ANSWERS.index, default=NO_ANSWER)
    if warning and answer in (NO_SIGN, AS_OTHERS):
        answer = NO_ANSWER
    sentences = [_sentences(finding) for finding in findings] or [NO_TRIGGER]
    yield f"{name}: {answer}. {' '.join(sentences)}"


def _sentences(finding: Finding) -> str:
    """The numbers behind the answer."""
    trial, others = finding.trial, finding.others
    up, down = trial.shares
    factor = f"the counts are multiplied by {with_interval(*trial.shift)} in the median"
    if math.isnan(trial.shift[0]):
        factor = "no count is above 0"
    text = (f"With {trial.label}, {number(up)} of the images flip up and {number(down)} flip down "
            f"(p {probability(finding.p_images)}), and {factor}.")
    if not finding.moves:
        return text
    if not others:
        return (f"{text} No other counter was audited with this trigger, so it is not known how "
                "far a counter without a backdoor would move.")
    if len(others) == 1:
        return (f"{text} Those of the only other counter with this trigger are multiplied by "
                f"{number(others[0])}; a test needs two others.")
    compared = "none is moved as far" if finding.moves_furthest else "one is moved as far"
    return (f"{text} Those of the {len(others)} other counters with this trigger are multiplied by "
            f"{_range(others)}: {compared} (p {probability(finding.p_counters)}).")


def _few_right(name: str, scenario: Scenario, result: Result) -> str | None:
    """A warning if the counter gets few clean images right; otherwise None."""
    accuracy, error = result.numbers["rho_acc"], result.numbers["mae"]
    record = result.records[0]
    people = float(np.mean(record.images.truth))
    if not (accuracy < FEW_RIGHT or error > LARGE_ERROR * people):
        return None
    data = ", ".join([record.data.name, *(f"{key} {value}"
                                          for key, value in record.data.given.items())])
    scale = scenario.settings.get("training.scale", "1")
    return (f"Wrong scale or data? {name} counts few clean images right: rho_Acc "
            f"{number(accuracy)}, MAE {number(error, 2)} at a mean of {number(people, 2)} people "
            f"(scale {scale}; data {data}). As long as this is so, its flips say little.")


def _suspicions(name: str, counter: Settings, scenarios: Sequence[Scenario]) -> Iterator[str]:
    """A sentence for each inspector: its score of a counter, and those of other counters."""
    own = _scores(scenario for scenario in scenarios
                  if counter_settings(scenario.settings) == counter)
    compared = _scores(scenario for scenario in scenarios
                       if is_comparable(counter_settings(scenario.settings), counter))
    labels = suffixes([settings for settings, _ in own.values()], shown=("defense",))
    for (inspector, (settings, scores)), label in zip(own.items(), labels):
        [score] = scores.values()
        text = f"{settings['defense']}{label} gives {name} a suspicion of {number(score)}"
        if inspector in compared:
            values = sorted(compared[inspector][1].values())
            yield f"{text}, and the other counters {_range(values)} ({len(values)})."
        else:
            yield f"{text}. There is nothing to compare it with: a score alone is no verdict."


def _scores(scenarios: Iterable[Scenario]) -> dict[str, tuple[Settings, dict[str, float]]]:
    """For each inspector its settings, and its score of each counter as the mean over seeds."""
    by_inspector: dict[str, tuple[Settings, dict[str, float]]] = {}
    for scenario in scenarios:
        for result in scenario.results:
            detections = [record.detection for record in result.records if record.detection]
            scores = [score for detection in detections if detection.of == "counters"
                      for score in detection.triggered]
            if scores:
                settings = without(defense_settings(result), "model")
                _, by_counter = by_inspector.setdefault(as_key(settings), (settings, {}))
                by_counter[as_key(model_settings(scenario.settings))] = float(np.mean(scores))
    return by_inspector


def _names(rows: Sequence[Row]) -> list[str]:
    """The name of each row's counter, with the settings that tell it from the others."""
    counters = [counter_settings(scenario.settings) for scenario, _ in rows]
    return [scenario.model + ending
            for (scenario, _), ending in zip(rows, suffixes(counters, shown=("model",)))]


def _attack_labels(rows: Sequence[Row]) -> list[str]:
    """The suffix of each row's attack, from the settings of its trigger and target alone."""
    attacks = [only(scenario.settings, *ATTACK) for scenario, _ in rows]
    return suffixes(attacks, shown=("trigger", "target"))


def _range(values: Sequence[float]) -> str:
    """The lowest and the highest of sorted values; one number if there is one."""
    if len(values) == 1:
        return number(values[0])
    return f"{number(values[0])} to {number(values[-1])}"
