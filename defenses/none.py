"""No defense: the attacked counter as it is. Every table's first control."""

from typing import ClassVar

from benchmark.registry import register
from defenses.base import Defense, Knowledge
from models.base import Counter


@register
class NoDefense(Defense):
    """The victim is left unchanged."""

    repairs: ClassVar[bool] = False

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        return victim
