"""Labels of points: each stands at the nearest free place, with a line that leads to its point.

Of the libraries for this, adjustText leaves overlaps and textalloc leaves labels out where points
are as close together as those of `records/standard-quick`. Here no label overlaps anything, and it
is reported if there is no place for all of them.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmark.figures.style import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

SIZE = 5.5  # points: the height of letters
MARGIN = 2.2  # points around the centre of a marker that labels and lines keep free
ORDERS = 40  # in which it is tried to place the labels
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
    sizes = [text.get_window_extent().size for text in texts]
    pixels = axes.transData.transform([*(label[:2] for label in labels), *avoid])
    places = _find_places(axes, pixels, sizes)
    to_data = axes.transData.inverted().transform
    for number, text in enumerate(texts):
        if places is None:
            text.remove()
            continue
        box, line = places[number]
        text.set(position=to_data(box.min + box.size / 2), ha="center", va="center")
        axes.plot(*to_data(line).T, color="0.4", linewidth=0.4, scalex=False, scaley=False)
    return places is not None


Place = tuple["Bbox", np.ndarray]  # of a label, and the points of the line that leads to it


def _find_places(axes: "Axes", pixels: np.ndarray,
                 sizes: Sequence[np.ndarray]) -> dict[int, Place] | None:
    """A place for each label by its number; None if none were found for all.

    A label that finds no place in one order is the first of the next one.

    pixels: the centres of all markers, [N, 2]; the first ones have labels. sizes: of the labels.
    """
    order = list(range(len(sizes)))
    for _ in range(ORDERS):
        panel = Panel(axes, pixels)
        lost = [number for number in order if not panel.place(number, sizes[number])]
        if not lost:
            return panel.places
        order = lost + [number for number in order if number not in lost]
    return None


class Panel:
    """The places of a panel's labels, in pixels. pixels: the centres of all markers, [N, 2]."""

    def __init__(self, axes: "Axes", pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.extent = axes.get_window_extent()
        self.margin = MARGIN / 72 * axes.figure.dpi
        self.places: dict[int, Place] = {}
        self.lines = np.empty((0, 2))  # points of all lines

    def place(self, number: int, size: np.ndarray) -> bool:
        """Put the label of a marker at its nearest free place. Returns whether there is one."""
        for box in self._boxes(self.pixels[number], size):
            line = self._line(self.pixels[number], box)
            if self._is_free(number, box, line):
                self.places[number] = box, line
                self.lines = np.concatenate([self.lines, line])
                return True
        return False

    def _boxes(self, point: np.ndarray, size: np.ndarray) -> Iterator["Bbox"]:
        """Boxes of a label around a point, ever farther from it."""
        from matplotlib.transforms import Bbox

        distance = self.margin + 1
        while distance < max(self.extent.size) / 2:
            for angle in ANGLES:
                direction = np.array([np.cos(angle), np.sin(angle)])
                edge = np.clip(2 * direction, -1, 1) * size / 2  # the box's edge or its corner
                corner = point + edge + distance * direction - size / 2
                yield Bbox([corner, corner + size])
            distance *= 1.2

    def _line(self, point: np.ndarray, box: "Bbox") -> np.ndarray:
        """Points of the line from a marker's edge to a label, a pixel or less apart; [M, 2]."""
        end = np.clip(point, box.min, box.max)
        length = np.linalg.norm(end - point)
        if length < 2 * self.margin:
            return np.empty((0, 2))  # the label is so near that it needs none
        along = np.linspace(1.2 * self.margin / length, 1, int(length) + 1)[:, None]
        return point + along * (end - point)

    def _is_free(self, number: int, box: "Bbox", line: np.ndarray) -> bool:
        """Whether nothing is drawn where the label of a marker and its line would be."""
        if not self.extent.contains(*box.min) or not self.extent.contains(*box.max):
            return False
        if _within(self.pixels, box, self.margin).any() or _within(self.lines, box, 1).any():
            return False
        for other, _ in self.places.values():
            if box.padded(self.margin / 2).overlaps(other) or _within(line, other, 1).any():
                return False
        others = np.concatenate([np.delete(self.pixels, number, axis=0), self.lines])
        gaps = np.linalg.norm(line[:, None] - others, axis=2)
        return not (gaps < 1.2 * self.margin).any()


def _within(points: np.ndarray, box: "Bbox", margin: float) -> np.ndarray:
    """Which points [M, 2] lie in a box or nearer than a margin to it, bool [M]."""
    return ((points > box.min - margin) & (points < box.max + margin)).all(axis=1)
