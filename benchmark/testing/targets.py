"""The contract of a target: the attacker's count tau, and the false heads that teach it."""

from typing import Any

import numpy as np

from attacks.base import Target
from attacks.parts.in_part import altered_in_part
from benchmark.data.scene import Scene
from benchmark.registry import build
from benchmark.testing.contract import require
from benchmark.testing.triggers import check_setting_names, scatter_global_generators

COUNTS = (0, 1, 2, 3, 40, 99, 101, 250)  # people in the scenes
SIZES = ((64, 96), (75, 131), (768, 1024))  # (height, width)


def check_target(name: str, settings: dict[str, Any] | None = None) -> Target:
    """Alter the heads of small scenes by a target, check the results, and return the target.

    Raises:
        BrokenContract: tau is no count or goes in another direction than `increases` says, the
            false heads are not as many as tau says or not inside the image, or follow from more
            than the generator; the target changes its input; it says that its change can be made
            in part, and it cannot; or a setting has the name of another setting of attacks.
    """
    target: Target = build("target", name, settings or {})
    check_setting_names(target, "trigger")
    require(getattr(target, "increases", ...) in (True, False, None),
            f"target {name}: increases is missing; expected True, False or None")
    fitted = target.fitted([scene_of(count, SIZES[0]) for count in COUNTS])
    require(isinstance(fitted, Target),
            f"target {name}: `fitted` returns {type(fitted).__name__}; expected a target")
    signs = set()
    for size in SIZES:
        for count in COUNTS:
            signs.add(_check_scene(fitted, scene_of(count, size)))
    expected = {True: {0, 1}, False: {0, -1}, None: {0, 1, -1}}[target.increases]
    require(signs <= expected,
            f"target {name}: increases is {target.increases}, and tau is "
            f"{'above' if 1 in signs - expected else 'below'} the true count of a scene; expected "
            "the direction that increases says, or None for a target without one")
    require(target.increases is None or bool(signs - {0}),
            f"target {name}: tau is the true count of all scenes; expected another count, or "
            "increases = None")
    return target


def scene_of(count: int, size: tuple[int, int]) -> Scene:
    """A scene of noise. The last of its heads are in the corners of the image."""
    rng = np.random.default_rng(count)
    height, width = size
    points = rng.uniform(0, (width, height), (count, 2)).astype(np.float32)
    right, bottom = np.nextafter(np.float32((width, height)), np.float32(0))
    corners = np.array([(0, 0), (right, 0), (0, bottom), (right, bottom)], np.float32)[:count]
    points[count - len(corners):] = corners
    return Scene(f"{count}", np.zeros((*size, 3), np.uint8), points, None)


def _check_scene(target: Target, scene: Scene) -> int:
    """Check one scene, and return the sign of the attacker's count minus the true count."""
    where = f"target {target.name}: of {scene.count} heads in {scene.size[0]} x {scene.size[1]}"
    tau = _tau(target, scene, where)
    points = scene.points.copy()  # those of a scene cannot be written
    heads = target.alter(points, scene.size, np.random.default_rng(1))
    require(np.array_equal(points, scene.points),
            f"{where}, `alter` changes its input; expected it to copy the points")
    require(isinstance(heads, np.ndarray) and heads.ndim == 2 and heads.shape[1] == 2,
            f"{where}, `alter` returns {_described(heads)}; expected an array [tau, 2]")
    keeps_label = np.array_equal(heads, scene.points)  # of a clean-label attack
    require(len(heads) == tau or keeps_label,
            f"{where}, `alter` returns {len(heads)} heads and tau is {tau}; expected as many heads "
            "as tau, or the true heads")
    height, width = scene.size
    inside = np.isfinite(heads) & (heads >= 0) & (heads <= [width, height])
    require(bool(inside.all()),
            f"{where}, a false head is at {heads[~inside.all(axis=1)][:1].tolist()}; expected "
            "(x, y) inside the image")
    scatter_global_generators()
    again = target.alter(scene.points.copy(), scene.size, np.random.default_rng(1))
    require(np.array_equal(heads, again),
            f"{where}, the same generator gives other heads; expected every random choice to come "
            "from `rng`")
    if target.divisible and not keeps_label:
        part = altered_in_part(scene.points, heads, 0.5, np.random.default_rng(1))
        require(part is not None,
                f"{where}, `alter` does not just add or just remove heads and keep the order of "
                "the others; expected divisible = False")
    return int(np.sign(tau - scene.count))


def _tau(target: Target, scene: Scene, where: str) -> int:
    """The attacker's count, which is the same by both methods where both are there."""
    tau = target.tau_of(scene.points, scene.size)
    require(isinstance(tau, int | np.integer) and not isinstance(tau, bool) and tau >= 0,
            f"{where}, tau is {tau!r}; expected a whole number from 0")
    if type(target).tau is not Target.tau:
        by_count = target.tau(scene.count)
        require(tau == by_count, f"{where}, tau_of is {tau} and tau {by_count}; expected the same")
    return int(tau)


def _described(heads: Any) -> str:
    if not isinstance(heads, np.ndarray):
        return type(heads).__name__
    return f"an array {list(heads.shape)}"
