"""A cell's detection: a detector's scores of the test images, of the counters, or a filter's of the poisoned set."""

import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmark.config import Cell
from benchmark.device import resolve_precision, state
from benchmark.facts import known_by
from benchmark.record import Detection
from benchmark.registry import find
from benchmark.training import TrainingFailed
from defenses.base import Detector, Inspector

if TYPE_CHECKING:
    from benchmark.stages import Bench


def repairs(cell: Cell) -> bool:
    """Whether a cell's defense makes another counter of the victim."""
    return cell.defense.name != "none" and not issubclass(find("defense", cell.defense.name), Detector | Inspector)


def detection(bench: "Bench", cell: Cell) -> tuple[Detection, dict[str, Any]] | None:
    """The scores of a cell's detector, and what is known of their making; None where it has none.

    They are made where they are missing in the store. An audit has no clean counter to look at.
    """
    defense, both = find("defense", cell.defense.name), [True] if cell.protocol.audit else [True, False]
    if issubclass(defense, Inspector):
        victim, *clean = [_scores(bench, cell, attacked, None) for attacked in both]
        return Detection(of="counters", triggered=victim["counter"], clean=[one["counter"][0] for one in clean]), victim
    if not issubclass(defense, Detector):
        return None
    victim, *clean = [_scores(bench, cell, attacked, False) for attacked in both]
    found = {"clean": victim["clean"], "drift": victim["drift"]}
    if cell.trigger:
        found["triggered"], *reference = [_scores(bench, cell, attacked, True)["triggered"] for attacked in both]
        if reference:
            found |= {"reference_clean": clean[0]["clean"], "reference_triggered": reference[0]}
    return Detection(of="test images", **found), victim


def score_facts(bench: "Bench", cell: Cell, attacked: bool, triggered: bool | None) -> dict[str, Any]:
    """What decides a detector's scores; see `_scores`."""
    trigger = (cell.test_trigger or cell.trigger) if triggered else None
    facts = {"stage": "scores", "defense": known_by(cell.defense), "before": bench.training_facts(cell, attacked)}
    knows = cell.defense.build().knows
    if knows.poisoned or knows.extra:  # the counter's facts tell neither
        facts["handed"] = bench.repair_facts(cell)
    if triggered is not None:
        facts |= {"trigger": trigger and known_by(trigger), "test": bench.data_facts(cell.data.build(), "test")}
    return facts


def wanted(bench: "Bench", cell: Cell) -> list[dict[str, Any]]:
    """Facts of all scores that a cell needs; none where its defense is no detector."""
    defense = find("defense", cell.defense.name)
    if not issubclass(defense, Detector | Inspector):
        return []
    kinds = [None] if issubclass(defense, Inspector) else [False, True] if cell.trigger else [False]
    both = [True] if cell.protocol.audit else [True, False]
    return [score_facts(bench, cell, attacked, triggered) for attacked in both for triggered in kinds]


def _scores(bench: "Bench", cell: Cell, attacked: bool, triggered: bool | None) -> dict[str, Any]:
    """A detector's scores, of test images that are triggered or not, or (None) of the counter itself."""
    facts = score_facts(bench, cell, attacked, triggered)
    folder = bench.store.get("scores", facts, partial(_make, bench, cell, attacked, triggered))
    return json.loads((folder / "scores.json").read_text()) | {"key": folder.name}


def _make(bench: "Bench", cell: Cell, attacked: bool, triggered: bool | None, folder: Path) -> None:
    began, defense = time.monotonic(), cell.defense.build()
    handed = bench.hand(cell, folder)
    victim = bench.loaded(cell, bench.counter(cell, attacked)).to(state().device)
    torch.manual_seed(cell.protocol.seed)
    if triggered is None:
        found = {"counter": [defense.suspicion(victim, handed.knowledge)]}
    else:
        test = bench.test_split(cell.data.build(), cell.protocol.scale)
        scorer, precision = defense.scorer(victim, handed.knowledge), resolve_precision(cell.recipe.precision)
        stamp = bench.with_pattern(cell, cell.tested).stamp if triggered else None
        found = {kind: test.scores(scorer, precision, stamp, cell.protocol.eval_batch, kind == "drift",
                                   f"{cell.defense.name} {kind} test images").tolist()
                 for kind in (["triggered"] if triggered else ["clean", "drift"])}
    if not all(torch.tensor(scores).isfinite().all() for scores in found.values()):
        raise TrainingFailed(f"{cell.defense.name}: a score is nan or infinite")
    if state().is_main_process:
        info = found | {"knowledge": bench.used(cell, handed), "seconds": round(time.monotonic() - began, 1),
                        "device": state().device.type}
        (folder / "scores.json").write_text(json.dumps(info))
