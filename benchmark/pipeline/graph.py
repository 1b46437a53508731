"""Stage graph: surrogate -> trigger pattern -> victim -> repaired counter -> counts -> record.

Only a few triggers have a pattern. Most are optimised on a surrogate, which is a clean counter of
another seed than the victim, and some on images alone. The clean counter of the victim's seed is
the reference, and no victim depends on it. In an audit the victim is the counter that was given,
and there is no clean counter. Each stage is stored under a hash of its cache key, so cells share
the stages that they have in common.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from attacks.parts.selection import listed
from benchmark.config.cell import Cell
from benchmark.pipeline import cache_keys, stage_functions, workload
from benchmark.pipeline.data_cache import DataCache
from benchmark.pipeline.stage import Stage
from benchmark.pipeline.store import Store
from benchmark.registry import find
from benchmark.utils.hashing import PinnedFile
from benchmark.weights.published import locate
from defenses.base import Detector, Inspector


class StageGraph:
    """The stages of cells. All cells of one graph share its store and its data."""

    def __init__(self, store: Store):
        self.store, self.data = store, DataCache()

    def stages(self, cell: Cell) -> list[Stage]:
        """All stages of a cell's record, in an order in which they can be made.

        Raises UserError where an attack poisons no image, or lists one that is not there, or has
        too few images for its cover copies, or where published weights are not on this machine,
        before anything is made.
        """
        weights = cell.model.resolved.get("weights")
        if isinstance(weights, PinnedFile):
            locate(weights)
        if not cell.settings.audit:
            self._check_poisoned_images(cell)
        counters = [] if cell.settings.audit else [self.clean(cell)]
        repaired = self.repaired(cell)
        control = self.control(cell)
        counted = [*counters, repaired, *([control] if control else [])]
        last = [self.counts(cell, counter, triggered)
                for triggered in ([False, True] if cell.trigger else [False])
                for counter in counted]
        last += [self.scores(cell, attacked, triggered) for attacked, triggered in scored(cell)]
        chosen = [*counters, self.victim(cell), repaired, *last]
        return list(dict.fromkeys(stage for one in chosen for stage in one.in_order()))

    def _check_poisoned_images(self, cell: Cell) -> None:
        dataset, hold_out = cell.data.build(), cell.settings.hold_out
        for attacked in cell.attacks:
            attack, choose = attacked.attack, attacked.settings.choose
            if attack.trigger.is_conditional:  # it takes the heads to tell
                scenes, _ = self.data.train_of(cell)
                attack.selected(scenes, cell.settings.seed)
            images = self.data.training_number(dataset, hold_out)
            if isinstance(choose, Path):
                poisoned = len(listed(choose, self.data.training_ids(dataset, hold_out)))
            else:
                poisoned = attack.number(images)
            attack.cover_number(images, images - poisoned)

    def clean(self, cell: Cell) -> Stage:
        """The clean counter."""
        return Stage("counters", "clean counter", f"train {cell.model.name} clean{_seed(cell)}",
                     cache_keys.training(self.data, cell, False),
                     partial(stage_functions.train, self.store, self.data, cell, False, ()),
                     work=partial(workload.training, cell, False))

    def victim(self, cell: Cell) -> Stage:
        """The victim: without an attack the clean counter, in an audit the given counter."""
        if cell.settings.audit:
            return Stage("counters", "given counter", f"take {cell.model.name}",
                         {"stage": "given", "model": cell.model.cache_key},
                         partial(stage_functions.load_given_model, cell))
        if not cell.trigger:
            return self.clean(cell)
        patterns = self.patterns(cell)
        title = " and ".join(one.attack_title for one in cell.attacks)
        return Stage("counters", "victim", f"train {cell.model.name} {title}{_seed(cell)}",
                     cache_keys.training(self.data, cell, True),
                     partial(stage_functions.train, self.store, self.data, cell, True, patterns),
                     _present(patterns), partial(workload.training, cell, True))

    def counter(self, cell: Cell, attacked: bool) -> Stage:
        """The victim or the clean counter."""
        return self.victim(cell) if attacked else self.clean(cell)

    def pattern(self, cell: Cell) -> Stage | None:
        """The pattern of a cell's trigger, optimised on the surrogate; None if it has none."""
        key = cache_keys.pattern(self.data, cell)
        if key is None:
            return None
        surrogate = None
        if find("trigger", cell.trigger.name).asks_counter:
            surrogate = replace(self.clean(cache_keys.surrogate(cell)), role="surrogate")
        return Stage("triggers", "trigger", f"optimise {cell.trigger.name}{_seed(cell)}", key,
                     partial(stage_functions.optimise_trigger, self.store, self.data, cell,
                             surrogate),
                     _present([surrogate]))

    def patterns(self, cell: Cell) -> tuple[Stage | None, ...]:
        """The pattern of each of a cell's attacks, in the order of `cell.attacks`."""
        return tuple(map(self.pattern, cell.attacks))

    def repaired(self, cell: Cell) -> Stage:
        """The repaired counter; the victim where the defense repairs nothing."""
        victim, knows = self.victim(cell), cell.defense.build().knows
        if not cell.repairs:
            return victim
        patterns = self.patterns(cell) if knows.poisoned else ()
        needs = ((victim,) if knows.victim else ()) + _present(patterns)
        shared = f"{cell.model.name} {cell.defense_title}{_seed(cell)}"  # by all attacks
        title = cell.title if knows.victim or knows.poisoned else shared
        return Stage("counters", "repair", f"repair {title}",
                     cache_keys.repair(self.data, cell),
                     partial(stage_functions.repair, self.store, self.data, cell, victim, patterns),
                     needs, partial(workload.repair, cell))

    def control(self, cell: Cell) -> Stage | None:
        """The clean counter after the defense of an attacked cell; None without a repair.

        It is the repaired counter itself for a defense that sees neither the victim nor its
        training set. An audit has no clean counter.
        """
        repairs = cell.repairs and cell.defense.name != "none"
        if not cell.trigger or cell.settings.audit or not repairs:
            return None
        return self.repaired(cell.without_attack)

    def stored_counts(self, cell: Cell, counter: Stage, triggered: bool) -> list[float]:
        """A counter's counts of the test images, from the store; they are made if missing."""
        folder = self.store.get(self.counts(cell, counter, triggered))
        return json.loads((folder / stage_functions.COUNTS).read_text())

    def counts(self, cell: Cell, counter: Stage, triggered: bool) -> Stage:
        """A counter's counts of the test images, clean or triggered."""
        patterns = self.patterns(cell) if triggered else ()
        _, _, name = counter.title.partition(" ")
        return Stage("counts", "counts", f"count {_subject(triggered)}: {name}",
                     cache_keys.counts(self.data, cell, counter.key, triggered),
                     partial(stage_functions.count, self.store, self.data, cell, counter, patterns,
                             triggered),
                     (counter, *_present(patterns)), partial(workload.counting, cell))

    def scores(self, cell: Cell, attacked: bool, triggered: bool | None) -> Stage:
        """A detector's scores of clean or of triggered test images.

        triggered: None scores the counter instead.
        """
        counter = self.counter(cell, attacked)
        patterns = self.patterns(cell) if triggered or cell.defense.build().knows.poisoned else ()
        clean_title = f"{cell.model.name} clean {cell.defense_title}{_seed(cell)}"
        who = cell.title if attacked else clean_title
        return Stage("scores", "detection", f"score {_subject(triggered)}: {who}",
                     cache_keys.scores(self.data, cell, attacked, triggered),
                     partial(stage_functions.score, self.store, self.data, cell, counter, patterns,
                             triggered),
                     (counter, *_present(patterns)), partial(workload.scoring, cell, triggered))


def scored(cell: Cell) -> list[tuple[bool, bool | None]]:
    """The arguments (attacked, triggered) of each `StageGraph.scores` of a cell.

    A defense that detects nothing has none, and an audit has no clean counter to score.
    """
    defense = find("defense", cell.defense.name)
    counters = [True] if cell.settings.audit else [True, False]
    if issubclass(defense, Inspector):
        return [(attacked, None) for attacked in counters]
    if not issubclass(defense, Detector):
        return []
    images = [False, True] if cell.trigger else [False]
    return [(attacked, triggered) for attacked in counters for triggered in images]


def _present(stages: Iterable[Stage | None]) -> tuple[Stage, ...]:
    return tuple(stage for stage in stages if stage is not None)


def _seed(cell: Cell) -> str:
    return f" seed {cell.settings.seed}"


def _subject(triggered: bool | None) -> str:
    return {None: "the counter", False: "clean images", True: "triggered images"}[triggered]
