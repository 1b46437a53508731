"""Attack checks: whether an entry's attack can be what it says, and its records what a run wrote.

Nothing that an entry names is imported, but triggers and targets of this project. A target of this
project says which count the attacker wants; that of a plugin must at least keep its direction.
"""

import json
import re
from collections.abc import Iterator
from itertools import chain

from benchmark.config.frozen_grids import FrozenGrid
from benchmark.leaderboard.attack_slots import poisons_few
from benchmark.leaderboard.component_checks import (FILE, KeyProblem, check_name, check_settings,
                                                    check_version, is_ours, is_present)
from benchmark.leaderboard.manifest import UNDEFENDED, EnteredAttack
from benchmark.registry import find
from benchmark.results.record import AttackChoice, Choice, Record

CHOICES = (None, "random", "fewest", "most")
# A run writes a PSNR of 99 dB for equal images.
POSSIBLE = {"psnr": (0, 99), "ssim": (-1, 1)}


def check_attack(attack: EnteredAttack, grid: FrozenGrid) -> Iterator[KeyProblem]:
    """The problems of an entry's attack, by its manifest alone."""
    yield from _check_one(attack, "attack")
    if not poisons_few(attack, grid):
        covers = ", cover copies included" if attack.cover_rate else ""
        yield "attack.poison_rate", (f"{attack.poisoned_share:.4g} of the training images are "
                                     f"poisoned{covers}; expected at most {grid.most_poisoned}, as "
                                     f"{grid.name} allows, and more than 0")
    if attack.test_trigger:
        yield from _check_test_trigger(attack.trigger, attack.test_trigger)
    if attack.also is None:
        return
    yield from _check_one(attack.also, "attack.also")
    if attack.also.also or attack.also.test_trigger:
        yield "attack.also", "has an attack or a test trigger of its own; expected neither"
    if attack.also.trigger == attack.trigger:
        yield "attack.also.trigger", (f"{attack.trigger.name} with the same settings; expected "
                                      "another")


def check_attack_record(record: Record) -> Iterator[KeyProblem]:
    """The problems of what a record of an attack measured, besides those of any record.

    Its defense is one of this project, as `grid_defense` found.
    """
    yield from _check_similarities(record.attack, "attack")
    if record.attack.also:
        yield from _check_similarities(record.attack.also, "attack.also")
    yield from _check_direction(record)
    name = record.defense.name
    repairs = name != UNDEFENDED.name and find("defense", name).repairs
    has_control = record.images.control_triggered is not None
    has_stage = bool(record.provenance["stages"].get("control"))
    if has_control != repairs or has_stage != repairs:
        expected = "the clean counter after the same defense" if repairs else "none"
        yield "images.control_triggered", ("counts or a stage of the control are missing or too "
                                           f"many; expected {expected}")


def _check_one(attack: EnteredAttack, where: str) -> Iterator[KeyProblem]:
    """The trigger, the target and how images are poisoned. where: the key of the attack."""
    for kind, choice in (("trigger", attack.trigger), ("target", attack.target)):
        yield from _check_component(kind, choice, where)
    target = attack.target
    if is_present("target", target):
        increases = find("target", target.name).increases
        if attack.increases is not increases:
            yield f"{where}.increases", (f"{attack.increases}; expected {increases}, as "
                                         f"{target.name} declares")
    if attack.poison_rate <= 0:
        yield f"{where}.poison_rate", f"{attack.poison_rate}; expected more than 0"
    for key in ("latent", "cover_rate"):
        if getattr(attack, key) < 0:
            yield f"{where}.{key}", f"{getattr(attack, key)}; expected 0 or more"
    if attack.choose not in CHOICES and not re.fullmatch(FILE, attack.choose):
        yield f"{where}.choose", (f"{attack.choose[:60]!r}; expected random, fewest, most, or the "
                                  "name and the hash of a file of ids")


def _check_component(kind: str, choice: Choice, where: str) -> Iterator[KeyProblem]:
    if choice.given:
        yield f"{where}.{kind}.given", (f"{str(choice.given):.60}; expected none, as "
                                        f"{kind}.resolved has all settings")
    for key, what in chain(check_name(kind, choice.name), check_version(kind, choice),
                           check_settings(kind, choice)):
        yield f"{where}.{key}", what


def _check_test_trigger(trained: Choice, tested: Choice) -> Iterator[KeyProblem]:
    """The trigger of the test images is that of the training with other settings."""
    if (tested.name, tested.version) != (trained.name, trained.version):
        yield "attack.test_trigger", (f"{tested.name}, version {tested.version}; expected "
                                      f"{trained.name}, version {trained.version}")
        return
    yield from _check_component("trigger", tested, "attack.test_trigger")
    if not is_ours("trigger", tested.name):
        return
    cls = find("trigger", tested.name)
    for key in {*cls.optimises, *cls.only_in_training}:
        values = [json.dumps(choice.resolved.get(key)) for choice in (tested, trained)]
        if values[0] != values[1]:
            yield f"attack.test_trigger.resolved.{key}", (f"{values[0]:.60}; expected "
                                                          f"{values[1]:.60} as in training")


def _check_similarities(attack: AttackChoice, where: str) -> Iterator[KeyProblem]:
    """PSNR and SSIM of some stamped images are there, and can be such."""
    if not attack.psnr:
        yield f"{where}.psnr", "no values; expected those of some stamped images"
    if len(attack.ssim) > len(attack.psnr):
        yield f"{where}.ssim", f"{len(attack.ssim)} values; expected at most {len(attack.psnr)}"
    for key, (low, high) in POSSIBLE.items():
        wrong = [value for value in getattr(attack, key) if not low <= value <= high]
        if wrong:
            yield f"{where}.{key}", f"{wrong[0]}; expected {low} to {high}"


def _check_direction(record: Record) -> Iterator[KeyProblem]:
    """The attacker's counts are counts, and on the side of the truth that the attack is for."""
    images, increases = record.images, record.attack.increases
    for image, truth, target in zip(images.id, images.truth, images.target):
        is_wrong_way = (increases is True and target < truth
                        or increases is False and target > truth)
        if target < 0 or is_wrong_way:
            wanted = {True: "at least", False: "at most", None: "0 or more, for"}[increases]
            yield "images.target", f"{image}: {target}; expected {wanted} {truth} people"
            return
