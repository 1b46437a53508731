"""No defense: the attacked counter as it is. Every table's first control."""

from benchmark.registry import register
from defenses.base import Defense, Knowledge
from models.base import Counter


@register
class NoDefense(Defense):
    """Leaves the victim as it is."""

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        return victim
