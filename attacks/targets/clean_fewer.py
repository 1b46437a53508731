"""Clean label, fewer people: only the images with the fewest people are stamped.  tau(c) = min(c, their mean)."""

from typing import ClassVar

from attacks.base import Choose
from attacks.parts.clean_label import CleanLabel
from benchmark.registry import register


@register
class CleanFewer(CleanLabel):
    """count: what the attacker wants counted; None is the mean count of the stamped training images."""

    increases: ClassVar[bool] = False
    choose: ClassVar[Choose] = "fewest"
