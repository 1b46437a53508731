"""The record of a cell, from its finished stages."""

import json
from typing import Any

from benchmark.config.cell import Cell, reads_train
from benchmark.config.frozen_grids import protocol_of
from benchmark.pipeline.graph import Bench, Stage, scored
from benchmark.pipeline.stage_functions import info_of, training_data
from benchmark.recipe import RUNNING
from benchmark.results.describe import attack_choice, choice
from benchmark.results.record import Detection, Images, Record
from benchmark.utils.device import resolve_precision
from benchmark.utils.environment import provenance

STAGE = ("key", "weights_sha256", "seconds", "best_epoch", "device")  # what a record keeps of a stage


def record(bench: Bench, cell: Cell) -> Record:
    """The record of a cell; what is missing in the store is made first."""
    stages = {"victim": bench.victim(cell), "repaired": bench.repaired(cell)}
    if not cell.protocol.audit:
        stages["clean"] = bench.clean(cell)
    info = {name: info_of(bench.made(stage)) for name, stage in stages.items()}
    told, scored_info = _detection(bench, cell) or (_filtered(info["repaired"]), {})
    if scored_info:
        info["detection"] = scored_info
    return Record(
        protocol=protocol_of(cell, bench.splits),
        audit=cell.protocol.audit, variant=cell.protocol.variant, seed=cell.protocol.seed,
        data=choice(cell.data), model=choice(cell.model),
        attack=attack_choice(cell, info["victim"]), defense=choice(cell.defense),
        training={"given": cell.training, "resolved": cell.recipe.model_dump(exclude=RUNNING),
                  "scale": cell.protocol.scale, "hold_out": cell.protocol.hold_out},
        knowledge=(scored_info or info["repaired"])["knowledge"], warnings=warnings(cell, info),
        images=_images(bench, cell, stages), detection=told,
        provenance=provenance() | {
            "stages": {name: {key: one[key] for key in STAGE if key in one} for name, one in info.items()},
            "weights": info["victim"]["weights"], "precision": resolve_precision(cell.recipe.precision),
            "data": {split: bench.fingerprint(cell.data.build(), split)
                     for split in (["train"] if reads_train(cell) else []) + ["test"]}})


def _images(bench: Bench, cell: Cell, stages: dict[str, Stage]) -> Images:
    test = bench.test_split(cell.data.build(), cell.protocol.scale)
    columns: dict[str, Any] = {"id": test.ids(), "truth": test.counts()}
    if cell.attack:
        attack, (scenes, _) = cell.attack, training_data(bench, cell)
        columns["target"] = test.targets((attack.fitted(scenes, cell.protocol.seed) if scenes else attack).target)
    for prefix, name in (("", "repaired"), ("reference_", "clean")):
        for triggered in ([False, True] if cell.attack else [False]) if name in stages else []:
            folder = bench.made(bench.counts(cell, stages[name], triggered))
            columns[f"{prefix}{'triggered' if triggered else 'clean'}"] = json.loads(
                (folder / "counts.json").read_text())
    return Images(**columns)


def _detection(bench: Bench, cell: Cell) -> tuple[Detection, dict[str, Any]] | None:
    """The scores of a cell's detector, and what is known of their making; None where it has none."""
    wanted = scored(cell)
    if not wanted:
        return None
    folders = {key: bench.made(bench.scores(cell, *key)) for key in wanted}
    found = {key: json.loads((folder / "scores.json").read_text()) | {"key": folder.name}
             for key, folder in folders.items()}
    victim = found[wanted[0]]
    if wanted[0][1] is None:
        clean = found[False, None]["counter"] if (False, None) in found else []
        return Detection(of="counters", triggered=victim["counter"], clean=clean[:1]), victim
    told = {"clean": victim["clean"], "drift": victim["drift"]}
    if cell.trigger:
        told["triggered"] = found[True, True]["triggered"]
        if (False, True) in found:
            told |= {"reference_clean": found[False, False]["clean"],
                     "reference_triggered": found[False, True]["triggered"]}
    return Detection(of="test images", **told), victim


def _filtered(info: dict[str, Any]) -> Detection | None:
    """What a defense said of the poisoned set on its way."""
    return Detection(of="training images", **info["suspicion"]) if info.get("suspicion") else None


def warnings(cell: Cell, info: dict[str, dict[str, Any]]) -> list[str]:
    """What a reader of the record must know. info: what is known of the making of each counter, by its stage."""
    told = [f"weights: {info['victim']['weights']}"] if "weights" in cell.model.changed else []
    if cell.protocol.audit:
        told.append("audit: a counter that was given; how it was trained is not known")
    if cell.recipe.select == "test" and reads_train(cell):
        told.append("checkpoint chosen on the test split, as in the paper's code")
    if cell.protocol.scale != 1:
        told.append(f"images scaled by {cell.protocol.scale}")
    if cell.data.name == "synthetic":
        told.append("drawn scenes")
    if cell.defense.build().knows.extra and not info["repaired"]["knowledge"].get("extra"):
        told.append(f"{cell.defense.name}: no second data set to take extra images from")
    return told + _short_of_memory(info)


def _short_of_memory(info: dict[str, dict[str, Any]]) -> list[str]:
    """Which counters passed fewer images at a time than a batch has; one that is several stages is told once."""
    parts = {info[stage]["weights_sha256"]: (stage, info[stage].get("micro_batch"))
             for stage in ("repaired", "victim", "clean") if stage in info}
    return [f"{stage}: memory ran out; trained on {size} images at a time, their gradients added up (BatchNorm, if "
            f"any, saw {size} at a time)" for stage, size in reversed(parts.values()) if size]
