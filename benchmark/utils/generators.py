"""Random generators that all code of a process shares, seeded together."""

import random

import numpy as np
import torch


def seed_generators(seed: int) -> None:
    """Seed the global generators of torch, NumPy and Python.

    This package uses torch's and its own ones; plugins may use any.
    """
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # it takes 32 bits
    random.seed(seed)
