"""Table of detectors: how well they tell triggered images from clean ones, victims from others."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.metrics import detection
from benchmark.metrics.bootstrap import bootstrap
from benchmark.results.record import Detection, Record
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, defense_settings, suffixes
from benchmark.tables.footnotes import row_notes
from benchmark.tables.formats import Cell, Table, as_frame, interval, number

ATTACK = {"attack", "trigger", "target", "test_trigger", "also", "poison_rate", "latent", "choose"}
RATES = (0.01, 0.05)  # of false alarms
BRIEF = ("attack", "detector", "scored", "AUROC", "AUROC 95%", "drift AUROC",
         "clean counter AUROC")
LEGEND = [
    "scored says what the detector gave a score: test images; training images, which a defense "
    "scored in the poisoned training set before it left out the most suspicious; or counters, "
    "the victims of all attacks and seeds against the clean counters. clean + poisoned gives the "
    "number of each. Counters also have a row of each attack, where all clean counters stand "
    "against its victims.",
    "AUROC is the chance that a poisoned image or counter scores higher than a clean one; a "
    "guess has 0.5. AUROC 95% is its interval: of test images by bootstrap over seeds and images, "
    "of training images and counters Newcombe's score interval, which takes their scores to be "
    "independent, as its mean over seeds. AUPRC is the average precision; a guess has the share of "
    "the poisoned. TPR@k% is the share of the poisoned that is found at the lowest threshold with "
    "at most k% false alarms among the clean; it is / where the clean are too few for such a rate "
    "(fewer than 100 for 1%, 20 for 5%). These numbers are means over seeds.",
    "The columns drift give the same numbers against clean images in another light (gamma 0.7 or "
    "1.4, gain of each colour 0.9 to 1.1) instead of the clean images.",
    "clean counter AUROC is the AUROC of the same detector when it watches a clean counter, "
    "which knows no trigger. What it detects there is the pattern in the image, not the "
    "backdoor.",
]
# What a score means whose whole interval lies below a guess, by the defense.
WRONG_WAY = {"abl": "poisoned images have a higher loss than clean ones here, so that it isolates "
                    "the wrong images"}


@dataclass(frozen=True)
class Row:
    """Scores of one detector. detections: one per seed, or one that holds the counters of all."""

    model: str
    attack: str
    result: Result
    detections: list[Detection]


def detection_table(scenarios: Sequence[Scenario]) -> Table:
    """One row per model, attack and detector; where counters are scored, one of all attacks too."""
    results = [(scenario, result) for scenario in scenarios for result in scenario.results
               if is_detected(result)]
    rows = _image_rows(results) + counter_rows(results)
    lines = []
    for row, detector in zip(rows, detectors(rows)):
        line = {"model": row.model, "attack": row.attack, "detector": detector,
                "scored": row.detections[0].of}
        lines.append(line | _numbers(row.detections))
    lines.sort(key=lambda line: (line["scored"], line["model"], line["detector"], line["attack"]))
    named_results = [(f"{row.model} {row.attack} {row.result.defense}", row.result) for row in rows]
    return Table("detection", "Detection", as_frame(lines),
                 [*LEGEND, *_wrong_way_notes(rows), *row_notes(named_results)], brief=BRIEF,
                 caption="Detection of triggered images and of backdoored counters. The AUROC is "
                         "0.5 for a guess; that on a clean counter shows how much of it is due to "
                         "the pattern in the image alone.")


def detectors(rows: Sequence[Row]) -> list[str]:
    """The detector of each row, with the settings in which it differs from the others."""
    labels = suffixes([defense_settings(row.result) for row in rows], shown=("model", "defense"))
    return [row.result.defense + label for row, label in zip(rows, labels)]


def is_detected(result: Result) -> bool:
    """Whether the table has a row of a result.

    It has none of the score of a counter that was given to an audit: whether this counter is a
    victim is the question.
    """
    first = result.records[0]
    return first.detection is not None and not (first.audit and first.detection.of == "counters")


def _wrong_way_notes(rows: Sequence[Row]) -> list[str]:
    """A note for each detector, on its rows whose interval of AUROC lies below 0.5."""
    names = defaultdict(list)
    for row in rows:
        if _interval(row.detections)[1] < 0.5:
            names[row.result.defense].append(f"{row.model} {row.attack}")
    notes = []
    for defense, of_defense in sorted(names.items()):
        meaning = WRONG_WAY.get(defense, "the poisoned look less suspicious than the clean")
        notes.append(f"The scores of {defense} point the other way in {'; '.join(of_defense)}: the "
                     f"whole interval of AUROC is below 0.5, {meaning}.")
    return notes


def _image_rows(results: Sequence[tuple[Scenario, Result]]) -> list[Row]:
    """A row for each detector of images and each attack."""
    attacked = []
    for scenario, result in results:
        scores = result.records[0].detection
        if scores.of != "counters" and scores.triggered:
            attacked.append((scenario, result))
    return [Row(scenario.model, attack, result, [record.detection for record in result.records])
            for (scenario, result), attack in zip(attacked, _attacks(attacked))]


def _attacks(results: Sequence[tuple[Scenario, Result]]) -> list[str]:
    """The attack of each result, with the settings in which it differs from the others."""
    scenarios = [scenario for scenario, _ in results]
    labels = suffixes([scenario.settings for scenario in scenarios],
                      shown=("model", "trigger", "target"))
    return [scenario.attack + label for scenario, label in zip(scenarios, labels)]


def counter_rows(results: Sequence[tuple[Scenario, Result]]) -> list[Row]:
    """Rows for each detector of counters: one of all attacks, and one of each if there are several.

    Results whose settings differ only in the attack are of one detector, which scored the same
    clean counters.
    """
    groups: dict[str, list[tuple[Scenario, Result]]] = defaultdict(list)
    for scenario, result in results:
        if result.records[0].detection.of == "counters":
            settings = {key: value for key, value in result.settings.items()
                        if key.partition(".")[0] not in ATTACK}
            groups[json.dumps(settings, sort_keys=True)].append((scenario, result))
    rows = []
    for group in groups.values():
        clean = _clean_scores([result for _, result in group])
        attacked = [(scenario, result) for scenario, result in group if result.records[0].attack]
        of_rows = [("all", [result for _, result in attacked])] if attacked else []
        if len(attacked) > 1:
            of_rows += [(attack, [result])
                        for (_, result), attack in zip(attacked, _attacks(attacked))]
        for attack, of_row in of_rows:
            scores = Detection(of="counters", clean=clean, triggered=_victims_scores(of_row))
            rows.append(Row(attacked[0][0].model, attack, of_row[0], [scores]))
    return rows


def _clean_scores(results: Sequence[Result]) -> list[float]:
    """The score of each seed's clean counter, which all records of the seed repeat."""
    records: list[Record] = [record for result in results for record in result.records]
    clean = {record.seed: record.detection.clean for record in records if record.detection.clean}
    return sum(clean.values(), [])


def _victims_scores(results: Sequence[Result]) -> list[float]:
    return [score for result in results for record in result.records
            for score in record.detection.triggered]


def _numbers(detections: list[Detection]) -> dict[str, str]:
    """The numbers of a row as they are printed."""
    def mean(negatives: str, positives: str, measure: Callable[..., float], *more: float) -> str:
        values = [measure(getattr(scores, negatives), getattr(scores, positives), *more)
                  for scores in detections]
        return number(float(np.mean(values)))

    def rates(negatives: str, prefix: str = "") -> dict[str, str]:
        return {f"{prefix}TPR@{rate:.0%}": mean(negatives, "triggered", detection.tpr_at_fpr, rate)
                for rate in RATES}

    first = detections[0]
    return {"clean + poisoned": Cell(f"{len(first.clean)} + {len(first.triggered)}", {
                ", clean": len(first.clean), ", poisoned": len(first.triggered)}),
            "AUROC": mean("clean", "triggered", detection.auroc),
            "AUROC 95%": interval(*_interval(detections)),
            "AUPRC": mean("clean", "triggered", detection.auprc),
            **rates("clean"),
            "drift AUROC": mean("drift", "triggered", detection.auroc),
            **rates("drift", "drift "),
            "clean counter AUROC": mean("reference_clean", "reference_triggered", detection.auroc)}


def _interval(detections: list[Detection]) -> tuple[float, float]:
    """The 95% interval of AUROC; nan without scores of the poisoned.

    Test images are drawn in pairs, each one clean and triggered. Of other scores, the ends are
    means over seeds, because more seeds score the same images.
    """
    if detections[0].of == "test images":
        pairs = [np.stack([scores.clean, scores.triggered], axis=-1) for scores in detections]
        return bootstrap(pairs, _auroc)
    ends = [detection.auroc_interval(scores.clean, scores.triggered) for scores in detections]
    low, high = np.mean(ends, axis=0).tolist()
    return low, high


def _auroc(pairs: np.ndarray, times: np.ndarray) -> np.ndarray:
    """`detection.auroc` in bootstrap replicates, [R].

    pairs: scores [N, 2] of each image, clean and triggered. times: how often each image was drawn,
    [R, N].
    """
    clean, triggered = pairs.T
    # For each clean image (row) and each triggered one: 1 if it scores higher, 1/2 for a tie.
    higher = (triggered > clean[:, None]) + (triggered == clean[:, None]) / 2
    return ((times @ higher) * times).sum(axis=1) / times.sum(axis=1) ** 2
