"""Attack ranking: the second side of the leaderboard, and the table of what attacks cost.

Attacks that were run on the whole of a frozen grid of attacks are ranked by the damage that is left
after the best repair, which `attack_results` defines. A grid without repairs gives the cost of
attacks on clean images instead.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from benchmark.leaderboard.attack_results import (AttackResults, attacks_on, best_detector,
                                                  repairs_of)
from benchmark.leaderboard.attack_slots import grid_defenses
from benchmark.leaderboard.manifest import UNDEFENDED
from benchmark.leaderboard.reruns import RECOMPUTED, TIERS
from benchmark.metrics.paired import Inference, Paired, infer
from benchmark.results.controls import SHARED
from benchmark.results.scenarios import Scenario, defense_settings, suffixes
from benchmark.tables.footnotes import row_notes
from benchmark.tables.formats import (NONE, Cell, Table, as_frame, number, ranked, share_of,
                                      unranked, with_interval)
from benchmark.tables.two_levels import INTERVAL, few_seeds, level_cells, level_legend

Row = dict[str, str]
BRIEF = ("rank", "attack", "damage left", "best defense", "RA clean counter", "RA undefended",
         "rho_Acc - clean counter", "rho_Acc", "flip rate", "cells")  # of either table
RANKED = (
    "damage left is, on the same triggered images, the RA of the clean counter minus the RA after "
    "the best defense, as the mean over models and seeds; brackets hold 95% intervals, by "
    "bootstrap over seeds and images. It determines the rank. RA is the share of triggered images "
    "that are counted to within 10% of the truth. Below 0, the best defense counts better than the "
    "clean counter, as it has trained for longer.")
DETAILS = [
    "The best defense of a model is the one of the grid with the highest mean RA over seeds, "
    "chosen on these images, so that the damage left is rather too low than too high. Detectors "
    "and the controls, none and retraining, are not among the defenses.",
    "RA clean counter, RA undefended and RA best are those of the clean counter, of the victim, "
    "and of the victim after the best defense, on the same images. RA retrain is that of a counter "
    "trained anew on clean images.",
    "The flip rate of the victim is the share of images that the trigger moves into success, and "
    "chance flips that of the clean counter. The attainment is the median share of the wanted "
    "change that the trigger achieves. rho_Acc is the share of clean images that the victim counts "
    "to within 10% of the truth, and rho_Acc clean counter that of the clean counter; what the "
    "victim lacks is the cost of the attack.",
]
STEALTH = (
    "PSNR (dB) and SSIM are means over some of the stamped training images and their originals. "
    "poisoned is the share of the training images that are poisoned, and label distortion the mean "
    "of |log(attacker's count / truth)|.")
FOUND = (
    "found by names the detector of images with the highest AUROC, the chance that a triggered "
    "image scores higher than a clean one; 0.5 is a guess. / means that none was run.")
INCOMPLETE = (
    "An attack that lacks some cells of the grid is incomplete; it has no rank and no numbers.")
ACCURACIES = {"rho_Acc": "rho_acc", "rho_Acc clean counter": "reference_rho_acc"}
DAMAGE_TESTS = {"damage of each seed": "of each seed", "p damage, seeds": "p, seeds",
                "p damage, images": "p, images"}
FIRST_TESTS = {"damage - first": "difference", "p first, seeds": "p, seeds",
               "p first, images": "p, images"}
EFFECT = {"flip rate": "flip_rate", "attainment": "attainment"}


def attack_tables(scenarios: Sequence[Scenario]) -> list[Table]:
    """The tables of the frozen grids of attacks on which some attack was run in full."""
    results = [result for scenario in scenarios for result in scenario.results]
    if not any(record.protocol and record.attack for result in results
               for record in result.records):
        return []
    from benchmark.config.frozen_grids import frozen  # imports torch

    tables = []
    for grid in frozen():
        attacks = attacks_on(grid, scenarios) if grid.takes_attacks else []
        if any(attack.complete for attack in attacks):
            has_repairs = bool(repairs_of(grid))
            tables.append(_ranking(scenarios, attacks) if has_repairs else _costs(attacks))
    return tables


def _ranking(scenarios: Sequence[Scenario], attacks: Sequence[AttackResults]) -> Table:
    """The ranking of the attacks of one grid."""
    grid, names = attacks[0].grid, attack_names(attacks)
    complete = [attack for attack in attacks if attack.complete]
    complete.sort(key=lambda attack: (-attack.damage[0], names[attack]))
    tests = [(attack, "damage left", Paired(attack.successes("ra", attack.clean),
                                            attack.successes("ra", attack.best)))
             for attack in complete]
    strongest = complete[0]
    tests += [(attack, "damage - first", Paired(attack.damaged, strongest.damaged))
              for attack in complete[1:]]
    inferences = _by_row(tests)
    rows = []
    for rank, attack in enumerate(complete, 1):
        row = {"rank": ranked(rank), "attack": names[attack], **_entry(attack)}
        row |= _damage(attack) | _undefended(attack) | _stealth(attack)
        row["found by"] = _detector(scenarios, attack)
        row |= _tested(inferences.get((attack, "damage left")), DAMAGE_TESTS)
        row |= _tested(inferences.get((attack, "damage - first")), FIRST_TESTS)
        rows.append(row | {"cells": share_of(attack.present, attack.wanted)})
    legend = (
        "damage of each seed, p damage, seeds and p damage, images are about the damage left; "
        "damage - first is the difference in damage left from the attack of rank 1, with its own "
        f"two p values. {level_legend(len(tests))} Where none is shown, the order of two attacks "
        "may be chance.")
    return _table(f"attacks-{grid.name}", f"Attacks of {grid.name}, by the damage left", rows,
                  attacks, names, [RANKED], [*DETAILS, STEALTH, FOUND, INCOMPLETE, legend])


def _costs(attacks: Sequence[AttackResults]) -> Table:
    """The table of what the attacks of one grid cost on clean images."""
    grid, names = attacks[0].grid, attack_names(attacks)
    complete = [attack for attack in attacks if attack.complete]
    tests = [(attack, "cost", Paired(attack.successes("rho_acc", attack.undefended),
                                     attack.successes("rho_acc", attack.clean)))
             for attack in complete]
    inferences = _by_row(tests)
    complete.sort(key=lambda attack: (-inferences[attack, "cost"].value, names[attack]))
    rows = []
    for attack in complete:
        victims = attack.undefended
        row = {"attack": names[attack], **_entry(attack)}
        row |= _means(attack, ACCURACIES)
        cells = level_cells(inferences[attack, "cost"])
        row |= {f"rho_Acc - clean counter{'' if key == 'difference' else f' {key}'}": value
                for key, value in cells.items()}
        row["MAE"] = with_interval(*attack.mean("mae", victims), 2)
        row["MAE clean counter"] = with_interval(*attack.mean("mae", attack.clean), 2)
        row |= _means(attack, EFFECT)
        rows.append(row | _stealth(attack) | {"cells": share_of(attack.present, attack.wanted)})
    legend = [
        "rho_Acc - clean counter is the cost of an attack: the share of clean images that the "
        "victim counts to within 10% of the truth, minus that of the clean counter of the same "
        "seed. Attacks that cost little stand first. MAE is the mean absolute error on clean "
        f"images, in people. {INTERVAL} {level_legend(len(tests))}",
        "The flip rate and the attainment say what the attack achieves at this cost: the share of "
        "images that the trigger moves into success, and the median share of the wanted change."]
    return _table(f"cost-{grid.name}", f"Cost of attacks on clean images, {grid.name}", rows,
                  attacks, names, legend, [STEALTH, INCOMPLETE])


def attack_names(attacks: Sequence[AttackResults]) -> dict[AttackResults, str]:
    """The printed names, with the settings that tell apart attacks of one trigger and target."""
    labels = suffixes([attack.settings for attack in attacks], shown=("trigger", "target"))
    return {attack: attack.attack.title + label for attack, label in zip(attacks, labels)}


def _table(name: str, title: str, rows: list[Row], attacks: Sequence[AttackResults],
           names: dict[AttackResults, str], notes: list[str], details: list[str]) -> Table:
    """A table whose last rows are the incomplete attacks."""
    columns = list(rows[0])  # of a complete attack
    rows += [{"rank": unranked("incomplete"), "attack": names[attack],
              "cells": share_of(attack.present, attack.wanted)}
             for attack in attacks if not attack.complete]
    frame = as_frame(rows, columns=columns).fillna(NONE)
    if any(attack.entry for attack in attacks):
        details = [*details, TIERS]
    else:
        frame = frame.drop(columns=["entry", "tier"])
    complete = [attack for attack in attacks if attack.complete]
    notes = [*notes, *few_seeds(len(attack.first.seeds) for attack in complete)]
    notes += [f"{names[attack]} has no rank: {attack.entry['lacks']}."
              for attack in attacks if attack.entry.get("lacks")]
    undefended = [(names[attack], result) for attack in complete for result in attack.undefended]
    return Table(name, title, frame, notes, brief=BRIEF, details=details + row_notes(undefended),
                 caption=f"{title}. Intervals are 95% intervals over seeds and images.")


def _by_row(tests: Sequence[tuple[AttackResults, str, Paired]]
            ) -> dict[tuple[AttackResults, str], Inference]:
    """The inference of each test that exists."""
    inferences = infer([[pair for _, _, pair in tests]])[0]
    return {(attack, key): inference for (attack, key, _), inference in zip(tests, inferences)}


def _entry(attack: AttackResults) -> Row:
    return {"entry": attack.entry.get("name", NONE), "tier": attack.entry.get("tier", RECOMPUTED)}


def _damage(attack: AttackResults) -> Row:
    """The damage left, the best repair, and RA with and without it."""
    row = {"damage left": with_interval(*attack.damage), "best defense": attack.best_names,
           "RA best": with_interval(*attack.mean("ra", attack.best)),
           "RA clean counter": with_interval(*attack.mean("ra", attack.clean)),
           "RA undefended": with_interval(*attack.mean("ra", attack.undefended))}
    controls = [defense for defense in grid_defenses(attack.grid)
                if defense.name in SHARED and defense.name != UNDEFENDED.name]
    results = [attack.of(defense) for defense in controls]
    labels = suffixes([defense_settings(first) for first, *_ in results],
                      shown=("model", "defense"))
    for defense, of_control, label in zip(controls, results, labels):
        row[f"RA {defense.name}{label}"] = number(attack.mean("ra", of_control)[0])
    return row


def _undefended(attack: AttackResults) -> Row:
    """The effect of the attack on victims without a defense, and its cost on clean images."""
    return _means(attack, EFFECT | {"chance flips": "reference_flip_rate"} | ACCURACIES)


def _means(attack: AttackResults, headings: Mapping[str, str]) -> Row:
    """Means over the victims that nobody repaired, with their intervals."""
    return {heading: with_interval(*attack.mean(key, attack.undefended))
            for heading, key in headings.items()}


def _stealth(attack: AttackResults) -> Row:
    """The visibility of the attack in the images and in the labels."""
    similarity: dict[str, list[float]] = {"psnr": [], "ssim": []}
    for result in attack.undefended:
        for record, key in itertools.product(result.records, similarity):
            values = getattr(record.attack, key)
            similarity[key].append(float(np.mean(values)) if values else math.nan)
    distortion = np.mean([result.numbers["label_distortion"] for result in attack.undefended])
    return {"PSNR": number(float(np.mean(similarity["psnr"])), 1),
            "SSIM": number(float(np.mean(similarity["ssim"]))),
            "poisoned": number(attack.attack.poisoned_share),
            "label distortion": number(float(distortion))}


def _detector(scenarios: Sequence[Scenario], attack: AttackResults) -> str:
    name, area = best_detector(scenarios, attack)
    return Cell(f"{name} {number(area)}", {"": name, " AUROC": area}) if name else NONE


def _tested(inference: Inference | None, columns: Mapping[str, str]) -> Row:
    """Some cells of a difference, see `level_cells`, by the headings of the columns."""
    cells = level_cells(inference) if inference else {}
    return {heading: cells.get(key, NONE) for heading, key in columns.items()}
