"""Looking inside counters: a victim, its repair and the clean counter, and images to run them on.

The clean counter is the control: what the same trigger does to a counter without a backdoor is the
work of the picture that is stamped, not of the backdoor. All images are validation images, because
the test split is read by evaluation alone.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from benchmark.config.cell import Cell
from benchmark.data.scene import Scene
from benchmark.figures.before_after import (by_title, clean_and_triggered, require,
                                            require_repairs, tested_attack,
                                            training_and_validation, with_defense)
from benchmark.figures.captions import listed
from benchmark.figures.panels import LINE
from benchmark.figures.style import CONTROL, DEFENDED, STYLE, UNDEFENDED, plain
from benchmark.pipeline.counter_files import load_counter
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.stage import Stage
from benchmark.utils.device import state
from benchmark.utils.errors import UserError
from models.base import Counter

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

BOLD_LETTERS = 16  # per inch
LEGEND = 0.2  # inches: the height of the legend above all parts
NO_DEFENSE = "none"
VICTIM, CLEAN = "victim", "clean counter"


@dataclass(frozen=True)
class Subject:
    """The counters of one attack, and the images that show what its trigger does inside of them.

    title: names the model and the attack.
    scenes: the validation images that carry the trigger when they are stamped.
    """

    title: str
    graph: StageGraph
    cell: Cell
    scenes: list[Scene]

    def stages(self) -> dict[str, Stage]:
        """The stages of the victim, of its repair (named as the defense) and of the control.

        There is no repair for the defense 'none', and no clean counter for an audit.
        """
        stages = {VICTIM: self.graph.victim(self.cell)}
        if self.cell.defense.name != NO_DEFENSE:
            stages[self.cell.defense.name] = self.graph.repaired(self.cell)
        if not self.cell.settings.audit:
            stages[CLEAN] = self.graph.clean(self.cell)
        return stages

    def counters(self) -> Iterator[tuple[str, Counter]]:
        """Each counter with its name, in the order of `stages`, on the device."""
        for name, stage in self.stages().items():
            yield name, load_counter(self.graph.store, self.cell, stage).to(state().device)

    def images(self) -> Iterator[dict[str, Tensor]]:
        """Each image, 'clean' and 'triggered' as test images are: [1, 3, H, W] in 0..1 each."""
        attack = tested_attack(self.graph, self.cell)
        for scene in self.scenes:
            yield clean_and_triggered(attack, scene)


def subjects(graph: StageGraph, cells: Sequence[Cell], defense: str, command: str,
             least: int) -> list[Subject]:
    """A subject for each attack of a grid and its first seed.

    defense: the name of a defense of the grid; 'none' shows no repaired counter.
    command: the command that makes missing counters.
    least: the number of images that the figure needs.

    Raises:
        UserError: no attack, a defense that repairs nothing, too many victims for a page or victims
            with the same name, a counter that is not in the store, or too few validation images
            that carry the trigger.
    """
    chosen = with_defense(cells, defense)
    if defense != NO_DEFENSE:
        require_repairs(chosen)
    found = []
    for title, cell in by_title(chosen).items():
        subject = Subject(title, graph, cell, [])
        require(graph, [*subject.stages().values(), graph.pattern(cell)], command)
        found.append(_with_scenes(subject, least))
    return found


def _with_scenes(subject: Subject, least: int) -> Subject:
    attack = tested_attack(subject.graph, subject.cell)
    _, validation = training_and_validation(subject.graph, subject.cell)
    scenes = [scene for scene in validation if attack.is_carried_by(scene)]
    if len(scenes) < least:
        raise UserError(f"figure: {len(scenes)} of the {len(validation)} validation images carry "
                        f"the trigger {attack.trigger.name}; expected at least {least}: choose a "
                        "larger hold_out")
    return Subject(subject.title, subject.graph, subject.cell, scenes)


def titled_parts(shown: Sequence[Subject], heights: Sequence[float], width: float,
                 entries: Sequence["Line2D"]) -> tuple["Figure", list["SubFigure"]]:
    """A figure with a legend at its top, and the part of each subject, with its title, below it.

    heights, width: of the parts, in inches; a title of several lines makes its part higher.
    entries: of the legend. It has a line of its own, as a title may take the figure's whole width.
    """
    from matplotlib.figure import Figure

    titles = [textwrap.fill(subject.title, int(BOLD_LETTERS * width)) for subject in shown]
    heights = [height + LINE * title.count("\n") for height, title in zip(heights, titles)]
    figure = Figure((width, LEGEND + sum(heights)), layout="constrained")
    top, *parts = figure.subfigures(1 + len(shown), 1, height_ratios=[LEGEND, *heights])
    top.legend(handles=entries, loc="center", ncols=len(entries), borderpad=0)
    for part, title in zip(parts, titles):
        part.suptitle(plain(title), x=0.01, ha="left", weight="bold", fontsize=STYLE["font.size"])
    return figure, parts


def look(name: str) -> tuple[str, str]:
    """The colour and the marker of a counter, by its name."""
    return {VICTIM: (UNDEFENDED, "^"), CLEAN: (CONTROL, "s")}.get(name, (DEFENDED, "o"))


def by_name(names: Iterable[str], values: Iterable[str]) -> str:
    """Values of counters in a sentence: '0.94 (victim), 0.67 (clean counter)'."""
    return ", ".join(f"{value} ({name})" for name, value in zip(names, values))


def what_is_shown(shown: Sequence[Subject]) -> str:
    """The sentence of a caption about the counters. shown: at least one, of one defense."""
    names = list(shown[0].stages())
    repaired = [f" and the counter after {name}" for name in names if name not in (VICTIM, CLEAN)]
    counters = "".join(["The victim", *repaired])
    if CLEAN not in names:
        return f"{counters}; an audit has no clean counter as a control."
    return (f"{counters}; the clean counter of the same seed, on the same images with the same "
            "trigger, is the control.")


def images_used(shown: Sequence[Subject]) -> str:
    """The sentence of a caption about the images and the seed. shown: at least one."""
    numbers = listed(sorted({len(subject.scenes) for subject in shown}), "or")
    cell = shown[0].cell
    return (f"{numbers} validation images of {cell.data.name} that carry the trigger, seed "
            f"{cell.settings.seed}; one seed says nothing about other trainings.")
