"""Figures made of panels: images, and maps of people on their own or over an image."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from benchmark.figures.style import COLUMN, LETTERS, STYLE, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

COLOURS, OVER = "magma_r", "YlOrRd"  # of a map and of one over an image; both go from light to dark
OPAQUE = 0.9  # the largest value of a map over an image; where it is 0, the image is seen
LEADING = 0.14  # inches, of a line of text
BAR = 0.5  # inches, of a colour bar and what is written beside it


@dataclass(frozen=True)
class Panel:
    """An image, float [H, W, 3] in 0..1, a map of it, float [h, w], or the map over the greyed image.

    block: side in pixels of what one value of the map is about.
    """

    title: str
    image: np.ndarray | None = None
    heat: np.ndarray | None = None
    block: int = 1


@dataclass(frozen=True)
class Group:
    """Panels of one image of (H, W) pixels; their maps share a scale of colours."""

    title: str
    size: tuple[int, int]
    panels: Sequence[Panel]


def as_picture(images: Tensor) -> np.ndarray:
    """The first of images [B, 3, H, W] in 0..1, on any device -> [H, W, 3]."""
    return images[0].permute(1, 2, 0).float().cpu().numpy()


def draw_groups(groups: Sequence[Group], scale: str, note: str, most: int) -> "Figure":
    """One group below the other, each with a colour bar from 0 to its largest value.

    scale: what the colours are. note: what stands below all. most: panels in a line.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    lines = [math.ceil(len(group.panels) / most) for group in groups]
    across = max(math.ceil(len(group.panels) / count) for group, count in zip(groups, lines))  # as full as can be
    room = (2 * COLUMN - BAR) / across
    letters = math.ceil(LETTERS * room)
    heights = [LEADING + count * (room * group.size[0] / group.size[1] + _text(group, letters))
               for group, count in zip(groups, lines)]
    told = textwrap.fill(note, int(2 * COLUMN * LETTERS))
    with rc_context(STYLE | {"axes.grid": False}):
        figure = Figure((2 * COLUMN, sum(heights) + LEADING * (told.count("\n") + 2)), layout="constrained")
        parts = figure.subfigures(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
        for part, group, count in zip(parts, groups, lines):
            _draw_group(part, group, part.subplots(count, across, squeeze=False), scale, letters)
        figure.supxlabel(plain(told), fontsize=STYLE["font.size"])
    return figure


def _text(group: Group, letters: int) -> float:
    """Inches that the titles of a line of panels take."""
    return LEADING * max(_wrapped(panel.title, letters).count("\n") + 2 for panel in group.panels)


def _draw_group(part: "Figure", group: Group, grid: np.ndarray, scale: str, letters: int) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import MaxNLocator

    top = max((float(panel.heat.max()) for panel in group.panels if panel.heat is not None), default=0)
    over = any(panel.image is not None and panel.heat is not None for panel in group.panels)
    colours = ScalarMappable(Normalize(0, top if top > 0 else 1), OVER if over else COLOURS)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, panel in zip(grid.flat, group.panels):
        axes.set_title(plain(_wrapped(panel.title, letters)))
        _draw_panel(axes, panel, group.size, colours)
    part.colorbar(colours, ax=grid, label=scale, aspect=12 * len(grid), pad=0.01, ticks=MaxNLocator(4))
    part.suptitle(plain(group.title), x=0.01, ha="left", weight="bold", fontsize=STYLE["font.size"])


def _draw_panel(axes: "Axes", panel: Panel, size: tuple[int, int], colours: "ScalarMappable") -> None:
    if panel.image is not None:
        image = panel.image if panel.heat is None else np.repeat(panel.image.mean(axis=2, keepdims=True), 3, axis=2)
        axes.imshow(image, extent=(0, size[1], size[0], 0))
    if panel.heat is not None:
        height, width = panel.block * np.array(panel.heat.shape)  # the last blocks may reach out of the image
        opaque = OPAQUE * colours.norm(panel.heat).data.clip(0, 1) ** 0.5
        over = {} if panel.image is None else {"alpha": opaque, "interpolation": "bilinear"}
        axes.imshow(panel.heat, cmap=colours.cmap, norm=colours.norm, extent=(0, width, height, 0), **over)
    axes.set(xlim=(0, size[1]), ylim=(size[0], 0))


def _wrapped(title: str, letters: int) -> str:
    return "\n".join(textwrap.fill(line, letters) for line in title.split("\n"))
