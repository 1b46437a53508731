"""Figures: the curves of an ablation, what defenses leave of attacks, and a page with a picture of every trigger."""

import inspect
import math
import re
import sys
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from string import ascii_letters
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from benchmark import registry
from benchmark.data.drawing import draw_scene
from benchmark.errors import UserError
from benchmark.leaderboard.ablation import Ablation, Axis, Grid, as_number
from benchmark.leaderboard.cell import Cell
from benchmark.leaderboard.cells import Scenario, suffixes
from benchmark.leaderboard.control_table import CONTROLS
from benchmark.metrics import psnr, ssim
from benchmark.store import whole_file, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {"flip_rate": "flip rate\n(share of images)", "easr": "eASR\n(share above chance)",
          "rho_acc": "$\\rho_{\\mathrm{Acc}}$\n(share of images)"}
UNITS = {"poison_rate": "poison rate (added / original images)"}
COLUMN = 3.5  # inches, of a paper with two of them
LETTERS = 18  # in an inch
STYLE = {"font.size": 7, "axes.titlesize": 7, "axes.linewidth": 0.6, "axes.spines.top": False,
         "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "y", "grid.linewidth": 0.3,
         "lines.linewidth": 1.2, "lines.markersize": 3.5, "legend.frameon": False, "pdf.fonttype": 42}  # 42: as text
SCENE = (128, 192)  # pixels: three of them with all their colours are a small file, with noise too
TRIGGERS = """# Triggers

Every trigger at its defaults on one drawn scene: the clean image, the stamped one, and 4 times their difference, where
grey is no change. PSNR and SSIM are of this scene. Made by `crowdbench figure triggers`.
"""


def write_curves(found: Ablation, folder: Path) -> None:
    """Draw the figures of an ablation to folder/ablation-N.{png,pdf}, each file whole or not at all. Raises OSError."""
    from matplotlib import rc_context

    for name, grids in found.figures.items():
        with rc_context(STYLE):
            figure = draw_curves(found, grids)
        save(figure, folder / name)


def draw_curves(found: Ablation, grids: Sequence[Grid]) -> "Figure":
    """A column of panels per grid: flip rate, eASR and rho_Acc over the rows' setting.

    A line is a value of the columns' setting, its band the 95% interval over images and seeds; dashed is the clean
    counter. A cell that was not run is a gap.
    """
    from matplotlib.figure import Figure

    figure = Figure((COLUMN * max(1, len(grids) / 2), 4.5), layout="constrained")
    panels = figure.subplots(len(PANELS), len(grids), sharex=True, sharey="row", squeeze=False)
    for column, grid in zip(panels.T, grids):
        column[0].set_title(plain(grid.panel))
        for axes, key in zip(column, PANELS):
            _draw_panel(axes, found, grid, key)
    for row, label in zip(panels, PANELS.values()):
        row[0].set_ylabel(label)
        row[0].set_ylim(min(-0.02, *(axes.dataLim.y0 for axes in row)), 1.02)  # an eASR may be below 0
    figure.supxlabel(plain(UNITS.get(found.rows.key, found.rows.name)), fontsize=STYLE["font.size"])
    handles, labels = panels[-1, 0].get_legend_handles_labels()
    room = int(LETTERS * figure.get_figwidth()) // (6 + max(map(len, labels)))  # 6 for the line and the space after it
    figure.legend(handles, labels, loc="outside upper center", ncols=max(1, room))
    return figure


def _draw_panel(axes: "Axes", found: Ablation, grid: Grid, key: str) -> None:
    from matplotlib import colormaps

    x, references = _place_ticks(axes, found.rows), []
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(found.columns.values)))  # also told apart as greys
    for column, colour, marker in zip(found.columns.values, colours, cycle("os^Dv<>P")):
        cells = [grid.cells.get((row, column)) for row in found.rows.values]
        low, high = np.transpose([cell.interval(key) if cell else (math.nan, math.nan) for cell in cells])
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.vlines(x, low, high, color=colour, linewidth=0.5)  # a point without a neighbour has no band
        means = [cell.numbers if cell else {} for cell in cells]
        axes.plot(x, [mean.get(key, math.nan) for mean in means], color=colour, marker=marker, clip_on=False,
                  label=plain(f"{found.columns.name} {column}"))
        references.append([mean.get("reference_rho_acc", math.nan) for mean in means])
    if key == "rho_acc":
        _draw_references(axes, x, references, colours)


def _draw_references(axes: "Axes", x: list[float], means: list[list[float]], colours: np.ndarray) -> None:
    """The clean counter: one line, or one in each colour where it depends on the columns' setting too."""
    low, high = np.fmin.reduce(means), np.fmax.reduce(means)  # of those that are there
    same = np.array_equal(low, high, equal_nan=True)
    for mean, colour in [(low, "black")] if same else zip(means, colours):
        axes.plot(x, mean, "--", color=colour, marker="_")
    axes.lines[-1].set_label("clean counter")


def _place_ticks(axes: "Axes", axis: Axis) -> list[float]:
    """Where the values of a setting stand: by size, on a logarithmic scale from a factor of 10 on; text in order."""
    x = [as_number(value) for value in axis.values]
    if any(map(math.isnan, x)):
        x = [float(place) for place in range(len(x))]
    elif 0 < 10 * x[0] <= x[-1]:
        axes.set_xscale("log")
    axes.set_xticks(x, [plain(value) for value in axis.values])
    axes.set_xticks([], minor=True)
    return x


def write_defenses(scenarios: Sequence[Scenario], out: Path) -> None:
    """Draw what each defense leaves of each attack to out.png and out.pdf, each whole or not at all.

    Raises as `draw_defenses` does.
    """
    save(draw_defenses(scenarios), out)


def draw_defenses(scenarios: Sequence[Scenario]) -> "Figure":
    """A panel per attack: the flip rate over rho_Acc, a letter per defense; the lower right is what a repair should be.

    The bars are 95% intervals of the flip rate; grey is the undefended victim, blue a control.

    Raises:
        UserError: no victim among the records, or more defenses than letters.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    attacked = [scenario for scenario in scenarios if any("flip_rate" in cell.numbers for cell in scenario.cells)]
    if not attacked:
        raise UserError("figure defenses: no record of a victim; expected records with an attack")
    scenarios = sorted(attacked, key=lambda scenario: (scenario.model, scenario.attack))
    cells = [[cell for cell in scenario.cells if not cell.detects] for scenario in scenarios]
    names = sorted({_defense_name(cell) for group in cells for cell in group} - {"none"})
    letters = {"none": "0"} | dict(zip(names, ascii_letters))
    if len(names) > len(ascii_letters):
        raise UserError(f"figure defenses: {len(names)} defenses; expected at most {len(ascii_letters)} to a page")
    titles = suffixes([scenario.settings for scenario in scenarios], shown=("model", "trigger", "target"))
    with rc_context(STYLE):
        rows = math.ceil(len(scenarios) / 2)
        figure = Figure((2 * COLUMN, 0.6 + 2.2 * rows + 0.03 * len(names)), layout="constrained")
        panels = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).flat
        for scenario, group, told, axes in zip(scenarios, cells, titles, panels):
            axes.set_title(plain(f"{scenario.model} {scenario.attack}{told}"))
            for cell in group:
                _draw_defense(axes, cell, letters[_defense_name(cell)])
        for axes in panels:
            axes.set_axis_off()  # an odd one
        figure.axes[0].set_ylim(-0.02, 1.02)
        figure.supxlabel("$\\rho_{\\mathrm{Acc}}$ (share of clean images)", fontsize=STYLE["font.size"])
        figure.supylabel("flip rate (share of images)", fontsize=STYLE["font.size"])
        key = [figure.axes[0].plot([], [], " ")[0] for _ in letters]
        figure.legend(key, [plain(f"{letter}  {name}") for name, letter in letters.items()], ncols=4, fontsize=6,
                      loc="outside upper center", handlelength=0, handletextpad=0)
    return figure


def _draw_defense(axes: "Axes", cell: Cell, letter: str) -> None:
    low, high = cell.interval("flip_rate")
    x, y = cell.numbers["rho_acc"], cell.numbers["flip_rate"]
    colour = "0.5" if cell.defense == "none" else "tab:blue" if cell.defense in CONTROLS else "black"
    axes.vlines(x, low, high, color=colour, linewidth=0.3, alpha=0.5)
    axes.text(x, y, letter, color=colour, ha="center", va="center", weight="bold", clip_on=False)
    axes.plot(x, y, ",", color=colour)  # for the limits: text has none


def _defense_name(cell: Cell) -> str:
    """A defense and the settings that were given for it."""
    given = cell.records[0].defense.given
    return cell.defense + (f" ({', '.join(f'{key} {value}' for key, value in given.items())})" if given else "")


def save(figure: "Figure", out: Path) -> None:
    """Save a figure as out.png and out.pdf, the same bytes tomorrow."""
    from matplotlib import rc_context

    out.parent.mkdir(parents=True, exist_ok=True)
    for kind, metadata in (("png", None), ("pdf", {"CreationDate": None})):
        with rc_context(STYLE), whole_file(out.with_name(f"{out.name}.{kind}")) as temporary:
            figure.savefig(temporary, format=kind, dpi=300, metadata=metadata)


def plain(text: str) -> str:
    """Text that is drawn as it is: records hold what anybody may have written, and $ begins a formula."""
    return text.replace("$", r"\$")


def write_triggers(page: Path) -> None:
    """Write a Markdown page of all triggers at their defaults, and a picture of each to PAGE/NAME.png beside it.

    Raises:
        UserError: the page does not end in .md.
        OSError: a file cannot be written.
    """
    if page.suffix != ".md":
        raise UserError(f"figure triggers: --out {page}: expected a file that ends in .md")
    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    scene, _ = draw_scene(SCENE, 80, np.random.default_rng(229))
    parts = [TRIGGERS]
    for name in registry.names("trigger"):
        stamped = _stamped(name, scene)
        difference = (128 + 4 * (stamped.astype(int) - scene)).clip(0, 255).astype(np.uint8)
        gap = np.full((len(scene), 4, 3), 255, np.uint8)
        with whole_file(folder / f"{name}.png") as temporary:
            Image.fromarray(np.hstack([scene, gap, stamped, gap, difference])).save(temporary, "PNG", optimize=True)
        parts.append(_section(name, f"{folder.name}/{name}.png", psnr(scene, stamped), ssim(scene, stamped)))
    write_atomically(page, "\n".join(parts))


def _stamped(name: str, scene: np.ndarray) -> np.ndarray:
    """A scene, uint8 [H, W, 3], with a trigger at its defaults."""
    images = torch.from_numpy(scene).permute(2, 0, 1)[None] / 255
    stamped = registry.build("trigger", name, {}).stamp(images).clamp(0, 1)[0]
    return (stamped * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _section(name: str, picture: str, ratio: float, similarity: float) -> str:
    """What a trigger is by the first line of its file, how visible, its settings and its picture."""
    source = inspect.getdoc(sys.modules[registry.find("trigger", name).__module__]) or ""
    line = re.sub(r"([\\`*_<&[~$])", r"\\\1", source.partition("\n")[0])  # no formatting in an equation
    settings = [f"{key} {value}" for key, value in registry.resolve("trigger", name, {}).items() if value is not None]
    told = f"PSNR {ratio:.1f} dB, SSIM {similarity:.3f}. Settings: {', '.join(settings) or 'none'}."
    if registry.find("trigger", name).optimises:
        told += " An attack optimises the pattern first; here it is not."
    return f"## {name}\n\n{line}\n\n{told}\n\n![{name}: clean, stamped, difference]({picture})\n"
