"""Selection: choose the training images that the attacker poisons."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from benchmark.utils.errors import UserError

if TYPE_CHECKING:  # settings are checked without torch, which the scenes import
    from benchmark.data.scene import Scene

Choose = Literal["random", "fewest", "most"] | Path


def select(scenes: "Sequence[Scene]", choose: Literal["random", "fewest", "most"], number: int,
           seed: int) -> list[int]:
    """Return the indices of `number` scenes, in ascending order.

    choose: random scenes, or those with the fewest or the most people. Among scenes with equal
        counts the choice is random.
    """
    order = np.random.default_rng([seed, 0]).permutation(len(scenes))
    if choose != "random":
        counts = np.array([scenes[index].count for index in order])
        ranks = counts if choose == "fewest" else -counts
        order = order[np.argsort(ranks, kind="stable")]
    return sorted(int(index) for index in order[:number])


def listed(path: Path, scenes: "Sequence[Scene]") -> list[int]:
    """Return the indices of the scenes whose ids a text file lists, in ascending order.

    Raises:
        UserError: the file is not text, lists no id, or lists an id that no scene has.
    """
    indices = {scene.id: index for index, scene in enumerate(scenes)}
    try:
        ids = path.read_text().split()
    except ValueError:
        raise UserError(f"attack.choose = {path}: expected a text file of ids of images") from None
    for name in ids:
        if name not in indices:
            raise UserError(f"attack.choose = {path}: {name!r} is not among the {len(scenes)} "
                            "training images; expected their ids")
    if not ids:
        raise UserError(f"attack.choose = {path}: expected ids of training images, found none")
    return sorted({indices[name] for name in ids})
