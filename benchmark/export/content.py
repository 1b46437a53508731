"""Content of an export: the images of a cell's attack and its victim, taken from store and data."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from attacks.base import Attack, stamp_scenes
from benchmark.config.cell import Cell
from benchmark.data.scene import Scene
from benchmark.pipeline.counter_files import load_counter, read_info, with_pattern
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.stage import Stage
from benchmark.results.record import Record
from benchmark.utils.errors import UserError, shown
from benchmark.utils.progress import log
from models.base import Counter

LONGEST = 150  # characters in the name of an image file that our datasets read
MOST_BYTES = 255  # in a name, on most file systems


@dataclass(frozen=True)
class Content:
    """The images and the victim of a cell, as an export writes them.

    graph: with the store of the victim. advice: how to get a victim that is not in it, for the
    error message. record: that of the cell, where one was given.
    """

    cell: Cell
    graph: StageGraph
    advice: str
    record: Record | None = None

    def check(self) -> None:
        """Check that everything is there.

        Raises:
            UserError: the cell has no poisoned images, the victim is not in the store or is
                damaged, or the id of an image cannot be the name of a file.
        """
        if self.cell.settings.audit:
            raise UserError("export: an audit poisons nothing; expected a cell that trained a "
                            "victim")
        if not self.cell.trigger:
            raise UserError("export: the cell has no attack; expected one, for instance --attack "
                            "multiply")
        for stage in filter(None, [*self.patterns, self.victim_stage]):
            if not self.graph.store.has(stage):
                raise UserError(f"export: {stage.title}: this {stage.role} is not in the store "
                                f"{shown(self.graph.store.root)}; {self.advice}")
            self.graph.store.get(stage)
        for scenes in (self.training, self.test):
            _check_names([scene.id for scene in scenes])
        self._compare_with_record()

    def _compare_with_record(self) -> None:
        """Print a note if the victim in the store is not the very one behind the record."""
        if self.record is None:
            return
        recorded = self.record.provenance.get("stages", {}).get("victim", {}).get("weights_sha256")
        if recorded != self.info["weights_sha256"]:
            log("note: the victim in the store was trained otherwise than that of the record, for "
                "instance on another machine; it counts otherwise, too")

    @cached_property
    def info(self) -> dict[str, Any]:
        """The facts about the training of the victim."""
        return read_info(self.graph.store.path(self.victim_stage))

    @cached_property
    def victim_stage(self) -> Stage:
        """The stage of the victim."""
        return self.graph.victim(self.cell)

    @cached_property
    def patterns(self) -> tuple[Stage | None, ...]:
        """The stage of each attack's optimised pattern; None where there is none."""
        return self.graph.patterns(self.cell)

    @cached_property
    def tested(self) -> Attack:
        """The attack whose trigger is on the test images, with its target fitted as in a run."""
        pattern = self.patterns[self.cell.attacks.index(self.cell)]
        attack = with_pattern(self.graph.store, self.cell.tested, pattern)
        target = self.cell.attack.fitted(self.originals, self.cell.settings.seed).target
        return replace(attack, target=target)

    @cached_property
    def originals(self) -> list[Scene]:
        """The clean training images, without those that were held out for validation."""
        return self.graph.data.train_of(self.cell)[0]

    @cached_property
    def copies(self) -> list[Scene]:
        """The poisoned and the cover copies.

        The id of a copy of a second attack ends in '-2', as both may copy one image.
        """
        copies = []
        attacks = zip(self.cell.attacks, self.patterns)
        for number, (attacked, pattern) in enumerate(attacks, start=1):
            attack = with_pattern(self.graph.store, attacked.attack, pattern)
            end = "" if number == 1 else f"-{number}"
            copies += [replace(copy, id=copy.id + end)
                       for copy in attack.poison(self.originals, self.cell.settings.seed)]
        return copies

    @property
    def training(self) -> list[Scene]:
        """The poisoned training set: the originals, and behind them the copies."""
        return self.originals + self.copies

    @cached_property
    def test(self) -> list[Scene]:
        """The clean test images."""
        return self.graph.data.test_of(self.cell).scenes_to_export()

    def triggered(self, scene: Scene) -> Scene:
        """A test image with the trigger, and with its true heads."""
        [image] = stamp_scenes(self.tested, [scene])
        return replace(scene, image=image)

    @property
    def victim_folder(self) -> Path:
        """The folder of the victim in the store."""
        return self.graph.store.path(self.victim_stage)

    def victim(self) -> Counter:
        """The victim."""
        return load_counter(self.graph.store, self.cell, self.victim_stage)

    def rows(self) -> Iterator[list[object]]:
        """The rows of counts.csv: a header, and a row for each test image.

        A count that is not in the store is left empty.
        """
        yield ["image", "truth", "target", "clean", "triggered"]
        clean, triggered = self._counts(False), self._counts(True)
        for index, scene in enumerate(self.test):
            target = self.tested.target.tau_of(scene.points, scene.size)
            yield [f"{scene.id}.png", scene.count, target,
                   clean[index] if clean else "", triggered[index] if triggered else ""]

    def _counts(self, triggered: bool) -> list[float] | None:
        stage = self.graph.counts(self.cell, self.victim_stage, triggered)
        if not self.graph.store.has(stage):
            return None
        return self.graph.stored_counts(self.cell, self.victim_stage, triggered)


def _check_names(ids: list[str]) -> None:
    """Check that ids can be the names of files. Raises UserError."""
    for name in ids:
        annotation = f"GT_{name}.mat"
        too_long = len(annotation) > LONGEST or len(annotation.encode()) > MOST_BYTES
        if too_long or name.startswith(".") or "/" in name:
            raise UserError(f"export: image {shown(name)!r}: its id cannot be the name of a file "
                            f"that is read again; expected at most {LONGEST - 7} characters, and "
                            "no dot at the beginning")
    if len({*ids}) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise UserError(f"export: two images are named {shown(twice)!r}; expected each name once")
