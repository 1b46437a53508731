"""A record's cell, run again from nothing, beside what the record says."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmark.leaderboard.cells import Cell, settings_of
from benchmark.leaderboard.formats import NONE, Table, number
from benchmark.record import AttackChoice, Choice, Record
from benchmark.statistics import holm, mcnemar

LEVEL = 0.05
NUMBERS = {"rho_Acc": "rho_acc", "MAE": "mae", "rho_Asr": "rho_asr", "flip rate": "flip_rate",
           "attainment": "attainment"}


def request_of(record: Record) -> dict[str, Any]:
    """The request whose only cell is a record's. What was a file there, a picture or weights, has to be set again."""
    return {"data": _chosen(record.data), "model": _chosen(record.model), "defense": _chosen(record.defense),
            "attack": record.attack and _attack(record.attack, record.audit), "training": record.training["given"],
            "scale": record.training["scale"], "hold_out": record.training["hold_out"], "audit": record.audit,
            "variant": record.variant, "seed": record.seed}


def _chosen(choice: Choice) -> dict[str, Any]:
    return {"name": choice.name, **choice.given}


def _attack(attack: AttackChoice, audit: bool) -> dict[str, Any]:
    asked = {"trigger": attack.trigger.name, "target": attack.target.name, **attack.trigger.given,
             **attack.target.given}
    if not audit:
        asked |= {key: value for key, value in (("latent", attack.latent), ("choose", attack.choose)) if value}
        asked |= {} if attack.choose and "sha256" in attack.choose else {"poison_rate": attack.poison_rate}
    if attack.test_trigger:
        given = attack.test_trigger.given
        asked |= {f"test_{key}": value for key, value in given.items() if value != attack.trigger.given.get(key)}
    return asked | ({"also": _attack(attack.also, audit)} if attack.also else {})


def comparison(pairs: Sequence[tuple[Record, Record]]) -> tuple[Table, bool]:
    """Records beside those of the same cells, run again, and whether all agree.

    They agree if no clean or triggered count differs by more than rounding, or if neither rho_Acc nor the flip rate
    differs significantly (exact McNemar test, Holm's correction): another machine rounds otherwise.
    """
    cells = [[Cell(settings_of(one), (one,)) for one in pair] for pair in pairs]
    tests = [_p(was.accurate(), now.accurate()) for was, now in cells]
    tests += [_p(was.flips(), now.flips()) for was, now in cells]
    adjusted = np.array(holm(tests)).reshape(2, -1)
    lines, agree = [], True
    for (was, now), p in zip(cells, adjusted.T):
        off = _largest_difference(was.records[0], now.records[0])
        same = off < 0.01
        verdict = "the same" if same else "no difference shown" if p.min() >= LEVEL else "differs"
        agree &= verdict != "differs"
        line = {"cell": _name(was.records[0]), "largest difference": number(off, 2)}
        for heading, key in NUMBERS.items():
            line[heading] = " / ".join(number(one.numbers.get(key, np.nan)) for one in (was, now))
        lines.append(line | {"p": NONE if same else number(float(p.min())), "verdict": verdict})
    return Table("reproduction", "Records / the same cells, run again", pd.DataFrame(lines), [
        "largest difference: of a count of a test image, in people. p: the smaller of those of rho_Acc and of the flip "
        f"rate, exact McNemar tests with Holm's correction over the table. 'differs': p < {LEVEL}."]), agree


def _p(was: np.ndarray, now: np.ndarray) -> float:
    return mcnemar(was, now) if was.size else 1.0


def _largest_difference(was: Record, now: Record) -> float:
    columns = [(was.images.clean, now.images.clean), (was.images.triggered or [], now.images.triggered or [])]
    return max(float(np.abs(np.subtract(*pair)).max(initial=0)) for pair in columns)


def _name(record: Record) -> str:
    attack = f"{record.attack.trigger.name}/{record.attack.target.name}" if record.attack else "clean"
    return f"{record.model.name} {attack} {record.defense.name} seed {record.seed}"
