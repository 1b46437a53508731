"""Clean label, fewer people: tau(c) = min(c, mean count of the stamped images).

Only the training images with the fewest people are stamped, and their labels stay as they are.
"""

from typing import ClassVar

from attacks.base import Choose
from attacks.parts.clean_label import CleanLabel
from benchmark.registry import register


@register
class CleanFewer(CleanLabel):
    """count: the count that the attacker wants. None is the mean count of the stamped images."""

    increases: ClassVar[bool] = False
    choose: ClassVar[Choose] = "fewest"
