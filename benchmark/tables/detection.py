"""How well detectors tell triggered images from clean ones and from natural drift, and victims from clean counters."""

import json
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from benchmark.metrics import detection
from benchmark.metrics.significance import bootstrap
from benchmark.results.record import Detection, Record
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, defense_settings, suffixes
from benchmark.tables.footnotes import remarks
from benchmark.tables.formats import NONE, Table, number

ATTACK = {"trigger", "target", "test_trigger", "also", "poison_rate", "latent", "choose"}
LEGEND = [
    "AUROC: the chance that what is poisoned scores higher than what is clean; .5 is a guess. AUPRC: average "
    "precision; a guess has the share of what is poisoned. TPR@k%: the share found by the threshold that rings for at "
    "most k% of the clean. 95%: bootstrap over seeds and images. Other numbers are means over seeds.",
    "drift: the same against clean images in another light (gamma .7 or 1.4, 10% of colour) instead of clean ones.",
    "clean counter: AUROC of the same detector at a clean counter, which knows no trigger. What it finds there is the "
    "picture that was drawn, not the backdoor.",
    "counters: victims of all attacks and seeds against the clean counters. training images: what a defense told of "
    "the poisoned training set before it left the most suspicious out.",
]


def detection_table(scenarios: Sequence[Scenario]) -> Table:
    """One row per model, attack and detector; of detectors of counters one per model and detector."""
    results = [(scenario, result) for scenario in scenarios for result in scenario.results if result.records[0].detection]
    of_images = [(scenario, result) for scenario, result in results if result.records[0].detection.of != "counters"
                 and result.records[0].detection.triggered]
    names = [scenario.attack + told for (scenario, _), told in zip(of_images, suffixes(
        [scenario.settings for scenario, _ in of_images], shown=("model", "trigger", "target")))] if of_images else []
    rows = [(scenario.model, name, result, [record.detection for record in result.records])
            for (scenario, result), name in zip(of_images, names)]
    rows += [(model, "all", group[0], [_pooled(group)]) for model, group in _inspected(results)]
    told = suffixes([defense_settings(result) for _, _, result, _ in rows], shown=("model", "defense")) if rows else []
    lines = [{"model": model, "attack": attack, "detector": result.defense + suffix, "of": detections[0].of}
             | _numbers(detections) for (model, attack, result, detections), suffix in zip(rows, told)]
    lines.sort(key=lambda line: (line["of"], line["model"], line["detector"], line["attack"]))
    return Table("detection", "Detection", pd.DataFrame(lines), [
        *LEGEND, *remarks((f"{model} {attack} {result.defense}", result) for model, attack, result, _ in rows)])


def _numbers(detections: list[Detection]) -> dict[str, str]:
    """A row's numbers as printed."""
    def mean(negatives: str, positives: str, measure: Callable[..., float], *more: float) -> str:
        return number(float(np.mean([measure(getattr(one, negatives), getattr(one, positives), *more)
                                     for one in detections])))

    first = detections[0]
    shown = {"images": f"{len(first.clean)} + {len(first.triggered)}",
             "AUROC": mean("clean", "triggered", detection.auroc), "AUROC 95%": _interval(detections),
             "AUPRC": mean("clean", "triggered", detection.auprc)}
    for negatives in ("clean", "drift"):
        before = "drift " if negatives == "drift" else ""
        if before:
            shown["drift AUROC"] = mean(negatives, "triggered", detection.auroc)
        shown |= {f"{before}TPR@{rate:.0%}": mean(negatives, "triggered", detection.tpr_at_fpr, rate)
                  for rate in (0.01, 0.05)}
    return shown | {"clean counter": mean("reference_clean", "reference_triggered", detection.auroc)}


def _interval(detections: list[Detection]) -> str:
    """The interval of AUROC where clean and triggered are the same images, which are drawn together."""
    if detections[0].of != "test images":
        return NONE
    pairs = [np.stack([one.clean, one.triggered], axis=-1) for one in detections]
    ends = bootstrap(pairs, _auroc)
    return NONE if any(map(math.isnan, ends)) else f"[{number(ends[0])}, {number(ends[1])}]"


def _auroc(pairs: np.ndarray, times: np.ndarray) -> np.ndarray:
    """`detection.auroc` of scores [N, 2], clean and triggered, whose images are drawn times [R, N] -> [R]."""
    clean, triggered = pairs.T
    higher = (triggered > clean[:, None]) + (triggered == clean[:, None]) / 2  # of each clean image and each triggered
    return ((times @ higher) * times).sum(axis=1) / times.sum(axis=1) ** 2


def _inspected(results: Iterable[tuple[Scenario, Result]]) -> list[tuple[str, list[Result]]]:
    """The attacked cells of each detector of counters: what differs in nothing but the attack."""
    groups: dict[str, tuple[str, list[Result]]] = {}
    for scenario, result in results:
        if result.records[0].detection.of == "counters" and result.records[0].attack:
            own = {key: value for key, value in result.settings.items() if key.partition(".")[0] not in ATTACK}
            groups.setdefault(json.dumps(own, sort_keys=True), (scenario.model, []))[1].append(result)
    return list(groups.values())


def _pooled(group: list[Result]) -> Detection:
    """The scores of all victims, and of the clean counter of each seed, which every record of the seed repeats."""
    records: list[Record] = [record for result in group for record in result.records]
    clean = {record.seed: record.detection.clean for record in records if record.detection.clean}
    return Detection(of="counters", clean=sum(clean.values(), []),
                     triggered=sum((record.detection.triggered for record in records), []))
