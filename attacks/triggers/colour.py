"""Colour: x' = clip(gain x^gamma), with a gain for each channel. Gamma correction; from no paper.

A camera does the same when the light changes, so this trigger is also the control for natural
drift: a detector that takes it for an attack is wrong.
"""

from pydantic import Field
from torch import Tensor

from attacks.base import Trigger
from benchmark.registry import register


@register
class Colour(Trigger):
    """The image in another light. With gamma and all gains at 1 it stays as it is.

    gamma: the exponent. The image becomes brighter below 1 and darker above.
    red, green, blue: the gains of the channels.
    """

    gamma: float = Field(0.7, gt=0, le=10)
    red: float = Field(1.0, ge=0, le=10)
    green: float = Field(1.0, ge=0, le=10)
    blue: float = Field(1.0, ge=0, le=10)

    def stamp(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in 0..1 in another light."""
        shifted = images.float() ** self.gamma
        for channel, gain in enumerate((self.red, self.green, self.blue)):
            if gain != 1:
                shifted[:, channel] *= gain
        return shifted.clamp_(0, 1).to(images.dtype)
