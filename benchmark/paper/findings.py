"""What records say of the paper's questions: does the trigger do it, does fine-tuning help, and compared with what?

Every number and every verdict is computed from the counts per image; nothing is typed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.metrics.significance import holm, mcnemar
from benchmark.paper.measured_claims import claims, extremes, papers
from benchmark.paper.trends import GROWTH, flips_beyond, sizes, steps, usual
from benchmark.registry import names
from benchmark.results.record import Record
from benchmark.results.result import Settings
from benchmark.results.scenarios import Scenario, defense_settings, scenarios, short, suffixes
from benchmark.tables.ablation import as_number
from benchmark.tables.footnotes import shared
from benchmark.tables.formats import Table, markdown, number, probability, text, with_interval
from benchmark.utils.errors import UserError

LEVEL = 0.05
ANSWERS = ("yes", "the opposite", "not shown")
MADE = ("device_name", "threads", "precision")  # of the provenance
RIVALS = ("retrain", "fine_tune_few", "continue_poisoned", "label_consistency", "none")
Pair = tuple[np.ndarray, np.ndarray]  # successes of images [S, N]: of what is asked about, of what it is beside


@dataclass(frozen=True)
class Question:
    """Rows of a comparison, one per test. yes: 1 where the answer is yes if the first has the larger share, else -1."""

    name: str
    title: str
    yes: int
    rows: list[tuple[dict[str, str], Pair]]
    note: str


def findings(records: Iterable[Record]) -> str:
    """A page of Markdown: what was run, and each question with its table and verdicts.

    Raises:
        UserError: no victim among the records, or they contradict each other.
    """
    records = list(records)
    found = sorted(scenarios(records), key=lambda scenario: (scenario.model, scenario.attack, sizes(scenario)))
    attacked = [scenario for scenario in found if any("flip_rate" in result.numbers for result in scenario.results)]
    if not attacked:
        raise UserError("findings: no record of a victim; expected records with an attack")
    most = usual(found)
    told = suffixes([scenario.settings for scenario in attacked], ("model", "trigger", "target"), most)
    titles = [f"{scenario.model} {scenario.attack}{more}" for scenario, more in zip(attacked, told)]
    named = list(zip(titles, attacked))
    questions = [question for question in _questions(named, found, most) if question.rows]
    tests = [mcnemar(*pair) for question in questions for _, pair in question.rows]
    adjusted = iter(holm(tests))
    answered = [_answered(question, adjusted, len(tests)) for question in questions]
    as_usual = {name: scenario for name, scenario in named
                if all(scenario.settings.get(key, value) == value for key, value in most.items())}
    tables = [claims(answered, as_usual), _in_short(answered), _strength(named), *answered, *extremes(named)]
    return "\n".join(["# Findings", "", *_run(records, found, most), "", *map(markdown, tables), *_not_run(found)])


def _run(records: Sequence[Record], found: Sequence[Scenario], most: Settings) -> Iterator[str]:
    """What the numbers are of. most: see `usual`."""
    images = sorted({len(record.images.id) for record in records})
    scales = sorted({record.training.get("scale", 1) for record in records})
    epochs = sorted({str(record.training.get("resolved", record.training).get("epochs")) for record in records},
                    key=as_number)
    seeds = sorted({record.seed for record in records})
    made = sorted({", ".join(f"{key} {record.provenance[key]}" for key in MADE if key in record.provenance)
                   for record in records})
    told = [f"{short(key)} {value}" for key, value in most.items()]
    notes = sorted({warning for record in records for warning in record.warnings})
    yield "Made by `crowdbench findings` from records. In brackets 95% intervals, bootstrap over seeds and images."
    yield ""
    yield from (f"- {text(line)}" for line in [
        *shared([scenario.settings for scenario in found]),
        *([f"Unless a row says otherwise: {', '.join(told)}."] if told else []),
        f"{len(records)} records, {_listed(images)} test images, seeds {_listed(seeds)}.",
        f"Models: {', '.join(sorted({scenario.model for scenario in found}))}; scale {_listed(scales)}; "
        f"{_listed(epochs)} epochs.",
        f"Made on: {'; '.join(made)}.", *notes])


def _listed(values: Iterable[float]) -> str:
    return ", ".join(map(str, values))


def _not_run(found: Sequence[Scenario]) -> list[str]:
    """What the registry holds and these records do not."""
    results = [result.settings for scenario in found for result in scenario.results]
    lines = ["## What was not run", ""]
    for kind in ("model", "target", "trigger", "defense"):
        there = {settings.get(kind) for settings in results}
        lines.append(f"- {kind}s: {', '.join(name for name in names(kind) if name not in there)}")
    scales = sorted({settings["training.scale"] for settings in results if "training.scale" in settings})
    lines += [f"- any other size than scale {', '.join(scales)}"] if scales else []
    return [*lines, "- nothing of it is estimated from what was run", ""]


def _strength(named: Sequence[tuple[str, Scenario]]) -> Table:
    lines = []
    for name, scenario in named:
        for result in filter(None, scenario.defended("none")):
            line = {"victim": name}
            for heading, key in (("rho_Acc", "rho_acc"), ("rho_Asr", "rho_asr"), ("base", "base"), ("ASR0", "asr0"),
                                 ("eASR", "easr"), ("attainment", "attainment"), ("flip rate", "flip_rate"),
                                 ("clean counter's", "reference_flip_rate")):
                line[heading] = with_interval(result.numbers.get(key, np.nan), *result.interval(key))
            line["flip rate of each seed"] = ", ".join(number(seed.mean()) for seed in result.successes("flip_rate"))
            lines.append(line)
    return Table("strength", "How strong are the attacks?", pd.DataFrame(lines), [
        "rho_Asr: the paper's measure. base: the victim without the trigger scores as much, ASR0: a clean counter with "
        "it. attainment: median share of the wanted change. flip rate: images that the trigger moves into success; "
        "clean counter's: those that it moves there in a counter without a backdoor."])


def _questions(named: Sequence[tuple[str, Scenario]], found: Sequence[Scenario],
               most: Settings) -> Iterator[Question]:
    unattacked = [scenario for scenario in found if scenario.strategy == "clean"]
    told = suffixes([scenario.settings for scenario in unattacked], ("model",), most) if unattacked else []
    clean = [(f"{scenario.model} clean{more}", scenario) for scenario, more in zip(unattacked, told)]
    undefended = [(name, result) for name, scenario in named for result in filter(None, scenario.defended("none"))]
    yield Question("trigger", "Is it the trigger that does it?", 1, [
        ({"victim": name}, (result.successes("flip_rate"), result.successes("reference_flip_rate")))
        for name, result in undefended if result.successes("reference_flip_rate").size],
        "Flip rate of the victim beside that of the clean counter on the same images.")
    yield Question("accuracy", "Does poisoning cost accuracy?", -1, [
        ({"victim": name}, (result.successes("rho_acc"), result.successes("reference_rho_acc")))
        for name, result in undefended if result.successes("reference_rho_acc").size],
        "rho_Acc of the victim beside that of the clean counter.")
    for key, title in GROWTH.items():
        yield Question(f"growth_{short(key)}", title, 1, [
            ({"victim": name, "beside": beside}, (flips_beyond(result), flips_beyond(less)))
            for name, result, beside, less in steps(named, key)],
            "Flip rate less that of the clean counter with the same trigger, of the victim beside one that was given "
            "less, on the same images: what the trigger does to any counter is no growth of the backdoor. No more than "
            "1 - base can flip: where nearly all do, read the attainment.")
    for key, yes, title in (
            ("flip_rate", -1, "Does the paper's fine-tuning leave fewer flips?"),
            ("rho_acc", 1, "Does the paper's fine-tuning count more clean images right?")):
        yield Question(f"fine_tune_{key}", title, yes, list(_beside(
            [*named, *(clean if key == "rho_acc" else [])], key)),
            "fine_tune minus the other, on the same victim and images.")


def _beside(named: Iterable[tuple[str, Scenario]], key: str) -> Iterator[tuple[dict[str, str], Pair]]:
    """The paper's defense beside its rivals on the same victims."""
    pairs = [(name, own, other) for name, scenario in named if (own := papers(scenario))
             for rival in RIVALS for other in scenario.defended(rival)
             if other and other.seeds == own.seeds and other.successes(key).size]
    told = suffixes([defense_settings(other) for *_, other in pairs], shown=("model", "defense")) if pairs else []
    for (name, own, other), more in zip(pairs, told):
        yield {"victim": name, "beside": other.defense + more}, (own.successes(key), other.successes(key))


def _answered(question: Question, adjusted: Iterator[float], tests: int) -> Table:
    lines = []
    for line, (own, other) in question.rows:
        p, difference = next(adjusted), own.mean() - other.mean()
        yes, opposite, unknown = ANSWERS
        verdict = unknown if p >= LEVEL else yes if difference * question.yes > 0 else opposite
        lines.append(line | {"share": number(own.mean()), "beside it": number(other.mean()),
                             "difference": f"{difference:+.3f}", "p": probability(p), "answer": verdict})
    return Table(question.name, question.title, pd.DataFrame(lines), [
        f"{question.note} p: exact McNemar test over images, with several seeds a sign-flip test of their sums, Holm's "
        f"correction over the {tests} tests of this page: of these counters, not of others trained alike. 'not shown': "
        f"p >= {LEVEL}, which proves nothing either way."])


def _in_short(answered: Sequence[Table]) -> Table:
    """How many victims give which answer."""
    lines = []
    for table in answered:
        rows = table.frame if "beside" in table.frame else table.frame.assign(beside="the clean counter")
        for beside, group in rows.groupby("beside", sort=False):
            told = {answer: str(int((group["answer"] == answer).sum())) for answer in ANSWERS}
            lines.append({"question": table.title, "beside": beside, "of": str(len(group))} | told)
    return Table("in_short", "In short", pd.DataFrame(lines), [
        "Of how many victims the answer is yes, the opposite, or not shown: p >= "
        f"{LEVEL} after correction. The tables below have the numbers.",
        "A counter that counts nothing right flips nothing: read fewer flips beside rho_Acc."])
