"""Attack results: what one attack did on a frozen grid of attacks, and the damage that it leaves.

The damage left of an attack is, on the same triggered images, the RA of the clean counter minus the
RA of the best repair, as the mean over models and seeds. RA is the share of triggered images that
are counted to within 10% of the truth. The best repair is, for each model, the defense of the grid
with the highest mean RA over seeds: a defender knows the model, but not its seed. The controls and
detectors are no repairs. A trigger that spoils the images for every counter, or that a repair
undoes, leaves no damage.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from benchmark.config.frozen_grids import FrozenGrid
from benchmark.leaderboard.attack_slots import (attack_slot, clean_slots, grid_defense,
                                               grid_defenses)
from benchmark.leaderboard.manifest import UNDEFENDED, EnteredAttack, attack_of, identity
from benchmark.metrics import detection
from benchmark.metrics.bootstrap import interval
from benchmark.results.controls import SHARED
from benchmark.results.record import Choice, Record
from benchmark.results.result import Result, Settings
from benchmark.results.scenarios import Scenario, entry_of, without_defense
from benchmark.tables.detection import ATTACK

Mean = tuple[float, float, float]  # a number, and the ends of its 95% interval


@dataclass(frozen=True, eq=False)
class AttackResults:
    """The results of one attack on a grid of attacks, all on the victims of one source.

    results: by the settings of the clean counter and the identity of the defense; not empty.
    """

    grid: FrozenGrid
    results: Mapping[tuple[str, str], Result]

    @property
    def first(self) -> Result:
        return next(iter(self.results.values()))

    @property
    def attack(self) -> EnteredAttack:
        return attack_of(self.first.records[0].attack)

    @property
    def settings(self) -> Settings:
        """The settings of the attack alone."""
        return {key: value for key, value in self.first.settings.items()
                if key.partition(".")[0] in ATTACK}

    @property
    def entry(self) -> dict[str, str]:
        """The facts of its entry; {} without one."""
        return entry_of(self.first.records[0], "attack_entry")

    @property
    def present(self) -> int:
        """The number of cells that were run."""
        return sum(len(result.records) for result in self.results.values())

    @property
    def wanted(self) -> int:
        return len(clean_slots(self.grid)) * len(grid_defenses(self.grid))

    @property
    def complete(self) -> bool:
        """Whether all cells were run, each model with all defenses and seeds."""
        defenses, seeds = len(grid_defenses(self.grid)), {
            tuple(result.seeds) for result in self.results.values()}
        is_whole = len(self.results) == len(self.models) * defenses and len(seeds) == 1
        return is_whole and self.present == self.wanted and not self.entry.get("lacks")

    @cached_property
    def models(self) -> list[str]:
        """The settings of the clean counters, as text."""
        return sorted({model for model, _ in self.results})

    @cached_property
    def undefended(self) -> list[Result]:
        """The results of no defense, one for each model."""
        return self.of(UNDEFENDED)

    @cached_property
    def clean(self) -> list[Result]:
        """The clean counters on the same images, one result for each model."""
        return [replace(result, records=tuple(map(_of_clean_counter, result.records)))
                for result in self.undefended]

    def of(self, defense: Choice) -> list[Result]:
        """The results of a defense, one for each model."""
        return [self.results[model, identity(defense)] for model in self.models]

    @cached_property
    def best(self) -> list[Result]:
        """The results of the best repair of each model; see the beginning of this file."""
        repairs = [self.of(defense) for defense in repairs_of(self.grid)]
        return [max(candidates, key=lambda result: (result.numbers["ra"], result.defense))
                for candidates in zip(*repairs)]

    @property
    def best_names(self) -> str:
        """The name of the best repair, or one for each model where they differ."""
        names = {result.settings["model"]: result.defense for result in self.best}
        if len(set(names.values())) == 1:
            return self.best[0].defense
        return ", ".join(f"{defense} ({model})" for model, defense in sorted(names.items()))

    @property
    def damage(self) -> Mean:
        """The damage that is left after the best repair, with its 95% interval."""
        left = [clean.replicates["ra"] - repaired.replicates["ra"]
                for clean, repaired in zip(self.clean, self.best)]
        return float(self.damaged.mean()), *interval(np.mean(left, axis=0))

    @cached_property
    def damaged(self) -> np.ndarray:
        """Image by image what the damage counts, [V, S, N]: -1, 0 or 1, of V models and S seeds."""
        return self.successes("ra", self.clean) - self.successes("ra", self.best)

    @staticmethod
    def successes(key: str, results: Sequence[Result]) -> np.ndarray:
        """The images that a share counts, as 0 or 1, [V, S, N]."""
        return np.stack([result.successes(key) for result in results]).astype(int)

    @staticmethod
    def mean(key: str, results: Sequence[Result]) -> Mean:
        """The mean of a number over models and seeds, with its interval; nan if there is none."""
        existing = [result for result in results if key in result.replicates]
        if not existing:
            return math.nan, math.nan, math.nan
        replicates = np.mean([result.replicates[key] for result in existing], axis=0)
        value = float(np.mean([result.numbers[key] for result in existing]))
        return value, *interval(replicates)


def attacks_on(grid: FrozenGrid, scenarios: Sequence[Scenario]) -> list[AttackResults]:
    """The attacks of a grid of attacks, by their settings and the source of their victims."""
    groups: dict[str, dict[tuple[str, str], Result]] = {}
    for scenario in scenarios:
        if scenario.attack == "clean":
            continue
        attack, model = _parts(scenario.settings)
        for result in scenario.results:
            records = tuple(record for record in result.records if attack_slot(record, grid))
            if records:
                key = model, identity(grid_defense(records[0].defense, grid))
                found = groups.setdefault(attack, {})
                if key in found:  # its records write a setting that these leave at its default
                    records = tuple(sorted((*found[key].records, *records),
                                           key=lambda record: record.seed))
                found[key] = replace(result, records=records)
    return [AttackResults(grid, results) for _, results in sorted(groups.items())]


def repairs_of(grid: FrozenGrid) -> list[Choice]:
    """The defenses of a grid of attacks that repair counters and are no controls."""
    repairing = {component.name for component in grid.defenses
                 if component.build().repairs} - {*SHARED}
    return [defense for defense in grid_defenses(grid) if defense.name in repairing]


def best_detector(scenarios: Sequence[Scenario], attack: AttackResults) -> tuple[str, float]:
    """The detector of images that tells most triggered images from clean ones, and its AUROC.

    ('', nan) where none was run.
    """
    areas: dict[str, list[float]] = {}
    own, source = attack.settings, attack.first.settings.get("victims")
    for scenario in scenarios:
        settings = scenario.settings
        is_own = all(settings.get(key) == value for key, value in own.items())
        if scenario.attack == "clean" or not is_own or settings.get("victims") != source:
            continue
        for result in scenario.results:
            for record in result.records:
                scores = record.detection
                is_of_grid = scores and attack_slot(record, attack.grid)
                if is_of_grid and scores.of == "test images" and scores.triggered:
                    area = detection.auroc(scores.clean, scores.triggered)
                    areas.setdefault(result.defense, []).append(area)
    means = {detector: float(np.mean(values)) for detector, values in areas.items()}
    best = max(sorted(means), key=lambda detector: means[detector], default="")
    return best, means.get(best, math.nan)


def _of_clean_counter(record: Record) -> Record:
    """The record of a victim with the counts of its clean counter instead."""
    images = record.images
    own = {"clean": images.reference_clean, "triggered": images.reference_triggered}
    return record.model_copy(update={"images": images.model_copy(update=own)})


def _parts(settings: Settings) -> tuple[str, str]:
    """The settings of an attack with the source of its victims, and those of the clean counter."""
    attack, counter = {}, {}
    for key, value in without_defense(settings).items():
        is_of_attack = key.partition(".")[0] in ATTACK or key == "victims"
        (attack if is_of_attack else counter)[key] = value
    return json.dumps(attack, sort_keys=True), json.dumps(counter, sort_keys=True)
