"""Channels that carry a backdoor: how far a trigger moves each of them, over its Lipschitz bound.

Zheng, Tang, Li, Liu, "Data-free backdoor removal based on channel Lipschitzness", ECCV 2022, prune
channels with a large bound, because in their classifiers these are the channels that the trigger
moves. The figure shows whether this holds for a counter.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from benchmark.figures.captions import listed
from benchmark.figures.inside import (Subject, by_name, images_used, look, titled_parts,
                                      what_is_shown)
from benchmark.figures.style import COLUMN, STYLE, Picture, mark, plain
from benchmark.utils.errors import UserError
from benchmark.utils.torch_modules import watched
from defenses.parts.depth import levels
from defenses.parts.lipschitz import bounds
from defenses.parts.pruning import Layer, layers_of, outliers
from models.base import Counter

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

U = 3.0  # the strength of CLP that the paper takes for CIFAR-10, in standard deviations
ROW, HEADING = 1.35, 0.5  # inches: the height of a row of panels, and of a title and an axis label
CAPTION = (
    "Each point is a channel of a convolution: how far the trigger moves it (TAC) over the bound "
    "of its Lipschitz constant, by which CLP prunes. TAC is the root mean square, over the places "
    "of its map, of the change of its output before the activation function, as a mean over images "
    "(Zheng et al., ECCV 2022). Columns: an early, a middle and a late level, which is a depth of "
    "convolutions; those that read the image itself are left out. ρ is Spearman's rank correlation "
    "over the channels of a convolution that are not pruned yet, as a mean over the convolutions "
    "of the level. Filled points: CLP would prune them at u = 3. Near ρ = 1 the bound, which needs "
    "no image, finds the channels that the trigger moves; near 0 it tells nothing about them. What "
    "the clean counter shows as well is the work of the stamped picture, not of the backdoor.")


@dataclass(frozen=True)
class Level:
    """The channels of all convolutions of one depth, N in all.

    number, last: its place among the levels, counted from 1 at the image, and that of the last.
    convolutions, channels: the module's name, and the index within it, of each channel.
    bounds: the bound of each Lipschitz constant, float [N].
    changes: the TAC of each, float [N].
    pruned: whether CLP would prune it at u = U, bool [N].
    """

    number: int
    last: int
    convolutions: list[str]
    channels: list[int]
    bounds: np.ndarray
    changes: np.ndarray
    pruned: np.ndarray

    @property
    def correlation(self) -> float:
        """Spearman's rank correlation of bounds and changes, as a mean over the convolutions.

        Channels of one convolution alone are ranked together, as CLP compares them: bounds of
        branches with kernels of other sizes say little about each other. Pruned channels, whose
        bound is 0, are left out, because they would agree by themselves. It is nan if no
        convolution has two channels with different bounds and different changes.
        """
        from scipy.stats import spearmanr  # takes a quarter of a second to import

        found = []
        for name in dict.fromkeys(self.convolutions):
            own = (np.array(self.convolutions) == name) & (self.bounds > 0)
            if own.any() and np.ptp(self.bounds[own]) > 0 and np.ptp(self.changes[own]) > 0:
                found.append(spearmanr(self.bounds[own], self.changes[own]).statistic)
        return float(np.mean(found)) if found else math.nan

    @property
    def concentration(self) -> float:
        """The share of all change that the tenth of the channels with the largest TAC holds.

        It is about 0.1 if the trigger moves all channels alike, and nan if it moves none.
        """
        largest = np.sort(self.changes)[::-1][: math.ceil(len(self.changes) / 10)]
        total = self.changes.sum()
        return float(largest.sum() / total) if total > 0 else math.nan


def channel_levels(counter: Counter, images: Iterable[dict[str, Tensor]]) -> list[Level]:
    """The channels of each level that has several, beginning with the level nearest to the image.

    images: 'clean' and 'triggered', [1, 3, H, W] in 0..1 each.

    Raises:
        UserError: no convolution behind the first one has several channels.
    """
    layers = {layer.convolution: layer for layer in layers_of(counter)}
    found = [[layers[name] for name in names if name in layers] for names in levels(counter)]
    found = [level for level in found if level]
    if not found:
        raise UserError(f"figure channels: model {counter.name}: expected a convolution with "
                        "several channels behind the first one, found none")
    changes = trigger_activated_changes(counter, [layer for level in found for layer in level],
                                        images)
    bound = bounds(counter)
    pruned = outliers(bound, U)
    return [Level(number, len(found),
                  [layer.convolution for layer in level for _ in changes[layer]],
                  [channel for layer in level for channel in range(len(changes[layer]))],
                  np.concatenate([bound[layer].cpu().numpy() for layer in level]),
                  np.concatenate([changes[layer] for layer in level]),
                  np.concatenate([pruned[layer].cpu().numpy() for layer in level]))
            for number, level in enumerate(found, start=1)]


def trigger_activated_changes(counter: Counter, layers: Sequence[Layer],
                              images: Iterable[dict[str, Tensor]]) -> dict[Layer, np.ndarray]:
    """The trigger-activated change of each channel of some layers, float64 [C] each.

        TAC_k = mean over images x of  |F_k(x with trigger) - F_k(x)|_2 / sqrt(h w)

    F_k [h, w] is the output of channel k of a convolution and its BatchNorm, whose bound is drawn
    beside it, before the activation function. Zheng et al., ECCV 2022, have no division by the root
    of the number of places; with it images of different sizes count alike. The counter runs on
    whole images and at full precision, since rounding would blur small changes.

    images: at least one pair, 'clean' and 'triggered', [1, 3, H, W] in 0..1 each.
    """
    changes: dict[Layer, list[np.ndarray]] = {layer: [] for layer in layers}
    with torch.inference_mode(), _outputs(counter, layers) as latest:
        for pair in images:
            counter.features(pair["clean"])
            clean = dict(latest)
            counter.features(pair["triggered"])
            for layer, before in clean.items():
                change = (latest[layer] - before)[0].square().mean(dim=(1, 2)).sqrt()
                changes[layer].append(change.cpu().numpy().astype(float))
    return {layer: np.mean(seen, axis=0) for layer, seen in changes.items()}


@contextmanager
def _outputs(counter: Counter, layers: Sequence[Layer]) -> Iterator[dict[Layer, Tensor]]:
    """The outputs of layers, [B, C, h, w], renewed at each forward pass within the context.

    They are copies, because an activation function may overwrite its input.
    """
    latest: dict[Layer, Tensor] = {}
    by_module = {layer.last: layer for layer in layers}

    def keep(name: str, arguments: tuple[Any, ...], output: Tensor) -> None:
        latest[by_module[name]] = output.float().clone()

    with watched({name: counter.get_submodule(name) for name in by_module}, keep):
        yield latest


def draw_channels(shown: Sequence[Subject]) -> Picture:
    """A group of panels for each attack: a row for each counter, a column for each of three levels.

    The numbers hold all levels. shown: at least one.

    Raises:
        UserError: a counter without a convolution that reads feature maps and has several channels.
    """
    from matplotlib import rc_context

    measured = [{name: channel_levels(counter, subject.images())
                 for name, counter in subject.counters()} for subject in shown]
    heights = [HEADING + ROW * len(counters) for counters in measured]
    with rc_context(STYLE):
        entries = [mark("kept by CLP", "o", "0.3", "none"),
                   mark(f"pruned by CLP at u = {U:g}", "o", "0.3", "0.3")]
        figure, parts = titled_parts(shown, heights, 2 * COLUMN, entries)
        for part, counters in zip(parts, measured):
            _draw_group(part, counters)
    told = [_told(subject.title, counters) for subject, counters in zip(shown, measured)]
    caption = " ".join([CAPTION, what_is_shown(shown), *told, images_used(shown)])
    return Picture(figure, caption, _numbers(shown, measured))


def _draw_group(part: "SubFigure", counters: dict[str, list[Level]]) -> None:
    """The panels of one attack. A column's panels share their axes."""
    from matplotlib.ticker import MaxNLocator

    columns = max(len(early_to_late(found)) for found in counters.values())
    grid = part.subplots(len(counters), columns, sharex="col", sharey="col", squeeze=False)
    for row, (name, found) in zip(grid, counters.items()):
        colour, marker = look(name)
        for axes, level in zip(row, early_to_late(found)):
            _draw_level(axes, level, colour, marker)
        row[0].set_ylabel(plain(f"{name}\nTAC"))
    for axes in grid[0]:  # after all points, because limits that are set no longer follow them
        axes.set_ylim(bottom=-0.05 * axes.get_ylim()[1])  # no point at 0 is cut off
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 2.5, 5, 10)))
    part.supxlabel("bound of the channel's Lipschitz constant", fontsize=STYLE["font.size"])


def _draw_level(axes: "Axes", level: Level, colour: str, marker: str) -> None:
    for kind, fill in ((~level.pruned, "none"), (level.pruned, colour)):
        axes.plot(level.bounds[kind], level.changes[kind], marker, color=colour, markersize=2.8,
                  markerfacecolor=fill, markeredgewidth=0.5)
    axes.set_title(f"level {level.number} of {level.last}, ρ = {level.correlation:.2f}")


def early_to_late(found: Sequence[Level]) -> list[Level]:
    """The first, the middle and the last of some levels, each once."""
    return [found[index] for index in sorted({0, (len(found) - 1) // 2, len(found) - 1})]


def _told(title: str, counters: dict[str, list[Level]]) -> str:
    """A sentence that summarises the panels of one attack."""
    correlations = [listed([f"{level.correlation:.2f}" for level in early_to_late(found)])
                    for found in counters.values()]
    means = [f"{found[-1].changes.mean():.3g}" for found in counters.values()]
    shares = [f"{found[-1].concentration:.0%}" for found in counters.values()]
    return (f"{title}: ρ is {by_name(counters, correlations)}. At the last level the mean TAC is "
            f"{by_name(counters, means)}, and the tenth of the channels that move most has this "
            f"share of it: {by_name(counters, shares)}.")


def _numbers(shown: Sequence[Subject],
             measured: Sequence[dict[str, list[Level]]]) -> "pd.DataFrame":
    """A row for each channel of all levels."""
    import pandas as pd

    return pd.concat([pd.DataFrame({
        "attack": subject.title, "counter": name, "level": level.number, "levels": level.last,
        "convolution": level.convolutions, "channel": level.channels, "bound": level.bounds,
        "TAC": level.changes, f"pruned at u = {U:g}": level.pruned, "rho": level.correlation})
        for subject, counters in zip(shown, measured) for name, found in counters.items()
        for level in found], ignore_index=True)
