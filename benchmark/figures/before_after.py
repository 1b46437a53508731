"""What pictures of counters show: an image, clean and triggered, before a victim and what a defense made of it.

All comes from the store; a picture trains nothing. It shows training and validation images: only evaluation reads the
test split.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

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

MOST = 8  # fit on a page
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class BeforeAfter:
    """A victim, what a defense made of it, and a validation image with the attacker's count of it, tau."""

    title: str
    graph: StageGraph
    cell: Cell
    scene: Scene
    tau: int

    def images(self) -> dict[str, Tensor]:
        """The image [1, 3, H, W] in 0..1 on the device, 'clean', and 'triggered' as test images are."""
        clean = Batch.of([self.scene], state().device).images
        return {"clean": clean, "triggered": with_pattern(self.graph.store, self.cell.tested, self.graph.pattern(self.cell)).stamp(clean)}

    def seen(self, measure: Callable[[Counter, Tensor], Seen]) -> dict[str, Seen]:
        """What `measure` makes of each counter and image, by 'victim, clean' and so on.

        It counts at the precision of evaluation.
        """
        images, found = self.images(), {}
        for who, stage in (("victim", self.graph.victim(self.cell)),
                           (self.cell.defense.name, self.graph.repaired(self.cell))):
            counter = load_counter(self.graph.store, self.cell, stage).to(state().device)
            with autocast(resolve_precision(self.cell.recipe.precision)):
                found |= {f"{who}, {kind}": measure(counter, image) for kind, image in images.items()}
        return found


def before_after_pairs(graph: StageGraph, cells: Sequence[Cell], defense: str, image: str | None, command: str) -> list[BeforeAfter]:
    """An exhibit for each attack of a grid, of its first seed.

    defense: the name of one that the grid has. image: the id of a validation image; None is the one with the median
    count. command: what would make the counters.

    Raises:
        UserError: no attack, a defense that repairs nothing, more than fit on a page or not told apart, no validation
            image or none with this id, or a counter that is not in the store.
    """
    chosen = [cell for cell in attacked(cells) if cell.defense.name == defense]
    for cell in chosen:
        if not cell.repairs:
            raise UserError(f"figure: defense {defense!r} makes no other counter of a victim; expected one that does")
    titles = [f"{cell.model.title}, {cell.attack_title}" for cell in chosen]
    if len(set(titles)) < len(titles):
        titles = [cell.title for cell in chosen]
    if len(titles) > MOST or len(set(titles)) < len(titles):
        raise UserError(f"figure: {len(titles)} victims with {len(set(titles))} names; expected at most {MOST}, each "
                        "with a name of its own: narrow the grid with --model, --attack or --set")
    for cell in chosen:
        require(graph, [graph.victim(cell), graph.repaired(cell), graph.pattern(cell)], command)
    return [_before_after(title, graph, cell, image) for title, cell in zip(titles, chosen)]


def _before_after(title: str, graph: StageGraph, cell: Cell, image: str | None) -> BeforeAfter:
    scenes, validation = graph.data.train(cell.data.build(), cell.settings.scale, cell.settings.hold_out)
    if not validation:
        raise UserError("figure: hold_out = 0 leaves no validation image to show, and no test image is shown")
    scene = validation[index_of(validation, image, "validation")]
    attack = cell.attack if cell.settings.audit else cell.attack.fitted(scenes, cell.settings.seed)
    return BeforeAfter(title, graph, cell, scene, attack.target.tau_of(scene.points, scene.size))


def attacked(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of a grid with an attack, of its first seed. Raises UserError where there is none."""
    found = [cell for cell in cells if cell.trigger and cell.settings.seed == cells[0].settings.seed]
    if not found:
        raise UserError("figure: no attack in this grid; expected one, for instance --attack multiply")
    return found


def index_of(scenes: Sequence[Scene], image: str | None, split: str) -> int:
    """Where the scene with this id is, or for None the one with the median count.

    Raises:
        UserError: no scene has the id.
    """
    ids = [scene.id for scene in scenes]
    if image is None:
        by_count = sorted(range(len(scenes)), key=lambda index: scenes[index].count)
        return by_count[(len(scenes) - 1) // 2]
    if image not in ids:
        near = difflib.get_close_matches(image, ids, n=3, cutoff=0)
        raise UserError(f"--image {image!r}: none of the {len(ids)} {split} images; did you mean {' or '.join(near)}?")
    return ids.index(image)


def require(graph: StageGraph, stages: Sequence[Stage | None], command: str) -> None:
    """Refuse to make what is missing: that may take days.

    Raises:
        UserError: a stage is not in the store. It names the command that makes it.
    """
    for stage in filter(None, stages):
        if not graph.store.has(stage):
            raise UserError(f"figure: {stage.title}: this {stage.role} is not in {graph.store.root}; `{command}` "
                            "makes it")


def true_density(scene: Scene, stride: int) -> np.ndarray:
    """The density map of a scene's heads, people per block of `stride` x `stride` pixels, float32 [h, w]."""
    return density_maps([torch.tensor(scene.points)], [torch.tensor(scene.sigmas)], scene.size, stride)[0, 0].numpy()
