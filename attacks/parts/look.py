"""Look: another trigger, which a trigger draws in a part of the image or in some images only."""

from typing import Annotated, Any, Self

import numpy as np
from pydantic import AfterValidator, PrivateAttr
from torch import Tensor

from attacks.base import Trigger
from attacks.parts.heads import Heads, call_with_heads
from benchmark.registry import build, settings_of

DEFAULT = "blended"
DEEPEST = 4  # looks within each other; each level doubles the work of checking them


def _checked(look: str | dict[str, Any]) -> str | dict[str, Any]:
    """Return a look in its shortest form: a name, or a mapping with the settings that differ.

    Raises:
        UserError: the trigger or a setting of it is unknown or does not fit.
        ValueError: the trigger cannot be drawn by another, or looks are nested too deep.
    """
    if _levels(look) > DEEPEST:
        raise ValueError(f"more than {DEEPEST} looks within each other; expected fewer")
    name, given = _parts(look)
    trigger = build("trigger", name, given)
    if trigger.optimises or len(trigger.shares()) > 1:
        raise ValueError(f"trigger {name!r} is optimised or has several strengths; "
                         "expected another one")
    defaults = settings_of(type(trigger)).model_fields
    changed = {key: getattr(trigger, key) for key in defaults
               if getattr(trigger, key) != defaults[key].default}
    return {"name": name, **changed} if changed else name


def _parts(look: str | dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name and the settings of a look."""
    if isinstance(look, str):
        return look, {}
    settings = dict(look)
    return str(settings.pop("name", DEFAULT)), settings


def _levels(look: Any) -> int:
    """Return how many looks are within each other; a large number is not counted to its end."""
    levels = 0
    while isinstance(look, dict) and levels <= DEEPEST:
        look = look.get("look")
        levels += 1
    return levels


# The setting of a look: the name of a trigger, or a mapping with its name and its settings.
Look = Annotated[str | dict[str, Any], AfterValidator(_checked)]


class Framed(Trigger):
    """A trigger that draws another one.

    look: the trigger that is drawn: its name, or a mapping with its name and its settings.
    """

    look: Look = "blended"
    _drawn: Trigger = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Build the trigger that is drawn."""
        name, given = _parts(self.look)
        self._drawn = build("trigger", name, given)

    def draw(self, images: Tensor, heads: Heads | None) -> Tensor:
        """Return images [B, 3, H, W] in 0..1 with the look."""
        return call_with_heads(self._drawn.stamp, images, heads=heads)

    @property
    def sees_heads(self) -> bool:
        return self._drawn.sees_heads

    def applies(self, heads: Tensor) -> bool:
        return self._drawn.applies(heads)

    def in_training(self, rng: np.random.Generator) -> Self:
        drawn = self._drawn.in_training(rng)
        if drawn is self._drawn:
            return self
        framed = self.model_copy()
        framed._drawn = drawn
        return framed

    @property
    def is_conditional(self) -> bool:
        return self._drawn.is_conditional

    @property
    def full_version(self) -> str:
        return f"{self.version}, {self._drawn.name} {self._drawn.full_version}"
