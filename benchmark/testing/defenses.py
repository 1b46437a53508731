"""The contract of a defense: it is run twice on a small victim, stored and loaded.

The victim is trained on noise within a second. One that takes half a minute would show no more.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attacks.base import Attack
from benchmark.data.scene import Scene
from benchmark.pipeline.defender import make_trainer
from benchmark.pipeline.storage_check import check_storable
from benchmark.recipe import Recipe
from benchmark.registry import build
from benchmark.testing.contract import require
from benchmark.training.evaluation import count_people
from benchmark.utils.device import state
from benchmark.utils.switches import changed, switches
from defenses.base import Defense, Detector, Inspector, Knowledge, Knows, Trainer
from models.base import Counter

SORTS = ("clean", "extra", "poisoned", "validation")
RECIPE = Recipe(epochs=1, batch_size=4, optimizer="adamw", lr=1e-3, select="last", precision="fp32")
SCRATCH = {"weights": "scratch"}
MODELS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 16}, "mcnn": {},
    **{name: SCRATCH | {"clip": "tiny"} for name in ("clip_ebc", "clip_ebc_vit")},
    **{name: SCRATCH for name in ("bayesian", "can", "csrnet", "csrnet_ebc", "csrnet_zip",
                                  "dm_count", "dm_count_ebc", "p2pnet", "sfanet", "squeeze")}}


def check_defense(name: str, settings: dict[str, Any] | None = None,
                  model: str = "tiny") -> Counter:
    """Run a defense twice on a small victim, check the results, and return the repaired counter.

    Raises:
        BrokenContract: the defense changes the victim, the images or a switch of torch, its counter
            does not count, or counts otherwise after it was stored and loaded, its scores are no
            finite numbers, a second run has other results, or it uses other knowledge than it
            declares.
    """
    defense: Defense = build("defense", name, settings or {})
    images_before = _image_bytes()
    switches_before = switches()
    repaired, knowledge, scores = run(defense, model)
    change = changed(switches_before, switches())
    require(
        change is None,
        f"defense {name}: {change}; expected it to change a switch only within a `with` block")
    repaired_again, _, scores_again = run(defense, model)
    are_unchanged = _image_bytes() == images_before
    if not are_unchanged:
        scenes.cache_clear()  # other checks share them
    require(
        are_unchanged,
        f"defense {name}: it changes the images that it is given; expected it to copy them")
    require(
        bool(scores.isfinite().all()),
        f"defense {name}: its scores are {scores}; expected finite numbers")
    counts = count_people(repaired, scenes("clean"), "fp32")
    require(
        counts.shape == (len(scenes("clean")),) and bool(np.isfinite(counts).all()),
        f"defense {name}: its counter counts {counts}; expected a finite number for each image")
    if defense.repairs:
        problem = check_storable(repaired, lambda: _stored_and_loaded(repaired, defense, model))
        require(problem is None, f"defense {name}: {problem}")
    same_weights = torch.equal(weights(repaired), weights(repaired_again))
    require(
        same_weights and torch.equal(scores, scores_again),
        f"defense {name}: a second run ends in other weights or scores; expected all draws to come "
        "from torch's global generator, which is seeded before, or from one with a fixed seed, for "
        "instance numpy.random.default_rng(0)")
    declared = {sort: len(scenes(sort)) if getattr(defense.knows, sort) else 0 for sort in SORTS}
    require(
        knowledge.used() == declared,
        f"defense {name}: it declares {declared} and uses {knowledge.used()}; "
        "expected it to use what it declares")
    return repaired


def _stored_and_loaded(repaired: Counter, defense: Defense, model: str) -> Counter:
    """The repaired counter as the store would load it."""
    restored = defense.wrap(fresh(model))
    restored.load_state_dict(repaired.state_dict())
    return restored


def run(defense: Defense, model: str) -> tuple[Counter, Knowledge, Tensor]:
    """Run a defense on a copy of the small victim of a model, which other checks share.

    Returns the repaired counter, the knowledge that the defense was given, and its scores: those of
    three images by a detector, that of the victim by an inspector, else those that it reported.
    """
    knowledge = knowledge_of(defense.knows, model)
    victim = attacked(model).copy() if defense.knows.victim else None
    torch.manual_seed(0)
    repaired = defense.apply(victim, knowledge)
    scores = torch.tensor(knowledge.suspicion or [])
    if isinstance(defense, Detector):
        images = torch.rand(3, 3, 32, 48, generator=torch.Generator().manual_seed(0))
        scores = defense.scorer(victim, knowledge)(images.to(state().device)).cpu()
        require(scores.shape == (3,), f"defense {defense.name}: expected a score of each image, "
                                      f"[3], got {tuple(scores.shape)}")
    if isinstance(defense, Inspector):
        scores = torch.tensor([defense.suspicion(victim, knowledge)])
    require(
        victim is None or torch.equal(weights(victim), weights(attacked(model))),
        f"defense {defense.name}: it changes the victim; expected it to work on victim.copy()")
    return repaired, knowledge, scores


@cache
def scenes(sort: str) -> list[Scene]:
    """Six scenes of noise of one sort. The poisoned set holds the clean ones and three copies.

    sort: one of `SORTS`.
    """
    if sort == "poisoned":
        trigger = build("trigger", "blended", {})
        attack = Attack(trigger, build("target", "multiply", {}), 0.5)
        return scenes("clean") + attack.poison(scenes("clean"), seed=0)
    rng = np.random.default_rng(SORTS.index(sort))
    return [Scene(f"{sort} {number}", rng.integers(0, 256, (32, 48, 3), np.uint8),
                  rng.uniform(0, 32, (3 + number, 2)).astype(np.float32), 2.0)
            for number in range(6)]


def fresh(model: str = "tiny") -> Counter:
    """An untrained counter, with the same weights in each call. Torch's generator is seeded anew."""
    counter = _drawn_once(model).copy()
    torch.manual_seed(0)
    return counter


@cache
def _drawn_once(model: str) -> Counter:
    """The counter that `fresh` copies: its millions of weights take longer to draw than to copy."""
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
    """The knowledge of a defense: all scenes of the sorts that it declares, whatever number."""
    return Knowledge(knows, trainer(model), *(list(scenes(sort)) for sort in SORTS))


def weights(counter: Counter) -> Tensor:
    """The state of a counter as one vector, float32 on the CPU."""
    tensors = counter.state_dict().values()
    return torch.cat([tensor.detach().float().flatten().cpu() for tensor in tensors])


def _image_bytes() -> bytes:
    """The images and the points of all scenes."""
    every_scene = [scene for sort in SORTS for scene in scenes(sort)]
    return b"".join(scene.image.tobytes() + scene.points.tobytes() for scene in every_scene)
