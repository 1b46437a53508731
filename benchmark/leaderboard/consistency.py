"""Consistency: whether the records of an entry agree with each other, and which are missing."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal

import numpy as np

from benchmark.config.frozen_grids import FrozenGrid
from benchmark.leaderboard.attack_slots import attack_slots, grid_defense, grid_defenses
from benchmark.leaderboard.copies import CLEAN, TOLERANCE, FileProblem, Placed, check_copies
from benchmark.leaderboard.grid_slots import GridSlot, find_slot, slots
from benchmark.leaderboard.manifest import UNDEFENDED, EnteredAttack, Manifest, identity
from benchmark.leaderboard.record_checks import SPLITS, check_record
from benchmark.leaderboard.required_fields import check_fields
from benchmark.results.describe import describe_component
from benchmark.results.record import Choice, Record
from benchmark.utils.strict_json import InvalidFile

Statement = tuple[str, str, str, Any]  # the key, the fact, its subject, and the value
NEEDED_CONTROL = "retrain"  # every entry has it on all its victims


def check(cells: Mapping[str, Record], manifest: Manifest,
          grid: FrozenGrid) -> Iterator[FileProblem]:
    """The problems of the records of an entry. cells: the records, by the names of their files."""
    entry_slots = slots_of(manifest, grid)
    placed: dict[str, tuple[Record, GridSlot]] = {}
    are_sound = True
    for file, record in cells.items():
        try:
            check_fields(record)
            slot = find_slot(record, entry_slots)
        except InvalidFile as error:
            yield file, error.key, error.what
            are_sound = False
            continue
        placed[file] = record, slot
        for key, message in check_record(file, record, slot, manifest, grid):
            yield file, key, message
            are_sound = False
    copies_of_entry = partial(check_copies, may_be_idle=manifest.attack is None)
    for check_together in (_check_repeated, _check_agreement, copies_of_entry):
        if not are_sound:  # what follows would only repeat that
            return
        for problem in check_together(placed):
            yield problem
            are_sound = False


def slots_of(manifest: Manifest, grid: FrozenGrid) -> tuple[GridSlot, ...]:
    """The slots that the records of an entry fill: those of its attack, or of all of the grid."""
    return attack_slots(grid, manifest.attack) if manifest.attack else slots(grid.preset)


def missing(cells: Mapping[str, Record], manifest: Manifest,
            grid: FrozenGrid) -> Iterator[FileProblem]:
    """The cells of the grid that an entry lacks.

    An entry of a defense has all slots of the grid with its defense, with none, and with the
    control that is given as many clean images. An entry of an attack has all slots of its attack
    with each defense of the grid.

    cells: records without problems, see `check`.
    """
    if manifest.attack:
        yield from _missing_of_attack(cells, manifest.attack, grid)
        return
    grid_slots = slots(grid.preset)
    present = {(find_slot(record, grid_slots).title, _identity_in(grid, record.defense))
               for record in cells.values()}
    needed = [manifest.defense, UNDEFENDED]
    if manifest.defense.name != NEEDED_CONTROL:
        needed.append(_control(cells, manifest.defense, grid))
    for choice in needed:
        absent = [slot.title for slot in grid_slots
                  if (slot.title, _identity_in(grid, choice)) not in present]
        if absent:
            settings = "".join(f" {name}={value}" for name, value in choice.given.items())
            yield "", "cells", (f"{len(absent)} of {len(grid_slots)} cells with the defense "
                                f"{choice.name}{settings} are missing, for instance {absent[0]}")


def _missing_of_attack(cells: Mapping[str, Record], attack: EnteredAttack,
                       grid: FrozenGrid) -> Iterator[FileProblem]:
    """The cells that an entry of an attack lacks."""
    entry_slots, present = attack_slots(grid, attack), set()
    for record in cells.values():
        defense = grid_defense(record.defense, grid)
        present.add((find_slot(record, entry_slots).title, identity(defense)))
    wanted = [(slot.title, defense) for defense in grid_defenses(grid) for slot in entry_slots]
    absent = [f"{title} with the defense {defense.name}" for title, defense in wanted
              if (title, identity(defense)) not in present]
    if absent:
        yield "", "cells", (f"{len(absent)} of {len(wanted)} cells of {grid.name} are missing, for "
                            f"instance {absent[0]}")


def _identity_in(grid: FrozenGrid, defense: Choice) -> str:
    """The identity of a defense. A control of an older version may lack settings, at defaults."""
    is_control = defense.name == NEEDED_CONTROL
    return identity(is_control and grid_defense(defense, grid) or defense)


def _control(cells: Mapping[str, Record], defense: Choice, grid: FrozenGrid) -> Choice:
    """The control that an entry of a defense needs.

    It is the one of the grid that is given as many clean images as the defense, or all of them if
    the defense is given none. If the grid has no such control, it is the one that most cells have.
    """
    given = {_clean_images(record) for record in cells.values()
             if record.attack and identity(record.defense) == identity(defense)}
    for component in grid.defenses:
        if component.name == NEEDED_CONTROL and given == {component.build().knows.clean}:
            return describe_component(component)
    settings = {identity(record.defense): record.defense for record in cells.values()
                if record.defense.name == NEEDED_CONTROL}
    times = Counter(identity(record.defense) for record in cells.values())
    most = max(settings, key=lambda text: times[text], default=None)
    return settings[most] if most else Choice(name=NEEDED_CONTROL)


def _clean_images(record: Record) -> int | Literal["all"]:
    """The number of clean images that the control of a record's defense is given."""
    clean = record.knowledge.get("clean", 0)
    return "all" if clean in (0, record.attack.images) else clean


def _check_repeated(placed: Placed) -> Iterator[FileProblem]:
    """Each cell is there once."""
    files: dict[tuple[str, str], list[str]] = defaultdict(list)
    for file, (record, slot) in placed.items():
        files[slot.title, identity(record.defense)].append(file)
    for (title, _), (first, *others) in files.items():
        for file in others:
            yield file, "cell", f"{title} with this defense is also in {first}; expected it once"


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
        for key in ("poisoned", "covers", "psnr", "ssim"):
            yield f"attack.{key}", key, slot.title, getattr(attack, key)
        yield "images.target", "target", slot.title, images.target
    weights = {stage: provenance["stages"][stage]["weights_sha256"]
               for stage in ("clean", "victim", "repaired", "control")
               if provenance["stages"].get(stage)}
    yield from _weight_statements(record, slot, weights)
    yield from _count_statements(record, slot, weights)
    yield from _defense_statements(record, slot)


def _defense_statements(record: Record, slot: GridSlot) -> Iterator[Statement]:
    """The sorts of images that a defense is given and that it scores, for any victim the same."""
    subject = f"{identity(record.defense)} {slot.data_key}"
    for key in ("clean", "extra"):
        yield f"knowledge.{key}", key, subject, record.knowledge.get(key, 0)
    yield ("knowledge.poisoned", "knows poisoned", subject,
           "some" if record.knowledge.get("poisoned") else "none")
    scored = record.detection.of if record.detection else "nothing"
    yield "detection", "scores", subject, f"scores of {scored}"


def _weight_statements(record: Record, slot: GridSlot,
                       weights: Mapping[str, str]) -> Iterator[Statement]:
    """The weights of each stage, and the counter that has them.

    Without an attack, the victim is the clean counter; without a repair, the repaired counter is
    the victim. A defense may also leave the victim's weights as they were.
    """
    victim = slot.title if record.attack else slot.counter_key
    subjects = {"clean": slot.counter_key, "victim": victim}
    detects = record.detection and record.detection.of != "training images"
    if record.defense.name == UNDEFENDED.name or detects:
        subjects["repaired"] = victim
    for stage, subject in subjects.items():
        yield f"provenance.stages.{stage}.weights_sha256", "weights", subject, weights[stage]
    # The clean counter after a defense is the repaired counter of a record without an attack.
    control = "control" if record.attack else "repaired"
    if control in weights:
        yield (f"provenance.stages.{control}.weights_sha256", "control's weights",
               f"{slot.counter_key} {identity(record.defense)}", weights[control])
    owners = {"clean": "a clean counter", "victim": "a victim" if record.attack
              else "a clean counter"}
    if weights["repaired"] != weights["victim"]:
        owners["repaired"] = f"a counter by {record.defense.name}"
    if control in weights and weights[control] != weights["clean"]:
        owners[control] = f"a counter by {record.defense.name}"
    for stage, owner in owners.items():
        yield f"provenance.stages.{stage}.weights_sha256", "owner", weights[stage], owner


def _count_statements(record: Record, slot: GridSlot,
                      weights: Mapping[str, str]) -> Iterator[Statement]:
    """The counts of each column, whose subject is a counter on some images."""
    for prefix, stage in (("", "repaired"), ("reference_", "clean")):
        for kind, images in ((CLEAN, CLEAN), ("triggered", slot.trigger_key)):
            counts = getattr(record.images, f"{prefix}{kind}")
            if counts is not None:
                subject = f"{weights[stage]} {images} {slot.data_key}"
                yield f"images.{prefix}{kind}", "counts", subject, np.array(counts)
    # The clean counter after a defense has a record of its own, which has no attack.
    control = f"{slot.counter_key} {identity(record.defense)}"
    kinds = [("control_clean" if record.attack else CLEAN, CLEAN)]
    kinds += [("control_triggered", slot.trigger_key)] if record.attack else []
    for column, images in kinds:
        counts = getattr(record.images, column)
        if counts is not None:
            yield f"images.{column}", "control", f"{control} {images}", np.array(counts)


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
    return f"{value!r:.80}; expected {expected!r:.80} as" if value != expected else None
