"""JPEG compression: compress the image before counting.  Dziugaite et al., arXiv 1608.00853, 2016.

    y = c(JPEG_q(x))

Das et al., KDD 2018, use it as a defense too. Quality 75, the default, is that of Dziugaite et al.;
50 is stronger. Counting needs no change, because compression moves no head. It removes fine
patterns that a trigger needs, and the detail of small heads with them.
"""

from pydantic import Field
from torch import Tensor

from benchmark.registry import register
from defenses.parts.preprocessing import Preprocessing, compressed


@register
class Jpeg(Preprocessing):
    """quality: JPEG quality, 1 to 100; a lower one removes more detail."""

    quality: int = Field(75, ge=1, le=100)

    def change(self, images: Tensor) -> Tensor:
        return compressed(images, self.quality)
