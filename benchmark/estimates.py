"""How long stages will take and how much disk they need, from what was measured: stages of their sort, or `speed`."""

from collections import defaultdict
from dataclasses import dataclass
from statistics import median

FORWARD = 1 / 3  # of a training step, which also goes backward, at about twice the cost


@dataclass(frozen=True)
class Work:
    """What a stage has to do.

    sort: (model, precision, what), stages of which take a time in proportion to their pixels: 'train', or a defense.
    trained, counted: pixels that go through a training step, and through a counter.
    """

    sort: tuple[str, str, str]
    trained: float
    counted: float

    @property
    def amount(self) -> float:
        """Pixels through a training step, or what costs as much."""
        return self.trained + FORWARD * self.counted


class Estimator:
    """Seconds of stages.

    rates: pixels per second of (model, precision, 'train' or 'count'), as `speed` measured them.
    """

    def __init__(self, rates: dict[tuple[str, str, str], float]):
        self._rates = rates
        self._seen: dict[tuple[str, str, str], list[float]] = defaultdict(list)

    def learn(self, work: Work, seconds: float) -> None:
        """Take in how long a stage took."""
        if work.amount:
            self._seen[work.sort].append(seconds / work.amount)

    def seconds(self, work: Work) -> float | None:
        """How long a stage will take; None where nothing like it was measured.

        A defense that was never measured is taken to cost what training on the images that it is handed does.
        """
        model, precision, _ = work.sort
        for sort in (work.sort, (model, precision, "train")):
            if self._seen[sort]:
                return work.amount * median(self._seen[sort])
        train, count = (self._rates.get((model, precision, what)) for what in ("train", "count"))
        return work.trained / train + work.counted / count if train and count else None


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(42), duration(200), duration(5000), duration(200_000)
    ('42 s', '3 min', '1 h 23 min', '2 days 7 h')
    """
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} days {minutes % 1440 // 60} h"


def size(amount: float) -> str:
    """An amount of bytes as people say it.

    >>> size(700), size(65_000_000), size(2.5e12)
    ('700 bytes', '65.0 MB', '2.5 TB')
    """
    if amount < 1000:
        return f"{amount:.0f} bytes"
    for unit in ("kB", "MB", "GB", "TB"):
        amount /= 1000
        if amount < 1000 or unit == "TB":
            break
    return f"{amount:.1f} {unit}"
