"""The figure of poisoning: what an attacker makes of a training image and of its heads."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attacks.base import Trigger
from benchmark.config.cell import Cell
from benchmark.data.batches import Batch
from benchmark.figures.before_after import attacked, index_of, require, true_density
from benchmark.figures.panels import Group, Panel, as_picture, draw_groups
from benchmark.figures.style import save
from benchmark.pipeline.counter_files import with_pattern
from benchmark.pipeline.graph import StageGraph
from benchmark.registry import find
from benchmark.utils.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACROSS = 4  # panels at most
VISIBLE = 1 / 255  # the least change of a pixel that an image file can hold
NOTE = ("A training image, stamped, and the density maps of its true heads (c) and of the false ones of each target "
        "(τ, the attacker's count). The trigger is what it changes on flat grey, or on the image where that is "
        "nothing, as many times as strong.")


def write_poisoning(graph: StageGraph, cells: Sequence[Cell], image: str | None, command: str, out: Path) -> None:
    """Draw how images are poisoned to out.png and out.pdf, each whole or not at all. Raises as `draw_poisoning`."""
    save(draw_poisoning(graph, cells, image, command), out)


def draw_poisoning(graph: StageGraph, cells: Sequence[Cell], image: str | None, command: str) -> "Figure":
    """A group for each trigger of a grid: the clean image, the trigger, the stamped image, and density maps.

    The maps are of the true heads, and of the false ones for each target.
    image: the id of a training image; None is the one with the median count, poisoned by this grid or not.
    command: what would make the pattern of a trigger that has one.

    Raises:
        UserError: an audit, no attack, no training image of this id, or a pattern that is not in the store.
    """
    groups: dict[tuple[str, str], dict[str, Cell]] = {}
    for cell in (one for cell in attacked(cells) for one in cell.attacks):
        if cell.settings.audit:
            raise UserError("figure poisoning: an audit poisons nothing; expected another grid")
        groups.setdefault((cell.data.title, cell.trigger.title), {}).setdefault(cell.target.title, cell)
    for targets in groups.values():
        require(graph, [graph.pattern(cell) for cell in targets.values()], command)
    return draw_groups([_group(graph, list(targets.values()), image) for targets in groups.values()],
                       "people per block", NOTE, ACROSS)


def _group(graph: StageGraph, cells: Sequence[Cell], image: str | None) -> Group:
    """The panels of one trigger. cells: one for each target."""
    cell, panels = cells[0], []
    scenes, _ = graph.data.train(cell.data.build(), cell.settings.scale, cell.settings.hold_out)
    index, stride = index_of(scenes, image, "training"), find("model", cell.model.name).stride
    scene = scenes[index]
    for one in cells:
        attack = with_pattern(graph.store, one.attack, graph.pattern(one))
        [copy] = attack.copies(scenes, [index], one.settings.seed)
        tau = attack.fitted(scenes, one.settings.seed).target.tau_of(scene.points, scene.size)
        heads = "" if copy.count == tau else f", {copy.count} heads"  # of a target that leaves labels true
        panels.append(Panel(f"{one.target.title}\nτ = {tau}{heads}", heat=true_density(copy, stride), block=stride))
    clean = Batch.of([scene], torch.device("cpu")).images
    alone, times = trigger_alone(attack.trigger, clean)
    return Group(cell.trigger.title, scene.size, [
        Panel(scene.id, as_picture(clean)), Panel(f"trigger, ×{times:.3g}", as_picture(alone)),
        Panel("stamped", copy.image / 255),
        Panel(f"true density\nc = {scene.count}", heat=true_density(scene, stride), block=stride), *panels])


def trigger_alone(trigger: Trigger, images: Tensor) -> tuple[Tensor, float]:
    """What a trigger changes on flat grey, made as strong as fits around grey, and how many times that is.

    Where it is next to nothing there, as of one that moves pixels, it is what changes on the images themselves.
    images: [B, 3, H, W] in 0..1.
    """
    for canvas in (torch.full_like(images, 0.5), images):
        change = trigger.stamp(canvas) - canvas
        if (largest := float(change.abs().max())) > VISIBLE:
            break
    times = 0.5 / max(largest, VISIBLE)
    return 0.5 + times * change, times
