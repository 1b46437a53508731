"""In a box: x' = x + m (s(x) - x), m a box, s another trigger. A control for the size of a trigger.

Sun et al. (DMBA), ACM MM 2022, found that a trigger must be full and dense to move a count, as it
must reach every person. With a box, the share of the people that it reaches is a setting. With the
target `region`, whose box has settings of the same sort, the people in the trigger's box vanish.
"""

from pydantic import Field
from torch import Tensor

from attacks.parts.heads import Heads
from attacks.parts.look import Framed
from benchmark.registry import register


@register
class InBox(Framed):
    """Another trigger, of which only the part in a box is seen. By default it is the middle.

    look: the other trigger: its name, or a mapping with its name and its settings.
    box_left, box_width: position and width of the box, as shares of the image's width.
    box_top, box_height: position and height of the box, as shares of the image's height.
    """

    box_left: float = Field(0.25, ge=0, lt=1)
    box_top: float = Field(0.25, ge=0, lt=1)
    box_width: float = Field(0.5, gt=0, le=1)
    box_height: float = Field(0.5, gt=0, le=1)

    def stamp(self, images: Tensor, heads: Heads | None = None) -> Tensor:
        """Return images [B, 3, H, W] in 0..1 with the trigger in the box."""
        rows = _extent(self.box_top, self.box_height, images.shape[-2])
        columns = _extent(self.box_left, self.box_width, images.shape[-1])
        stamped = images.clone()
        stamped[..., rows, columns] = self.draw(images, heads)[..., rows, columns]
        return stamped


def _extent(start: float, length: float, side: int) -> slice:
    """Return the pixels of a box along a side of the image; there is at least one."""
    first = min(round(start * side), side - 1)
    return slice(first, max(round((start + length) * side), first + 1))
