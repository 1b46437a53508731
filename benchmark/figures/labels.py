"""Labels of points: each stands at the nearest free place, with a line that leads to its point.

Of the libraries for this, adjustText leaves overlaps and textalloc leaves labels out where points
are as close together as those of `records/standard-quick`. Here no label overlaps anything, and it
is reported if there is no place for all of them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmark.figures.style import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = 5.5  # points: the height of letters
MARGIN = 2.2  # points around the centre of a marker that labels keep free, and lines if they can
ORDERS = 30  # of placing the labels that are tried
STEP = 1.2  # by which each ring of places around a point is larger than the one before
ANGLES = np.linspace(0, 2 * np.pi, 32, endpoint=False)  # to the right first
Label = tuple[float, float, str]  # x, y of its point, and its text


def place_labels(axes: "Axes", labels: Sequence[Label],
                 avoid: Sequence[tuple[float, float]] = ()) -> bool:
    """Draw a label near each point. Returns False, and draws none, if they have no place.

    The layout and the limits of the axes must be final, because places are found in pixels.

    avoid: other points (x, y) that no label may cover.
    """
    if not labels:
        return True
    texts = [axes.text(x, y, plain(name), fontsize=SIZE) for x, y, name in labels]
    sizes = np.array([text.get_window_extent().size for text in texts])
    pixels = axes.transData.transform([*(label[:2] for label in labels), *avoid])
    places = _find_places(axes, pixels, sizes)
    to_data = axes.transData.inverted().transform
    for number, text in enumerate(texts):
        if places is None:
            text.remove()
            continue
        low, high, line = places[number]
        text.set(position=to_data((low + high) / 2), ha="center", va="center")
        axes.plot(*to_data(line).T, color="0.4", linewidth=0.4, scalex=False, scaley=False)
    return places is not None


def _find_places(axes: "Axes", pixels: np.ndarray, sizes: np.ndarray) -> list["Place"] | None:
    """A place for each label; None if none were found for all.

    A label that finds no place in one order is the first of the next one. If no order has places
    for all, labels stand farther off, which leaves room for lines between them, and lines may touch
    markers and each other. Labels never do.

    pixels: the centres of all markers, [N, 2]; the first ones have labels. sizes: of the labels.
    """
    for nearest, clearance in ((1.5 * MARGIN, MARGIN), (4 * MARGIN, 0)):
        order = list(range(len(sizes)))
        for _ in range(ORDERS):
            panel = Panel(axes, pixels, nearest, clearance)
            lost = next((n for n in order if not panel.place(n, sizes[n])), None)
            if lost is None:
                return [panel.places[number] for number in range(len(sizes))]
            order = [lost, *(number for number in order if number != lost)]
    return None


class Place(NamedTuple):
    """A label's lower left and upper right corner, and the points [M, 2] of the line to it."""

    low: np.ndarray
    high: np.ndarray
    line: np.ndarray


class Panel:
    """The places of a panel's labels, in pixels.

    pixels: the centres of all markers, [N, 2]. nearest: points from a marker's centre to a label,
    at least. clearance: points that lines keep from markers and from each other.
    """

    def __init__(self, axes: "Axes", pixels: np.ndarray, nearest: float, clearance: float) -> None:
        self.pixels = pixels
        self.extent = axes.get_window_extent()
        per_point = axes.figure.dpi / 72
        self.margin, self.nearest = MARGIN * per_point, nearest * per_point
        self.clearance = clearance * per_point
        self.places: dict[int, Place] = {}

    def place(self, number: int, size: np.ndarray) -> bool:
        """Put the label of a marker at its nearest free place. Returns whether there is one."""
        point = self.pixels[number]
        others = np.delete(self.pixels, number, axis=0)
        lines = [place.line for place in self.places.values()]
        ink = np.concatenate([others, *lines])
        lows = np.array([place.low for place in self.places.values()]).reshape(-1, 2)
        highs = np.array([place.high for place in self.places.values()]).reshape(-1, 2)
        for low in self._corners(point, size):
            high, gap = low + size, self.margin / 2
            if ((low - gap < highs) & (high + gap > lows)).all(axis=1).any():
                continue  # another label is there
            if _within(self.pixels, low, high, self.margin) or _within(ink, low, high, 1):
                continue
            line = self._line(point, low, high)
            free = np.linalg.norm(line[:, None] - ink, axis=2) >= self.clearance
            inside = (line[:, None] > lows - 1) & (line[:, None] < highs + 1)
            if free.all() and not inside.all(axis=2).any():
                self.places[number] = Place(low, high, line)
                return True
        return False

    def _corners(self, point: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Lower left corners [M, 2] of a label in the panel, ever farther from its point."""
        steps = np.log(max(self.extent.size) / 2 / self.nearest) / np.log(STEP)
        distances = self.nearest * STEP ** np.arange(steps)
        directions = np.column_stack([np.cos(ANGLES), np.sin(ANGLES)])
        edges = np.clip(2 * directions, -1, 1) * size / 2  # the middle of an edge, or a corner
        centres = point + edges + distances[:, None, None] * directions
        corners = centres.reshape(-1, 2) - size / 2
        fits = (corners > self.extent.min) & (corners + size < self.extent.max)
        return corners[fits.all(axis=1)]

    def _line(self, point: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Points of the line from a marker's edge to a label, a pixel or less apart; [M, 2]."""
        end = np.clip(point, low, high)
        length = np.linalg.norm(end - point)
        if length < 2 * self.margin:
            return np.empty((0, 2))  # the label is so near that it needs none
        along = np.linspace(1.2 * self.margin / length, 1, int(length) + 1)[:, None]
        return point + along * (end - point)


def _within(points: np.ndarray, low: np.ndarray, high: np.ndarray, margin: float) -> bool:
    """Whether a point of [M, 2] lies in a box or nearer than a margin to it."""
    return bool(((points > low - margin) & (points < high + margin)).all(axis=1).any())
