"""Rerun request: the settings that run the cell of a record again."""

from typing import Any

from benchmark.results.record import AttackChoice, Choice, Record
from benchmark.utils.errors import UserError


def request_of(record: Record) -> dict[str, Any]:
    """The request whose only cell is that of the record.

    A setting that was a path, such as a picture or a weight file, has to be set again: a record
    holds only the file's name and hash.

    Raises:
        UserError: the record lacks a setting of its training.
    """
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
