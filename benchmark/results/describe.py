"""Descriptions of components and attacks: the fields of a record, from the cell that was run."""

from pathlib import Path
from typing import Any

from benchmark.config.cell import Cell, Component
from benchmark.registry import find
from benchmark.results.record import AttackChoice, Choice
from benchmark.utils.hashing import PinnedFile
from benchmark.weights import described


def describe_component(component: Component) -> Choice:
    """A component for the record: its name, its version and its settings.

    A path in the settings becomes the file's name and the start of its hash, and `root`, the
    folder of a dataset, is left out: a record does not say where files lay. `later_settings` that
    nobody gave are left out, too, so that older records, which lack them, have the same settings.
    """
    def without_folders(settings: dict[str, Any]) -> dict[str, Any]:
        return {key: _without_folder(value) for key, value in settings.items() if key != "root"}

    cls = find(component.kind, component.name)
    unsaid = set(getattr(cls, "later_settings", ())) - component.given.keys()
    resolved = {key: value for key, value in component.resolved.items() if key not in unsaid}
    return Choice(name=component.name, version=component.version,
                  given=without_folders(component.given), resolved=without_folders(resolved))


def _without_folder(value: Any) -> Any:
    if isinstance(value, dict):  # of a trigger that another one draws
        return {key: _without_folder(inner) for key, inner in value.items()}
    if isinstance(value, (str, Path)) and Path(value).is_file():
        return described(Path(value))
    return str(value) if isinstance(value, PinnedFile) else value


def describe_attack(cell: Cell, victim: dict[str, Any]) -> AttackChoice | None:
    """The attack for the record; None for a cell without one.

    victim: what the victim's stage noted of its poisoned images. The keys `poisoned`, `covers`,
        `images`, `psnr` and `ssim` are of the first of `cell.attacks`; `also` lists the same of the
        others.
    """
    if cell.trigger is None or cell.target is None:
        return None
    poisonings = [victim, *victim.get("also", [])]
    attacks = [_describe_one_attack(attacked, poisoning)
               for attacked, poisoning in zip(cell.attacks, poisonings)]
    measured = attacks.pop(cell.attacks.index(cell))
    return measured.model_copy(update={"also": attacks[0] if attacks else None})


def _describe_one_attack(cell: Cell, poisoning: dict[str, Any]) -> AttackChoice:
    settings = cell.settings
    rate = settings.poison_rate
    if isinstance(settings.choose, Path):  # the length of the list determines the rate
        rate = len(poisoning["poisoned"]) / poisoning["images"]
    if settings.audit:
        rate = 0.0
    notes = {key: poisoning[key] for key in ("poisoned", "covers", "images", "psnr", "ssim")
             if key in poisoning}
    return AttackChoice(
        trigger=describe_component(cell.trigger), target=describe_component(cell.target),
        latent=settings.latent, poison_rate=rate, cover_rate=settings.cover_rate,
        increases=find("target", cell.target.name).increases,
        test_trigger=describe_component(cell.test_trigger) if cell.test_trigger else None,
        choose=settings.choose and _without_folder(settings.choose), **notes)
