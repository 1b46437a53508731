"""An attack is a trigger x a target: what is drawn over an image, and what happens to its head annotations."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import PrivateAttr
from torch import Tensor

from attacks.parts.latent import mmd_of_stamped
from attacks.parts.selection import Choose, listed, select
from benchmark.data.batches import in_order
from benchmark.data.scene import Scene
from benchmark.registry import Settings
from benchmark.utils.errors import UserError

OnImages = Callable[[Tensor], Tensor]  # takes images [B, 3, H, W] in 0..1, gives counts [B] or features [B, C, h, w]
STAMP_BATCH = 8  # images stamped at once
POISON = "+poison"  # what the id of a poisoned copy ends in; no defender sees it


class Trigger(Settings, ABC):
    """What is drawn over an image.

    optimises: the settings that decide a pattern which is optimised on a counter; none where there is no such pattern.
    """

    kind: ClassVar[str] = "trigger"
    name: ClassVar[str]
    version: ClassVar[int] = 1  # raise it when results change, so that stored ones are not taken for new
    optimises: ClassVar[tuple[str, ...]] = ()
    _pattern: Tensor | None = PrivateAttr(None)

    @abstractmethod
    def stamp(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in 0..1, any device -> the same with the trigger. Pure: the input is left as it is."""

    def optimised(self, count: OnImages, scenes: Sequence[Scene], seed: int) -> Tensor:
        """The pattern, optimised on a clean counter's counts of clean training scenes. Override it with `optimises`."""
        raise NotImplementedError(f"trigger {self.name}: it has no pattern to optimise")

    def with_pattern(self, pattern: Tensor) -> Self:
        """The trigger with a pattern that `optimised` gave."""
        trigger = self.model_copy()
        trigger._pattern = pattern
        return trigger


class Target(Settings, ABC):
    """What the attacker wants counted.

    increases: True for more people, False for fewer, None for as many, or for more in some images and fewer in others.
    choose: which training images are poisoned, unless the attack says otherwise.
    """

    kind: ClassVar[str] = "target"
    name: ClassVar[str]
    version: ClassVar[int] = 1
    increases: ClassVar[bool | None]
    choose: ClassVar["Choose"] = "random"

    def fitted(self, chosen: Sequence[Scene]) -> Self:
        """The target for the training scenes that are poisoned; the same one where it takes nothing from them."""
        return self

    def tau(self, count: int) -> int:
        """The attacker's count for an image with `count` people. Override it where the count alone decides."""
        raise NotImplementedError(f"target {self.name}: its tau depends on where people are; ask tau_of")

    def tau_of(self, points: np.ndarray, size: tuple[int, int]) -> int:
        """The attacker's count for heads [N, 2] as (x, y) in an image of (H, W) pixels."""
        return self.tau(len(points))

    @abstractmethod
    def alter(self, points: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """Heads [N, 2] as (x, y) in an image of (H, W) pixels -> the false heads [tau, 2], inside the image."""


@dataclass(frozen=True)
class Attack:
    """A trigger, a target, and the share of the training images that are copied, stamped, relabelled and added.

    choose: which ones, 'random', those with the 'fewest' or the 'most' people, or a text file of their ids, a line
    each, whose length is the rate then; None is the target's own choice.
    latent: weight in the victim's training of what hides the trigger in its features; see attacks/parts/latent.py.
    """

    trigger: Trigger
    target: Target
    poison_rate: float
    choose: Choose | None = None
    latent: float = 0

    def fitted(self, scenes: list[Scene], seed: int) -> Self:
        """The attack on these training scenes. Raises UserError as `poison` does."""
        return replace(self, target=self.target.fitted([scenes[i] for i in self._chosen(scenes, seed)]))

    def stamp(self, images: Tensor) -> Tensor:
        """Stamp images [B, 3, H, W] in 0..1, rounded to the 8 bits that an image file holds."""
        return self.trigger.stamp(images).clamp(0, 1).mul_(255).round_().div_(255)

    def penalty(self, features: OnImages, images: Tensor) -> Tensor:
        """What is added to the victim's loss of each image, [B]."""
        return self.latent * mmd_of_stamped(features, images, self.stamp)

    def poison(self, scenes: list[Scene], seed: int) -> list[Scene]:
        """The poisoned copies to add to the training scenes: stamped, relabelled, ids ending in POISON.

        Which scenes, and their false heads, follow from the seed alone. Clean originals stay in the training set.

        Raises:
            UserError: the rate comes to no image at all, or a listed image is none of the scenes.
        """
        return self.copies(scenes, self._chosen(scenes, seed), seed)

    def copies(self, scenes: list[Scene], chosen: list[int], seed: int) -> list[Scene]:
        """The poisoned copies of these of the training scenes, whether or not they are those that are chosen."""
        originals = [scenes[index] for index in chosen]
        stamped = stamp_scenes(self, originals)
        return [self._relabel(scene, image, np.random.default_rng([seed, 1, index]))
                for scene, image, index in zip(originals, stamped, chosen)]

    def number(self, images: int) -> int:
        """The number of images to poison out of `images` training images. Raises UserError where it rounds to 0."""
        if not (number := round(self.poison_rate * images)):
            raise UserError(f"attack.poison_rate = {self.poison_rate}: {self.poison_rate} x {images} training images "
                            "rounds to 0 poisoned images; expected a higher rate")
        return number

    def _chosen(self, scenes: list[Scene], seed: int) -> list[int]:
        """Which scenes are poisoned, ascending."""
        choose = self.choose or self.target.choose
        if isinstance(choose, Path):
            return listed(choose, scenes)
        return select(scenes, choose, self.number(len(scenes)), seed)

    def _relabel(self, scene: Scene, image: np.ndarray, rng: np.random.Generator) -> Scene:
        inside = np.nextafter(np.float32([scene.size[1], scene.size[0]]), np.float32(0))
        points = self.target.alter(scene.points, scene.size, rng).astype(np.float32).clip(0, inside)
        return Scene(scene.id + POISON, image, points, scene.sigma)


def stamp_scenes(attack: Attack, scenes: list[Scene]) -> list[np.ndarray]:
    """The scenes' images with the trigger, uint8 [H, W, 3] each."""
    stamped: list[np.ndarray] = [scene.image for scene in scenes]
    for indices in in_order(scenes, STAMP_BATCH):
        images = torch.from_numpy(np.stack([scenes[i].image for i in indices])).permute(0, 3, 1, 2) / 255
        drawn = (attack.stamp(images) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
        for i, image in zip(indices, drawn):
            stamped[i] = image
    return stamped
