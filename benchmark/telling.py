"""What a record tells of a cell beside the counts: its choices, its attack, and what a reader must know."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from attacks.base import POISON
from benchmark.config import Cell, Entry
from benchmark.data.scene import Scene
from benchmark.facts import attacks, reads_train
from benchmark.metrics import SSIM_WINDOW, psnr, ssim
from benchmark.record import AttackChoice, Choice
from benchmark.registry import find
from benchmark.weights import described

STEALTH_IMAGES = 20  # enough for a mean; a structural similarity of a large image takes a second


def titles(cells: Sequence[Cell]) -> list[str]:
    """A name for each cell: its title, and the settings in which it differs from others of the same title."""
    alike = defaultdict(list)
    for cell in cells:
        alike[cell.title].append(_beside_the_title(cell))
    differing = {title: [key for key in dict.fromkeys(chain(*group))
                         if any(one.get(key) != group[0].get(key) for one in group)]
                 for title, group in alike.items()}
    places = {title: iter(group) for title, group in alike.items()}
    told = [", ".join(f"{key} {own.get(key)}" for key in differing[cell.title])
            for cell in cells for own in [next(places[cell.title])]]
    return [f"{cell.title} ({more})" if more else cell.title for cell, more in zip(cells, told)]


def _beside_the_title(cell: Cell) -> dict[str, Any]:
    """Settings that the title does not have."""
    entries = {f"{kind}.{key}": value for kind, entry in (("data", cell.data), ("model", cell.model))
               for key, value in entry.resolved.items()}
    return {"data": cell.data.name} | entries | {f"training.{key}": value for key, value in cell.recipe} | dict(
        cell.protocol)


def choice(entry: Entry) -> Choice:
    """An entry for the record. A path is kept as its file's name and content: no record tells where files lay."""
    def plain(settings: dict[str, Any]) -> dict[str, Any]:
        return {key: _without_folder(value) for key, value in settings.items() if key != "root"}

    version = getattr(find(entry.kind, entry.name), "version", 1)  # a data set has none: its content is known
    return Choice(name=entry.name, version=version, given=plain(entry.given), resolved=plain(entry.resolved))


def _without_folder(value: Any) -> Any:
    if isinstance(value, (str, Path)) and Path(value).is_file():
        return described(Path(value))
    return value


def attack_choice(cell: Cell, victim: dict[str, Any]) -> AttackChoice | None:
    """The attack for the record; None without one. victim: what is known of the victim's making."""
    if cell.trigger is None or cell.target is None:
        return None
    choices = [_one_choice(*both) for both in zip(attacks(cell), [victim, *victim.get("also", [])])]
    measured = choices.pop(attacks(cell).index(cell))
    return measured.model_copy(update={"also": choices[0] if choices else None})


def _one_choice(cell: Cell, victim: dict[str, Any]) -> AttackChoice:
    tested, choose, rate = cell.test_trigger, cell.protocol.choose, cell.protocol.poison_rate
    if isinstance(choose, Path):  # the list's length decides
        rate = len(victim["poisoned"]) / victim["images"]
    return AttackChoice(trigger=choice(cell.trigger), target=choice(cell.target), latent=cell.protocol.latent,
                        poison_rate=0.0 if cell.protocol.audit else rate,
                        increases=find("target", cell.target.name).increases,
                        test_trigger=choice(tested) if tested else None, choose=choose and _without_folder(choose),
                        **{key: victim[key] for key in ("poisoned", "images", "psnr", "ssim") if key in victim})


def poisoning(scenes: list[Scene], poisoned: list[Scene]) -> dict[str, Any]:
    """Which training images were stamped, of how many, and how near the first few are to their originals.

    The peak signal-to-noise ratio is 99 dB where they are equal; images smaller than SSIM's window have no SSIM.
    """
    originals = {scene.id: scene.image for scene in scenes}
    pairs = [(originals[scene.id.removesuffix(POISON)], scene.image) for scene in poisoned[:STEALTH_IMAGES]]
    return {"images": len(scenes), "poisoned": [scene.id.removesuffix(POISON) for scene in poisoned],
            "psnr": [round(min(psnr(*pair), 99.0), 2) for pair in pairs],
            "ssim": [round(ssim(*pair), 4) for pair in pairs if min(pair[0].shape[:2]) >= SSIM_WINDOW]}


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
