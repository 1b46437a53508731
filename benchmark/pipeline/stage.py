"""A stage of the pipeline, and how much work it is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmark.utils.hashing import content_key

FORWARD = 1 / 3  # of a training step, which also goes backward, at about twice the cost


@dataclass(frozen=True)
class Work:
    """What a stage has to do.

    sort: (model, precision, what), stages of which take a time in proportion to their pixels: 'train', or a defense.
    trained, counted: pixels that go through a training step, and through a counter.
    """

    sort: tuple[str, str, str]
    trained: float
    counted: float

    @property
    def amount(self) -> float:
        """Pixels through a training step, or what costs as much."""
        return self.trained + FORWARD * self.counted


@dataclass(frozen=True, eq=False)
class Stage:
    """One step towards records.

    kind: its folder in the store. role: what it is to a cell. title: for people.
    key_parts: all that determines its result; stages with equal parts are one.
    make: fills the folder that it is handed; it finds there what an earlier, killed attempt left.
    needs: the stages that must be there first. work: what it has to do, asked for only where times are estimated.
    """

    kind: str
    role: str
    title: str
    key_parts: Any
    make: Callable[[Path], None]
    needs: tuple["Stage", ...] = ()
    work: Callable[[], Work] | None = None

    @cached_property
    def key(self) -> str:
        return content_key(self.key_parts)

    @cached_property
    def level(self) -> int:
        """How many stages come one after the other before it."""
        return max((need.level + 1 for need in self.needs), default=0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stage) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def in_order(self) -> Iterator["Stage"]:
        """All that it needs, each after what that needs itself, and then it; a stage may come twice."""
        for need in self.needs:
            yield from need.in_order()
        yield self
