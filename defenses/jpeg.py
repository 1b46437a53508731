"""JPEG compression before counting.  As a defense: Dziugaite et al., arXiv 1608.00853, 2016; Das et al., KDD 2018.

    y = c(JPEG_q(x))

Quality 75 is that of Dziugaite et al.; 50 is stronger. Nothing is changed for counting: compression moves no head. It
takes away fine patterns that a trigger needs, and with them detail of small heads.
"""

from pydantic import Field
from torch import Tensor

from benchmark.registry import register
from defenses.parts.preprocessing import Preprocessing, compressed


@register
class Jpeg(Preprocessing):
    """quality: of JPEG, 1 to 100; lower takes away more."""

    quality: int = Field(75, ge=1, le=100)

    def change(self, images: Tensor) -> Tensor:
        return compressed(images, self.quality)
