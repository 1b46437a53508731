"""Controls of a defense: what a run adds to its cells so that the defense can be judged.

A repair must beat retraining from scratch on as many clean images as it was given, for as many
steps as the victim's training and the repair had together. Otherwise the images or the steps alone
may explain what it achieves.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

from benchmark.config.cell import Cell, Component
from benchmark.config.grid import cells, defenses_of
from benchmark.data.splits import training_number
from benchmark.results.controls import SHARED
from benchmark.results.labels import CONTROL
from benchmark.utils.errors import UserError
from benchmark.utils.hashing import content_key


def with_controls(request: dict[str, Any], grid: dict[str, Any]) -> dict[str, Any]:
    """The request with `none`, and with a `retrain` that is given as much as each of its defenses.

    A `retrain` of the grid itself is taken where it is given as many images. So the control of an
    entry is the one that the grid's other entries have.

    grid: the request of the preset or the file, before flags changed it.

    Raises:
        UserError: it holds no defense that has controls, or `cells` or the dataset refuses it.
    """
    compared: dict[str, list[Cell]] = {}
    for cell in cells(request):
        if cell.defense.name not in SHARED:
            compared.setdefault(_key(cell.defense), []).append(cell)
    if not compared:
        raise UserError("--controls: expected a defense that is compared with them, for instance "
                        "--defense my_defense")
    of_grid = [defense for defense in defenses_of(grid) if defense.name == CONTROL]
    controls = [_control(cells_of_one, of_grid) for cells_of_one in compared.values()]
    defenses = {_key(defense): defense for defense in
                [Component("defense", "none", {}), *defenses_of(request), *controls]}
    return request | {"defense": [{"name": defense.name} | defense.given
                                  for defense in defenses.values()]}


def _key(defense: Component) -> str:
    """The same for two defenses with the same settings, however they are given."""
    return content_key(defense.cache_key)


def _control(cells_of_one: Sequence[Cell], of_grid: Sequence[Component]) -> Component:
    """The `retrain` for one defense. A defense without clean images is compared with all of them.

    cells_of_one: the cells of the defense. of_grid: each `retrain` of its grid.
    """
    knows = cells_of_one[0].defense.build().knows
    given: dict[str, Any] = {}
    if knows.clean:
        given = {"extra": knows.extra} | ({} if knows.clean == "all" else {"images": knows.clean})
    wanted = Component("defense", CONTROL, given).build().knows
    for control in of_grid:
        if control.build().knows == wanted:
            return control
    times = max(_times(cell, wanted.clean, wanted.extra) for cell in cells_of_one)
    return Component("defense", CONTROL, given | {"times": math.ceil(round(10 * times, 6)) / 10})


def _times(cell: Cell, clean: int | Literal["all"], extra: int) -> float:
    """The steps of the victim and of its repair, in epochs of the victim's recipe on these images.

    That is what the setting `times` of `retrain` means. A defense without a setting `epochs` is
    taken to train for as many epochs as the victim.

    clean, extra: the numbers of images that the repair and its control are given.
    """
    dataset = cell.data.build()
    images = training_number(dataset, cell.settings.hold_out)
    added = sum(attacked.settings.added for attacked in cell.attacks)
    companion = dataset.companion()
    others = min(extra, training_number(companion, 0)) if companion else 0
    given = others + (images if clean == "all" else min(clean, images))
    if not given:
        raise UserError(f"--controls: dataset {dataset.name} has no image left to retrain on; "
                        "expected at least one beside the validation images")
    epochs = getattr(cell.defense.build(), "epochs", None)
    repair = epochs / cell.recipe.epochs if isinstance(epochs, int | float) else 1
    return images * (1 + added) / given + repair
