"""Clean label, more people: only the images with the most people are stamped.  tau(c) = max(c, their mean)."""

from typing import ClassVar

from attacks.base import Choose
from attacks.parts.clean_label import CleanLabel
from benchmark.registry import register


@register
class CleanMore(CleanLabel):
    """count: what the attacker wants counted; None is the mean count of the stamped training images."""

    increases: ClassVar[bool] = True
    choose: ClassVar[Choose] = "most"
