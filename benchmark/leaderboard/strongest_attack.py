"""Strongest attack: the entered attack that leaves the least of a defense's RA.

An entered attack lowers the defenses of a grid whose victims have the same settings but for the
attack. Of each attack that was entered with all its cells, the RA of a defense is the mean over all
models and seeds, whoever ran it; a defense that lacks one of these cells was not run against it.

A trigger that also fools counters which were never poisoned would lower every defense to nothing,
and no defense of a counter could help it. An attack whose author trained worse counters than those
of the grid would lower every defense, too. So what the clean counter of the attack lacks is added
to that RA: the rho_Acc of the clean counters of the grid minus its RA.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmark.config import frozen_grids
from benchmark.config.frozen_grids import FrozenGrid
from benchmark.leaderboard.attack_ranking import attack_names
from benchmark.leaderboard.attack_results import AttackResults, attacks_on
from benchmark.leaderboard.attack_slots import attack_slots, clean_slots
from benchmark.leaderboard.grid_slots import GridSlot, find_slot, slots
from benchmark.leaderboard.manifest import attack_of, identity
from benchmark.metrics.counting import rho_acc
from benchmark.results.record import Choice
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario
from benchmark.tables.formats import MISSING, NONE, number
from benchmark.utils.strict_json import InvalidFile

LEGEND = (
    "strongest attack is the entered attack that leaves a defense the lowest RA, as the mean over "
    "all models and seeds, and its RA is that RA, plus what the clean counter of the attack lacks "
    "(the rho_Acc of the clean counters of this grid minus its RA, where that is above 0), which "
    "no defense can give back. Only attacks that were entered with all cells of "
    "a grid with victims of these settings count. The rank is by the lower of RA and its RA; a "
    "defense that was not run against any entered attack says 'not run', and is ranked by RA "
    "alone. The differences in RA and their p values are over the attacks of the grid alone.")


@dataclass(frozen=True)
class EnteredAttacks:
    """The RA of defenses against the attacks that were entered.

    names: by the identity of each attack. shares: RA with what the clean counter lacks, by the
        identities of the defense and of the attack.
    """

    names: Mapping[str, str]
    shares: Mapping[str, Mapping[str, float]]
    legend: ClassVar[str] = LEGEND

    def strongest(self, defense: Choice) -> tuple[str, float] | None:
        """The name of the strongest attack on a defense, and the RA that it leaves.

        None if the defense was not run against any.
        """
        found = [(share, self.names[attack])
                 for attack, share in self.shares.get(identity(defense), {}).items()]
        if not found:
            return None
        share, name = min(found)
        return name, share

    def columns(self, defense: Choice) -> dict[str, str]:
        """The columns of a defense in the ranking."""
        strongest = self.strongest(defense)
        if strongest is None:
            return {"strongest attack": MISSING, "its RA": NONE}
        name, share = strongest
        return {"strongest attack": name, "its RA": number(share)}


def entered_attacks(grid: FrozenGrid, scenarios: Sequence[Scenario],
                    clean_accuracy: float) -> EnteredAttacks:
    """The attacks that were entered for victims with the settings of a grid of defenses.

    clean_accuracy: the mean rho_Acc of the clean counters of the grid.
    """
    victims = {slot.counter_key for slot in slots(grid.preset)}
    names: dict[str, str] = {}
    shares: dict[str, dict[str, float]] = defaultdict(dict)
    for other in frozen_grids.frozen():
        same_victims = other.takes_attacks and {
            slot.counter_key for slot in clean_slots(other)} == victims
        if not same_victims:
            continue
        attacks = attacks_on(other, scenarios)
        labels = attack_names(attacks)
        for attack in attacks:
            if attack.entry and attack.complete:
                names[attack.attack.identity] = labels[attack]
                for defense, share in _shares(attack, scenarios, clean_accuracy):
                    least = shares[defense].get(attack.attack.identity, share)
                    shares[defense][attack.attack.identity] = min(least, share)
    return EnteredAttacks(names, shares)


def _shares(attack: AttackResults, scenarios: Sequence[Scenario],
            clean_accuracy: float) -> Iterator[tuple[str, float]]:
    """The share of each defense that was run on all slots of an attack, by its identity."""
    attack_identity = attack.attack.identity
    wanted = attack_slots(attack.grid, attack.attack)
    rights: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for scenario in scenarios:
        source = json.dumps([scenario.settings.get(key) for key in ("victims", "attack.entry")])
        for result in scenario.results:
            first = result.records[0]
            is_of_attack = first.attack and attack_of(first.attack).identity == attack_identity
            if is_of_attack and not result.detects:
                key = source, identity(first.defense)
                rights[key] |= _share_by_slot(result, wanted, attack.grid, clean_accuracy)
    for (_, defense), shares in rights.items():
        if len(shares) == len(wanted):
            yield defense, float(np.mean([*shares.values()]))


def _share_by_slot(result: Result, wanted: Sequence[GridSlot], grid: FrozenGrid,
                   clean_accuracy: float) -> dict[str, float]:
    """The share of each record of a result that fills a slot, by the title of the slot."""
    shares = {}
    for record, right in zip(result.records, result.successes("ra")):
        if grid.counted not in (None, record.images.checksum):
            continue
        try:
            title = find_slot(record, wanted).title
        except InvalidFile:
            continue
        images = record.images
        lacking = clean_accuracy - rho_acc(images.reference_triggered, images.truth)
        shares[title] = float(right.mean()) + max(lacking, 0.0)
    return shares
