"""What of a cell decides its results: what the stages are known by in the store."""

from dataclasses import replace
from typing import Any

from benchmark.config import Cell, Entry
from benchmark.registry import find
from benchmark.store import content_key
from defenses.base import Detector, Inspector

Facts = dict[str, Any]


def known_by(entry: Entry) -> list[Any]:
    """What of an entry decides results: its name, its version, and its settings that are not the defaults."""
    return [entry.name, find(entry.kind, entry.name).version, entry.changed]


def attacks(cell: Cell) -> list[Cell]:
    """The cells of all attacks on a cell's victim, in an order that does not depend on which of them is measured."""
    return sorted((one for one in (cell, cell.also) if one and one.trigger),
                  key=lambda one: content_key(attack_facts(one)))


def attack_facts(cell: Cell) -> list[Any]:
    """What of a cell's attack decides the poisoned images and the training."""
    facts = [known_by(cell.trigger), known_by(cell.target), cell.protocol.poison_rate]
    if cell.protocol.choose is not None:
        facts.append(cell.protocol.choose)
    if cell.protocol.latent:
        facts.append({"latent": cell.protocol.latent})
    return facts


def reads_train(cell: Cell) -> bool:
    """Whether a cell reads the training split: an audit does so only for a defense that asks for images."""
    knows = cell.defense.build().knows
    return not cell.protocol.audit or bool(knows.clean or knows.extra or knows.poisoned or knows.validation)


def repairs(cell: Cell) -> bool:
    """Whether a cell's defense makes another counter of the victim."""
    return cell.defense.name != "none" and not issubclass(find("defense", cell.defense.name), Detector | Inspector)


def without_given(cell: Cell) -> Cell:
    """In an audit, the cell that trains its counter, which starts from the counter's own initial weights."""
    if not cell.protocol.audit:
        return cell
    given = {key: value for key, value in cell.model.given.items() if key != "weights"}
    return replace(cell, protocol=cell.protocol.model_copy(update={"audit": False}),
                   model=replace(cell.model, given=given))
