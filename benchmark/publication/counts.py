"""Table of counts: one row for each record and test image, with the same columns for all records.

The settings of a component are JSON text here, because they differ from component to component;
`cells` has a column for each of them.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark.publication.data_table import PROTOCOL, SEED, Column, DataTable, Piece
from benchmark.publication.sources import Source
from benchmark.results.record import Choice, Record
from benchmark.results.scenarios import entry_of

OF_RECORD = (
    Column("record", "text", "SHA-256 of the record's JSON file; it identifies the row of cells."),
    PROTOCOL,
    Column("entry", "text", "The leaderboard entry of the record, as NAME/REVISION; missing for "
                            "records of no entry."),
    Column("data", "text", "The dataset of the images."),
    Column("data_settings", "text", "The settings of the dataset, as JSON."),
    Column("scale", "number", "The factor by which images and annotations were resized."),
    Column("model", "text", "The counter."),
    Column("model_settings", "text", "The settings of the counter, as JSON."),
    Column("trigger", "text", "The trigger of the training images; missing without an attack."),
    Column("trigger_settings", "text", "The settings of this trigger, as JSON."),
    Column("test_trigger_settings", "text", "The settings of the trigger on the test images, as "
                                            "JSON, where they differ."),
    Column("target", "text", "The target, which changes the head annotations of poisoned images; "
                             "missing without an attack."),
    Column("target_settings", "text", "The settings of the target, as JSON."),
    Column("increases", "truth", "Whether the attack raises the count; missing without an attack "
                                 "or without one direction."),
    Column("poison_rate", "number", "Poisoned images as a share of the original training images."),
    Column("defense", "text", "The defense; none is no defense."),
    Column("defense_settings", "text", "The settings of the defense, as JSON."),
    SEED,
    Column("images_sha256", "text", "SHA-256 of the ids and the true counts of all images of the "
                                    "record."),
)
OF_IMAGE = (
    Column("image", "text", "The id of the test image."),
    Column("truth", "integer", "The true count, in people."),
    Column("attacker_count", "number", "The count that the attacker wants, in people; missing "
                                       "without an attack, as for all triggered counts."),
    Column("clean", "number", "The count of the counter on the clean image, after the defense if "
                              "there is one."),
    Column("triggered", "number", "The count of the same counter on the image with the trigger."),
    Column("reference_clean", "number", "The count of the clean counter, which was trained in the "
                                        "same way without the attack, on the clean image."),
    Column("reference_triggered", "number", "The count of the clean counter on the image with the "
                                            "trigger."),
    Column("control_clean", "number", "The count of the clean counter after the same defense, on "
                                      "the clean image; missing where nothing was repaired."),
    Column("control_triggered", "number", "The count of the clean counter after the same defense, "
                                          "on the image with the trigger."),
)
COUNTED = {column.name: column.name for column in OF_IMAGE} | {
    "image": "id", "attacker_count": "target"}  # the names in a record
SCORES = ("clean", "triggered", "drift", "reference_clean", "reference_triggered")
OF_DETECTOR = tuple(
    Column(f"detection_{scores}", "number", f"The score of a detector of triggered images: {what}.")
    for scores, what in zip(SCORES, (
        "the clean image", "the image with the trigger", "the clean image in another light",
        "the clean image, watching a clean counter",
        "the image with the trigger, watching a clean counter")))


def count_table(sources: Sequence[Source]) -> DataTable:
    """The table of counts of some records."""
    return DataTable(
        "records", "One row for each record and test image: the settings of the cell, the true "
        "count, the attacker's count, and what was counted, in people.",
        [*OF_RECORD, *OF_IMAGE, *OF_DETECTOR], key=("record", "image"),
        pieces=map(_piece, sources), references={"record": ("cells", "record")})


def _piece(source: Source) -> Piece:
    """The rows of one record."""
    images = source.record.images
    number = len(images.id)
    piece: dict[str, Any] = {name: [value] * number for name, value in _settings(source).items()}
    for name, key in COUNTED.items():
        column = getattr(images, key)
        piece[name] = [None] * number if column is None else column
    return piece | _scores(source.record, number)


def _settings(source: Source) -> dict[str, Any]:
    record, attack = source.record, source.record.attack
    settings = {
        "record": source.sha256, "protocol": record.protocol,
        "entry": entry_of(record).get("path"), "scale": _number(record.training.get("scale")),
        "seed": record.seed, "images_sha256": record.images.checksum}
    for kind, choice in (("data", record.data), ("model", record.model),
                         ("defense", record.defense), ("trigger", attack and attack.trigger),
                         ("target", attack and attack.target)):
        settings |= {kind: choice and choice.name, f"{kind}_settings": _as_json(choice)}
    return settings | {
        "test_trigger_settings": _as_json(attack and attack.test_trigger),
        "increases": attack and attack.increases, "poison_rate": attack and attack.poison_rate}


def _as_json(choice: Choice | None) -> str | None:
    if choice is None:
        return None
    settings = choice.given | choice.resolved
    if choice.version != 1:
        settings = settings | {"version": choice.version}
    return json.dumps(settings, sort_keys=True, ensure_ascii=False)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _scores(record: Record, number: int) -> dict[str, Any]:
    """The scores of the test images; missing where the detector scored anything else."""
    detection = record.detection
    scored = detection if detection and detection.of == "test images" else None
    columns = {}
    for scores in SCORES:
        values = getattr(scored, scores) if scored else []
        columns[f"detection_{scores}"] = values or np.full(number, np.nan)
    return columns
