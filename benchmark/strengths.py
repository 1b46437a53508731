"""Strengths: the repairs of several strengths that a defense tried, and the one that it kept.

A defense reports them (defenses/parts/strength.py), and its record keeps them.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from benchmark.registry import Settings

SettingName = Annotated[str, Field(min_length=1, max_length=200)]


class StrengthTrial(Settings):
    """A repair of one strength that a defense tried.

    settings: the settings that determine the strength, such as the learning rate.
    validation_mae: MAE on the clean validation images, in people; null where it was not measured,
        because there was nothing to choose, or where the training failed.
    channels: the number of pruned channels; null for a repair that prunes none.
    """

    settings: dict[SettingName, float]
    validation_mae: float | None = None
    channels: int | None = Field(None, strict=True, ge=0)


class StrengthChoice(Settings):
    """The strengths that a defense tried, from the weakest to the strongest.

    kept: the place of the one that was kept, from 0.
    """

    tried: list[StrengthTrial] = Field(min_length=1, max_length=1000)
    kept: int = Field(strict=True, ge=0)

    @model_validator(mode="after")
    def _kept_was_tried(self) -> Self:
        if self.kept >= len(self.tried):
            raise ValueError(f"kept = {self.kept}: expected less than {len(self.tried)}, "
                             "the number of strengths that were tried")
        return self

    @property
    def trial(self) -> StrengthTrial:
        """The trial that was kept."""
        return self.tried[self.kept]


def fixed_strength(choices: Sequence[StrengthChoice]) -> float | None:
    """The strength of a repair whose strength was set; None where the defense chose it itself.

    It is the number of pruned channels, or the product of the other settings that determine the
    strength, such as the learning rate. Strengths of one defense can be compared.
    """
    for choice in choices:
        if len(choice.tried) == 1:
            trial = choice.trial
            if trial.channels is not None:
                return float(trial.channels)
            return math.prod(trial.settings.values())
    return None
