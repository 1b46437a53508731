"""What the records of an entry must say: each what its cell of the frozen grid says, and all of one thing the same."""

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from benchmark.config.frozen_grids import FrozenGrid
from benchmark.leaderboard.grid_slots import GridSlot, slot_of, slots
from benchmark.leaderboard.manifest import Sha256, chosen
from benchmark.leaderboard.report import CONTROLS
from benchmark.metrics import counting
from benchmark.recipe import RUNNING
from benchmark.registry import find, names, resolve
from benchmark.results.record import MOST_IMAGES, Choice, Record
from benchmark.utils.errors import UserError
from benchmark.utils.strict_json import InvalidFile, fit

Problem = tuple[str, str, str]  # the cell's file or '', the key, what is wrong
UNDEFENDED = "none"
SPLITS = ("train", "test")
TOLERANCE = {"rtol": 1e-3, "atol": 1e-2}  # a device's noise, as the tables have it

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


class _Said(BaseModel):
    """The parts of a record that are free in other records, as a run writes them."""

    training: _Training
    knowledge: dict[str, Annotated[int, Field(ge=0, le=MOST_IMAGES)]]
    provenance: _Provenance


def check(cells: Mapping[str, Record], defense: Choice, grid: FrozenGrid) -> Iterator[Problem]:
    """What is wrong with the records, by their files' names, of an entry of a defense."""
    placed: dict[str, GridSlot] = {}
    for name, record in cells.items():
        try:
            fit(_Said, record.model_dump(include={*_Said.model_fields}))
            placed[name] = slot_of(record, slots(grid.preset))
        except InvalidFile as refused:
            yield name, refused.key, refused.what
            continue
        problems = (*_named(name, record, defense, grid), *_settings(record), *_texts(record.model_dump()),
                    *_attacked(record, placed[name]), *_counted(record))
        yield from ((name, key, what) for key, what in problems)
    yield from _disagreements({name: (cells[name], slot) for name, slot in placed.items()})
    yield from _twice({name: (slot.title, chosen(cells[name].defense)) for name, slot in placed.items()})


def missing(cells: Mapping[str, Record], defense: Choice, grid: FrozenGrid) -> Iterator[Problem]:
    """Which cells of the grid an entry lacks, for its defense and for none; of records that `check` accepts."""
    known = [slot.title for slot in slots(grid.preset)]
    there = {(slot_of(record, slots(grid.preset)).title, chosen(record.defense).model_dump_json())
             for record in cells.values()}
    for one in (defense, Choice(name=UNDEFENDED)):
        if lacking := [title for title in known if (title, one.model_dump_json()) not in there]:
            yield "", "cells", (f"{len(lacking)} of {len(known)} with {one.name} are not there, for instance "
                                f"{lacking[0]}")


def _named(name: str, record: Record, defense: Choice, grid: FrozenGrid) -> Iterator[tuple[str, str]]:
    if record.protocol != grid.name:
        yield "protocol", f"{record.protocol!r}; the entry is one of {grid.name!r}"
    own = record.defense
    begins = "-".join([record.model.name, record.attack.target.name if record.attack else "clean", own.name,
                       f"seed{record.seed}", ""])
    if not re.fullmatch(re.escape(begins) + r"[0-9a-f]{8}\.json", name):
        yield "file", f"the record belongs in {begins}XXXXXXXX.json"
    if own.name == UNDEFENDED and chosen(own) != Choice(name=UNDEFENDED):
        yield "defense", f"version {own.version}, {own.resolved}; expected no version and no settings"
    elif own.name in names("defense") and own.version not in range(1, find("defense", own.name).version + 1):
        yield "defense.version", f"{own.version!r}; {own.name} is not a plugin, expected a number that it has had"
    if chosen(own) != defense and own.name not in (UNDEFENDED, *CONTROLS):
        yield "defense", f"{own.name} {own.resolved}, version {own.version}; expected the entry's, none or a control"
    if grid.counted not in (None, record.images.checksum):
        yield "images", f"{len(record.images.id)} ids and true counts; those of {grid.name} are others"
    if record.detection and own.name in (UNDEFENDED, *CONTROLS):
        yield "detection", f"{own.name} detects nothing"
    yield from _possible(own)
    for split in SPLITS:
        digest, expected = record.provenance["data"][split], grid.splits.get(split)
        if expected and digest != expected:
            yield f"provenance.data.{split}", f"{digest}; the images of {grid.name} are {expected}"


def _possible(own: Choice) -> Iterator[tuple[str, str]]:
    """Settings that a defense of this project cannot have, as far as its present version tells."""
    if own.name in names("defense") and own.version == find("defense", own.name).version:
        try:
            resolve("defense", own.name, own.resolved)
        except UserError as error:
            yield "defense.resolved", str(error)
    for key in own.given.keys() & own.resolved.keys():
        given, used = own.given[key], own.resolved[key]
        if isinstance(given, (int, float)) and isinstance(used, (int, float)) and given != used:
            yield f"defense.given.{key}", f"{given}; defense.resolved says {used}"


def _settings(record: Record) -> Iterator[tuple[str, str]]:
    """Settings that were given and are none."""
    choices = {"data": record.data, "model": record.model, "defense": record.defense}
    if record.attack:
        choices |= {"attack.trigger": record.attack.trigger, "attack.target": record.attack.target}
    for at, choice in choices.items():
        for key in sorted(choice.given.keys() - choice.resolved.keys()):
            yield f"{at}.given", f"{key!r} is none of the settings"
    for key in sorted(record.training["given"].keys() - record.training["resolved"].keys() - RUNNING):
        yield "training.given", f"{key!r} is none of the settings"


def _texts(node: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Texts that no run writes: a record is shown in many places, and not all of them may escape it."""
    if isinstance(node, str):
        if not node.isprintable() or "<" in node or ">" in node:
            yield at or "record", f"{node[:60]!r}; expected printable characters without < and >"
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _texts(key, at)
            yield from _texts(value, f"{at}.{key}".lstrip("."))
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value, at)


def _attacked(record: Record, slot: GridSlot) -> Iterator[tuple[str, str]]:
    attack, images = record.attack, record.images
    if attack is None:
        return
    if attack.images is None:
        yield "attack.images", "nothing; expected how many training images there were"
    elif len(attack.poisoned) != round(attack.poison_rate * attack.images):
        yield "attack.poisoned", (f"{len(attack.poisoned)} ids; at a rate of {attack.poison_rate} of {attack.images} "
                                  f"images there are {round(attack.poison_rate * attack.images)}")
    if record.detection and record.detection.of == "training images":
        scores, expected = record.detection, (attack.images, len(attack.poisoned))
        if (found := (len(scores.clean), len(scores.triggered))) != expected:
            yield "detection", f"scores of {found} clean and stamped images; there were {expected}"
    if len(set(attack.poisoned)) != len(attack.poisoned):
        yield "attack.poisoned", "an id occurs twice"
    for image, truth, target in zip(images.id, images.truth, images.target) if slot.tau else ():
        if slot.tau(truth) != target:
            yield "images.target", f"{image}: {target}; of {truth} people {attack.target.name} makes {slot.tau(truth)}"
            return


def _counted(record: Record) -> Iterator[tuple[str, str]]:
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = counting.summary(**record.images.model_dump(exclude={"id", "reference_clean"}),
                                  increases=record.attack and record.attack.increases)
    endless = [key for key, value in numbers.items() if math.isinf(value) and key != "label_distortion"]
    if endless:  # a target of 0 has an infinite distortion
        yield "images", f"{endless[0]} of these counts is not finite"


def _disagreements(placed: Mapping[str, tuple[Record, GridSlot]]) -> Iterator[Problem]:
    seen: dict[tuple[str, str], tuple[str, Any]] = {}
    for name, (record, slot) in placed.items():
        for key, what, of, value in _stated(record, slot):
            first, other = seen.setdefault((what, of), (name, value))
            if differing := _difference(value, other, record.images.id):
                yield name, key, f"{differing} in {first}"


def _stated(record: Record, slot: GridSlot) -> Iterator[tuple[str, str, str, Any]]:
    """What a record says that others say too: the key, what it is, of what, and the value."""
    images, attack, made = record.images, record.attack, record.provenance
    yield "images.id", "ids", slot.data, images.id
    yield "images.truth", "truth", slot.data, images.truth
    for split in SPLITS:
        yield f"provenance.data.{split}", split, slot.data, made["data"][split]
    if attack:
        yield "attack.images", "images", slot.data, attack.images
        for key in ("poisoned", "psnr", "ssim"):
            yield f"attack.{key}", key, slot.title, getattr(attack, key)
        yield "images.target", "target", slot.title, images.target
    weights = {stage: made["stages"][stage]["weights_sha256"] for stage in ("clean", "victim", "repaired")}
    unrepaired = record.defense.name == UNDEFENDED or (record.detection and record.detection.of != "training images")
    for stage in ("clean", "victim", *(["repaired"] if unrepaired else [])):  # a victim without attack is clean
        of = slot.counter if stage == "clean" or not attack else slot.title
        yield f"provenance.stages.{stage}.weights_sha256", "weights", of, weights[stage]
    for column, counter in (("clean", "repaired"), ("reference_clean", "clean"), ("triggered", "repaired"),
                            ("reference_triggered", "clean")):
        counts = getattr(images, column)
        if counts is not None:
            of = slot.title if column.endswith("triggered") else slot.data
            yield f"images.{column}", "counts", f"{weights[counter]} {of}", np.array(counts)


def _difference(value: Any, other: Any, images: list[str]) -> str | None:
    """How a value differs from another record's; counts may by a device's noise."""
    if isinstance(value, np.ndarray) and len(value) == len(other):
        wrong = np.flatnonzero(~np.isclose(value, other, **TOLERANCE))
        return f"{images[wrong[0]]}: {value[wrong[0]]}, but {other[wrong[0]]} by that counter" if wrong.size else None
    if isinstance(value, (list, np.ndarray)):
        if len(value) != len(other):
            return f"{len(value)} values, but {len(other)}"
        return next((f"{one!r:.40}, but {two!r:.40}" for one, two in zip(value, other) if one != two), None)
    return f"{value!r:.40}, but {other!r:.40}" if value != other else None


def _twice(placed: Mapping[str, tuple[str, Choice]]) -> Iterator[Problem]:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, (title, defense) in placed.items():
        found[title, defense.model_dump_json()].append(name)
    for (title, _), (first, *others) in found.items():
        yield from ((name, "cell", f"{title} with this defense is in {first} too") for name in others)
