"""Choosing: one of several settings of a defense or an attack that records hold."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.config.request import override
from benchmark.leaderboard.component_checks import check_name
from benchmark.leaderboard.grid_slots import flatten
from benchmark.leaderboard.manifest import EnteredAttack, attack_of
from benchmark.results.record import Record
from benchmark.utils.errors import UserError, did_you_mean, shown


def find_attack(records: Iterable[Record], attack: str,
                settings: Sequence[str] = ()) -> EnteredAttack:
    """The versions and settings of the attack that records hold and the user chose.

    attack: 'TRIGGER/TARGET'. settings: 'attack.KEY=VALUE'.

    Raises:
        UserError: the records hold no such attack, or several.
    """
    trigger, slash, target = attack.partition("/")
    if not slash:
        raise UserError(f"submit: --attack {shown(attack)!r}; expected TRIGGER/TARGET, for "
                        "instance my_trigger/multiply")
    for kind, name in (("trigger", trigger), ("target", target)):
        for _, what in check_name(kind, name):
            raise UserError(f"submit: --attack {what}")
    known = {entered.identity: entered for entered in
             (attack_of(record.attack) for record in records if record.attack)}
    titles = {entered.title for entered in known.values()}
    if attack not in titles:
        raise UserError(f"submit: --attack {attack!r}: no record of a frozen grid has this attack; "
                        f"expected one of the run's: {did_you_mean(attack, titles)}")
    choices = [entered for entered in known.values() if entered.title == attack]
    wanted = dict(flatten(wanted_settings("attack", {"target": target}, settings)))
    matching = [choice for choice in choices
                if wanted.items() <= attack_settings(choice).items()]
    if len(matching) != 1:
        flags = choosing_flags("attack", map(attack_settings, choices), wanted)
        raise UserError(f"submit {attack}: {len(matching)} of the {len(choices)} settings of the "
                        f"attack in the run match; expected one, chosen by {flags}")
    return matching[0]


def attack_settings(attack: EnteredAttack) -> dict[str, Any]:
    """The settings of an attack by the keys that a request has, and the versions of its parts."""
    settings = {"poison_rate": attack.poison_rate, "latent": attack.latent,
                "cover_rate": attack.cover_rate, "choose": attack.choose,
                "trigger_version": attack.trigger.version,
                "target_version": attack.target.version}
    settings |= attack.trigger.resolved | attack.target.resolved
    tested = attack.test_trigger.resolved if attack.test_trigger else {}
    settings |= {f"test_{key}": value for key, value in tested.items()}
    settings["also"] = None
    if attack.also:
        also = {"trigger": attack.also.trigger.name, "target": attack.also.target.name}
        settings["also"] = also | attack_settings(attack.also)
    return dict(flatten(settings))


def choosing_flags(key: str, choices: Iterable[Mapping[str, Any]],
                   wanted: Mapping[str, Any]) -> str:
    """The flags for each choice, with the settings in which they differ and the wanted ones.

    key: 'defense' or 'attack'. choices: the settings of each.
    """
    settings = list(choices)
    differing = set(wanted)
    for name in set().union(*settings):
        if any(other.get(name) != settings[0].get(name) for other in settings):
            differing.add(name)
    alternatives = []
    for values in settings:
        flags = [f"--set {key}.{name}={_plain(values.get(name))}" for name in sorted(differing)]
        alternatives.append(" ".join(flags))
    return " or ".join(alternatives)


def _plain(value: Any) -> str:
    """A value as a shell hands it to `--set`, which reads some texts as numbers but for quotes."""
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        is_read_as_text = override({}, [f"text={value}"]) == {"text": value}
    except UserError:
        is_read_as_text = False
    return value if is_read_as_text else f"'\"{value}\"'"


def wanted_settings(key: str, choice: dict[str, Any],
                    assignments: Sequence[str]) -> dict[str, Any]:
    """The settings of the defense or of the attack that the user assigned, as values.

    key: 'defense' or 'attack'. choice: what a request must say to name it.

    Raises:
        UserError: an assignment is of something else.
    """
    request = override({key: [choice]}, list(assignments))
    choices = request.pop(key)
    if request or not isinstance(choices, list):
        raise UserError(f"submit --set {' '.join(assignments)}: expected only settings of the "
                        f"{key}, {key}.KEY=VALUE")
    return {name: value for name, value in choices[0].items() if name not in choice}
