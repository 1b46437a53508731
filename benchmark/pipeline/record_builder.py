"""The record of a cell, from its finished stages."""

import json
from typing import Any

from benchmark.config.cell import Cell
from benchmark.config.frozen_grids import protocol_of
from benchmark.pipeline.counter_files import read_info
from benchmark.pipeline.graph import Stage, StageGraph, scored
from benchmark.recipe import RUNNING
from benchmark.results.describe import describe_attack, describe_component
from benchmark.results.record import Detection, Images, Record
from benchmark.utils.device import resolve_precision
from benchmark.utils.environment import provenance

STAGE = ("key", "weights_sha256", "seconds", "best_epoch", "device")  # what a record keeps of a stage


def record(graph: StageGraph, cell: Cell) -> Record:
    """The record of a cell; what is missing in the store is made first."""
    stages = {"victim": graph.victim(cell), "repaired": graph.repaired(cell)}
    if not cell.settings.audit:
        stages["clean"] = graph.clean(cell)
    info = {name: read_info(graph.store.get(stage)) for name, stage in stages.items()}
    told, scored_info = _detection(graph, cell) or (_filtered(info["repaired"]), {})
    if scored_info:
        info["detection"] = scored_info
    return Record(
        protocol=protocol_of(cell, graph.data.splits),
        audit=cell.settings.audit, variant=cell.settings.variant, seed=cell.settings.seed,
        data=describe_component(cell.data), model=describe_component(cell.model),
        attack=describe_attack(cell, info["victim"]), defense=describe_component(cell.defense),
        training={"given": cell.training, "resolved": cell.recipe.model_dump(exclude=RUNNING),
                  "scale": cell.settings.scale, "hold_out": cell.settings.hold_out},
        knowledge=(scored_info or info["repaired"])["knowledge"], warnings=warnings(cell, info),
        images=_images(graph, cell, stages), detection=told,
        provenance=provenance() | {
            "stages": {name: {key: one[key] for key in STAGE if key in one} for name, one in info.items()},
            "weights": info["victim"]["weights"], "precision": resolve_precision(cell.recipe.precision),
            "data": {split: graph.data.fingerprint(cell.data.build(), split)
                     for split in (["train"] if cell.reads_train else []) + ["test"]}})


def _images(graph: StageGraph, cell: Cell, stages: dict[str, Stage]) -> Images:
    test = graph.data.test_of(cell)
    columns: dict[str, Any] = {"id": test.ids(), "truth": test.counts()}
    if cell.attack:
        attack, (scenes, _) = cell.attack, graph.data.train_of(cell)
        columns["target"] = test.targets((attack.fitted(scenes, cell.settings.seed) if scenes else attack).target)
    for prefix, name in (("", "repaired"), ("reference_", "clean")):
        for triggered in ([False, True] if cell.attack else [False]) if name in stages else []:
            folder = graph.store.get(graph.counts(cell, stages[name], triggered))
            columns[f"{prefix}{'triggered' if triggered else 'clean'}"] = json.loads(
                (folder / "counts.json").read_text())
    return Images(**columns)


def _detection(graph: StageGraph, cell: Cell) -> tuple[Detection, dict[str, Any]] | None:
    """The scores of a cell's detector, and what is known of their making; None where it has none."""
    wanted = scored(cell)
    if not wanted:
        return None
    folders = {key: graph.store.get(graph.scores(cell, *key)) for key in wanted}
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
    if cell.settings.audit:
        told.append("audit: a counter that was given; how it was trained is not known")
    if cell.recipe.select == "test" and cell.reads_train:
        told.append("checkpoint chosen on the test split, as in the paper's code")
    if cell.settings.scale != 1:
        told.append(f"images scaled by {cell.settings.scale}")
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
