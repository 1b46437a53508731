"""Record checks: whether one record of an entry fits its frozen grid and can be what a run wrote.

Only what the record says is checked. Nothing is run, and nothing that it names is imported, but a
counter or a defense of this project, whose class says what it can count and what it knows.
"""

import math
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np

from benchmark.config import frozen_grids
from benchmark.config.frozen_grids import FrozenGrid
from benchmark.leaderboard.attack_checks import check_attack_record
from benchmark.leaderboard.attack_slots import belongs, grid_defense, grid_defenses
from benchmark.leaderboard.component_checks import KeyProblem, check_version
from benchmark.leaderboard.declared import check_declared
from benchmark.leaderboard.grid_slots import GridSlot
from benchmark.leaderboard.manifest import UNDEFENDED, Manifest, identity, without_given
from benchmark.leaderboard.reruns import COUNTS
from benchmark.leaderboard.training_images import training_images
from benchmark.metrics import counting
from benchmark.recipe import RUNNING
from benchmark.registry import find, names, resolve
from benchmark.results.controls import SHARED
from benchmark.results.record import AttackChoice, Choice, Record
from benchmark.results.result import SUMMARISED
from benchmark.utils.errors import UserError

SPLITS = ("train", "test")


def check_record(file: str, record: Record, slot: GridSlot, manifest: Manifest,
                 grid: FrozenGrid) -> Iterator[KeyProblem]:
    """The problems of one record of an entry. file: its name."""
    of_kind = (_check_defense(record, manifest.defense, grid) if manifest.defense
               else _check_attacked(record, grid))
    return chain(_check_name(file, record), of_kind, check_content(record, slot, grid))


def check_content(record: Record, slot: GridSlot, grid: FrozenGrid) -> Iterator[KeyProblem]:
    """The problems of one record, whatever its file is called and whichever entry it is of."""
    return chain(_check_defense_settings(record.defense), check_declared(record, slot),
                 _check_images(record, grid), _check_given(record),
                 _check_texts(record.model_dump()), _check_attack(record, slot),
                 _check_counts(record))


def _check_name(file: str, record: Record) -> Iterator[KeyProblem]:
    """The name of the file begins with those of the record's components."""
    target = record.attack.target.name if record.attack else "clean"
    name = f"{record.model.name}-{target}-{record.defense.name}-seed{record.seed}-"
    if not re.fullmatch(re.escape(name) + r"[0-9a-f]{8}\.json", file):
        yield "file", f"the name does not fit the record; expected {name}XXXXXXXX.json"


def _check_defense(record: Record, entry_defense: Choice,
                   grid: FrozenGrid) -> Iterator[KeyProblem]:
    """The record is of this grid; its defense is the entry's, none or a control, and exists."""
    if record.protocol != grid.name:
        yield "protocol", f"{record.protocol!r:.60}; expected {grid.name!r} as in the manifest"
    own = record.defense
    described = f"{own.name}, version {own.version}, settings {own.resolved}"
    if own.name == UNDEFENDED.name and without_given(own) != UNDEFENDED:
        yield "defense", f"{described:.200}; expected version 1 and no settings"
    elif own.name not in SHARED and identity(own) != identity(entry_defense):
        yield "defense", (f"{described:.200}; expected the defense of the entry, none or a "
                          "control")
    yield from check_version("defense", own)


def _check_attacked(record: Record, grid: FrozenGrid) -> Iterator[KeyProblem]:
    """The defense is one of the grid of attacks, and the protocol a grid of the record.

    A record names the first grid that it belongs to, which may be another one.
    """
    own = record.defense
    if grid_defense(own, grid) is None:
        known = ", ".join(sorted({defense.name for defense in grid_defenses(grid)}))
        described = f"{own.name}, version {own.version}, settings {own.resolved}"
        yield "defense", (f"{described:.200}; expected one of {grid.name}, with its version and "
                          f"settings there: {known}")
        return
    named = [other for other in frozen_grids.frozen() if other.name == record.protocol]
    if not named or not belongs(record, named[0]):
        yield "protocol", (f"{record.protocol!r:.60}; expected {grid.name!r}, or another frozen "
                           "grid that has this cell")
    yield from check_attack_record(record)


def _check_defense_settings(own: Choice) -> Iterator[KeyProblem]:
    """The defense can have these settings, as far as its present version tells."""
    expected = dict(own.resolved)
    if own.name in names("defense") and own.version == find("defense", own.name).version:
        try:
            expected |= resolve("defense", own.name, own.resolved)
        except UserError as error:
            yield "defense.resolved", str(error)
    for key, used in own.resolved.items():
        if isinstance(used, bool | int | float) and type(used) is not type(expected[key]):
            yield f"defense.resolved.{key}", f"{used!r}; expected {expected[key]!r}"


def _check_images(record: Record, grid: FrozenGrid) -> Iterator[KeyProblem]:
    """The images and their true counts are those of the grid."""
    if grid.counted not in (None, record.images.checksum):
        yield "images", (f"{len(record.images.id)} other ids and true counts; expected those of "
                         f"{grid.name}")
    for split in SPLITS:
        digest, expected = record.provenance["data"][split], grid.splits.get(split)
        if expected and digest != expected:
            yield f"provenance.data.{split}", f"{digest}; expected {expected} as in {grid.name}"


def _check_given(record: Record) -> Iterator[KeyProblem]:
    """Every setting that was given is one of its component, and a number is the resolved one.

    A cell that is run again has the settings that were given.
    """
    choices = {"data": record.data, "model": record.model, "defense": record.defense}
    if record.attack:
        choices |= {"attack.trigger": record.attack.trigger, "attack.target": record.attack.target}
    both = {key: (choice.given, choice.resolved) for key, choice in choices.items()}
    training = record.training
    both["training"] = ({key: value for key, value in training["given"].items()
                         if key not in RUNNING}, training["resolved"])
    for key, (given, resolved) in both.items():
        for name, value in sorted(given.items()):
            if name not in resolved:
                yield f"{key}.given", (f"unknown setting {name[:60]!r}; expected those of "
                                       f"{key}.resolved")
            elif isinstance(value, int | float) and value != resolved[name]:
                yield f"{key}.given.{name}", (f"{value}; expected {resolved[name]!r:.60} as in "
                                              f"{key}.resolved")


def _check_texts(value: Any, key: str = "") -> Iterator[KeyProblem]:
    """All texts are printable and without markup.

    No run writes other texts. A record is shown in many places, and one of them may not escape it.
    """
    if isinstance(value, str):
        if not value.isprintable() or "<" in value or ">" in value:
            yield key or "record", f"{value[:60]!r}; expected printable characters without < and >"
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _check_texts(name, key)
            yield from _check_texts(item, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for item in value:
            yield from _check_texts(item, key)


def _check_attack(record: Record, slot: GridSlot) -> Iterator[KeyProblem]:
    """The poisoned images are training images in the right number; the attacker's counts fit."""
    attack, images = record.attack, record.images
    if attack is None:
        return
    yield from _check_poisoned(attack, slot)
    if attack.also:
        yield from _check_poisoned(attack.also, slot)
    if slot.tau is None:
        return
    for image, truth, target in zip(images.id, images.truth, images.target):
        if slot.tau(truth) != target:
            yield "images.target", (f"{image}: {target}; expected {slot.tau(truth)}, because "
                                    f"{attack.target.name} makes that of {truth} people")
            return


def _check_poisoned(attack: AttackChoice, slot: GridSlot) -> Iterator[KeyProblem]:
    """The stamped images are training images, each once, as many as the rates give."""
    poisoned, training = len(attack.poisoned), training_images(slot)
    copied = {"poisoned": (attack.poisoned, "poison rate", attack.poison_rate),
              "covers": (attack.covers, "cover rate", attack.cover_rate)}
    if attack.images is None:
        yield "attack.images", "null; expected the number of training images"
    for key, (ids, words, rate) in copied.items():
        expected = len(ids) if attack.images is None else round(rate * attack.images)
        if len(ids) != expected:
            yield f"attack.{key}", (f"{len(ids)} ids; expected {expected}, the {words} {rate} of "
                                    f"{attack.images} training images")
        if len(set(ids)) != len(ids):
            yield f"attack.{key}", "an id occurs twice; expected each image once"
    if both := {*attack.poisoned} & {*attack.covers}:
        yield "attack.covers", (f"{min(both)[:60]!r} is poisoned, too; expected images that are "
                                "not poisoned")
    if max(len(attack.psnr), len(attack.ssim)) > poisoned:
        yield "attack.psnr", "more similarities than poisoned images; expected at most one of each"
    if training is None:
        return
    if attack.images not in (None, len(training.ids)):
        yield "attack.images", (f"{attack.images}; expected {len(training.ids)}, the training "
                                "images without those for validation")
    for key, (ids, *_) in copied.items():
        foreign = [image for image in ids if image not in training.ids]
        if foreign:
            yield f"attack.{key}", (f"{foreign[0][:60]!r} is no training image of this data; "
                                    f"expected {len(training.ids)} known ids, such as "
                                    f"{min(training.ids)!r}")


def _check_counts(record: Record) -> Iterator[KeyProblem]:
    """The counts can be a counter's, and every number that is computed from them is finite.

    A counter whose map ends in a linear layer can count fewer than nobody. It is not believed to
    take away more people than the largest crowd of the test images has.
    """
    images = record.images
    may_be_negative = find("model", record.model.name).may_be_negative
    least = -max(images.truth) if may_be_negative else 0
    for key in COUNTS:
        counts = getattr(images, key)
        if counts is not None and min(counts) < least:
            reason = ("the largest crowd below nobody" if may_be_negative
                      else f"because {record.model.name} has no negative counts")
            yield f"images.{key}", (f"{images.id[counts.index(min(counts))]}: {min(counts)}; "
                                    f"expected at least {least}, {reason}")
    increases = record.attack and record.attack.increases
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = counting.summary(**images.model_dump(include=SUMMARISED), increases=increases)
    for key, value in numbers.items():
        # A target of 0 has an infinite distortion of its label.
        if math.isinf(value) and key != "label_distortion":
            yield "images", f"{key} of these counts is not finite; expected finite metrics"
            return
