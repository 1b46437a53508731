"""Stages of the pipeline: what makes each one, which others it needs, and how much work it is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmark.utils.hashing import content_key

# Part of the cost of a training step, whose backward pass costs about twice the forward pass.
FORWARD = 1 / 3


@dataclass(frozen=True)
class Work:
    """The amount of work of a stage.

    sort: (model, precision, kind of work). Stages of one sort take a time in proportion
        to their pixels.
    trained, counted: the number of pixels that pass through training steps, and through a counter.
    """

    sort: tuple[str, str, str]
    trained: float
    counted: float

    @property
    def amount(self) -> float:
        """The number of pixels through training steps that would cost as much."""
        return self.trained + FORWARD * self.counted


@dataclass(frozen=True, eq=False)
class Stage:
    """One step on the way to records.

    kind: its folder in the store. role: its part in a cell. title: a name for people.
    key_parts: all that determines its result; stages with equal parts are one stage.
    make: fills the folder that it is given, in which it may find the checkpoint of an
        earlier, killed attempt.
    needs: the stages that must be made first.
    work: computes the amount of work; called only where times are estimated.
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
        """The hash of the key parts, which names the stage in the store."""
        return content_key(self.key_parts)

    @cached_property
    def level(self) -> int:
        """The number of stages that must be made one after the other before this one."""
        return max((need.level + 1 for need in self.needs), default=0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stage) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def in_order(self) -> Iterator["Stage"]:
        """The stages that it needs, directly or not, each after its own needs, and then itself.

        Some come twice.
        """
        for need in self.needs:
            yield from need.in_order()
        yield self
