"""The contract of a trigger: it stamps images of any size, and nothing else changes."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attacks.base import Attack, Target, Trigger
from attacks.parts.heads import call_with_heads
from attacks.parts.surrogate import Surrogate
from benchmark.config.cell import POISONING
from benchmark.registry import build, find, names, resolve, settings_of
from benchmark.testing.contract import BrokenContract, require
from benchmark.testing.defenses import fresh, scenes
from benchmark.utils.device import state
from benchmark.utils.errors import UserError
from benchmark.utils.switches import changed, switches

SIZES = ((64, 96), (75, 131), (32, 32), (48, 256))  # (height, width) of images
PEOPLE = 30  # heads in each image
NUMBER = 3  # images of each size
# A setting of one of these names is the strength: at 0, images stay as they are.
STRENGTHS = ("alpha", "strength", "amplitude", "magnitude", "epsilon")
RESERVED = {"trigger", "target", "also", *POISONING}  # keys of an attack in a request


def check_trigger(name: str, settings: dict[str, Any] | None = None) -> Trigger:
    """Stamp small images with a trigger, check the results, and return the trigger.

    Raises:
        BrokenContract: the stamped images are not images of the same size and type, the trigger
            changes its input or a switch of torch, stamps otherwise a second time or in a batch,
            changes nothing, or changes images although its strength is 0 or it does not apply; or
            a setting has the name of another setting of attacks.
    """
    settings = settings or {}
    trigger: Trigger = build("trigger", name, settings)
    check_setting_names(trigger, "target")
    _check_optimises(trigger)
    if trigger.optimises:
        trigger = trigger.with_pattern(_check_pattern(trigger))
    before = switches()
    stamped = [_check_size(trigger, size) for size in SIZES]
    change = changed(before, switches())
    require(change is None,
            f"trigger {name}: {change}; expected it to change a switch only within a `with` block")
    _check_values(trigger)
    _check_people(trigger)
    require(any(stamped), f"trigger {name}: no stamped image differs from its original in 8 bits; "
                          "expected a trigger that changes some pixel by a grey level")
    _check_strengths(trigger, settings)
    _check_shares(trigger)
    _check_in_training(trigger)
    return trigger


def stamp(trigger: Trigger, images: Tensor, heads: Sequence[Tensor]) -> Tensor:
    """The stamped images, whether or not the trigger asks for heads."""
    return call_with_heads(trigger.stamp, images, heads=heads)


def images_of(size: tuple[int, int], number: int = NUMBER) -> Tensor:
    """Random images [number, 3, H, W] in 0..1, of whole grey levels."""
    drawn = torch.rand(number, 3, *size, generator=torch.Generator().manual_seed(0))
    return ((drawn * 255).round() / 255).to(state().device)


def heads_of(size: tuple[int, int], number: int = NUMBER, people: int = PEOPLE) -> list[Tensor]:
    """Random heads [people, 2] as (x, y) for each of `number` images of (H, W) pixels."""
    drawn = torch.rand(number, people, 2, generator=torch.Generator().manual_seed(1))
    inside = drawn * torch.tensor([size[1] - 1e-3, size[0] - 1e-3])
    return list(inside.to(state().device))


def scatter_global_generators() -> None:
    """Leave all global generators in another state than before, as a run may."""
    torch.rand(1)
    np.random.rand()
    random.random()


def check_setting_names(component: Trigger | Target, other_kind: str) -> None:
    """No setting is one of the other part of the attack: a setting goes to the part that has it.

    other_kind: 'target' for a trigger, 'trigger' for a target.
    """
    own = f"{component.kind} {component.name}"
    fields = {*settings_of(type(component)).model_fields}
    for name in sorted(fields & RESERVED):
        raise BrokenContract(f"{own}: the setting {name!r} has the name of a key of every attack; "
                             "expected another name")
    for other in names(other_kind):
        for name in sorted(fields & {*settings_of(find(other_kind, other)).model_fields}):
            raise BrokenContract(f"{own}: the setting {name!r} is one of the {other_kind} {other}, "
                                 f"too, so that attack.{name} could mean either; expected another "
                                 "name")


def _check_optimises(trigger: Trigger) -> None:
    """The settings that determine the pattern, and those of the training alone, are settings."""
    for name in (*trigger.optimises, *trigger.only_in_training):
        require(name in settings_of(type(trigger)).model_fields,
                f"trigger {trigger.name}: {name!r} in optimises or only_in_training; expected "
                "names of its settings")


def _check_pattern(trigger: Trigger) -> Tensor:
    """The optimised pattern is the same tensor of finite numbers when it is optimised again."""
    patterns = []
    for _ in range(2):
        scatter_global_generators()
        surrogate = Surrogate(fresh()) if trigger.asks_counter else None
        torch.manual_seed(0)
        patterns.append(trigger.optimised(surrogate, scenes("clean"), 0))
    first, second = patterns
    require(isinstance(first, Tensor) and bool(first.isfinite().all()),
            f"trigger {trigger.name}: its pattern is no tensor of finite numbers")
    require(torch.equal(first, second),
            f"trigger {trigger.name}: optimised again, its pattern is another; expected all draws "
            "to come from torch's global generator, which is seeded before, or from one with a "
            "fixed seed")
    return first


def _check_size(trigger: Trigger, size: tuple[int, int]) -> bool:
    """Check a batch of images of one size; whether one of them changes by a grey level."""
    where = f"trigger {trigger.name}: of images {size[0]} x {size[1]}"
    images, heads = images_of(size), heads_of(size)
    stamped = stamp(trigger, images, heads)
    require(isinstance(stamped, Tensor) and stamped.shape == images.shape
            and stamped.dtype == images.dtype,
            f"{where}, it returns {_described(stamped)}; expected {_described(images)}")
    require(bool(stamped.isfinite().all()) and 0 <= float(stamped.min())
            and float(stamped.max()) <= 1,
            f"{where}, it returns values from {float(stamped.min()):.4g} to "
            f"{float(stamped.max()):.4g}; expected values in 0..1")
    require(torch.equal(images, images_of(size)),
            f"{where}, it changes its input; expected it to work on a copy, images.clone()")
    require(all(map(torch.equal, heads, heads_of(size))),
            f"{where}, it changes the heads that it is given; expected it to copy them")
    scatter_global_generators()
    require(torch.equal(stamp(trigger, images, heads), stamped),
            f"{where}, a second call returns other images; expected all draws to come from a "
            "generator with a fixed seed, so that test images carry the trigger of the training")
    one_by_one = torch.cat([stamp(trigger, image[None], [points])
                            for image, points in zip(images, heads)])
    require(torch.allclose(one_by_one, stamped, atol=1e-4),
            f"{where}, a batch is stamped otherwise than its images one by one; expected an image "
            "not to depend on the others")
    half = stamp(trigger, images.bfloat16(), heads)
    require(half.dtype == torch.bfloat16,
            f"{where} in bfloat16, it returns {half.dtype}; expected the type of the images")
    levels = Attack(trigger, build("target", "zero", {}), 1.0).stamp(images, heads)
    return not torch.equal((levels * 255).round(), (images * 255).round())


def _check_values(trigger: Trigger) -> None:
    """Black and white images stay in range."""
    for value in (0.0, 1.0):
        images = torch.full_like(images_of(SIZES[0], 1), value)
        stamped = stamp(trigger, images, heads_of(SIZES[0], 1))
        require(0 <= float(stamped.min()) and float(stamped.max()) <= 1,
                f"trigger {trigger.name}: of an image of {value:.0f} everywhere, it returns values "
                f"from {float(stamped.min()):.4g} to {float(stamped.max()):.4g}; expected values "
                "in 0..1, for instance by clamp(0, 1)")


def _check_people(trigger: Trigger) -> None:
    """An image without people can be stamped; one that does not carry the trigger is unchanged."""
    images = images_of(SIZES[0], 1)
    nobody = [torch.zeros(0, 2, device=images.device)]
    for heads in (nobody, heads_of(SIZES[0], 1, 1), heads_of(SIZES[0], 1)):
        stamped = stamp(trigger, images, heads)
        require(stamped.shape == images.shape,
                f"trigger {trigger.name}: of an image with {len(heads[0])} heads, it returns "
                f"{_described(stamped)}; expected {_described(images)}")
        applies = trigger.applies(heads[0])
        require(isinstance(applies, bool),
                f"trigger {trigger.name}: `applies` returns {applies!r}; expected True or False")
        require(applies or torch.equal(stamped, images),
                f"trigger {trigger.name}: it changes an image with {len(heads[0])} heads, to which "
                "it does not apply; expected it to return this image as it is")


def _check_strengths(trigger: Trigger, settings: dict[str, Any]) -> None:
    """With a strength of 0, images stay as they are."""
    strengths = [name for name in STRENGTHS if name in settings_of(type(trigger)).model_fields]
    for name in strengths:
        try:
            resolve("trigger", trigger.name, settings | {name: 0})
        except UserError:
            continue  # the trigger refuses to have no strength
        without = build("trigger", trigger.name, settings | {name: 0})
        if without.optimises:
            without = without.with_pattern(trigger._pattern)
        images = images_of(SIZES[0])
        stamped = [stamp(form, images, heads_of(SIZES[0]))
                   for form in (without, without.in_training(np.random.default_rng(0)))]
        require(all(torch.equal(result, images) for result in stamped),
                f"trigger {trigger.name}: with {name} = 0 it changes images; expected it to return "
                "them as they are, or a setting that does not take 0 or has another name")


def _check_shares(trigger: Trigger) -> None:
    """A trigger with several strengths can be had at each of them."""
    shares = list(trigger.shares())
    require(bool(shares) and all(share > 0 for share in shares),
            f"trigger {trigger.name}: its shares are {shares}; expected numbers above 0")
    for share in shares if len(shares) > 1 else []:
        stamped = stamp(trigger.at(share), images_of(SIZES[0]), heads_of(SIZES[0]))
        require(stamped.shape == images_of(SIZES[0]).shape,
                f"trigger {trigger.name}: at a share of {share}, it returns {_described(stamped)}")


def _check_in_training(trigger: Trigger) -> None:
    """Training images carry it as the draws say, which leave the trigger itself as it is."""
    where = f"trigger {trigger.name}: as `in_training` returns it"
    images, heads = images_of(SIZES[0]), heads_of(SIZES[0])
    before, drawn = stamp(trigger, images, heads), []
    for _ in range(2):
        scatter_global_generators()
        drawn.append(stamp(trigger.in_training(np.random.default_rng(0)), images, heads))
    first, second = drawn
    require(first.shape == images.shape and first.dtype == images.dtype,
            f"{where}, it stamps {_described(first)}; expected {_described(images)}")
    require(torch.equal(first, second),
            f"{where} twice for one seed, it stamps two images; expected all draws to come from "
            "the generator that is given")
    require(torch.equal(stamp(trigger, images, heads), before),
            f"{where}, it stamps test images otherwise than before; expected it to return a copy")


def _described(images: Any) -> str:
    if not isinstance(images, Tensor):
        return type(images).__name__
    return f"{images.dtype} of shape {tuple(images.shape)}"
