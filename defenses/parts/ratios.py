"""Ratios of counts: a backdoor changes a count by a factor, which detectors and repairs measure."""

from torch import Tensor


def log_ratio(counts: Tensor, reference: Tensor) -> Tensor:
    """log((counts + 1) / (reference + 1)), in float32. A count below 0 is taken as 0.

    Adding 1 keeps the ratio finite for images without people and changes little in a crowd.

    >>> import torch
    >>> log_ratio(torch.tensor([9.0, -3.0]), torch.tensor([9.0, 0.0])).tolist()
    [0.0, 0.0]
    """
    return (counts.float().clamp(min=0) + 1).log() - (reference.float().clamp(min=0) + 1).log()
