"""The figure of poisoning: a training image, its stamped copy, and the heads that it is given."""

from collections.abc import Sequence

import torch
from torch import Tensor

from attacks.base import Trigger
from attacks.parts.heads import Heads, call_with_heads
from benchmark.config.cell import Cell
from benchmark.data.batches import Batch
from benchmark.figures.before_after import attacked, index_of, require, true_density
from benchmark.figures.captions import listed
from benchmark.figures.panels import Group, Panel, as_picture, draw_groups
from benchmark.figures.style import Picture
from benchmark.pipeline.counter_files import with_pattern
from benchmark.pipeline.graph import StageGraph
from benchmark.registry import find
from benchmark.utils.errors import UserError

ACROSS = 4  # panels in a line, at most
VISIBLE = 1 / 255  # the smallest change of a pixel that an image file can hold
CAPTION = (
    "Poisoning: a training image, the trigger, the stamped image, and density maps of the c true "
    "heads and of the false heads of each target (τ: the count that the attacker wants). The "
    "trigger is drawn as its change of a grey image, or of this image if grey does not change, "
    "times the factor in the title.")


def draw_poisoning(graph: StageGraph, cells: Sequence[Cell], image: str | None,
                   command: str) -> Picture:
    """A group for each trigger: the clean image, the trigger, the stamped image, and density maps.

    The maps are of the true heads, and of the false heads of each target.
    image: the id of a training image, which the grid need not poison; None is the image with the
    median count.
    command: the command that makes a missing pattern of a trigger.

    Raises:
        UserError: an audit, no attack, no training image of this id, or a pattern that is not in
            the store.
    """
    groups: dict[tuple[str, str], dict[str, Cell]] = {}
    for attacked_cell in attacked(cells):
        for cell in attacked_cell.attacks:
            if cell.settings.audit:
                raise UserError("figure poisoning: an audit poisons no images; expected a grid "
                                "without audit")
            targets = groups.setdefault((cell.data.title, cell.trigger.title), {})
            targets.setdefault(cell.target.title, cell)
    for targets in groups.values():
        require(graph, [graph.pattern(cell) for cell in targets.values()], command)
    drawn = [_group(graph, list(targets.values()), image) for targets in groups.values()]
    figure = draw_groups(drawn, "people per block", ACROSS)
    shown = listed(sorted({group.panels[0].title for group in drawn}))
    return Picture(figure, f"{CAPTION} One image of each dataset ({shown}); seed "
                           f"{cells[0].settings.seed}.")


def _group(graph: StageGraph, cells: Sequence[Cell], image: str | None) -> Group:
    """The panels of one trigger. cells: one for each target."""
    first = cells[0]
    scenes, _ = graph.data.train(first.data.build(), first.settings.scale, first.settings.hold_out)
    index = index_of(scenes, image, "training")
    scene = scenes[index]
    stride = find("model", first.model.name).stride
    maps = [Panel(f"true density\nc = {scene.count}", heat=true_density(scene, stride),
                  block=stride)]
    for cell in cells:
        attack = with_pattern(graph.store, cell.attack, graph.pattern(cell))
        [copy] = attack.copies(scenes, [index], cell.settings.seed)
        target = attack.fitted(scenes, cell.settings.seed).target
        tau = target.tau_of(scene.points, scene.size)
        heads = "" if copy.count == tau else f", {copy.count} heads"  # a clean-label target
        maps.append(Panel(f"{cell.target.title}\nτ = {tau}{heads}",
                          heat=true_density(copy, stride), block=stride))
    batch = Batch.of([scene], torch.device("cpu"))
    clean = batch.images
    change, times = trigger_alone(attack.trigger, clean, batch.heads)
    return Group(first.trigger.title, scene.size, [
        Panel(scene.id, as_picture(clean)), Panel(f"trigger, ×{times:.3g}", as_picture(change)),
        Panel("stamped", copy.image / 255), *maps])


def trigger_alone(trigger: Trigger, images: Tensor,
                  heads: Heads | None = None) -> tuple[Tensor, float]:
    """A trigger's change of a grey image, scaled to the full range around grey, and the factor.

    A trigger that hardly changes grey, such as one that moves pixels, is shown by its change of the
    images themselves.
    images: [B, 3, H, W] in 0..1. heads: those of each image, for a trigger that sees them.
    """
    for canvas in (torch.full_like(images, 0.5), images):
        change = call_with_heads(trigger.stamp, canvas, heads=heads) - canvas
        largest = float(change.abs().max())
        if largest > VISIBLE:
            break
    times = 0.5 / max(largest, VISIBLE)
    return 0.5 + times * change, times
