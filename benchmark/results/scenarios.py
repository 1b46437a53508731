"""Records -> cells and scenarios: what may be averaged, what belongs in one row, and what tells rows apart."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.results.record import AttackChoice, Choice, Images, Record
from benchmark.results.result import Result, Settings
from benchmark.utils.errors import UserError

# A setting means something among rows of the same ...; one that is not listed, among all rows.
OWNERS = {"data": ("data",), "trigger": ("trigger",), "test_trigger": ("test_trigger",), "target": ("target",),
          "also": ("also",), "model": ("model",), "training": ("model",), "defense": ("model", "defense")}


@dataclass(frozen=True)
class Scenario:
    """The cells that differ in nothing but the defense: one victim, or one clean counter, and what became of it."""

    settings: Settings
    results: tuple[Result, ...]

    @property
    def model(self) -> str:
        return self.settings["model"]

    @property
    def strategy(self) -> str:
        """The attack's target, the paper's word for it; 'clean' where there is no attack."""
        return self.settings.get("target", "clean")

    @property
    def attack(self) -> str:
        return f"{self.settings['trigger']}/{self.strategy}" if "trigger" in self.settings else "clean"

    @property
    def grid(self) -> Settings:
        """What decides the victim, whoever trained it."""
        return {key: value for key, value in self.settings.items() if key != "victims"}

    def defended(self, defense: str) -> list[Result | None]:
        """The cells with a defense, or [None] where it was not run."""
        return [result for result in self.results if result.defense == defense] or [None]


def scenarios(records: Iterable[Record]) -> list[Scenario]:
    """Group records into scenarios and cells, in an order that does not depend on theirs.

    A scenario without attack that has no record of the undefended counter takes it from `reference_clean` of the
    records of its victims; those of an audit have none.

    Raises:
        UserError: two records of one cell with the same seed, or victims whose clean models differ in a count by
            more than 0.1% and 0.01 people.
    """
    records = sorted(records, key=lambda record: (_key(settings_of(record)), record.seed))
    results = [Result(dict(key), _by_seed(group)) for key, group in _grouped(records + _references(records)).items()]
    groups = defaultdict(list)
    for result in results:
        groups[_key(without_defense(result.settings))].append(result)
    return [Scenario(dict(key), tuple(group)) for key, group in groups.items()]


def settings_of(record: Record) -> Settings:
    """What defines a cell, flat: {'model': 'csrnet', 'trigger.alpha': '0.1', ...}.

    The seed is left out. The test images and their true counts are in it, as a checksum, and what `collection` told of
    the entry of the leaderboard that it is from.
    """
    flat = {"audit": record.audit, "variant": record.variant, "data.images": record.images.checksum[:8]}
    flat |= {"victims": record.provenance["victims"]} if "victims" in record.provenance else {}
    flat |= _chosen(data=record.data, model=record.model, defense=record.defense)
    flat |= {"defense.entry": path} if (path := entry_of(record).get("path")) else {}
    if record.attack is not None:
        flat |= _attack_settings(record.attack)
    training = record.training.get("given", {}) | record.training.get("resolved", {})
    training |= {key: value for key, value in record.training.items() if key not in ("given", "resolved")}
    flat |= {f"training.{key}": value for key, value in training.items()}
    return {key: _text(value) for key, value in flat.items()}


def cell_of(record: Record) -> str:
    """A cell and its seed, as text that can be compared."""
    return json.dumps([settings_of(record), record.seed], sort_keys=True)


def entry_of(record: Record) -> dict[str, str]:
    """What `collection` told of the entry that a record is from; what is said otherwise, in a file, is nothing."""
    told = record.provenance.get("entry")
    return told if isinstance(told, dict) else {}


def _attack_settings(attack: AttackChoice) -> dict[str, Any]:
    flat = _chosen(trigger=attack.trigger, target=attack.target) | {
        "poison_rate": attack.poison_rate, "target.increases": attack.increases, "latent": attack.latent,
        "choose": attack.choose or "by target", "test_trigger": "as trained", "also": "none"}
    if attack.test_trigger is not None:
        flat |= _chosen(test_trigger=attack.test_trigger)
    if attack.also is not None:
        flat["also"] = f"{attack.also.trigger.name}/{attack.also.target.name}"
        flat |= {f"also.{key}": value for key, value in _attack_settings(attack.also).items()}
    return flat


def _chosen(**choices: Choice) -> dict[str, Any]:
    """Names, versions and settings of entries, by their kinds."""
    return {kind: choice.name for kind, choice in choices.items()} | {
        f"{kind}.version": str(choice.version) for kind, choice in choices.items() if choice.version != 1} | {
        f"{kind}.{key}": value for kind, choice in choices.items()
        for key, value in (choice.given | choice.resolved).items()}


def suffixes(rows: Sequence[Settings], shown: Iterable[str], usual: Settings | None = None) -> list[str]:
    """For each row what tells it apart, ' (alpha 0.2)' or '': its settings that differ among comparable rows.

    shown: settings that the row names anyway. usual: values that are told elsewhere, and not in a row that has them.

    >>> suffixes([{"alpha": "0.1", "k": "2"}, {"alpha": "0.2", "k": "2"}], shown=())
    [' (alpha 0.1)', ' (alpha 0.2)']
    >>> suffixes([{"alpha": "0.1", "k": "2"}, {"alpha": "0.2", "k": "2"}], shown=(), usual={"alpha": "0.1"})
    ['', ' (alpha 0.2)']
    """
    keys = sorted(set().union(*rows) - set(shown))
    values = defaultdict(set)
    for row in rows:
        for key in keys:
            if (among := peers(row, key)) is not None:
                values[key, among].add(row.get(key))
    telling = [[key for key in keys if len(values[key, peers(row, key)]) > 1] for row in rows]
    telling = [told + _of_the_test(row) * ("test_trigger" in told) for row, told in zip(rows, telling)]
    names = Counter(short(key) for key in set().union(*telling))
    usual = usual or {}
    return [_suffix({short(key) if names[short(key)] == 1 else key: row.get(key, "unset") for key in told
                     if key not in usual or row.get(key) != usual[key]}) for row, told in zip(rows, telling)]


def _of_the_test(row: Settings) -> list[str]:
    """The settings in which the trigger of the test images is another than in training."""
    return [key for key in sorted(row) if key.startswith("test_trigger.") and row.get(key[5:]) != row[key]]


def peers(row: Settings, key: str) -> tuple[str | None, ...] | None:
    """Names that a row must share for its value of a setting to be comparable; None where it can have no value."""
    if key == "data.images" and key in row:  # what the settings of the data tell apart needs no checksum
        return tuple(value for item in sorted(row.items()) if item[0].partition(".")[0] == "data" and item[0] != key
                     for value in item)
    kind, dot, _ = key.partition(".")
    owners = OWNERS.get(kind, ()) if dot else ()
    if (not dot and key not in row) or any(owner not in row for owner in owners):
        return None
    return tuple(row[owner] for owner in owners)


def defense_settings(result: Result | None) -> Settings:
    """A defense's own settings, and the name of the model that it repairs; nothing where it was not run."""
    settings = result.settings if result else {}
    return {key: value for key, value in settings.items() if key == "model" or key.partition(".")[0] == "defense"}


def short(key: str) -> str:
    """A setting's name without its kind: 'trigger.alpha' -> 'alpha', 'test_trigger.alpha' -> 'test_alpha'."""
    return ("test_" if key.startswith("test_trigger.") else "") + key.rpartition(".")[2]


def _suffix(told: Settings) -> str:
    return f" ({', '.join(f'{key} {value}' for key, value in told.items())})" if told else ""


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():  # 2.0 is the setting 2
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _key(settings: Settings) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(settings.items()))


def without_defense(settings: Settings) -> Settings:
    """What defines a cell's victim, or its clean counter."""
    return {key: value for key, value in settings.items() if key.partition(".")[0] != "defense"}


def _grouped(records: Iterable[Record]) -> dict[tuple[tuple[str, str], ...], list[Record]]:
    groups = defaultdict(list)
    for record in records:
        groups[_key(settings_of(record))].append(record)
    return dict(sorted(groups.items()))


def _by_seed(records: list[Record]) -> tuple[Record, ...]:
    seed, times = Counter(record.seed for record in records).most_common(1)[0]
    if times > 1:
        raise UserError(f"leaderboard: {times} records of {_name(records[0])} have the same settings and seed {seed}; "
                        "expected one")
    return tuple(sorted(records, key=lambda record: record.seed))


def _name(record: Record) -> str:
    attack = f"{record.attack.trigger.name}/{record.attack.target.name}" if record.attack else "clean"
    return f"{record.model.name}, {attack}, {record.defense.name}"


def _references(records: list[Record]) -> list[Record]:
    """The clean counters that have no record of their own, from the columns of their victims' records."""
    recorded = {(_key(settings_of(record)), record.seed) for record in records}
    found: dict[tuple, Record] = {}
    for record in records:
        if record.attack is None or record.images.reference_clean is None:
            continue
        images = record.images
        clean = record.model_copy(update={
            "attack": None, "defense": Choice(name="none"), "knowledge": {}, "detection": None,
            "provenance": {key: value for key, value in record.provenance.items() if key != "entry"},
            "images": Images(id=images.id, truth=images.truth, clean=images.reference_clean,
                             reference_clean=images.reference_clean)})
        key = (_key(settings_of(clean)), record.seed)
        if key in recorded:
            continue
        other = found.setdefault(key, clean)
        if not np.allclose(other.images.clean, clean.images.clean, rtol=1e-3, atol=1e-2):  # more than a device's noise
            raise UserError(f"leaderboard: {_name(record)}, seed {record.seed}: reference_clean differs from that of "
                            f"another record; expected one clean model, or a record of it (no attack, defense none)")
        shared = [warning for warning in other.warnings if warning in clean.warnings]
        found[key] = other.model_copy(update={"warnings": shared})
    return list(found.values())
