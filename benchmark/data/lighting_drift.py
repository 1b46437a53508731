"""Natural drift: light that changes without an attacker, x' = gain * x^gamma. A detector should not ring for it."""

import numpy as np

from benchmark.data.scene import Scene

GAMMAS = (0.7, 1.4)  # brighter, darker
GAIN = 0.1  # each colour is multiplied by 1 plus or minus up to this


def drifted(scenes: list[Scene]) -> list[Scene]:
    """The scenes in another light, each its own: one of the gammas and a gain for each colour, drawn by its place."""
    return [Scene(scene.id, _relit(scene.image, np.random.default_rng([7, place])), scene.points, scene.sigma)
            for place, scene in enumerate(scenes)]


def _relit(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A uint8 image [H, W, 3] in another light."""
    light = (np.arange(256) / 255) ** rng.choice(GAMMAS)
    table = np.outer(light, rng.uniform(1 - GAIN, 1 + GAIN, 3)).clip(0, 1) * 255
    return np.stack([table[:, colour].round().astype(np.uint8)[image[..., colour]] for colour in range(3)], axis=-1)
