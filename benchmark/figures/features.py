"""Features of clean and of triggered images: does a counter tell them apart in its last layer?"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from benchmark.figures.inside import (Subject, by_name, images_used, titled_parts,
                                      what_is_shown)
from benchmark.figures.style import COLUMN, DEFENDED, STYLE, UNDEFENDED, Picture, mark, plain
from defenses.parts.filtering import components
from models.base import Counter

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LEAST = 3  # images: without a pair of them one must be left to find the direction
HEIGHT = 2.1  # inches of a row of panels with its titles
KINDS = {"clean": (DEFENDED, "o"), "triggered": (UNDEFENDED, "^")}
CAPTION = (
    "Features of validation images without and with the trigger, along their first two principal "
    "components, which are those of both sorts of images together and of each counter alone; in "
    "brackets their share of the variance. The features are the input of the last convolution, "
    "averaged over the image. A line joins the two points of an image. AUROC tells how well a "
    "counter's features separate the two sorts along the direction in which the trigger moves the "
    "mean: the chance that a triggered image lies further along it than another clean image, where "
    "the direction comes from all images but these two. At 0.5 the trigger moves the features too "
    "little, or too differently, to be told from the differences between images; at 1 every "
    "triggered image stands apart. What the clean counter shows as well is the work of the stamped "
    "picture, not of the backdoor.")


@dataclass(frozen=True)
class Projection:
    """The features of N images without and with the trigger, seen in a plane.

    points: [2, N, 2] or [2, N, 1]: the principal components of the clean images, then of the
        triggered ones.
    explained: the share of the variance that each component holds.
    separation: see `separation`.
    """

    points: np.ndarray
    explained: np.ndarray
    separation: float


def pooled_features(counter: Counter, images: Iterable[dict[str, Tensor]]) -> np.ndarray:
    """The features of images without and with the trigger, float64 [2, N, C].

    They are the input of the last convolution of the counter, averaged over the places of its map:
    `Counter.features`, at which the defenses that look for poisoned images look as well. Whole
    images run at full precision.

    images: at least one pair, 'clean' and 'triggered', [1, 3, H, W] in 0..1 each.
    """
    with torch.inference_mode():
        pairs = [[counter.features(pair[kind])[0].float().mean(dim=(1, 2)).cpu().numpy()
                  for kind in KINDS] for pair in images]
    return np.array(pairs, float).swapaxes(0, 1)


def projection(features: np.ndarray) -> Projection:
    """The features [2, N, C] of N images without and with the trigger, projected on a plane.

    The components are those of all 2 N points. The sign of each, which is arbitrary, is chosen such
    that the triggered images lie at larger values on average.
    """
    both = features.reshape(-1, features.shape[2])
    points = components(both, 2).reshape(*features.shape[:2], -1)
    points *= np.where(points[1].mean(axis=0) < points[0].mean(axis=0), -1, 1)
    total = (both - both.mean(axis=0)).var(axis=0).sum()
    parts = points.reshape(len(both), -1).var(axis=0)
    explained = parts / total if total > 0 else np.full(len(parts), math.nan)
    return Projection(points, explained, separation(*features))


def separation(clean: np.ndarray, triggered: np.ndarray) -> float:
    """The AUROC of the features of triggered images along the direction of their mean change.

    It is estimated by leaving pairs out: over all pairs of different images i and j the chance of

        w_ij . (t_i - c_j) > 0,    w_ij = sum over the other images k of (t_k - c_k)

    where c and t are the features [N, C] of the same N images without and with the trigger, N at
    least 3, and equal scores count half. Airola et al., Computational Statistics & Data Analysis
    2011, show that leaving out pairs is almost unbiased where few images are there, while pooled
    folds are not. Because an image is never compared with itself, the trigger must move it farther
    than images differ. There is nothing to tune, as there is in a classifier with a covariance,
    which fewer images than channels cannot give.

    >>> round(separation(np.array([[0.0], [2], [4]]), np.array([[3.0], [5], [7]])), 3)
    0.833
    """
    centre = (clean.mean(axis=0) + triggered.mean(axis=0)) / 2
    clean, triggered = clean - centre, triggered - centre
    change = triggered - clean
    total = change.sum(axis=0)
    to_triggered, to_clean = change @ triggered.T, change @ clean.T  # [k, i]: of image k's change
    scores = (total @ triggered.T - np.diag(to_triggered))[:, None] - to_triggered.T
    scores -= (total @ clean.T - np.diag(to_clean))[None] - to_clean
    others = ~np.eye(len(clean), dtype=bool)
    return float((np.sign(scores[others]).mean() + 1) / 2)


def draw_features(shown: Sequence[Subject]) -> Picture:
    """A row of panels for each attack: for each counter the features of all images in a plane.

    shown: at least one, with at least LEAST images each.
    """
    from matplotlib import rc_context

    projections = [{name: projection(pooled_features(counter, subject.images()))
                    for name, counter in subject.counters()} for subject in shown]
    columns = max(map(len, projections))
    with rc_context(STYLE | {"axes.grid": False}):
        entries = [mark(kind, marker, colour, "none") for kind, (colour, marker) in KINDS.items()]
        figure, parts = titled_parts(shown, [HEIGHT] * len(shown), COLUMN / 2 * max(columns, 2),
                                     entries)
        for part, seen in zip(parts, projections):
            grid = part.subplots(1, columns, squeeze=False)[0]
            for axes, (name, projected) in zip(grid, seen.items()):
                _draw_projection(axes, name, projected)
    told = [_told(subject.title, seen) for subject, seen in zip(shown, projections)]
    caption = " ".join([CAPTION, what_is_shown(shown), *told, images_used(shown)])
    return Picture(figure, caption, _numbers(shown, projections))


def _draw_projection(axes: "Axes", name: str, projected: Projection) -> None:
    across, *up = projected.points.transpose(2, 0, 1)  # [2, N] each
    [up] = up or [np.zeros_like(across)]  # a single channel has one component
    axes.plot(across, up, color="0.75", linewidth=0.4, zorder=1)
    for kind, x, y in zip(KINDS, across, up):
        colour, marker = KINDS[kind]
        axes.plot(x, y, marker, color=colour, markersize=3, markerfacecolor="none",
                  markeredgewidth=0.6)
    axes.set_title(plain(f"{name}: AUROC {projected.separation:.2f}"))
    named = [f"component {number} ({share:.0%})"
             for number, share in enumerate(projected.explained, start=1)]
    axes.set_xlabel(named[0])
    axes.set_ylabel(named[1] if len(named) > 1 else "")
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")  # distances mean the same in all directions


def _told(title: str, seen: dict[str, Projection]) -> str:
    """A sentence that summarises the panels of one attack."""
    areas = [f"{projected.separation:.2f}" for projected in seen.values()]
    return f"{title}: AUROC {by_name(seen, areas)}."


def _numbers(shown: Sequence[Subject], projections: Sequence[dict[str, Projection]]
             ) -> "pd.DataFrame":
    """A row for each image of each sort and each counter."""
    import pandas as pd

    rows = []
    for subject, seen in zip(shown, projections):
        for name, projected in seen.items():
            for kind, points in zip(KINDS, projected.points):
                for scene, point in zip(subject.scenes, points):
                    rows.append({"attack": subject.title, "counter": name, "image": scene.id,
                                 "kind": kind, "AUROC": projected.separation,
                                 **{f"component {number}": value
                                    for number, value in enumerate(point, start=1)}})
    return pd.DataFrame(rows)
