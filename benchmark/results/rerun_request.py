"""A record -> the request that runs its cell again."""

from typing import Any

from benchmark.results.record import AttackChoice, Choice, Record


def request_of(record: Record) -> dict[str, Any]:
    """The request whose only cell is a record's. What was a file there, a picture or weights, has to be set again."""
    return {"data": _chosen(record.data), "model": _chosen(record.model), "defense": _chosen(record.defense),
            "attack": record.attack and _attack(record.attack, record.audit), "training": record.training["given"],
            "scale": record.training["scale"], "hold_out": record.training["hold_out"], "audit": record.audit,
            "variant": record.variant, "seed": record.seed}


def _chosen(choice: Choice) -> dict[str, Any]:
    return {"name": choice.name, **choice.given}


def _attack(attack: AttackChoice, audit: bool) -> dict[str, Any]:
    asked = {"trigger": attack.trigger.name, "target": attack.target.name, **attack.trigger.given,
             **attack.target.given}
    if not audit:
        asked |= {key: value for key, value in (("latent", attack.latent), ("choose", attack.choose)) if value}
        asked |= {} if attack.choose and "sha256" in attack.choose else {"poison_rate": attack.poison_rate}
    if attack.test_trigger:
        given = attack.test_trigger.given
        asked |= {f"test_{key}": value for key, value in given.items() if value != attack.trigger.given.get(key)}
    return asked | ({"also": _attack(attack.also, audit)} if attack.also else {})
