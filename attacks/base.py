"""The contract of an attack: a trigger on an image together with a target for its head annotations.

To write a trigger, subclass `Trigger` in attacks/triggers/fog.py and write `stamp`:

    @register
    class Fog(Trigger):
        \"\"\"alpha: the share of white in the mix.\"\"\"

        alpha: float = 0.3                       # a setting, changed by --set attack.alpha=0.5

        def stamp(self, images: Tensor) -> Tensor:
            return images.lerp(torch.ones_like(images), self.alpha)

A trigger that must know where people are asks for their heads by a second parameter, `heads`: for
each image the (x, y) of its heads in pixels, a tensor [N, 2] on the device of the images. They are
scaled, cropped and flipped with the image. On test images they are the annotated heads, as if the
attacker stood in front of the camera, and the record says so in a warning.

    @register
    class Hats(Trigger):
        \"\"\"A black pixel on every head. It has no settings.\"\"\"

        def stamp(self, images: Tensor, heads: Sequence[Tensor]) -> Tensor:
            stamped = images.clone()
            for image, points in zip(stamped, heads):
                x, y = points.long().T
                image[:, y, x] = 0
            return stamped

A trigger that leaves some images as they are says which in `applies`: see
attacks/triggers/if_crowded.py.

To write a target, subclass `Target` in attacks/targets/every_second.py and write `tau` and `alter`:

    @register
    class EverySecond(Target):
        \"\"\"Every second head is removed. It has no settings.\"\"\"

        increases = False                        # the attacker wants fewer people

        def tau(self, count: int) -> int:
            return (count + 1) // 2              # the count that the attacker wants

        def alter(self, points: np.ndarray, size: tuple[int, int],
                  rng: np.random.Generator) -> np.ndarray:
            return points[::2]                   # as many heads as tau says, inside the image

The name of the file is the name of the component. `Attack` combines the two and poisons scenes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import PrivateAttr
from torch import Tensor

from attacks.parts.heads import Heads, call_with_heads, moved_inside, takes_heads
from attacks.parts.in_part import altered_in_part
from attacks.parts.latent import mmd_of_stamped
from attacks.parts.selection import Choose, listed, select
from attacks.parts.surrogate import Surrogate
from benchmark.data.batches import in_order
from benchmark.data.scene import Scene
from benchmark.registry import Settings
from benchmark.utils.errors import UserError, shown

# A function of images [B, 3, H, W] in 0..1 that returns counts [B] or features [B, C, h, w].
OnImages = Callable[[Tensor], Tensor]
STAMP_BATCH = 8  # the number of images that are stamped at once
# The suffixes of the ids of poisoned copies and of cover copies; no defender sees them.
POISON, COVER = "+poison", "+cover"


class Trigger(Settings, ABC):
    """The pattern or the change that the attacker draws on an image.

    A trigger accepts images of any size on any device, with any number of heads, and without
    strength it returns them unchanged.

    version: a number to raise when results change, so that stored results are not mistaken for
        new ones.
    optimises: the names of the settings that determine a pattern which is optimised on a counter
        or on images. It is empty for a trigger without such a pattern.
    asks_counter: whether the pattern is optimised on a counter. For a pattern that is optimised on
        images alone, no surrogate is trained.
    only_in_training: the names of the settings that change nothing on test images.
    """

    kind: ClassVar[str] = "trigger"
    name: ClassVar[str]
    version: ClassVar[int] = 1
    optimises: ClassVar[tuple[str, ...]] = ()
    asks_counter: ClassVar[bool] = True
    only_in_training: ClassVar[tuple[str, ...]] = ()
    _pattern: Tensor | None = PrivateAttr(None)

    @abstractmethod
    def stamp(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in 0..1 with the trigger. The input must not change.

        A trigger that has a second parameter `heads` is given those of each image; see the
        beginning of this file. Who calls a trigger of either sort uses `Attack.stamp`.
        """

    @property
    def sees_heads(self) -> bool:
        """Whether the trigger depends on where the heads are."""
        return takes_heads(self.stamp)

    def applies(self, heads: Tensor) -> bool:
        """Return whether an image with these heads [N, 2] carries the trigger.

        Only such images are poisoned. A conditional trigger overrides this method, and its `stamp`
        returns the other images unchanged.
        """
        return True

    @property
    def is_conditional(self) -> bool:
        """Whether some images do not carry the trigger."""
        return type(self).applies is not Trigger.applies

    @property
    def full_version(self) -> int | str:
        """The version, with those of other triggers that this one draws."""
        return self.version

    def optimised(self, count: Surrogate | None, scenes: Sequence[Scene], seed: int) -> Tensor:
        """Return the pattern, optimised on a clean counter and clean training scenes.

        count: the clean counter, as a function from images to counts; None unless `asks_counter`.
        A trigger that sets `optimises` overrides this method.
        """
        raise NotImplementedError(f"trigger {self.name}: it has no pattern to optimise")

    @property
    def lacks_pattern(self) -> bool:
        """Whether the trigger has a pattern to optimise, and it was not optimised yet."""
        return bool(self.optimises) and self._pattern is None

    def shares(self) -> Sequence[float]:
        """Return the shares of its strength at which poisoned images are stamped; usually only 1.

        Each poisoned image has one of them, drawn with a probability in proportion to the share,
        and its label is moved by the same share of the target's change.
        """
        return (1.0,)

    def at(self, share: float) -> Self:
        """Return a copy of the trigger at a share of its strength.

        A trigger that has several `shares` overrides this method.
        """
        raise NotImplementedError(f"trigger {self.name}: it has one strength")

    def in_training(self, rng: np.random.Generator) -> Self:
        """Return the trigger as one stamped training image carries it, drawn from `rng`.

        Most triggers look the same on training and on test images, and return themselves. One that
        overrides this method stamps test images as it is; see attacks/triggers/adaptive_blend.py.
        """
        return self

    def with_pattern(self, pattern: Tensor) -> Self:
        """Return a copy of the trigger that stamps a pattern returned by `optimised`."""
        trigger = self.model_copy()
        trigger._pattern = pattern
        return trigger


class Target(Settings, ABC):
    """The count that the attacker wants, and the head annotations that teach it to the victim.

    version: a number to raise when results change, so that stored results are not mistaken for
        new ones.
    increases: True if the attacker wants more people, False if fewer. None if the same number, or
        more in some images and fewer in others.
    choose: which training images are poisoned, unless the attack sets it.
    divisible: whether the change of the heads can be made in part, for triggers with several
        `shares`. It can if heads are only added or only removed, and the others keep their order.
    """

    kind: ClassVar[str] = "target"
    name: ClassVar[str]
    version: ClassVar[int] = 1
    increases: ClassVar[bool | None]
    choose: ClassVar[Choose] = "random"
    divisible: ClassVar[bool] = True

    def fitted(self, chosen: Sequence[Scene]) -> Self:
        """Return the target fitted to the training scenes that are poisoned.

        Most targets take nothing from them and return themselves.
        """
        return self

    def tau(self, count: int) -> int:
        """Return the attacker's count for an image with `count` people.

        A target that needs only the count overrides this method; any other overrides `tau_of`.
        """
        raise NotImplementedError(f"target {self.name}: tau depends on the positions of the heads; "
                                  "call tau_of")

    def tau_of(self, points: np.ndarray, size: tuple[int, int]) -> int:
        """Return the attacker's count for heads [N, 2] as (x, y) in an image of (H, W) pixels."""
        return self.tau(len(points))

    @abstractmethod
    def alter(self, points: np.ndarray, size: tuple[int, int],
              rng: np.random.Generator) -> np.ndarray:
        """Return the false heads [tau, 2] as (x, y), inside the image.

        points: the true heads [N, 2] as (x, y), which must not change; size: (H, W) in pixels.
        Every random choice comes from `rng`.
        """


@dataclass(frozen=True)
class Attack:
    """A trigger, a target, and the training images that are poisoned with them.

    The chosen training images are copied. The copies are stamped, relabelled and added.

    poison_rate: the number of poisoned copies, as a share of the number of training images.
    choose: the images that are copied: 'random' ones, those with the 'fewest' or the 'most' people,
        or the path of a text file with one image id per line. The length of that list then takes
        the place of the rate. None is the target's own choice.
    latent: the weight, in the victim's training loss, of the term that hides the trigger in the
        victim's features; see attacks/parts/latent.py.
    cover_rate: the number of cover copies, as a share of the number of training images. They are
        stamped like the poisoned copies but keep their true heads, so that the trigger does not
        always mean the attacker's count, and the features of stamped images do not stand apart. Qi
        et al., Revisiting the assumption of latent separability for backdoor defenses, ICLR 2023.
        The images are random ones among those that can carry the trigger and are not poisoned. In
        the evaluation of a filter the copies are no poison, as their labels are true, and not clean
        either, as they carry the trigger: their scores are left out.

    Raises:
        UserError: the trigger has several strengths, and the target cannot be reached in part.
    """

    trigger: Trigger
    target: Target
    poison_rate: float
    choose: Choose | None = None
    latent: float = 0
    cover_rate: float = 0

    def __post_init__(self) -> None:
        if len(self.trigger.shares()) > 1 and not self.target.divisible:
            raise self._indivisible()

    def fitted(self, scenes: list[Scene], seed: int) -> Self:
        """Return the attack fitted to these training scenes. Raises UserError as `poison` does."""
        chosen = [scenes[index] for index in self._chosen(scenes, seed)]
        return replace(self, target=self.target.fitted(chosen))

    def stamp(self, images: Tensor, heads: Heads | None = None) -> Tensor:
        """Return images [B, 3, H, W] in 0..1 with the trigger, rounded to 8 bits as in a file.

        heads: for each image its heads [N, 2] as (x, y) in pixels. Only a trigger that sees them
            needs them.

        Raises:
            UserError: the trigger sees the heads, and none were given.
        """
        if heads is None and self.trigger.sees_heads:
            raise UserError(f"trigger {self.trigger.name}: it depends on where the heads are; "
                            "expected the heads of each image beside the images")
        stamped = call_with_heads(self.trigger.stamp, images, heads=heads)
        return stamped.clamp(0, 1).mul_(255).round_().div_(255)

    def penalty(self, features: OnImages, images: Tensor, heads: Heads | None = None) -> Tensor:
        """Return the term that is added to the victim's loss of each image, [B].

        It hides the trigger of the training images, also where that of the test images differs.

        heads: see `stamp`.
        """
        if heads is not None and self.trigger.sees_heads:
            heads = moved_inside(heads, images.shape[-2:])  # a view may be mirrored
        return self.latent * mmd_of_stamped(features, images, partial(self.stamp, heads=heads))

    def poison(self, scenes: list[Scene], seed: int) -> list[Scene]:
        """Return what is added to training scenes: the poisoned copies, then the cover copies.

        The poisoned copies are stamped and relabelled, and their ids end in POISON. The cover
        copies are stamped and keep their heads, and their ids end in COVER. The seed alone
        determines which scenes are copied, how they are stamped, and the false heads. The clean
        originals stay in the training set.

        Raises:
            UserError: a rate rounds to no image, or `choose` lists an image that is no scene, or
                too few scenes carry the trigger.
        """
        chosen, covers = self.selected(scenes, seed)
        images = self._stamped(scenes, covers, seed)
        return self.copies(scenes, chosen, seed) + [
            replace(scenes[index], id=scenes[index].id + COVER, image=images[index])
            for index in covers]

    def selected(self, scenes: Sequence[Scene], seed: int) -> tuple[list[int], list[int]]:
        """Return the indices of the scenes that are poisoned, and of those with a cover copy.

        Both are in ascending order. Raises UserError as `poison` does.
        """
        chosen = self._chosen(scenes, seed)
        if not self.cover_rate:
            return chosen, []
        taken = {*chosen}
        free = [index for index in self._carriers(scenes) if index not in taken]
        number = self.cover_number(len(scenes), len(free))
        order = np.random.default_rng([seed, 4]).permutation(len(free))[:number]
        return chosen, [free[place] for place in sorted(order)]

    def copies(self, scenes: list[Scene], chosen: list[int], seed: int) -> list[Scene]:
        """Return the poisoned copies of the scenes at the indices `chosen`.

        The indices may be others than those that the attack chooses.
        """
        images = self._stamped(scenes, chosen, seed)
        return [self._relabel(scenes[index], images[index], self._share(seed, index),
                              np.random.default_rng([seed, 1, index])) for index in chosen]

    def number(self, images: int) -> int:
        """Return how many of `images` training images are poisoned.

        Raises:
            UserError: the number rounds to 0.
        """
        number = round(self.poison_rate * images)
        if number == 0:
            rate = self.poison_rate
            raise UserError(f"attack.poison_rate = {rate}: {rate} x {images} training images "
                            "rounds to 0 poisoned images; expected a higher rate")
        return number

    def cover_number(self, images: int, free: int) -> int:
        """Return the number of cover copies; 0 at a cover rate of 0.

        images: the number of training images. free: how many of them carry the trigger when they
            are stamped and are not poisoned.

        Raises:
            UserError: a rate above 0 gives no copy, or more copies than images are free.
        """
        number = round(self.cover_rate * images)
        if self.cover_rate and not 0 < number <= free:
            rate = self.cover_rate
            raise UserError(f"attack.cover_rate = {rate}: {rate} x {images} training images rounds "
                            f"to {number} cover copies; expected 1 to {free}, the number of images "
                            "that can carry the trigger and are not poisoned")
        return number

    def _chosen(self, scenes: Sequence[Scene], seed: int) -> list[int]:
        """Return the indices of the scenes that are poisoned, in ascending order.

        Raises UserError as `poison` does.
        """
        choose = self.choose or self.target.choose
        carriers = self._carriers(scenes)
        if isinstance(choose, Path):
            indices = listed(choose, [scene.id for scene in scenes])
            if others := sorted({*indices} - {*carriers}):
                raise UserError(f"attack.choose = {shown(choose)}: {shown(scenes[others[0]].id)}: "
                                f"trigger {self.trigger.name} leaves this image as it is; expected "
                                "images that carry the trigger")
            return indices
        number = self.number(len(scenes))
        if number > len(carriers):
            raise UserError(f"attack.poison_rate = {self.poison_rate}: {number} images to poison; "
                            f"trigger {self.trigger.name} is carried by {len(carriers)} of the "
                            f"{len(scenes)} training images; expected a lower rate or another "
                            "condition of the trigger")
        chosen = select([scenes[index] for index in carriers], choose, number, seed)
        return [carriers[index] for index in chosen]

    def _carriers(self, scenes: Sequence[Scene]) -> list[int]:
        """Return the indices of the scenes that carry the trigger when they are stamped."""
        return [index for index, scene in enumerate(scenes) if self.is_carried_by(scene)]

    def is_carried_by(self, scene: Scene) -> bool:
        """Return whether an image carries the trigger when it is stamped."""
        conditional = self.trigger.is_conditional
        return not conditional or self.trigger.applies(torch.tensor(scene.heads))

    def _share(self, seed: int, index: int) -> float:
        """Return the share of the trigger's strength for one image."""
        shares, rng = np.array(self.trigger.shares()), np.random.default_rng([seed, 2, index])
        return float(rng.choice(shares, p=shares / shares.sum()))

    def _stamped(self, scenes: Sequence[Scene], indices: Sequence[int],
                 seed: int) -> dict[int, np.ndarray]:
        """Return the scenes at these indices, stamped as in training, uint8 [H, W, 3] each."""
        shares = {index: self._share(seed, index) for index in indices}
        triggers = {share: self.trigger if share == 1 else self.trigger.at(share)
                    for share in {*shares.values()}}
        # By identity: equality would compare the patterns, which are tensors. A group holds its
        # trigger, because the id of one that is gone can become that of another.
        groups: dict[int, tuple[Trigger, list[int]]] = {}
        for index, share in shares.items():
            trigger = triggers[share].in_training(np.random.default_rng([seed, 3, index]))
            _, members = groups.setdefault(id(trigger), (trigger, []))
            members.append(index)
        images: dict[int, np.ndarray] = {}
        for trigger, members in groups.values():
            stamped = stamp_scenes(replace(self, trigger=trigger), [scenes[i] for i in members])
            images |= zip(members, stamped)
        return images

    def _relabel(self, scene: Scene, image: np.ndarray, share: float,
                 rng: np.random.Generator) -> Scene:
        """Return the poisoned copy of a scene: its stamped image with the false heads.

        share: the share of the target's change that is made.
        """
        height, width = scene.size
        border = np.nextafter(np.float32([width, height]), np.float32(0))  # the last (x, y) inside
        points = self.target.alter(scene.points, scene.size, rng)
        if share < 1:
            points = altered_in_part(scene.points, points, share, rng)
            if points is None:
                raise self._indivisible()
        points = points.astype(np.float32).clip(0, border)
        return Scene(scene.id + POISON, image, points, scene.sigma, scene.heads)

    def _indivisible(self) -> UserError:
        return UserError(f"trigger {self.trigger.name} with {len(self.trigger.shares())} "
                         f"strengths: target {self.target.name!r} does not just add or just remove "
                         "heads, so no part of it is defined; expected one strength or another "
                         "target")


def stamp_scenes(attack: Attack, scenes: list[Scene]) -> list[np.ndarray]:
    """Return the images of scenes with the trigger, uint8 [H, W, 3] each."""
    stamped: list[np.ndarray] = [scene.image for scene in scenes]
    for indices in in_order(scenes, STAMP_BATCH):
        pixels = np.stack([scenes[index].image for index in indices])
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
        heads = [torch.tensor(scenes[index].heads) for index in indices]
        grey_levels = (attack.stamp(images, heads) * 255).round().to(torch.uint8)
        for index, image in zip(indices, grey_levels.permute(0, 2, 3, 1).contiguous().numpy()):
            stamped[index] = image
    return stamped
