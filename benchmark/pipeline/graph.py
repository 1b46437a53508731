"""A cell as a graph of stages: clean counter -> trigger's pattern -> victim -> repaired counter -> counts -> record.

In an audit the victim is the counter that was given, and there is no clean counter. A few triggers have a pattern that
is optimised on the clean counter; with the others a victim does not depend on it.
Each stage is kept in the store under a hash of its facts: the settings that differ from their defaults, the data's
fingerprint, and the stage before it. So cells share what they have in common, and nothing is done twice.
"""

from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmark.config.cell import Cell, Facts, attack_facts, attacks, known_by, reads_train, repairs, without_given
from benchmark.data.datasets.base import Dataset, Split
from benchmark.data.splits import fingerprint, load_train, training_number, validation_ids
from benchmark.pipeline import stage_functions as making
from benchmark.pipeline import workload
from benchmark.pipeline.stage import Stage
from benchmark.pipeline.store import Store
from benchmark.recipe import RUNNING, Recipe
from benchmark.registry import find
from benchmark.training.evaluation import TestSplit
from benchmark.utils.device import resolve_precision
from benchmark.utils.hashing import content_key
from defenses.base import Detector, Inspector


class Bench:
    """The stages of cells. Data and fingerprints are shared by all cells of one bench."""

    def __init__(self, store: Store):
        self.store = store
        self.train_data = cache(load_train)
        self.test_split = cache(TestSplit)
        self.training_number = cache(training_number)
        self.fingerprint = cache(lambda dataset, split: fingerprint(dataset.items(split)))

    def __reduce__(self) -> tuple[Any, ...]:
        return _bench_of, (self.store.root.resolve(),)  # in another process, all its stages share one

    def stages(self, cell: Cell) -> list[Stage]:
        """All stages of a cell's record, in an order in which they can be made.

        Raises UserError where an attack poisons no image, before anything is made.
        """
        for one in [] if cell.protocol.audit else attacks(cell):
            if not isinstance(one.protocol.choose, Path):
                one.attack.number(self.training_number(cell.data.build(), cell.protocol.hold_out))
        repaired, both = self.repaired(cell), [self.victim(cell)]
        if not cell.protocol.audit:
            both.insert(0, self.clean(cell))
        counted = [repaired] if cell.protocol.audit else [both[0], repaired]
        last = [self.counts(cell, counter, triggered) for triggered in ([False, True] if cell.trigger else [False])
                for counter in counted]
        last += [self.scores(cell, attacked, triggered) for attacked, triggered in scored(cell)]
        return list(dict.fromkeys(stage for one in [*both, repaired, *last] for stage in one.in_order()))

    def made(self, stage: Stage) -> Path:
        """The folder of a stage; it, and what it needs, are made where they are missing."""
        if not self.store.has(stage):
            for need in stage.needs:
                self.made(need)
        return self.store.get(stage)

    def splits(self, cell: Cell) -> dict[str, str]:
        """What a cell's images are: hashes of its splits, of which images validate, and of a defense's extra ones."""
        data, defense = cell.data.build(), cell.defense.build()
        found = {split: self.fingerprint(data, split) for split in ("train", "test")}
        found["validation"] = content_key(validation_ids(data, cell.protocol.hold_out))
        if defense.knows.extra and (companion := data.companion()):
            found["extra"] = self.fingerprint(companion, "train")
        return found

    # The stages.

    def clean(self, cell: Cell) -> Stage:
        """The clean counter."""
        return Stage("counters", "clean counter", f"train {cell.model.name} clean{_seed(cell)}",
                     self.training_facts(cell, False), partial(making.train, self, cell, False),
                     work=partial(workload.training, cell, False))

    def victim(self, cell: Cell) -> Stage:
        """The victim: the clean counter where there is no attack, in an audit the counter that was given."""
        if cell.protocol.audit:
            return Stage("counters", "given counter", f"take {cell.model.name}",
                         {"stage": "given", "model": known_by(cell.model)}, partial(making.take, cell))
        if not cell.trigger:
            return self.clean(cell)
        title = " and ".join(one.attack_title for one in attacks(cell))
        return Stage("counters", "victim", f"train {cell.model.name} {title}{_seed(cell)}",
                     self.training_facts(cell, True), partial(making.train, self, cell, True), self._patterns(cell),
                     partial(workload.training, cell, True))

    def counter(self, cell: Cell, attacked: bool) -> Stage:
        """The victim or the clean counter."""
        return self.victim(cell) if attacked else self.clean(cell)

    def pattern(self, cell: Cell) -> Stage | None:
        """The pattern that a cell's trigger has optimised on the clean counter; None where it has none."""
        facts = self.pattern_facts(cell)
        return facts and Stage("triggers", "trigger", f"optimise {cell.trigger.name}{_seed(cell)}", facts,
                               partial(making.optimise, self, cell), (self.clean(cell),))

    def repaired(self, cell: Cell) -> Stage:
        """The defended counter; the victim where nothing repairs it."""
        victim, knows = self.victim(cell), cell.defense.build().knows
        if not repairs(cell):
            return victim
        needs = ((victim,) if knows.victim else ()) + (self._patterns(cell) if knows.poisoned else ())
        shared = f"{cell.model.name} {cell.defense_title}{_seed(cell)}"  # by all attacks
        return Stage("counters", "repair", f"repair {cell.title if knows.victim or knows.poisoned else shared}",
                     self.repair_facts(cell), partial(making.repair, self, cell), needs, partial(workload.repair, cell))

    def counts(self, cell: Cell, counter: Stage, triggered: bool) -> Stage:
        """The counts of a counter on the test images, clean or triggered."""
        trigger = (cell.test_trigger or cell.trigger) if triggered else None
        facts = {"stage": "count", "counter": counter.key, "scale": cell.protocol.scale,
                 "data": self.data_facts(cell.data.build(), "test"),
                 "precision": resolve_precision(cell.recipe.precision), "trigger": trigger and known_by(trigger)}
        _, _, name = counter.title.partition(" ")
        return Stage("counts", "counts", f"count {_images(triggered)}: {name}", facts,
                     partial(making.count, self, cell, counter, triggered),
                     (counter, *(self._patterns(cell) if triggered else ())), partial(workload.counting, cell))

    def scores(self, cell: Cell, attacked: bool, triggered: bool | None) -> Stage:
        """A detector's scores of test images that are triggered or not, or (None) of the counter itself."""
        poisoned = triggered or cell.defense.build().knows.poisoned
        needs = (self.counter(cell, attacked), *(self._patterns(cell) if poisoned else ()))
        who = cell.title if attacked else f"{cell.model.name} clean {cell.defense_title}{_seed(cell)}"
        return Stage("scores", "detection", f"score {_images(triggered)}: {who}",
                     self.score_facts(cell, attacked, triggered),
                     partial(making.score, self, cell, attacked, triggered), needs,
                     partial(workload.scoring, cell, triggered))

    def _patterns(self, cell: Cell) -> tuple[Stage, ...]:
        return tuple(filter(None, map(self.pattern, attacks(cell))))

    # What decides a stage's result.

    def training_facts(self, cell: Cell, attacked: bool) -> Facts:
        """Facts of the clean counter, or of the victim; in an audit, of what is trained on from the given counter."""
        dataset, defaults = cell.data.build(), Recipe()
        recipe = {key: value for key, value in cell.recipe
                  if value != getattr(defaults, key) and key not in RUNNING}
        facts = {"stage": "train", "scale": cell.protocol.scale, "hold_out": cell.protocol.hold_out,
                 "model": known_by(cell.model), "seed": cell.protocol.seed,
                 "recipe": recipe | {"precision": resolve_precision(cell.recipe.precision)}}
        if cell.protocol.audit:
            facts["audit"] = True
        if reads_train(cell):
            facts["data"] = self.data_facts(dataset, "train")
        if cell.recipe.select == "test":
            facts["test"] = self.data_facts(dataset, "test")
        if attacked and cell.trigger and cell.target:
            facts["attack"] = [attack_facts(one) for one in attacks(cell)] if cell.also else attack_facts(cell)
        return facts

    def pattern_facts(self, cell: Cell) -> Facts | None:
        """Facts of the pattern of a cell's trigger; None where it has none."""
        cls = find("trigger", cell.trigger.name)
        if not cls.optimises:
            return None
        settings = {key: value for key, value in cell.trigger.changed.items() if key in cls.optimises}
        return {"stage": "pattern", "trigger": [cls.name, cls.version, settings],
                "counter": self.training_facts(cell, False)}

    def repair_facts(self, cell: Cell) -> Facts:
        """Facts of the defended counter.

        A control that looks at neither victim nor poison is shared by all attacks, and with the runs that are no audit.
        """
        knows = cell.defense.build().knows
        attacked = (knows.victim or knows.poisoned) and not cell.protocol.audit  # a given counter knows no attack
        facts = {"stage": "repair", "defense": known_by(cell.defense),
                 "before": self.training_facts(cell if knows.victim else without_given(cell), attacked)}
        companion = cell.data.build().companion()
        if knows.extra and companion:
            facts["extra"] = self.data_facts(companion, "train")
        return facts

    def score_facts(self, cell: Cell, attacked: bool, triggered: bool | None) -> Facts:
        """Facts of a detector's scores; see `scores`."""
        trigger = (cell.test_trigger or cell.trigger) if triggered else None
        facts = {"stage": "scores", "defense": known_by(cell.defense), "before": self.training_facts(cell, attacked)}
        knows = cell.defense.build().knows
        if knows.poisoned or knows.extra:  # the counter's facts tell neither
            facts["handed"] = self.repair_facts(cell)
        if triggered is not None:
            facts |= {"trigger": trigger and known_by(trigger), "test": self.data_facts(cell.data.build(), "test")}
        return facts

    def data_facts(self, dataset: Dataset, split: Split) -> Facts:
        """Facts of a split: what its files hold, and how they are read."""
        return {"content": self.fingerprint(dataset, split), "sigma": dataset.sigma, "max_side": dataset.max_side}


def scored(cell: Cell) -> list[tuple[bool, bool | None]]:
    """What a cell's detector scores, as (attacked, triggered); nothing where its defense is none. See `Bench.scores`.

    An audit has no clean counter to look at.
    """
    defense, both = find("defense", cell.defense.name), [True] if cell.protocol.audit else [True, False]
    if issubclass(defense, Inspector):
        return [(attacked, None) for attacked in both]
    if not issubclass(defense, Detector):
        return []
    return [(attacked, triggered) for attacked in both for triggered in ([False, True] if cell.trigger else [False])]


@cache
def _bench_of(root: Path) -> Bench:
    return Bench(Store(root))


def _seed(cell: Cell) -> str:
    return f" seed {cell.protocol.seed}"


def _images(triggered: bool | None) -> str:
    return {None: "the counter", False: "clean images", True: "triggered images"}[triggered]
