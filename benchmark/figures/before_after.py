"""Counters before and after a defense: loads both from the store, with an image to show them.

A figure trains nothing. It shows training and validation images only: the test split is read by
evaluation alone.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from attacks.base import Attack
from benchmark.config.cell import Cell
from benchmark.data.batches import Batch
from benchmark.data.density import density_maps
from benchmark.data.scene import Scene
from benchmark.pipeline.counter_files import load_counter, with_pattern
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.stage import Stage
from benchmark.utils.device import autocast, resolve_precision, state
from benchmark.utils.errors import UserError
from models.base import Counter

MOST = 8  # victims on a page
Measured = TypeVar("Measured")


@dataclass(frozen=True)
class BeforeAfter:
    """A victim, the counter that a defense made of it, and a validation image.

    tau: the count that the attacker wants on this image.
    """

    title: str
    graph: StageGraph
    cell: Cell
    scene: Scene
    tau: int

    def images(self) -> dict[str, Tensor]:
        """The image, 'clean' and 'triggered' as test images are.

        Each is [1, 3, H, W] in 0..1, on the device.
        """
        return clean_and_triggered(tested_attack(self.graph, self.cell), self.scene)

    def measure(self, function: Callable[[Counter, Tensor], Measured]) -> dict[str, Measured]:
        """The value of a function of both counters and both images, by 'victim, clean' and so on.

        The counters run at the precision of evaluation.
        """
        images = self.images()
        stages = {"victim": self.graph.victim(self.cell),
                  self.cell.defense.name: self.graph.repaired(self.cell)}
        values = {}
        for name, stage in stages.items():
            counter = load_counter(self.graph.store, self.cell, stage).to(state().device)
            with autocast(resolve_precision(self.cell.recipe.precision)):
                for kind, image in images.items():
                    values[f"{name}, {kind}"] = function(counter, image)
        return values


def before_after_pairs(graph: StageGraph, cells: Sequence[Cell], defense: str, image: str | None,
                       command: str) -> list[BeforeAfter]:
    """A victim before and after a defense, for each attack of a grid and its first seed.

    defense: the name of a defense of the grid. image: the id of a validation image; None is the
    image with the median count. command: the command that makes missing counters.

    Raises:
        UserError: no attack, a defense that repairs nothing, too many victims for a page or victims
            with the same name, no validation image or none with this id, or a counter that is not
            in the store.
    """
    chosen = with_defense(cells, defense)
    require_repairs(chosen)
    shown = by_title(chosen)
    for cell in chosen:
        require(graph, [graph.victim(cell), graph.repaired(cell), graph.pattern(cell)], command)
    return [_before_after(title, graph, cell, image) for title, cell in shown.items()]


def _before_after(title: str, graph: StageGraph, cell: Cell, image: str | None) -> BeforeAfter:
    scenes, validation = training_and_validation(graph, cell)
    scene = validation[index_of(validation, image, "validation")]
    seed = cell.settings.seed
    attack = cell.attack if cell.settings.audit else cell.attack.fitted(scenes, seed)
    return BeforeAfter(title, graph, cell, scene, attack.target.tau_of(scene.points, scene.size))


def tested_attack(graph: StageGraph, cell: Cell) -> Attack:
    """The attack of a cell as test images are stamped, with its pattern from the store."""
    return with_pattern(graph.store, cell.tested, graph.pattern(cell))


def clean_and_triggered(attack: Attack, scene: Scene) -> dict[str, Tensor]:
    """The image of a scene, 'clean' and 'triggered'; each [1, 3, H, W] in 0..1, on the device."""
    batch = Batch.of([scene], state().device)
    return {"clean": batch.images, "triggered": attack.stamp(batch.images, batch.heads)}


def training_and_validation(graph: StageGraph, cell: Cell) -> tuple[list[Scene], list[Scene]]:
    """The training scenes and the validation scenes of a cell, also those of an audit.

    Raises:
        UserError: the cell has no validation image.
    """
    settings = cell.settings
    scenes, validation = graph.data.train(cell.data.build(), settings.scale, settings.hold_out)
    if not validation:
        raise UserError("figure: hold_out = 0 leaves no validation image; expected a larger "
                        "hold_out, because test images are never shown")
    return scenes, validation


def require_repairs(cells: Sequence[Cell]) -> None:
    """Check that the defenses of cells repair. Raises UserError if one makes no counter."""
    for cell in cells:
        if not cell.repairs:
            raise UserError(f"figure: defense {cell.defense.name!r} repairs no counter; expected "
                            "one that does")


def by_title(cells: Sequence[Cell]) -> dict[str, Cell]:
    """Cells of one defense by the names of their victims, which fit on a page.

    Raises:
        UserError: too many victims, or victims with the same name.
    """
    titles = [f"{cell.model.title}, {cell.attack_title}" for cell in cells]
    if len(set(titles)) < len(titles):
        titles = [cell.title for cell in cells]
    distinct = len(set(titles))
    if len(titles) > MOST or distinct < len(titles):
        raise UserError(f"figure: {len(titles)} victims with {distinct} distinct names; expected "
                        f"at most {MOST}, all with distinct names: narrow the grid with --model, "
                        "--attack or --set")
    return dict(zip(titles, cells))


def with_defense(cells: Sequence[Cell], defense: str) -> list[Cell]:
    """The cells of a grid with an attack, its first seed and a defense. Raises as `attacked`."""
    return [cell for cell in attacked(cells) if cell.defense.name == defense]


def attacked(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of a grid with an attack and the first seed. Raises UserError if there are none."""
    first_seed = cells[0].settings.seed
    chosen = [cell for cell in cells if cell.trigger and cell.settings.seed == first_seed]
    if not chosen:
        raise UserError("figure: no attack in this grid; expected one, for instance "
                        "--attack multiply")
    return chosen


def index_of(scenes: Sequence[Scene], image: str | None, split: str) -> int:
    """The index of the scene with this id; for None, of the scene with the median count.

    Raises:
        UserError: no scene has the id.
    """
    ids = [scene.id for scene in scenes]
    if image is None:
        by_count = sorted(range(len(scenes)), key=lambda index: scenes[index].count)
        return by_count[(len(scenes) - 1) // 2]
    if image not in ids:
        near = difflib.get_close_matches(image, ids, n=3, cutoff=0)
        raise UserError(f"--image {image!r}: not one of the {len(ids)} {split} images; did you "
                        f"mean {' or '.join(near)}?")
    return ids.index(image)


def require(graph: StageGraph, stages: Sequence[Stage | None], command: str) -> None:
    """Check that stages are in the store. A figure does not make them, because that may take days.

    Raises:
        UserError: a stage is not in the store. The message names the command that makes it.
    """
    for stage in filter(None, stages):
        if not graph.store.has(stage):
            raise UserError(f"figure: {stage.title}: this {stage.role} is not in the store "
                            f"{graph.store.root}; run `{command}` to make it")


def true_density(scene: Scene, stride: int) -> np.ndarray:
    """The density map of a scene's heads, people per block of `stride` x `stride` pixels.

    Returns float32 [h, w].
    """
    points, sigmas = [torch.tensor(scene.points)], [torch.tensor(scene.sigmas)]
    return density_maps(points, sigmas, scene.size, stride)[0, 0].numpy()
