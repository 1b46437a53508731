"""The contract of a defense as a check that anyone can run on theirs: `check_defense("my_defense")`.

A victim of half a minute's making would prove no more than this one, which is made in a second from noise.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attacks.base import Attack
from benchmark.data.scene import Scene
from benchmark.pipeline.defender import make_trainer
from benchmark.recipe import Recipe
from benchmark.registry import build
from benchmark.training.evaluation import count_people
from benchmark.utils.device import state
from defenses.base import Defense, Detector, Inspector, Knowledge, Knows, Trainer
from models.base import Counter

SORTS = ("clean", "extra", "poisoned", "validation")
RECIPE = Recipe(epochs=1, batch_size=4, optimizer="adamw", lr=1e-3, select="last", precision="fp32")
MODELS: dict[str, dict[str, Any]] = {"tiny": {"width": 16}, "csrnet": {"weights": "scratch"},
                                     "clip_ebc": {"weights": "scratch", "clip": "tiny"}}


def check_defense(name: str, settings: dict[str, Any] | None = None, model: str = "tiny") -> Counter:
    """Run a defense twice on a small victim; returns the repaired counter.

    Raises:
        AssertionError: it changes the victim or the images, its counter does not count, a second run ends elsewhere, it
            uses other knowledge than it declares, or its scores are no finite numbers.
    """
    defense: Defense = build("defense", name, settings or {})
    before, pixels = weights(attacked(model)), _bytes()
    runs = [run(defense, model) for _ in range(2)]
    assert torch.equal(weights(attacked(model)), before), f"{name} changes the victim: work on victim.copy()"
    assert _bytes() == pixels, f"{name} changes the images it is handed"
    (repaired, knowledge, scores), (again, _, scores_again) = runs
    assert scores.isfinite().all(), f"{name}: its scores are {scores}"
    counts = count_people(repaired, scenes("clean"), "fp32")
    assert counts.shape == (len(scenes("clean")),) and np.isfinite(counts).all(), f"{name}: its counter counts {counts}"
    same = torch.equal(weights(repaired), weights(again)) and torch.equal(scores, scores_again)
    assert same, f"{name}: a second run ends in other weights or scores: draw by torch's or a seeded generator"
    declared = {sort: len(scenes(sort)) if getattr(defense.knows, sort) else 0 for sort in SORTS}
    assert knowledge.used() == declared, f"{name} declares {declared} and uses {knowledge.used()}"
    return repaired


def run(defense: Defense, model: str) -> tuple[Counter, Knowledge, Tensor]:
    """What a defense makes of the victim, what it was handed, and its scores if it detects."""
    knowledge = knowledge_of(defense.knows, model)
    victim = attacked(model) if defense.knows.victim else None
    torch.manual_seed(0)
    repaired, scores = defense.apply(victim, knowledge), torch.tensor(knowledge.suspicion or [])
    if isinstance(defense, Detector):
        images = torch.rand(3, 3, 32, 48, generator=torch.Generator().manual_seed(0)).to(state().device)
        scores = defense.scorer(victim, knowledge)(images).cpu()
        assert scores.shape == (3,), f"{defense.name}: expected a score of each image, [3], got {tuple(scores.shape)}"
    if isinstance(defense, Inspector):
        scores = torch.tensor([defense.suspicion(victim, knowledge)])
    return repaired, knowledge, scores


@cache
def scenes(sort: str) -> list[Scene]:
    """Six scenes of noise of a sort; the poisoned set is the clean ones and three stamped copies."""
    if sort == "poisoned":
        attack = Attack(build("trigger", "blended", {}), build("target", "multiply", {}), 0.5)
        return scenes("clean") + attack.poison(scenes("clean"), seed=0)
    rng = np.random.default_rng(SORTS.index(sort))
    return [Scene(f"{sort} {number}", rng.integers(0, 256, (32, 48, 3), np.uint8),
                  rng.uniform(0, 32, (3 + number, 2)).astype(np.float32), 2.0) for number in range(6)]


def fresh(model: str = "tiny") -> Counter:
    """An untrained counter."""
    torch.manual_seed(0)
    return build("model", model, MODELS[model])


def trainer(model: str = "tiny") -> Trainer:
    """A defender's trainer of one epoch."""
    return make_trainer(RECIPE, 0, "check", lambda: fresh(model))


@cache
def attacked(model: str = "tiny") -> Counter:
    """A victim, trained on the poisoned scenes."""
    victim = fresh(model)
    trainer(model).fit(victim, scenes("poisoned"), epochs=2)
    return victim


def knowledge_of(knows: Knows, model: str = "tiny") -> Knowledge:
    """All scenes of the sorts that a defense declares, however many it asks for."""
    return Knowledge(knows, trainer(model), *(list(scenes(sort)) for sort in SORTS))


def weights(counter: Counter) -> Tensor:
    """All that a counter holds, as one vector."""
    return torch.cat([tensor.detach().double().flatten().cpu() for tensor in counter.state_dict().values()])


def _bytes() -> bytes:
    return b"".join(scene.image.tobytes() + scene.points.tobytes() for sort in SORTS for scene in scenes(sort))
