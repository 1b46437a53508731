"""Consistency: checks the records of an entry against its frozen grid and against each other.

Only what a record says is checked. Nothing is run, and nothing that a record names is imported, but
a defense of this project to check its settings.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from benchmark.config.frozen_grids import FrozenGrid
from benchmark.leaderboard.grid_slots import GridSlot, find_slot, slots
from benchmark.leaderboard.manifest import Sha256, without_given
from benchmark.metrics import counting
from benchmark.recipe import RUNNING
from benchmark.registry import find, is_plugin, names, resolve
from benchmark.results.record import MOST_IMAGES, Choice, Record
from benchmark.results.result import SUMMARISED
from benchmark.tables.controls import SHARED
from benchmark.utils.errors import UserError
from benchmark.utils.strict_json import InvalidFile, validate_as

KeyProblem = tuple[str, str]  # the key, and what is wrong with its value
FileProblem = tuple[str, str, str]  # the same after the name of the record's file, '' for none
Statement = tuple[str, str, str, Any]  # the key, the fact, its subject, and the value
Placed = Mapping[str, tuple[Record, GridSlot]]  # records in their slots, by the names of the files
UNDEFENDED = "none"
SPLITS = ("train", "test")
TOLERANCE = {"rtol": 1e-3, "atol": 1e-2}  # of counts of one counter by two devices

Fingerprint = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class _Stage(BaseModel):
    weights_sha256: Sha256
    seconds: Annotated[float, Field(ge=0, le=1e9)] | None = None


class _Stages(BaseModel):
    clean: _Stage
    victim: _Stage
    repaired: _Stage


class _Splits(BaseModel):
    train: Fingerprint
    test: Fingerprint


class _Provenance(BaseModel):
    data: _Splits
    stages: _Stages
    commit: str | None = None
    dirty: bool | None = None
    crowdbench: str | None = None
    device_name: str | None = None
    precision: str | None = None
    threads: int | None = None


class _Training(BaseModel):
    model_config = ConfigDict(extra="forbid")
    given: dict[str, Any]
    resolved: dict[str, Any]
    scale: float
    hold_out: float


class _RequiredFields(BaseModel):
    """The fields of a record that are free elsewhere, as a run writes them."""

    training: _Training
    knowledge: dict[str, Annotated[int, Field(ge=0, le=MOST_IMAGES)]]
    provenance: _Provenance


def check(cells: Mapping[str, Record], defense: Choice, grid: FrozenGrid) -> Iterator[FileProblem]:
    """The problems of the records of an entry.

    cells: the records, by the names of their files. defense: that of the entry, `without_given`.
    """
    placed: dict[str, tuple[Record, GridSlot]] = {}
    for file, record in cells.items():
        try:
            validate_as(_RequiredFields, record.model_dump(include={*_RequiredFields.model_fields}))
            slot = find_slot(record, slots(grid.preset))
        except InvalidFile as error:
            yield file, error.key, error.what
            continue
        placed[file] = record, slot
        problems = chain(_check_name(file, record, grid), _check_defense(record, defense),
                         _check_images(record, grid), _check_given(record),
                         _check_texts(record.model_dump()), _check_attack(record, slot),
                         _check_numbers(record))
        for key, message in problems:
            yield file, key, message
    yield from _check_agreement(placed)
    yield from _check_repeated(placed)


def missing(cells: Mapping[str, Record], defense: Choice,
            grid: FrozenGrid) -> Iterator[FileProblem]:
    """The cells of the grid that an entry lacks, for its defense and for no defense.

    cells: records without problems, see `check`.
    """
    grid_slots = slots(grid.preset)
    present = {(find_slot(record, grid_slots).title, _identity(record.defense))
               for record in cells.values()}
    for choice in (defense, Choice(name=UNDEFENDED)):
        absent = [slot.title for slot in grid_slots
                  if (slot.title, _identity(choice)) not in present]
        if absent:
            yield "", "cells", (f"{len(absent)} of {len(grid_slots)} cells with the defense "
                                f"{choice.name} are missing, for instance {absent[0]}")


def _identity(defense: Choice) -> str:
    return without_given(defense).model_dump_json()


def _check_name(file: str, record: Record, grid: FrozenGrid) -> Iterator[KeyProblem]:
    """The record is of this grid, and the name of its file begins with those of its components."""
    if record.protocol != grid.name:
        yield "protocol", f"{record.protocol!r}; expected {grid.name!r} as in the manifest"
    target = record.attack.target.name if record.attack else "clean"
    name = f"{record.model.name}-{target}-{record.defense.name}-seed{record.seed}-"
    if not re.fullmatch(re.escape(name) + r"[0-9a-f]{8}\.json", file):
        yield "file", f"the name does not fit the record; expected {name}XXXXXXXX.json"


def _check_defense(record: Record, entry_defense: Choice) -> Iterator[KeyProblem]:
    """The defense is that of the entry, none or a control, and its version and settings exist."""
    own = record.defense
    described = f"{own.name}, version {own.version}, settings {own.resolved}"
    if own.name == UNDEFENDED and without_given(own) != Choice(name=UNDEFENDED):
        yield "defense", f"{described}; expected version 1 and no settings"
    elif own.name in names("defense") and not is_plugin("defense", own.name):
        latest = find("defense", own.name).version
        if own.version not in range(1, latest + 1):
            yield "defense.version", (f"{own.version!r}; expected 1 to {latest}, because "
                                      f"{own.name} is not a plugin")
    if own.name not in SHARED and without_given(own) != entry_defense:
        yield "defense", f"{described}; expected the defense of the entry, none or a control"
    if record.detection and own.name in SHARED:
        yield "detection", f"has scores; expected null, since {own.name} detects nothing"
    yield from _check_defense_settings(own)


def _check_defense_settings(own: Choice) -> Iterator[KeyProblem]:
    """The defense can have these settings, as far as its present version tells."""
    if own.name in names("defense") and own.version == find("defense", own.name).version:
        try:
            resolve("defense", own.name, own.resolved)
        except UserError as error:
            yield "defense.resolved", str(error)
    for key in own.given.keys() & own.resolved.keys():
        given, used = own.given[key], own.resolved[key]
        are_numbers = isinstance(given, (int, float)) and isinstance(used, (int, float))
        if are_numbers and given != used:
            yield f"defense.given.{key}", f"{given}; expected {used} as in defense.resolved"


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
    """Every setting that was given is a setting of its component."""
    choices = {"data": record.data, "model": record.model, "defense": record.defense}
    if record.attack:
        choices |= {"attack.trigger": record.attack.trigger, "attack.target": record.attack.target}
    unknown = {key: choice.given.keys() - choice.resolved.keys() for key, choice in choices.items()}
    training = record.training
    unknown["training"] = training["given"].keys() - training["resolved"].keys() - RUNNING
    for key, settings in unknown.items():
        for name in sorted(settings):
            yield f"{key}.given", f"unknown setting {name!r}; expected those of {key}.resolved"


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
    """The poison rate gives the number of images, and the true counts those of the attacker."""
    attack, images, detection = record.attack, record.images, record.detection
    if attack is None:
        return
    poisoned = len(attack.poisoned)
    if attack.images is None:
        yield "attack.images", "null; expected the number of training images"
    elif poisoned != (expected := round(attack.poison_rate * attack.images)):
        yield "attack.poisoned", (f"{poisoned} ids; expected {expected}, the poison rate "
                                  f"{attack.poison_rate} of {attack.images} training images")
    if detection and detection.of == "training images":
        scores = len(detection.clean), len(detection.triggered)
        if scores != (attack.images, poisoned):
            yield "detection", (f"scores of {scores[0]} clean and {scores[1]} poisoned images; "
                                f"expected {attack.images} and {poisoned}")
    if len(set(attack.poisoned)) != poisoned:
        yield "attack.poisoned", "an id occurs twice; expected each image once"
    if slot.tau is None:
        return
    for image, truth, target in zip(images.id, images.truth, images.target):
        if slot.tau(truth) != target:
            yield "images.target", (f"{image}: {target}; expected {slot.tau(truth)}, because "
                                    f"{attack.target.name} makes that of {truth} people")
            return


def _check_numbers(record: Record) -> Iterator[KeyProblem]:
    """Every number that is computed from the counts is finite."""
    counts = record.images.model_dump(include=SUMMARISED)
    increases = record.attack and record.attack.increases
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = counting.summary(**counts, increases=increases)
    for key, value in numbers.items():
        # A target of 0 has an infinite distortion of its label.
        if math.isinf(value) and key != "label_distortion":
            yield "images", f"{key} of these counts is not finite; expected finite metrics"
            return


def _check_agreement(placed: Placed) -> Iterator[FileProblem]:
    """Records that state the same fact state the same value."""
    first_statements: dict[tuple[str, str], tuple[str, Any]] = {}
    for file, (record, slot) in placed.items():
        for key, fact, subject, value in _statements(record, slot):
            first_file, first_value = first_statements.setdefault((fact, subject), (file, value))
            difference = _difference(value, first_value, record.images.id)
            if difference:
                yield file, key, f"{difference} in {first_file}"


def _statements(record: Record, slot: GridSlot) -> Iterator[Statement]:
    """The facts that a record states and that others with the same subject must state alike."""
    images, attack, provenance = record.images, record.attack, record.provenance
    yield "images.id", "ids", slot.data_key, images.id
    yield "images.truth", "truth", slot.data_key, images.truth
    for split in SPLITS:
        yield f"provenance.data.{split}", split, slot.data_key, provenance["data"][split]
    if attack:
        yield "attack.images", "images", slot.data_key, attack.images
        for key in ("poisoned", "psnr", "ssim"):
            yield f"attack.{key}", key, slot.title, getattr(attack, key)
        yield "images.target", "target", slot.title, images.target
    weights = {stage: provenance["stages"][stage]["weights_sha256"]
               for stage in ("clean", "victim", "repaired")}
    yield from _weight_statements(record, slot, weights)
    yield from _count_statements(record, slot, weights)


def _weight_statements(record: Record, slot: GridSlot,
                       weights: Mapping[str, str]) -> Iterator[Statement]:
    """The weights of each stage.

    Without an attack, the victim is the clean counter; without a repair, the repaired counter is
    the victim.
    """
    victim = slot.title if record.attack else slot.counter_key
    subjects = {"clean": slot.counter_key, "victim": victim}
    detects = record.detection and record.detection.of != "training images"
    if record.defense.name == UNDEFENDED or detects:
        subjects["repaired"] = victim
    for stage, subject in subjects.items():
        yield f"provenance.stages.{stage}.weights_sha256", "weights", subject, weights[stage]


def _count_statements(record: Record, slot: GridSlot,
                      weights: Mapping[str, str]) -> Iterator[Statement]:
    """The counts of each column, whose subject is a counter on some images."""
    columns = (("clean", "repaired", slot.data_key), ("reference_clean", "clean", slot.data_key),
               ("triggered", "repaired", slot.title), ("reference_triggered", "clean", slot.title))
    for column, stage, images in columns:
        counts = getattr(record.images, column)
        if counts is not None:
            yield f"images.{column}", "counts", f"{weights[stage]} {images}", np.array(counts)
    # The clean counter after a defense has a record of its own, which has no attack.
    control = f"{slot.counter_key} {_identity(record.defense)} {slot.data_key}"
    column = "control_clean" if record.attack else "clean"
    counts = getattr(record.images, column)
    if counts is not None:
        yield f"images.{column}", "control", control, np.array(counts)


def _difference(value: Any, expected: Any, images: list[str]) -> str | None:
    """The first difference between two values, as text; None if there is none.

    Counts (arrays, one per image) may differ by the rounding of a device.
    """
    if isinstance(value, (list, np.ndarray)) and len(value) != len(expected):
        return f"{len(value)} values; expected {len(expected)} as"
    if isinstance(value, np.ndarray):
        differing = np.flatnonzero(~np.isclose(value, expected, **TOLERANCE))
        if not differing.size:
            return None
        i = differing[0]
        return f"{images[i]}: {value[i]}; expected {expected[i]} as by the same counter"
    if isinstance(value, list):
        for item, other in zip(value, expected):
            if item != other:
                return f"{item!r:.40}; expected {other!r:.40} as"
        return None
    return f"{value!r:.40}; expected {expected!r:.40} as" if value != expected else None


def _check_repeated(placed: Placed) -> Iterator[FileProblem]:
    """Each cell is there once."""
    files: dict[tuple[str, str], list[str]] = defaultdict(list)
    for file, (record, slot) in placed.items():
        files[slot.title, _identity(record.defense)].append(file)
    for (title, _), (first, *others) in files.items():
        for file in others:
            yield file, "cell", f"{title} with this defense is also in {first}; expected it once"
