"""Axes: any list in a request is an axis of the grid, and `expand` gives its choices one by one.

What a request stands for is measured before it is expanded: a short file can ask for more cells
than could ever be run, by long lists or by YAML aliases of aliases.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmark.config.strict_yaml import DEEPEST
from benchmark.utils.errors import UserError, shown

MOST_CELLS = 10_000
MOST_VALUES = 1_000_000  # in all choices together
LARGE = 10**15  # from here on, a number is shown as a power of ten
NAMED_AXES = 3
UNCOUNTED = 10**99  # from here on, choices are not counted exactly


def expand(node: Any) -> Iterator[Any]:
    """Every choice of one value from each list in a tree of settings."""
    if isinstance(node, list):
        for choice in node:
            yield from expand(choice)
    elif isinstance(node, dict):
        for values in itertools.product(*(list(expand(value)) for value in node.values())):
            yield dict(zip(node, values))
    else:
        yield node


@dataclass(frozen=True)
class Extent:
    """The extent of a tree of settings, as if all its aliases were written out.

    choices: how many choices `expand` gives; an empty list counts as one.
    values: how many values one of these choices has at most.
    levels: how deep it is nested.
    """

    choices: int = 1
    values: int = 1
    levels: int = 0


def check_extent(request: dict[str, Any]) -> None:
    """Check that a request can be expanded, in a time that does not depend on its number of cells.

    Raises:
        UserError: it has too many cells or values, or a list in it holds itself.
    """
    whole = extent(request)
    if whole.choices > MOST_CELLS:
        raise UserError(f"settings: {_number(whole.choices)} cells ({_lengths(request)}); "
                        f"expected at most {_number(MOST_CELLS)} in one grid")
    if (values := whole.choices * whole.values) > MOST_VALUES:
        raise UserError(f"settings: {_number(values)} values in all cells together; "
                        f"expected at most {_number(MOST_VALUES)}")


def _lengths(request: dict[str, Any]) -> str:
    """The lengths of the longest axes: 'seed 10,000 x scale 10,000'."""
    lengths = [(extent(value).choices, key) for key, value in request.items()]
    axes = sorted((axis for axis in lengths if axis[0] > 1), key=lambda axis: -axis[0])
    parts = [f"{shown(key)} {_number(length)}" for length, key in axes[:NAMED_AXES]]
    return " x ".join([*parts, "..."] if len(axes) > NAMED_AXES else parts)


def extent(node: Any) -> Extent:
    """The extent of a tree of settings. Each list and mapping is visited once.

    Raises:
        UserError: a list or a mapping holds itself, or the tree is nested too deep.
    """
    return _Visit().of(node, ())


class _Visit:
    """A visit of a tree, which remembers what it has measured; aliases lead there again."""

    def __init__(self) -> None:
        self.measured: dict[int, Extent] = {}

    def of(self, node: Any, above: tuple[int, ...]) -> Extent:
        """The extent of a node. above: the identities of the nodes that hold it."""
        if not isinstance(node, list | dict):
            return Extent()
        if id(node) in above:
            raise UserError("settings: a list or mapping that holds itself (by a YAML alias); "
                            "expected one that ends")
        if id(node) not in self.measured:
            _check_depth(len(above) + 1)
            self.measured[id(node)] = self._measure(node, (*above, id(node)))
        _check_depth(len(above) + self.measured[id(node)].levels)
        return self.measured[id(node)]

    def _measure(self, node: list[Any] | dict[Any, Any], above: tuple[int, ...]) -> Extent:
        is_list = isinstance(node, list)
        parts = [self.of(part, above) for part in (node if is_list else node.values())]
        levels = 1 + max((part.levels for part in parts), default=0)
        if is_list:
            return Extent(max(1, sum(part.choices for part in parts)),
                          max((part.values for part in parts), default=1), levels)
        choices = 1
        for part in parts:
            choices = min(choices * part.choices, UNCOUNTED)
        return Extent(choices, 1 + sum(part.values for part in parts), levels)


def _check_depth(levels: int) -> None:
    if levels > DEEPEST:
        raise UserError(f"settings: nested too deep; expected at most {DEEPEST} levels")


def _number(number: int) -> str:
    """A number for people; only the size of a very large one.

    >>> _number(10_000), _number(9**54)
    ('10,000', 'about 10^51')
    """
    if number < LARGE:
        return f"{number:,}"
    return f"{'about' if number < UNCOUNTED else 'more than'} 10^{math.floor(math.log10(number))}"
