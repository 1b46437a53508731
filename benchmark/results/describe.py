"""Components and attacks as a record describes them."""

from pathlib import Path
from typing import Any

from benchmark.config.cell import Cell, Component
from benchmark.registry import find
from benchmark.results.record import AttackChoice, Choice
from benchmark.weights import described


def describe_component(entry: Component) -> Choice:
    """An entry for the record. A path is kept as its file's name and content: no record tells where files lay."""
    def plain(settings: dict[str, Any]) -> dict[str, Any]:
        return {key: _without_folder(value) for key, value in settings.items() if key != "root"}

    version = getattr(find(entry.kind, entry.name), "version", 1)  # a data set has none: its content is known
    return Choice(name=entry.name, version=version, given=plain(entry.given), resolved=plain(entry.resolved))


def _without_folder(value: Any) -> Any:
    if isinstance(value, (str, Path)) and Path(value).is_file():
        return described(Path(value))
    return value


def describe_attack(cell: Cell, victim: dict[str, Any]) -> AttackChoice | None:
    """The attack for the record; None without one. victim: what is known of the victim's making."""
    if cell.trigger is None or cell.target is None:
        return None
    choices = [_describe_one_attack(*both) for both in zip(cell.attacks, [victim, *victim.get("also", [])])]
    measured = choices.pop(cell.attacks.index(cell))
    return measured.model_copy(update={"also": choices[0] if choices else None})


def _describe_one_attack(cell: Cell, victim: dict[str, Any]) -> AttackChoice:
    tested, choose, rate = cell.test_trigger, cell.settings.choose, cell.settings.poison_rate
    if isinstance(choose, Path):  # the list's length decides
        rate = len(victim["poisoned"]) / victim["images"]
    return AttackChoice(trigger=describe_component(cell.trigger), target=describe_component(cell.target), latent=cell.settings.latent,
                        poison_rate=0.0 if cell.settings.audit else rate,
                        increases=find("target", cell.target.name).increases,
                        test_trigger=describe_component(tested) if tested else None, choose=choose and _without_folder(choose),
                        **{key: victim[key] for key in ("poisoned", "images", "psnr", "ssim") if key in victim})
