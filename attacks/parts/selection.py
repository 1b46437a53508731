"""Selection: which training images an attacker poisons."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from benchmark.data.scene import Scene
from benchmark.utils.errors import UserError

Choose = Literal["random", "fewest", "most"] | Path


def select(scenes: Sequence[Scene], choose: Literal["random", "fewest", "most"], number: int, seed: int) -> list[int]:
    """The indices of `number` scenes, ascending: random ones, or those with the fewest or the most people.

    Scenes with equal counts are in random order.
    """
    order = np.random.default_rng([seed, 0]).permutation(len(scenes))
    if choose != "random":
        counts = np.array([scenes[index].count for index in order])
        order = order[np.argsort(counts if choose == "fewest" else -counts, kind="stable")]
    return sorted(int(index) for index in order[:number])


def listed(path: Path, scenes: Sequence[Scene]) -> list[int]:
    """The indices of the scenes whose ids a text file lists, ascending.

    Raises:
        UserError: the file is not text, lists no id, or lists one that no scene has.
    """
    indices = {scene.id: index for index, scene in enumerate(scenes)}
    try:
        ids = path.read_text().split()
    except ValueError:
        raise UserError(f"attack.choose = {path}: expected a text file of ids of training images") from None
    for name in ids:
        if name not in indices:
            raise UserError(f"attack.choose = {path}: {name!r} is not among the {len(scenes)} training images")
    if not ids:
        raise UserError(f"attack.choose = {path}: expected ids of training images, found none")
    return sorted({indices[name] for name in ids})
