"""Natural drift: a change of the light without an attacker, x' = gain * x^gamma.

A detector of triggered images should not flag it.
"""

import numpy as np

from benchmark.data.scene import Scene

GAMMAS = (0.7, 1.4)  # brighter, darker
GAIN = 0.1  # the largest difference between a colour's gain and 1


def drifted(scenes: list[Scene]) -> list[Scene]:
    """Return the scenes in another light.

    Each scene gets one of the gammas and a gain for each colour, which depend only on the position
    of the scene in the list.
    """
    relit = []
    for index, scene in enumerate(scenes):
        image = _relit(scene.image, np.random.default_rng([7, index]))
        relit.append(Scene(scene.id, image, scene.points, scene.sigma))
    return relit


def _relit(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a uint8 image [H, W, 3] in another light."""
    light = (np.arange(256) / 255) ** rng.choice(GAMMAS)
    gains = rng.uniform(1 - GAIN, 1 + GAIN, 3)
    table = (np.outer(light, gains).clip(0, 1) * 255).round().astype(np.uint8)  # [256, 3]
    return np.stack([table[image[..., colour], colour] for colour in range(3)], axis=-1)
