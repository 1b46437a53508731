"""Declared knowledge: whether the images that a defense was given are those that it declares.

The class of a defense of this project says what it knows and whether it detects. A plugin is not
loaded; for one, the numbers must be possible and go together.
"""

from collections.abc import Iterator

from benchmark.leaderboard.component_checks import KeyProblem
from benchmark.leaderboard.grid_slots import GridSlot
from benchmark.leaderboard.manifest import UNDEFENDED
from benchmark.leaderboard.training_images import training_images
from benchmark.registry import build, find, names
from benchmark.results.controls import SHARED
from benchmark.results.record import Choice, Record
from benchmark.utils.errors import UserError
from defenses.base import Defense, Detector, Inspector

FILTERS = "training images"  # the scores of a defense that looks for poisoned images


def check_declared(record: Record, slot: GridSlot) -> Iterator[KeyProblem]:
    """The problems of the knowledge and of the scores of one record."""
    name = record.defense.name
    if record.detection and name in SHARED:
        yield "detection", f"has scores; expected null, since {name} detects nothing"
        return
    if name == UNDEFENDED.name:
        if any(record.knowledge.values()):
            yield "knowledge", f"{record.knowledge}; expected no images, as {name} declares"
        return
    defense = _own_defense(record.defense)
    yield from _check_possible(record, slot)
    if defense is not None:
        yield from _check_knowledge(record, slot, defense)
    yield from _check_scores(record, defense)


def _own_defense(choice: Choice) -> Defense | None:
    """The defense, if it is one of this project in its present version and with such settings."""
    is_known = choice.name in names("defense")
    if not is_known or find("defense", choice.name).version != choice.version:
        return None
    try:
        return build("defense", choice.name, choice.resolved)
    except UserError:  # reported by `record_checks`
        return None


def _check_possible(record: Record, slot: GridSlot) -> Iterator[KeyProblem]:
    """No more images than there are, of the poisoned set all or none, and some for a training."""
    known, training = record.knowledge, training_images(slot)
    number, poisoned = _numbers(record, slot)
    if number is not None and known.get("clean", 0) > number:
        yield "knowledge.clean", f"{known['clean']}; expected at most {number} training images"
    if poisoned is not None and known.get("poisoned", 0) not in (0, poisoned):
        yield "knowledge.poisoned", (f"{known['poisoned']}; expected 0, or {poisoned} as the "
                                     "poisoned training set has")
    if training and known.get("validation", 0) not in (0, training.validation):
        yield "knowledge.validation", (f"{known['validation']}; expected 0, or "
                                       f"{training.validation} validation images")
    repaired, victim = (record.provenance["stages"][name] for name in ("repaired", "victim"))
    is_other = repaired["weights_sha256"] != victim["weights_sha256"]
    was_trained = is_other and repaired.get("best_epoch") is not None
    if was_trained and not any(known.get(key) for key in ("clean", "extra", "poisoned")):
        yield "knowledge", "no training images; expected some, because a training has a best epoch"
    was_measured = any(trial.validation_mae is not None
                       for choice in record.strengths for trial in choice.tried)
    if was_measured and not known.get("validation"):
        yield "knowledge.validation", ("0; expected validation images, because strengths were "
                                       "chosen by their error")


def _check_knowledge(record: Record, slot: GridSlot, defense: Defense) -> Iterator[KeyProblem]:
    """As many images of each sort as the class declares."""
    known, knows = record.knowledge, defense.knows
    number, poisoned = _numbers(record, slot)
    if number is None or poisoned is None:
        return
    clean = number if knows.clean == "all" else min(knows.clean, number)
    expected = {"clean": range(clean, clean + 1),
                "extra": range(min(knows.extra, 1), knows.extra + 1),
                "poisoned": range(poisoned, poisoned + 1) if knows.poisoned else range(1)}
    for key, numbers in expected.items():
        if known.get(key, 0) not in numbers:
            yield f"knowledge.{key}", (f"{known.get(key, 0)}; expected {numbers[-1]}, as "
                                       f"{record.defense.name} declares")


def _numbers(record: Record, slot: GridSlot) -> tuple[int | None, int | None]:
    """The number of training images without and with stamped copies; None where not known."""
    training = training_images(slot)
    if record.attack is None:
        number = len(training.ids) if training else None
        return number, number
    number = record.attack.images
    return number, None if number is None else number + sum(_copies(record))


def _copies(record: Record) -> tuple[int, int]:
    """The numbers of poisoned copies and of cover copies that all attacks on the victim added."""
    attacks = [attack for attack in (record.attack, record.attack and record.attack.also) if attack]
    return (sum(len(attack.poisoned) for attack in attacks),
            sum(len(attack.covers) for attack in attacks))


def _check_scores(record: Record, defense: Defense | None) -> Iterator[KeyProblem]:
    """The scores are of what the defense detects, and none are there for a mere repair."""
    detection = record.detection
    allowed = _scored(record, defense)
    if detection is None:
        if allowed in ("test images", "counters"):
            yield "detection", f"null; expected scores of {allowed} by {record.defense.name}"
        return
    if allowed is not None and detection.of != allowed:
        expected = f"scores of {allowed}" if allowed else "null, since it only repairs"
        yield "detection", f"scores of {detection.of} by {record.defense.name}; expected {expected}"
        return
    scores = len(detection.clean), len(detection.triggered)
    expected_scores = _expected_scores(record)
    if scores != expected_scores:
        yield "detection", (f"scores of {scores[0]} clean and {scores[1]} triggered or poisoned "
                            f"{detection.of}; expected {expected_scores[0]} and "
                            f"{expected_scores[1]}")


def _scored(record: Record, defense: Defense | None) -> str | None:
    """The things that a defense may score: '' for nothing, None where that is not known.

    Only a repair that is given the poisoned training set can score its images.
    """
    if isinstance(defense, Detector):
        return "test images"
    if isinstance(defense, Inspector):
        return "counters"
    knows_poisoned = bool(record.knowledge.get("poisoned"))
    if defense is not None:
        return FILTERS if knows_poisoned else ""
    is_filter = record.detection is not None and record.detection.of == FILTERS
    return "" if is_filter and not knows_poisoned else None


def _expected_scores(record: Record) -> tuple[int, int]:
    """The number of clean and of triggered scores of a record with a detection."""
    attack, of = record.attack, record.detection.of
    if of == "counters":
        return 1, 1
    if of == "test images":
        return len(record.images.id), len(record.images.id) if attack else 0
    poisoned, covers = _copies(record)
    return record.knowledge.get("poisoned", 0) - poisoned - covers, poisoned
