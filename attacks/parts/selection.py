"""Selection: choose the training images that the attacker poisons."""

import codecs
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from benchmark.utils.errors import UserError, cut, quoted, shown
from benchmark.utils.regular_files import check_regular

if TYPE_CHECKING:  # settings are checked without torch, which the scenes import
    from benchmark.data.scene import Scene

Choose = Literal["random", "fewest", "most"] | Path
MOST_BYTES = 2**24  # in a file of ids


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


def listed(path: Path, ids: Sequence[str]) -> list[int]:
    """Return the indices of the images whose ids a text file lists, in ascending order.

    ids: the ids of all images that are trained on.

    Raises:
        UserError: the file is not text, lists no id, or lists an id that is not among them.
    """
    where = f"attack.choose = {shown(path)}"
    indices = {id: index for index, id in enumerate(ids)}
    chosen = set()
    for number, line in enumerate(_lines(path, where), 1):
        id = line if line in indices else line.strip()
        if id in indices:
            chosen.add(indices[id])
        elif id:
            hint = _nearest(id, ids)
            raise UserError(f"{where}: line {number}: {quoted(id)} is not among the {len(ids)} "
                            f"training images, without those held out; {hint}expected one id on "
                            "each line")
    if not chosen:
        raise UserError(f"{where}: expected ids of training images, found none")
    return sorted(chosen)


def _lines(path: Path, where: str) -> list[str]:
    """The lines of a text file, in UTF-8 or, as its first bytes then say, in UTF-16."""
    check_regular(path, MOST_BYTES)
    content = path.read_bytes()
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeError:
        raise UserError(f"{where}: expected a text file of ids of images, in UTF-8") from None
    return re.split("\r\n|\r|\n", text)


def _nearest(id: str, ids: Sequence[str]) -> str:
    """A question that names the nearest of the ids, whose letter case may differ."""
    in_lower_case = {known.lower(): known for known in ids}
    near = difflib.get_close_matches(cut(id).lower(), in_lower_case, n=1, cutoff=0.5)
    return f"did you mean {in_lower_case[near[0]]!r}? " if near else ""
