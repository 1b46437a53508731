"""In part: a share of the change that a target makes to the heads of an image."""

import numpy as np


def altered_in_part(points: np.ndarray, altered: np.ndarray, share: float,
                    rng: np.random.Generator) -> np.ndarray | None:
    """Return heads between the true ones and those that a target wants, [M, 2] as (x, y).

    Of the heads that the target adds, a random `share` is added; of those that it removes, a random
    `share` is removed. The number is rounded.

    points: the true heads [N, 2]. altered: the target's [tau, 2].
    Returns None where the target does neither, or does not keep the order of the other heads.
    """
    adds = len(altered) > len(points)
    shorter, longer = (points, altered) if adds else (altered, points)
    surplus = _surplus(shorter, longer)
    if surplus is None:
        return None
    changed = round(share * len(surplus))
    shuffled = rng.permutation(surplus)
    return np.delete(longer, shuffled[changed:] if adds else shuffled[:changed], axis=0)


def _surplus(shorter: np.ndarray, longer: np.ndarray) -> np.ndarray | None:
    """Return the indices of the rows of `longer` that `shorter` lacks.

    Returns None if the rows of `shorter` are not all in `longer`, in the same order.
    """
    surplus, matched = [], 0
    for index, row in enumerate(longer):
        if matched < len(shorter) and np.array_equal(row, shorter[matched]):
            matched += 1
        else:
            surplus.append(index)
    return np.array(surplus, dtype=int) if matched == len(shorter) else None
