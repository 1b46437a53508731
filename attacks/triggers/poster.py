"""Poster: x' = x + alpha m (t - x), t a drawn placard that a person of the crowd holds up.

A trigger that can be brought before a camera, after Wenger et al., "Backdoor attacks against deep
learning systems in the physical world", CVPR 2021. It comes from no paper on counting. A placard
stands upright, so that its size in the image falls off linearly from the bottom row to the horizon,
as that of people on a plane does (Chan et al., CVPR 2008). A counter sees a head and its
surroundings, so that few placards should change the count only where they are.
"""

import math
from collections.abc import Iterator

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from attacks.base import Trigger
from attacks.parts.heads import Heads
from benchmark.registry import register

RIM, PAPER, DISC = (0.75, 0.1, 0.12), (0.93, 0.91, 0.86), (0.1, 0.2, 0.55)  # RGB
POLE = (0.6, 0.48, 0.33)
GOLDEN = 0.618  # its multiples, without their whole parts, spread evenly over 0..1
ABOVE = 0.95  # from the holder's head to the middle of the placard, in heights of the placard
LEAST = 4  # pixels, the height of the farthest placard


@register
class Poster(Trigger):
    """Placards on poles in the crowd: a red rim, a blue disc on white, soft edges and a shadow.

    The holders are the people nearest to points that are spread over the crowd. An image without
    people has one placard, in its middle.

    alpha: the opacity of the placards.
    size: the height of a placard at the bottom of the image, as a share of the image's shorter
        side.
    posters: the number of placards, or fewer in an image with fewer people.
    """

    alpha: float = Field(1.0, ge=0, le=1)
    size: float = Field(0.15, gt=0, le=1)
    posters: PositiveInt = Field(3, le=100)

    def stamp(self, images: Tensor, heads: Heads) -> Tensor:
        """Return images [B, 3, H, W] in 0..1 with placards. A near one covers those behind it."""
        stamped = images.clone()
        for image, points in zip(stamped, heads):
            for x, y, height in self._places(points.tolist(), image.shape[-2:]):
                _draw(image, x, y, height, self.alpha)
        return stamped

    def _places(self, points: list[list[float]],
                size: tuple[int, int]) -> Iterator[tuple[float, float, float]]:
        """Yield (x, y) of the holders' heads, from far to near, and the heights of the placards.

        All are in pixels. The horizon is at nine tenths of the row of the highest head.
        """
        height, width = size
        people = sorted({(x, y) for x, y in points}) or [(width / 2, height / 2)]
        rows = [y for _, y in people]
        far, near = min(rows), max(rows)
        horizon, number = 0.9 * far, min(self.posters, len(people))
        holders = []
        for place in range(1, number + 1):
            spot = place * GOLDEN % 1 * width, far + (near - far) * place / (number + 1)
            holders.append(min(people, key=lambda head: math.dist(head, spot)))
            people.remove(holders[-1])
        for x, y in sorted(holders, key=lambda head: head[::-1]):
            scale = self.size * min(size) * (y - horizon) / max(height - horizon, 1)
            yield x, y, max(scale, LEAST)


def _draw(image: Tensor, x: float, y: float, size: float, alpha: float) -> None:
    """Draw a placard of some height above the head at (x, y) into an image [3, H, W]."""
    height, width = image.shape[-2:]
    top, left = max(int(y - (ABOVE + 0.6) * size), 0), max(int(x - size), 0)
    part = image[:, top : min(int(y) + 1, height), left : min(int(x + size) + 1, width)]
    v = (torch.arange(part.shape[1], device=image.device)[:, None] + top - y) / size + ABOVE
    u = (torch.arange(part.shape[2], device=image.device) + left - x) / size

    def inside(distance: Tensor) -> Tensor:
        """The share of each pixel within a shape; `distance` is from its edge, outside above 0."""
        return (0.5 - distance * size).clamp(0, 1)

    board = torch.maximum(u.abs() - 0.38, v.abs() - 0.5)
    pole = torch.maximum(u.abs() - 0.025, (v - ABOVE / 2).abs() - ABOVE / 2)
    shade = 1 - 0.25 * (u + 0.38 + v + 0.5).clamp(0, 2) / 2  # the light is at the top left
    t = _colour(POLE, image).expand(-1, *board.shape)
    for shape, colour in ((board, RIM), (board + 0.07, PAPER), ((u**2 + v**2).sqrt() - 0.24, DISC)):
        t = t.lerp(_colour(colour, image) * shade, inside(shape))
    covered = torch.maximum(inside(board), inside(pole)) * alpha
    part.copy_(part.float().lerp(t, covered))


def _colour(colour: tuple[float, float, float], image: Tensor) -> Tensor:
    """Return a colour as a tensor beside the image, [3, 1, 1]."""
    return torch.tensor(colour, device=image.device)[:, None, None]
