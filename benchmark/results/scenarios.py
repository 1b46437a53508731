"""Scenarios: records grouped into the rows of tables, and the settings that tell rows apart."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmark.recipe import RUNNING
from benchmark.results.labels import setting_labels
from benchmark.results.record import AttackChoice, Choice, Images, Record
from benchmark.results.result import Result, Settings
from benchmark.utils.errors import UserError

# The settings of a kind are compared among rows that share these names; other settings, among all.
OWNERS = {"data": ("data",), "trigger": ("trigger",), "test_trigger": ("test_trigger",),
          "target": ("target",), "attack": ("trigger", "target"), "also": ("also",),
          "model": ("model",), "training": ("model",), "defense": ("model", "defense")}

Key = tuple[tuple[str, str], ...]  # the settings of a cell, sorted


@dataclass(frozen=True)
class Scenario:
    """Results that differ only in the defense, all of one victim or of one clean counter."""

    settings: Settings
    results: tuple[Result, ...]

    @property
    def model(self) -> str:
        return self.settings["model"]

    @property
    def strategy(self) -> str:
        """The target of the attack, which the paper calls strategy; 'clean' without an attack."""
        return self.settings.get("target", "clean")

    @property
    def attack(self) -> str:
        """Trigger and target, 'blended/multiply'; 'clean' without an attack."""
        if "trigger" not in self.settings:
            return "clean"
        return f"{self.settings['trigger']}/{self.strategy}"

    @property
    def grid(self) -> Settings:
        """The settings that determine the victim, without the entry that trained it."""
        return {key: value for key, value in self.settings.items() if key != "victims"}

    def defended(self, defense: str) -> list[Result | None]:
        """The results of a defense, or [None] if it was not run."""
        return [result for result in self.results if result.defense == defense] or [None]


def scenarios(records: Iterable[Record]) -> list[Scenario]:
    """Records grouped into scenarios and results, in an order that does not depend on theirs.

    Where no record holds the undefended clean counter of a scenario without attack, the columns
    `reference_clean` of its victims' records stand in for it; the records of an audit have none.

    Raises:
        UserError: two records of one cell have the same seed, or victims have clean counters whose
            counts of an image differ by more than 0.1% and 0.01 people.
    """
    records = sorted(records, key=lambda record: (_key(settings_of(record)), record.seed))
    groups = defaultdict(list)
    for key, cell in _by_cell(records + _references(records)).items():
        result = Result(dict(key), _by_seed(cell))
        groups[_key(without_defense(result.settings))].append(result)
    return [Scenario(dict(key), _beside_undefended(results)) for key, results in groups.items()]


def _beside_undefended(results: Sequence[Result]) -> tuple[Result, ...]:
    """The results of one victim, each of which knows that of no defense."""
    undefended = next((result for result in results if result.defense == "none"), None)
    return tuple(replace(result, undefended=undefended) for result in results)


def settings_of(record: Record) -> Settings:
    """The settings that define a cell, flat: {'model': 'csrnet', 'trigger.alpha': '0.1', ...}.

    The seed is left out. The checksum of the test images and their true counts is included, and so
    are the entries of the leaderboard and the victims that `label_entries` noted.
    """
    return {key: _text(value) for key, value in setting_values(record).items()}


def setting_values(record: Record) -> dict[str, Any]:
    """The settings of `settings_of` with their values as the record has them, not as text."""
    flat: dict[str, Any] = {"audit": record.audit, "variant": record.variant,
                            "data.images": record.images.checksum[:8]}
    if "victims" in record.provenance:
        flat["victims"] = record.provenance["victims"]
    flat |= _component_settings(data=record.data, model=record.model, defense=record.defense)
    entry = entry_of(record)
    if entry.get("path"):
        flat["defense.entry"] = entry["path"]
    if record.attack is not None:
        flat |= _attack_settings(record.attack)
        attack_entry = entry_of(record, "attack_entry")
        if attack_entry.get("path"):
            flat["attack.entry"] = attack_entry["path"]
    training = record.training.get("given", {}) | record.training.get("resolved", {})
    training |= {key: value for key, value in record.training.items()
                 if key not in ("given", "resolved")}
    training = {key: value for key, value in training.items() if key not in RUNNING}
    return flat | {f"training.{key}": value for key, value in training.items()}


def cell_of(record: Record) -> str:
    """The settings and the seed of a record, as text that can be compared."""
    return json.dumps([settings_of(record), record.seed], sort_keys=True)


def entry_of(record: Record, key: str = "entry") -> dict[str, str]:
    """The leaderboard entry that `label_entries` noted in a record's provenance.

    {} for a record of no entry. A value of another type, which only a file can hold, is ignored.

    key: 'entry' for that of its defense, 'attack_entry' for that of its attack.
    """
    entry = record.provenance.get(key)
    return entry if isinstance(entry, dict) else {}


def _attack_settings(attack: AttackChoice) -> dict[str, Any]:
    flat = _component_settings(trigger=attack.trigger, target=attack.target)
    flat |= {"poison_rate": attack.poison_rate, "target.increases": attack.increases,
             "latent": attack.latent, "choose": attack.choose or "by target",
             "test_trigger": "as trained", "also": "none"}
    if attack.cover_rate:  # records without cover copies have the settings that they always had
        flat["attack.cover_rate"] = attack.cover_rate
    if attack.test_trigger is not None:
        flat |= _component_settings(test_trigger=attack.test_trigger)
    if attack.also is not None:
        flat["also"] = f"{attack.also.trigger.name}/{attack.also.target.name}"
        flat |= {f"also.{key}": value for key, value in _attack_settings(attack.also).items()}
    return flat


def _component_settings(**choices: Choice) -> dict[str, Any]:
    """Names, versions other than 1, and settings of components, by their kinds."""
    flat: dict[str, Any] = {}
    for kind, choice in choices.items():
        flat[kind] = choice.name
        if choice.version != 1:
            flat[f"{kind}.version"] = str(choice.version)
        for key, value in (choice.given | choice.resolved).items():
            flat[f"{kind}.{key}"] = value
    return flat


def suffixes(rows: Sequence[Settings], shown: Iterable[str],
             usual: Settings | None = None) -> list[str]:
    """For each row the settings that tell it apart from comparable rows, ' (alpha 0.2)', or ''.

    shown: settings that the row shows anyway. usual: values that the reader knows from elsewhere,
    which are left out of the rows that have them.

    >>> rows = [{"alpha": "0.1", "k": "2"}, {"alpha": "0.2", "k": "2"}]
    >>> suffixes(rows, shown=())
    [' (alpha 0.1)', ' (alpha 0.2)']
    >>> suffixes(rows, shown=(), usual={"alpha": "0.1"})
    ['', ' (alpha 0.2)']
    """
    usual = usual or {}
    differing = _differing(rows, sorted(set().union(*rows) - set(shown)))
    every = set().union(*differing)
    occurrences = Counter(map(short_name, every))
    names = {key: short_name(key) if occurrences[short_name(key)] == 1 else key for key in every}
    lines = []
    for row, keys in zip(rows, differing):
        unusual = [key for key in keys if key not in usual or row.get(key) != usual[key]]
        labels = setting_labels(row, {key: names[key] for key in unusual})
        lines.append(f" ({', '.join(labels)})" if labels else "")
    return lines


def _differing(rows: Sequence[Settings], keys: Sequence[str]) -> list[list[str]]:
    """For each row those of the settings in which comparable rows differ."""
    values = defaultdict(set)
    for row in rows:
        for key in keys:
            group = comparable_group(row, key)
            if group is not None:
                values[key, group].add(row.get(key))
    differing = []
    for row in rows:
        own = [key for key in keys if len(values[key, comparable_group(row, key)]) > 1]
        if "test_trigger" in own:
            own += _changed_in_test(row)
        differing.append(own)
    return differing


def _changed_in_test(row: Settings) -> list[str]:
    """The settings whose value on the trigger of the test images differs from that in training."""
    return [key for key in sorted(row)
            if key.startswith("test_trigger.") and row.get(key.removeprefix("test_")) != row[key]]


def comparable_group(row: Settings, key: str) -> tuple[str | None, ...] | None:
    """Names that rows must share for their values of a setting to be comparable.

    None if the row cannot have the setting: a clean counter has no poison rate.
    """
    if key == "data.images" and key in row:  # datasets with different settings need no checksum
        group = []
        for other, value in sorted(row.items()):
            if other.partition(".")[0] == "data" and other != key:
                group += [other, value]
        return tuple(group)
    kind, dot, _ = key.partition(".")
    owners = OWNERS.get(kind, ()) if dot else ()
    if not dot and key not in row:
        return None
    if any(owner not in row for owner in owners):
        return None
    return tuple(row[owner] for owner in owners)


def defense_settings(result: Result | None) -> Settings:
    """The settings of a result's defense, and the name of the model; {} if it was not run."""
    settings = result.settings if result else {}
    return {key: value for key, value in settings.items()
            if key == "model" or key.partition(".")[0] == "defense"}


def row_suffixes(rows: Sequence[tuple[Scenario, Result | None]]) -> list[tuple[str, str]]:
    """For each row the suffixes of its attack's and of its defense's name; see `suffixes`."""
    attacks = suffixes([scenario.settings for scenario, _ in rows],
                       shown=("model", "trigger", "target"))
    defenses = suffixes([defense_settings(result) for _, result in rows],
                        shown=("model", "defense"))
    return list(zip(attacks, defenses))


def without_defense(settings: Settings) -> Settings:
    """The settings that define the victim of a cell, or its clean counter."""
    return {key: value for key, value in settings.items() if key.partition(".")[0] != "defense"}


def short_name(key: str) -> str:
    """A setting's name without its kind: 'trigger.alpha' -> 'alpha'.

    The trigger of the test images keeps a prefix: 'test_trigger.alpha' -> 'test_alpha'.
    """
    prefix = "test_" if key.startswith("test_trigger.") else ""
    return prefix + key.rpartition(".")[2]


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():  # 2.0 is the same setting as 2
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _key(settings: Settings) -> Key:
    return tuple(sorted(settings.items()))


def _by_cell(records: Iterable[Record]) -> dict[Key, list[Record]]:
    groups = defaultdict(list)
    for record in records:
        groups[_key(settings_of(record))].append(record)
    return dict(sorted(groups.items()))


def _by_seed(records: list[Record]) -> tuple[Record, ...]:
    """The records of a cell in the order of their seeds. Raises UserError if a seed repeats."""
    seed, times = Counter(record.seed for record in records).most_common(1)[0]
    if times > 1:
        raise UserError(f"records: {times} records of {_name(records[0])} have the same settings "
                        f"and seed {seed}; expected one")
    return tuple(sorted(records, key=lambda record: record.seed))


def _name(record: Record) -> str:
    attack = "clean"
    if record.attack:
        attack = f"{record.attack.trigger.name}/{record.attack.target.name}"
    return f"{record.model.name}, {attack}, {record.defense.name}"


def _references(records: list[Record]) -> list[Record]:
    """Records of the clean counters that lack one, from the reference columns of their victims."""
    recorded = {(_key(settings_of(record)), record.seed) for record in records}
    references: dict[tuple[Key, int], Record] = {}
    for record in records:
        if record.attack is None or record.images.reference_clean is None:
            continue
        reference = _reference(record)
        key = (_key(settings_of(reference)), record.seed)
        if key in recorded:
            continue
        first = references.setdefault(key, reference)
        counts, others = first.images.clean, reference.images.clean
        if not np.allclose(counts, others, rtol=1e-3, atol=1e-2):  # more than rounding of a device
            raise UserError(
                f"records: {_name(record)}, seed {record.seed}: reference_clean differs from that "
                "of another record; expected the counts of one clean counter, or a record of it "
                "(no attack, defense none)")
        common = [warning for warning in first.warnings if warning in reference.warnings]
        references[key] = first.model_copy(update={"warnings": common})
    return list(references.values())


def _reference(record: Record) -> Record:
    """The undefended clean counter of a victim's record, as a record of its own."""
    images = record.images
    provenance = {key: value for key, value in record.provenance.items() if key != "entry"}
    clean = Images(id=images.id, truth=images.truth, clean=images.reference_clean,
                   reference_clean=images.reference_clean)
    return record.model_copy(update={
        "attack": None, "defense": Choice(name="none"), "knowledge": {}, "detection": None,
        "strengths": [], "provenance": provenance, "images": clean})
