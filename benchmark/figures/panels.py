"""Panels of figures: images, and maps of people alone or over an image."""

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

COLOURS, OVERLAY = "magma_r", "YlOrRd"  # of a map alone and over an image; both from light to dark
OPAQUE = 0.9  # opacity of the largest value of a map over an image; a value of 0 shows the image
LINE = 0.14  # inches: the height of a line of text
BAR = 0.5  # inches: the width of a colour bar and its labels


@dataclass(frozen=True)
class Panel:
    """An image, a map, or the map over the greyed image.

    image: float [H, W, 3] in 0..1. heat: float [h, w]. block: side in pixels of the square that one
    value of the map describes.
    """

    title: str
    image: np.ndarray | None = None
    heat: np.ndarray | None = None
    block: int = 1


@dataclass(frozen=True)
class Group:
    """Panels of one image of (H, W) pixels, whose maps share a colour scale."""

    title: str
    size: tuple[int, int]
    panels: Sequence[Panel]


def as_picture(images: Tensor) -> np.ndarray:
    """The first of images [B, 3, H, W] in 0..1, on any device, as an array [H, W, 3]."""
    return images[0].permute(1, 2, 0).float().cpu().numpy()


def draw_groups(groups: Sequence[Group], scale: str, most: int) -> "Figure":
    """A figure of groups, one below the other, each with a colour bar from 0 to its largest value.

    scale: the label of the colour bars. most: the largest number of panels in a line.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    lines = [math.ceil(len(group.panels) / most) for group in groups]
    across = max(math.ceil(len(group.panels) / count) for group, count in zip(groups, lines))
    width = (2 * COLUMN - BAR) / across  # inches of a panel
    letters = math.ceil(LETTERS * width)
    heights = []
    for group, count in zip(groups, lines):
        panel = width * group.size[0] / group.size[1]
        heights.append(LINE + count * (panel + _title_height(group, letters)))
    with rc_context(STYLE | {"axes.grid": False}):
        figure = Figure((2 * COLUMN, sum(heights) + LINE), layout="constrained")
        parts = figure.subfigures(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
        for part, group, count in zip(parts, groups, lines):
            grid = part.subplots(count, across, squeeze=False)
            _draw_group(part, group, grid, scale, letters)
    return figure


def _title_height(group: Group, letters: int) -> float:
    """Inches that the titles of a line of panels take."""
    return LINE * max(_wrapped(panel.title, letters).count("\n") + 2 for panel in group.panels)


def _draw_group(part: "Figure", group: Group, grid: np.ndarray, scale: str, letters: int) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import MaxNLocator

    maps = [panel for panel in group.panels if panel.heat is not None]
    top = max((float(panel.heat.max()) for panel in maps), default=0)
    overlay = any(panel.image is not None for panel in maps)
    colours = ScalarMappable(Normalize(0, top if top > 0 else 1), OVERLAY if overlay else COLOURS)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, panel in zip(grid.flat, group.panels):
        axes.set_title(plain(_wrapped(panel.title, letters)))
        _draw_panel(axes, panel, group.size, colours)
    part.colorbar(colours, ax=grid, label=scale, aspect=12 * len(grid), pad=0.01,
                  ticks=MaxNLocator(4))
    part.suptitle(plain(group.title), x=0.01, ha="left", weight="bold", fontsize=STYLE["font.size"])


def _draw_panel(axes: "Axes", panel: Panel, size: tuple[int, int],
                colours: "ScalarMappable") -> None:
    if panel.image is not None:
        image = panel.image
        if panel.heat is not None:
            image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
        axes.imshow(image, extent=(0, size[1], size[0], 0))
    if panel.heat is not None:
        height, width = panel.block * np.array(panel.heat.shape)  # blocks may exceed the image
        overlay = {}
        if panel.image is not None:
            opacity = OPAQUE * colours.norm(panel.heat).data.clip(0, 1) ** 0.5
            overlay = {"alpha": opacity, "interpolation": "bilinear"}
        axes.imshow(panel.heat, cmap=colours.cmap, norm=colours.norm,
                    extent=(0, width, height, 0), **overlay)
    axes.set(xlim=(0, size[1]), ylim=(size[0], 0))


def _wrapped(title: str, letters: int) -> str:
    return "\n".join(textwrap.fill(line, letters) for line in title.split("\n"))
