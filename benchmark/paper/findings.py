"""Findings: a page that answers the paper's questions from records.

Every number and every verdict on the page is computed from the counts per image in the records.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from benchmark.paper.answers import answered, summary
from benchmark.paper.measured_claims import claim_table
from benchmark.paper.questions import NamedScenarios, questions
from benchmark.paper.trends import sizes, usual
from benchmark.registry import names
from benchmark.results.record import Record
from benchmark.results.result import Settings
from benchmark.results.scenarios import Scenario, scenarios, short_name, suffixes
from benchmark.tables.ablation import as_number
from benchmark.tables.footnotes import common_settings, unchanged_notes
from benchmark.tables.formats import Table, markdown, number, text, with_interval
from benchmark.tables.two_levels import few_seeds
from benchmark.utils.errors import UserError

MACHINE = ("device_name", "threads", "precision")  # keys of the provenance
STRENGTH = {  # heading -> number of a result
    "rho_Acc": "rho_acc", "rho_Asr": "rho_asr", "base": "base", "ASR0": "asr0", "eASR": "easr",
    "attainment": "attainment", "flip rate": "flip_rate",
    "flip rate, clean counter": "reference_flip_rate"}


def findings(records: Iterable[Record]) -> str:
    """A page of Markdown: what was run, then each question with its table and verdicts.

    Raises:
        UserError: no victim among the records, audits among them, or records that contradict each
            other.
    """
    records = list(records)
    audits = sum(record.audit for record in records)
    if audits:
        raise UserError(f"findings: {audits} of {len(records)} records are of an audit, which has "
                        "no clean counter that a finding could rest on; it tells how far the "
                        "triggers that were tried move the counts: `crowdbench leaderboard "
                        "RECORDS` prints that")
    ordered = sorted(scenarios(records), key=lambda scenario: (
        scenario.model, scenario.attack, sizes(scenario)))
    attacked = [scenario for scenario in ordered
                if any("flip_rate" in result.numbers for result in scenario.results)]
    if not attacked:
        raise UserError("findings: no record of a victim; expected records with an attack")
    common = usual(ordered)
    victims = _named(attacked, common)
    clean = _named([scenario for scenario in ordered if scenario.strategy == "clean"], common)
    asked = answered(questions(victims, clean))
    usual_victims = {name for name, scenario in victims if _agrees(scenario, common)}
    page = [claim_table(asked, usual_victims), summary(asked), _strength_table(victims),
            *(question.table() for question in asked)]
    named_results = [(f"{name} {result.defense}", result) for name, scenario in [*victims, *clean]
                     for result in scenario.results]
    return "\n".join(["# Findings", "", *_introduction(records, ordered, common),
                      *(f"- {text(note)}" for note in unchanged_notes(named_results)), "",
                      *map(markdown, page), *_not_run(ordered)])


def _named(group: Sequence[Scenario], common: Settings) -> NamedScenarios:
    """Each scenario with a name: its model and attack, and the settings that tell it apart."""
    settings = [scenario.settings for scenario in group]
    endings = suffixes(settings, ("model", "trigger", "target"), common)
    return [(f"{scenario.model} {scenario.attack}{ending}", scenario)
            for scenario, ending in zip(group, endings)]


def _agrees(scenario: Scenario, common: Settings) -> bool:
    """Whether a scenario has the most common settings, as far as it has such settings."""
    return all(scenario.settings.get(key, value) == value for key, value in common.items())


def _introduction(records: Sequence[Record], ordered: Sequence[Scenario],
                  common: Settings) -> Iterator[str]:
    """Lines about the records. common: the most common settings, see `usual`."""
    yield ("Made by `crowdbench findings`, which computes every number from the records. Brackets "
           "hold 95% intervals: by bootstrap over seeds and images, or, where the heading says "
           "'seeds', by the t distribution over seeds.")
    yield ""
    for note in few_seeds(len(result.seeds) for scenario in ordered for result in scenario.results):
        yield from (f"**{text(note)}**", "")
    lines = common_settings([scenario.settings for scenario in ordered])
    if common:
        settings = ", ".join(f"{short_name(key)} {value}" for key, value in common.items())
        lines.append(f"Unless a row says otherwise: {settings}.")
    images = _distinct(len(record.images.id) for record in records)
    seeds = _distinct(record.seed for record in records)
    lines.append(f"Records: {len(records)}; test images: {images}; seeds: {seeds}.")
    models = _distinct(scenario.model for scenario in ordered)
    scales = _distinct(record.training.get("scale", 1) for record in records)
    epochs = {str(record.training.get("resolved", record.training).get("epochs"))
              for record in records}
    lines.append(f"Models: {models}; scale: {scales}; "
                 f"epochs: {', '.join(sorted(epochs, key=as_number))}.")
    lines.append(f"Run on: {'; '.join(sorted(set(map(_machine, records))))}.")
    lines += sorted({warning for record in records for warning in record.warnings})
    yield from (f"- {text(line)}" for line in lines)


def _machine(record: Record) -> str:
    provenance = record.provenance
    return ", ".join(f"{key} {provenance[key]}" for key in MACHINE if key in provenance)


def _distinct(values: Iterable[float | str]) -> str:
    return ", ".join(map(str, sorted(set(values))))


def _not_run(ordered: Sequence[Scenario]) -> list[str]:
    """Components of the registry that these records do not have."""
    run = [result.settings for scenario in ordered for result in scenario.results]
    lines = ["## What was not run", ""]
    for kind in ("model", "target", "trigger", "defense"):
        used = {settings.get(kind) for settings in run}
        lines.append(f"- {kind}s: {', '.join(name for name in names(kind) if name not in used)}")
    scales = {settings["training.scale"] for settings in run if "training.scale" in settings}
    if scales:
        lines.append(f"- any scale other than {', '.join(sorted(scales))}")
    return [*lines, "- none of this is estimated from what was run", ""]


def _strength_table(victims: NamedScenarios) -> Table:
    """The numbers of the undefended victims with their intervals."""
    lines = []
    for name, scenario in victims:
        for result in filter(None, scenario.defended("none")):
            line = {"victim": name}
            for heading, key in STRENGTH.items():
                value = result.numbers.get(key, np.nan)
                line[heading] = with_interval(value, *result.interval(key))
            seeds = result.successes("flip_rate")
            line["flip rate of each seed"] = ", ".join(number(seed.mean()) for seed in seeds)
            lines.append(line)
    return Table("strength", "How strong are the attacks?", pd.DataFrame(lines), [
        "rho_Asr: the paper's success rate of an attack. base: the same rate for the victim "
        "without the trigger. ASR0: the same rate for a clean counter with the trigger. "
        "attainment: median share of the change of the count that the attacker wants. flip rate: "
        "share of images that the trigger moves into success, in the victim and in a counter "
        "without a backdoor."])
