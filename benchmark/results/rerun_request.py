"""Rerun request: the settings that run the cell of a record again.

A record may come from a stranger. It names a file only by its name and hash, never by a path, so
the files of a cell have to be set again by whoever runs it, and no record can name a file to read
or a folder to write to.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from benchmark.registry import find, settings_of
from benchmark.results.record import AttackChoice, Choice, Record
from benchmark.utils.errors import UserError, quoted

if TYPE_CHECKING:
    from benchmark.config.cell import Cell

FILE = re.compile(r"[^/\\]+ sha256 [0-9a-f]{12}")  # how a record names a file
NAMED = ".weights"  # the end of a key that may also have a name such as 'imagenet'
NAME = re.compile(r"[^/\\~.][^/\\]*")
ROOT = "data.root"  # the folder of the data, which a record does not name at all
CHOOSE = "attack.choose"  # may be a file with ids


def cell_of(record: Record, assignments: Sequence[str]) -> "Cell":
    """The cell of a record, with its files set again.

    assignments: 'KEY=VALUE', each for the folder of the data or for another file of the cell.

    Raises:
        UserError: an assignment is for something else, the record does not say one cell, or as
            `request_of`.
    """
    from benchmark.config.grid import cells
    from benchmark.config.request import override

    allowed = sorted({ROOT, CHOOSE, *(key for key, _ in _files(record))})
    for assignment in assignments:
        if assignment.partition("=")[0] not in allowed:
            raise UserError(f"--set {quoted(assignment)}: a cell of a record runs with its own "
                            f"settings; expected a file or a folder: {', '.join(allowed)}")
    found = cells(override(request_of(record), list(assignments)))
    if len(found) != 1:
        raise UserError(f"record: its settings are those of {len(found)} cells; expected one value "
                        "of each")
    return found[0]


def request_of(record: Record) -> dict[str, Any]:
    """The request whose only cell is that of the record.

    A setting that was a path, such as a picture or a weight file, has to be set again: a record
    holds only the file's name and hash.

    Raises:
        UserError: the record lacks a setting of its training, names a path, or names a component
            that is not registered.
    """
    for key, value in _files(record):
        if not _is_name(key, value):
            raise UserError(f"record: {key} = {quoted(value)}: expected no path, since a record "
                            "names a file only by its name and hash")
    for key in ("given", "scale", "hold_out"):
        if key not in record.training:
            raise UserError(f"record: training.{key} is missing; expected all settings of the "
                            "training, to run the cell again")
    return {"data": _component(record.data), "model": _component(record.model),
            "defense": _component(record.defense),
            "attack": record.attack and _attack(record.attack, record.audit),
            "training": record.training["given"], "scale": record.training["scale"],
            "hold_out": record.training["hold_out"], "audit": record.audit,
            "variant": record.variant, "seed": record.seed}


def _is_name(key: str, value: Any) -> bool:
    """Whether a setting names a file as records do, or weights such as 'imagenet'."""
    if not isinstance(value, str):  # a list would be an axis, with paths as its values
        return False
    return bool(FILE.fullmatch(value) or key.endswith(NAMED) and NAME.fullmatch(value))


def _files(record: Record) -> Iterator[tuple[str, Any]]:
    """The keys of a record's settings that are files, each with the value that it has there."""
    yield from _files_of("dataset", "data.", record.data.name, record.data.given)
    yield from _files_of("model", "model.", record.model.name, record.model.given)
    yield from _files_of("defense", "defense.", record.defense.name, record.defense.given)
    if record.attack:
        yield from _files_of_attack("attack.", record.attack)
        if record.attack.also:
            yield from _files_of_attack("attack.also.", record.attack.also)


def _files_of_attack(prefix: str, attack: AttackChoice) -> Iterator[tuple[str, Any]]:
    """The files of an attack. prefix: of its keys."""
    yield from _files_of("trigger", prefix, attack.trigger.name, attack.trigger.given)
    yield from _files_of("target", prefix, attack.target.name, attack.target.given)
    if attack.test_trigger:
        yield from _files_of("trigger", f"{prefix}test_", attack.test_trigger.name,
                             attack.test_trigger.given)
    if attack.choose and attack.choose not in ("random", "fewest", "most"):
        yield f"{prefix}choose", attack.choose


def _files_of(kind: str, prefix: str, name: str,
              given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The files of a component, and of the trigger that it draws, if it has a setting `look`."""
    fields = settings_of(find(kind, name)).model_fields
    for key in fields.keys() & given.keys():
        if given[key] is not None and _may_be_path(fields[key].annotation):
            yield prefix + key, given[key]
        elif key == "look" and isinstance(given[key], Mapping):
            settings = {**given[key]}
            drawn = str(settings.pop("name", ""))
            yield from _files_of("trigger", f"{prefix}look.", drawn, settings)


def _may_be_path(annotation: Any) -> bool:
    """Whether a setting of this type may be a path."""
    return annotation is Path or any(map(_may_be_path, get_args(annotation)))


def _component(choice: Choice) -> dict[str, Any]:
    return {"name": choice.name, **choice.given}


def _attack(attack: AttackChoice, audit: bool) -> dict[str, Any]:
    request = {"trigger": attack.trigger.name, "target": attack.target.name,
               **attack.trigger.given, **attack.target.given}
    if not audit:
        request |= _poisoning(attack)
    if attack.test_trigger:
        trained = attack.trigger.given
        for key, value in attack.test_trigger.given.items():
            if value != trained.get(key):
                request[f"test_{key}"] = value
    if attack.also:
        request["also"] = _attack(attack.also, audit)
    return request


def _poisoning(attack: AttackChoice) -> dict[str, Any]:
    """The settings that choose and train on the poisoned images; an audit has none of them."""
    settings: dict[str, Any] = {setting: getattr(attack, setting)
                                for setting in ("latent", "cover_rate") if getattr(attack, setting)}
    if attack.choose:
        settings["choose"] = attack.choose
    if not (attack.choose and "sha256" in attack.choose):  # a list of ids determines the rate
        settings["poison_rate"] = attack.poison_rate
    return settings
