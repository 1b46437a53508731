"""No defense: the attacked counter as it is, the first control in every table."""

from typing import ClassVar

from benchmark.registry import register
from defenses.base import Defense, Knowledge
from models.base import Counter


@register
class NoDefense(Defense):
    """The victim is left unchanged. It has no settings."""

    repairs: ClassVar[bool] = False

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        return victim
