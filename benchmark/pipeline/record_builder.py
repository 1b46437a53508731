"""Records: built from the finished stages of a cell."""

import json
from pathlib import Path
from typing import Any

from benchmark.config.cell import Cell
from benchmark.config.frozen_grids import protocol_of
from benchmark.pipeline.counter_files import read_info
from benchmark.pipeline.graph import StageGraph, scored
from benchmark.pipeline.stage import Stage
from benchmark.recipe import RUNNING
from benchmark.results.describe import describe_attack, describe_component
from benchmark.results.record import Detection, Images, Record
from benchmark.training.evaluation import TestSplit
from benchmark.utils.device import resolve_precision
from benchmark.utils.environment import provenance

# The facts of a stage that a record keeps.
KEPT = ("key", "weights_sha256", "seconds", "best_epoch", "device")
Info = dict[str, Any]


def build_record(graph: StageGraph, cell: Cell) -> Record:
    """The record of a cell. Stages that are missing in the store are made first."""
    stages = {"victim": graph.victim(cell), "repaired": graph.repaired(cell)}
    if not cell.settings.audit:
        stages["clean"] = graph.clean(cell)
    if control := graph.control(cell):
        stages["control"] = control
    info = {name: read_info(graph.store.get(stage)) for name, stage in stages.items()}
    detection, scoring = _detection(graph, cell)
    if scoring:
        info["detection"] = scoring
    if detection is None and info["repaired"].get("suspicion"):
        detection = Detection(of="training images", **info["repaired"]["suspicion"])
    return Record(
        protocol=protocol_of(cell, graph.data.splits),
        audit=cell.settings.audit, variant=cell.settings.variant, seed=cell.settings.seed,
        data=describe_component(cell.data), model=describe_component(cell.model),
        attack=describe_attack(cell, info["victim"]), defense=describe_component(cell.defense),
        training={"given": cell.training, "resolved": cell.recipe.model_dump(exclude=RUNNING),
                  "scale": cell.settings.scale, "hold_out": cell.settings.hold_out},
        knowledge=(scoring or info["repaired"])["knowledge"],
        warnings=warnings(cell, info) + _trigger_warnings(cell, graph.data.test_of(cell)),
        strengths=info["repaired"].get("strengths", []),
        images=_images(graph, cell, stages), detection=detection,
        provenance=provenance() | _origin(graph, cell, info))


def _origin(graph: StageGraph, cell: Cell, info: dict[str, Info]) -> Info:
    """The stages, the weights, the precision and the images that a record was made of."""
    stages = {name: {key: facts[key] for key in KEPT if key in facts} | _validation(facts)
              for name, facts in info.items()}
    splits = ["train", "test"] if cell.reads_train else ["test"]
    return {"stages": stages, "weights": info["victim"]["weights"],
            "precision": resolve_precision(cell.recipe.precision),
            "data": {split: graph.data.fingerprint(cell.data.build(), split) for split in splits}}


def _validation(facts: Info) -> Info:
    """The errors after the epochs of a stage's last training; empty where none were measured."""
    errors = [[epoch, *(round(error, 3) for error in measured)]
              for epoch, *measured in facts.get("scores", [])]
    return {"validation": errors} if errors else {}


def _images(graph: StageGraph, cell: Cell, stages: dict[str, Stage]) -> Images:
    """The counts of each test image, clean and triggered, by the repaired and the clean counter."""
    test = graph.data.test_of(cell)
    columns: dict[str, Any] = {"id": test.ids(), "truth": test.counts()}
    attack = cell.attack
    if attack:
        scenes, _ = graph.data.train_of(cell)
        fitted = attack.fitted(scenes, cell.settings.seed) if scenes else attack
        columns["target"] = test.targets(fitted.target)
    for prefix, name in (("", "repaired"), ("reference_", "clean"), ("control_", "control")):
        if name not in stages:
            continue
        for triggered in [False, True] if attack else [False]:
            kind = "triggered" if triggered else "clean"
            columns[f"{prefix}{kind}"] = graph.stored_counts(cell, stages[name], triggered)
    return Images(**columns)


def _detection(graph: StageGraph, cell: Cell) -> tuple[Detection | None, Info]:
    """The scores of a cell's detector, and the facts about their making.

    None and no facts where the cell detects nothing.
    """
    scores: dict[tuple[bool, bool | None], Info] = {}
    for attacked, triggered in scored(cell):
        folder = graph.store.get(graph.scores(cell, attacked, triggered))
        scores[attacked, triggered] = _read_json(folder / "scores.json") | {"key": folder.name}
    if not scores:
        return None, {}
    if (True, None) in scores:
        victim, clean = scores[True, None], scores.get((False, None), {"counter": []})
        return Detection(of="counters", triggered=victim["counter"], clean=clean["counter"]), victim
    victim = scores[True, False]
    columns = {"clean": victim["clean"], "drift": victim["drift"]}
    if cell.trigger:
        columns["triggered"] = scores[True, True]["triggered"]
    if cell.trigger and not cell.settings.audit:
        columns["reference_clean"] = scores[False, False]["clean"]
        columns["reference_triggered"] = scores[False, True]["triggered"]
    return Detection(of="test images", **columns), victim


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def warnings(cell: Cell, info: dict[str, Info]) -> list[str]:
    """The warnings of a record, for its readers.

    info: the facts about the making of each counter, by its name.
    """
    lines = []
    if "weights" in cell.model.changed:
        lines.append(f"weights: {info['victim']['weights']}")
    lines += [f"{name}: its weights were rounded to {facts['rounded']} in a zoo"
              for name, facts in info.items() if facts.get("rounded")]
    if cell.settings.audit:
        lines.append("audit: a counter that was given; how it was trained is not known")
    if cell.recipe.select == "test" and cell.reads_train:
        lines.append("checkpoint chosen on the test split, as in the paper's code")
    if cell.settings.scale != 1:
        lines.append(f"images scaled by {cell.settings.scale}")
    if cell.data.name == "synthetic":
        lines.append("drawn scenes")
    if cell.defense.build().knows.extra and not info["repaired"]["knowledge"].get("extra"):
        lines.append(f"{cell.defense.name}: no second data set to take extra images from")
    return lines + _memory_warnings(info)


def _trigger_warnings(cell: Cell, test: TestSplit) -> list[str]:
    """Warnings about a trigger that depends on where people are, for those who read its numbers."""
    attack, lines = cell.tested, []
    if attack and attack.trigger.sees_heads:
        lines.append(f"trigger {attack.trigger.name}: the attacker knows where people are; it is "
                     "drawn by the annotated heads, also on test images")
    if attack and (others := len(test.ids()) - test.carriers(attack)):
        lines.append(f"trigger {attack.trigger.name}: {others} of {len(test.ids())} test images do "
                     "not carry it and are as without a trigger; all numbers are over all images")
    return lines


def _memory_warnings(info: dict[str, Info]) -> list[str]:
    """A warning for each counter that was trained on fewer images at a time than a batch has.

    Two stages with the same weights are the same counter and give one warning.
    """
    sizes = {}
    for name in ("control", "repaired", "victim", "clean"):
        if name in info:
            sizes[info[name]["weights_sha256"]] = (name, info[name].get("micro_batch"))
    return [f"{name}: memory ran out; trained on {size} images at a time, their gradients added "
            f"up (BatchNorm, if any, saw {size} at a time)"
            for name, size in reversed(sizes.values()) if size]
