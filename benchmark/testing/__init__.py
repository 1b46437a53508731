"""Contracts as checks that anyone can run on a component of their own: `check_defense("mine")`."""

from benchmark.utils.packages import check_not_hidden

check_not_hidden()  # before the imports of our packages, which would fail less clearly

from benchmark.testing.contract import BrokenContract
from benchmark.testing.defenses import (MODELS, RECIPE, SORTS, attacked, check_defense, fresh,
                                        knowledge_of, run, scenes, trainer, weights)
from benchmark.testing.targets import check_target
from benchmark.testing.triggers import check_trigger

__all__ = ["MODELS", "RECIPE", "SORTS", "BrokenContract", "attacked", "check_defense",
           "check_target", "check_trigger", "fresh", "knowledge_of", "run", "scenes", "trainer",
           "weights"]
