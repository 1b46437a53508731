"""Counts beside counts: what a backdoor in a counter moves is their ratio."""

from torch import Tensor


def log_ratio(counts: Tensor, reference: Tensor) -> Tensor:
    """log((counts + 1) / (reference + 1)), in float32. Counters may count below 0, which is no people.

    The 1 keeps images without people finite and changes little in a crowd.

    >>> import torch
    >>> log_ratio(torch.tensor([9.0, -3.0]), torch.tensor([9.0, 0.0])).tolist()
    [0.0, 0.0]
    """
    return (counts.float().clamp(min=0) + 1).log() - (reference.float().clamp(min=0) + 1).log()
