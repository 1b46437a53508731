"""Proposals of heads as points: their places, their matching with heads, and the loss.

All are those of P2PNet: Song et al., ICCV 2021, arXiv 2107.12746.
"""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

DISTANCE_COST = 0.05  # of a pixel in the matching, beside the score (tau in the paper)


def block_centres(rows: int, columns: int, side: int, shifts: Tensor) -> Tensor:
    """The centres of blocks of side x side pixels, shifted, [rows * columns, len(shifts), 2].

    shifts: [N, 2]. All points are (x, y) in pixels.
    """
    y = (torch.arange(rows, device=shifts.device) + 0.5) * side
    x = (torch.arange(columns, device=shifts.device) + 0.5) * side
    centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)
    return centres[:, None] + shifts


def match(places: Tensor, logits: Tensor, heads: list[Tensor]) -> list[Tensor]:
    """Match heads with proposals one to one (Hungarian method), for a batch.

    The sum of their distances less the scores is smallest.

    places: of the proposals, [B, M, 2]; logits: [B, M, 2]; heads: for each image [N, 2].
    Returns for each image the numbers of the matched heads and of their proposals, [2, min(M, N)].
    The costs go to the host in one copy, and the pairs come back in another.
    """
    scores = logits.softmax(dim=2)[:, :, 1]
    costs = [DISTANCE_COST * torch.cdist(points.to(near), near) - score
             for points, near, score in zip(heads, places, scores)]
    # A training that diverges has no numbers here; its loss is then none either, and is reported.
    flat = torch.cat([cost.flatten() for cost in costs]).nan_to_num().cpu()
    sizes = [cost.numel() for cost in costs]
    pairs = [linear_sum_assignment(cost.view(-1, places.shape[1]).numpy())
             for cost in flat.split(sizes)]
    numbers = torch.from_numpy(np.concatenate([np.stack(pair) for pair in pairs], axis=1))
    return list(numbers.to(places.device).split([len(pair[0]) for pair in pairs], dim=1))


def point_loss(places: Tensor, logits: Tensor, heads: Tensor, pairs: Tensor,
               class_weights: Tensor, point_weight: float) -> Tensor:
    """The loss of one image, from its M proposals and N heads: cross entropy and squared distances.

    places: of the proposals [M, 2]; logits: [M, 2]; heads: [N, 2] as (x, y) in pixels.
    pairs: the numbers of the matched heads and of their proposals, [2, min(M, N)].
    class_weights: of proposals that are no heads and of heads, [2].
    point_weight: of the mean squared distance in pixels, beside the cross entropy.
    """
    matched, chosen = pairs
    is_head = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    is_head[chosen] = 1
    entropy = F.cross_entropy(logits, is_head, weight=class_weights)
    distances = (places[chosen] - heads[matched]).square().sum()
    return entropy + point_weight * distances / max(len(heads), 1)
