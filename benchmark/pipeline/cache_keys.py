"""Cache keys: the settings that determine a stage's result.

Each function returns the parts of a stage's key as JSON-like data; `content_key` hashes them to the
stage's name in the store. Only settings that differ from their defaults count, so that a new
setting with a default invalidates nothing.
"""

from dataclasses import replace

from benchmark.config.cell import Cell, KeyParts
from benchmark.data.datasets.base import Dataset, Split
from benchmark.pipeline.data_cache import DataCache
from benchmark.recipe import RUNNING, Recipe
from benchmark.registry import find
from benchmark.utils.device import repair_precision, resolve_precision
from benchmark.utils.hashing import content_key


def split(data: DataCache, dataset: Dataset, split: Split) -> KeyParts:
    """Key of a split: the content of its files, and how they are read.

    The code and the settings of a plugin, which alone has a version, may read other heads from the
    same files. Those of this project's datasets only choose the files.
    """
    key = {"content": data.fingerprint(dataset, split), "sigma": dataset.sigma,
           "max_side": dataset.max_side}
    version = getattr(type(dataset), "version", None)
    if version is not None:
        settings = dataset.model_dump(mode="json", exclude_defaults=True,
                                      exclude={"root", "sigma", "max_side"})
        key["dataset"] = [dataset.name, version, settings]
    return key


def training(data: DataCache, cell: Cell, attacked: bool) -> KeyParts:
    """Key of the victim or, if not `attacked`, the clean counter; in an audit, the given one."""
    dataset = cell.data.build()
    key = {"stage": "train", "scale": cell.settings.scale, "hold_out": cell.settings.hold_out,
           "model": cell.model.cache_key, "seed": cell.settings.seed,
           "recipe": _recipe(cell.recipe)}
    if cell.settings.audit:
        key["audit"] = True
    if cell.reads_train:
        key["data"] = split(data, dataset, "train")
    if cell.recipe.select == "test":
        key["test"] = split(data, dataset, "test")
    if attacked and cell.trigger:
        keys = [one.attack_key for one in cell.attacks]
        key["attack"] = keys if cell.also else keys[0]
    return key


def surrogate(cell: Cell) -> Cell:
    """The cell whose clean counter the pattern of a trigger is optimised on: that of another seed.

    An attacker does not know the victim's seed, and the reference of the victim's seed must not
    have been optimised against. Two seeds that differ in the last bit are each other's, so that a
    grid with seeds 0 and 1 trains no further counter.
    """
    settings = cell.settings.model_copy(update={"seed": cell.settings.seed ^ 1})
    return replace(cell, settings=settings)


def pattern(data: DataCache, cell: Cell) -> KeyParts | None:
    """Key of the optimised pattern of a cell's trigger; None where the trigger has none."""
    cls = find("trigger", cell.trigger.name)
    if not cls.optimises:
        return None
    settings = {name: value for name, value in cell.trigger.changed.items()
                if name in cls.optimises}
    key = {"stage": "pattern", "trigger": [cls.name, cls.version, settings]}
    if cls.asks_counter:
        return key | {"counter": training(data, surrogate(cell), False)}
    return key | {"scale": cell.settings.scale, "hold_out": cell.settings.hold_out,
                  "seed": cell.settings.seed, "data": split(data, cell.data.build(), "train")}


def repair(data: DataCache, cell: Cell) -> KeyParts:
    """Key of the repaired counter.

    A control that sees neither the victim nor the poisoned images has the same key for all attacks,
    and for audits.
    """
    knows = cell.defense.build().knows
    # A given counter has no known attack.
    attacked = (knows.victim or knows.poisoned) and not cell.settings.audit
    trained = cell if knows.victim else cell.without_given_weights
    key = {"stage": "repair", "defense": cell.defense.cache_key,
           "before": training(data, trained, attacked)}
    own = repair_precision(cell.recipe.precision)
    if own != resolve_precision(cell.recipe.precision):
        key["precision"] = own
    companion = cell.data.build().companion()
    if knows.extra and companion:
        key["extra"] = split(data, companion, "train")
    return key


def counts(data: DataCache, cell: Cell, counter: str, triggered: bool) -> KeyParts:
    """Key of the counts of the test images. counter: the key of the stage that made the counter."""
    trigger = cell.trigger_in_test if triggered else None
    return {"stage": "count", "counter": counter, "scale": cell.settings.scale,
            "data": split(data, cell.data.build(), "test"),
            "precision": resolve_precision(cell.recipe.precision),
            "trigger": trigger and trigger.cache_key}


def scores(data: DataCache, cell: Cell, attacked: bool, triggered: bool | None) -> KeyParts:
    """Key of a detector's scores; see `StageGraph.scores`."""
    key = {"stage": "scores", "defense": cell.defense.cache_key,
           "before": training(data, cell, attacked)}
    knows = cell.defense.build().knows
    if knows.poisoned or knows.extra:  # the counter's key holds neither
        key["handed"] = repair(data, cell)
    if triggered is not None:
        trigger = cell.trigger_in_test if triggered else None
        key |= {"trigger": trigger and trigger.cache_key,
                "test": split(data, cell.data.build(), "test")}
    return key


def record(data: DataCache, cell: Cell) -> str:
    """The file name of a cell's record.

    It has a readable part, and 8 digits of a hash of all that determines the record.
    """
    knows = cell.defense.build().knows
    key = [training(data, cell, False), training(data, cell, True),
           cell.defense.name != "none" and repair(data, cell),
           split(data, cell.data.build(), "test"), cell.settings.variant, knows.extra]
    if cell.test_trigger:
        key.append(cell.test_trigger.cache_key)
    if cell.also:
        # The victim's key holds both attacks, whichever of them is measured.
        key.append(cell.attack_key)
    target = cell.target.name if cell.target else "clean"
    return (f"{cell.model.name}-{target}-{cell.defense.name}-seed{cell.settings.seed}-"
            f"{content_key(key)[:8]}.json")


def _recipe(recipe: Recipe) -> KeyParts:
    """Key of a recipe: the settings that are not defaults, and what precision 'auto' means here."""
    defaults = Recipe()
    changed = {key: value for key, value in recipe
               if value != getattr(defaults, key) and key not in RUNNING}
    return changed | {"precision": resolve_precision(recipe.precision)}
