"""Table of cells: one row for each record, with a column for each setting and each measure."""

import json
from collections.abc import Sequence
from typing import Any

from benchmark.metrics import detection
from benchmark.metrics.counting import mean_of_existing
from benchmark.publication.data_table import PROTOCOL, SEED, Column, DataTable, Kind
from benchmark.publication.measures import MEASURES
from benchmark.publication.sources import Source
from benchmark.results.record import Record
from benchmark.results.scenarios import entry_of, scenarios, setting_values
from benchmark.tables.controls import result_numbers
from benchmark.utils.errors import UserError, quoted

MOST_SETTINGS = 2000  # columns; the grids of this project have about 100
STAGES = ("clean", "victim", "repaired")
BEFORE = (
    Column("record", "text", "SHA-256 of the record's JSON file."),
    Column("file", "text", "The name of the record's JSON file."),
    PROTOCOL,
    Column("entry_name", "text", "The name of the leaderboard entry of the record; missing for "
                                 "records of no entry."),
    Column("tier", "text", "How far the numbers of the entry were checked by others."),
    SEED,
)
ORIGIN = (
    Column("poisoned_images", "integer", "The number of poisoned training images."),
    Column("psnr", "number", "Mean PSNR of the first stamped training images, in dB."),
    Column("ssim", "number", "Mean SSIM of the first stamped training images."),
    Column("knowledge", "text", "The number of images of each sort that the defense was given, as "
                                "JSON."),
    Column("warnings", "text", "Notes for the reader of the record, separated by semicolons."),
    Column("repair_seconds", "number", "The duration of the repair."),
    Column("images_sha256", "text", "SHA-256 of the ids and the true counts of the test images."),
    *(Column(f"{stage}_weights_sha256", "text", f"SHA-256 of the weights of the {name}.")
      for stage, name in zip(STAGES, ("clean counter", "victim", "repaired counter"))),
    *(Column(name, "text", f"{what}, as the record states it.") for name, what in (
        ("crowdbench", "The version of the benchmark"), ("commit", "The commit of the benchmark"),
        ("device_name", "The processor or GPU"), ("precision", "The precision of the training"),
        ("threads", "The number of threads"))),
)
STATED = ("crowdbench", "commit", "device_name", "precision", "threads")  # in the provenance


def cell_table(sources: Sequence[Source]) -> DataTable:
    """The table of cells of some records.

    Raises:
        UserError: the records do not fit together, see `scenarios`, or have too many settings.
    """
    settings = [setting_values(source.record) for source in sources]
    setting_columns, columns = [], {}
    for name in _setting_names(settings):
        kind, columns[name] = _typed([values.get(name) for values in settings])
        setting_columns.append(Column(name, kind, _described(name)))
    measures = _measures([source.record for source in sources])
    columns |= {name: [row.get(name) for row in measures] for name in MEASURES}
    for name in (column.name for column in (*BEFORE, *ORIGIN)):
        columns[name] = []
    for source in sources:
        for name, value in (_identity(source) | _origin(source.record)).items():
            columns[name].append(value)
    measured = [Column(name, "integer" if name.startswith("images") else "number", text)
                for name, text in MEASURES.items()]
    return DataTable(
        "cells", "One row for each record: its settings, the measures of its counts, and where it "
        "comes from.", [*BEFORE, *setting_columns, *measured, *ORIGIN], key=("record",),
        pieces=[columns], references={})


# Settings.

def _setting_names(settings: Sequence[dict[str, Any]]) -> list[str]:
    """The names of all settings: those of the cell first, then those of its components."""
    names = sorted(set().union(*settings), key=lambda name: ("." in name, name))
    if len(names) > MOST_SETTINGS:
        raise UserError(f"dataset: {len(names)} different settings in these records, among them "
                        f"{quoted(names[-1])}; expected at most {MOST_SETTINGS}")
    return names


def _typed(values: Sequence[Any]) -> tuple[Kind, list[Any]]:
    """The kind that all values of a setting have, and the values; text where they differ."""
    existing = [value for value in values if value is not None]
    if existing and all(isinstance(value, bool) for value in existing):
        return "truth", list(values)
    if existing and all(_is_number(value) for value in existing):
        if all(isinstance(value, int) for value in existing):
            return "integer", list(values)
        return "number", [None if value is None else float(value) for value in values]
    return "text", [None if value is None else _text(value) for value in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _described(name: str) -> str:
    kind, dot, setting = name.partition(".")
    if not dot:
        return f"The setting {name} of the cell."
    if name == "data.images":
        return "The first 8 hex digits of the hash of the test images and their true counts."
    return f"The setting {setting} of the {kind}; missing where there is none, or it is not set."


# Measures.

def _measures(records: Sequence[Record]) -> list[dict[str, float]]:
    """The measures of each record, alone, without its other seeds."""
    by_record: dict[int, dict[str, float]] = {}
    for scenario in scenarios(records):
        for result in scenario.results:
            for record in result.records:
                single = result.of([record.seed])
                if single is not None:
                    by_record[id(record)] = result_numbers(scenario, single)
    return [by_record[id(record)] | _detection(record) for record in records]


def _detection(record: Record) -> dict[str, float]:
    """The measures of a detector of images; {} for one of counters, whose score is only one."""
    scores = record.detection
    if scores is None or scores.of == "counters":
        return {}
    return {"auroc": detection.auroc(scores.clean, scores.triggered),
            "auprc": detection.auprc(scores.clean, scores.triggered),
            "tpr_at_1": detection.tpr_at_fpr(scores.clean, scores.triggered, 0.01),
            "tpr_at_5": detection.tpr_at_fpr(scores.clean, scores.triggered, 0.05),
            "drift_auroc": detection.auroc(scores.drift, scores.triggered),
            "reference_auroc": detection.auroc(scores.reference_clean,
                                               scores.reference_triggered)}


# Where a record comes from.

def _identity(source: Source) -> dict[str, Any]:
    record, entry = source.record, entry_of(source.record)
    return {"record": source.sha256, "file": source.file, "protocol": record.protocol,
            "entry_name": entry.get("name"), "tier": entry.get("tier"), "seed": record.seed}


def _origin(record: Record) -> dict[str, Any]:
    attack, provenance = record.attack, record.provenance
    stages = provenance.get("stages", {})
    origin = {
        "poisoned_images": len(attack.poisoned) if attack else None,
        "psnr": mean_of_existing(attack.psnr if attack else ()),
        "ssim": mean_of_existing(attack.ssim if attack else ()),
        "knowledge": json.dumps(record.knowledge, sort_keys=True),
        "warnings": "; ".join(record.warnings) or None,
        "repair_seconds": stages.get("repaired", {}).get("seconds"),
        "images_sha256": record.images.checksum}
    for stage in STAGES:
        origin[f"{stage}_weights_sha256"] = _stated(stages.get(stage, {}).get("weights_sha256"))
    return origin | {key: _stated(provenance.get(key)) for key in STATED}


def _stated(value: Any) -> str | None:
    """A statement of a record as text, since anybody may have written anything there."""
    return None if value is None else _text(value)
