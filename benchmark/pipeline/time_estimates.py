"""Time estimates of stages, from finished stages of the same sort or from `crowdbench speed`."""

from collections import defaultdict
from statistics import median

from benchmark.pipeline.stage import Work


class Estimator:
    """An estimator of the seconds that stages take.

    rates: pixels per second of each (model, precision, 'train' or 'count'), as
        `crowdbench speed` measured them.
    """

    def __init__(self, rates: dict[tuple[str, str, str], float]):
        self._rates = rates
        self._seen: dict[tuple[str, str, str], list[float]] = defaultdict(list)

    def learn(self, work: Work, seconds: float) -> None:
        """Learn from the seconds that a stage took."""
        if work.amount:
            self._seen[work.sort].append(seconds / work.amount)

    def seconds(self, work: Work) -> float | None:
        """The seconds that a stage will take; None where nothing like it was measured.

        A defense that was never measured is assumed to cost as much as training on the images
        that it is given.
        """
        model, precision, _ = work.sort
        for sort in (work.sort, (model, precision, "train")):
            if self._seen[sort]:
                return work.amount * median(self._seen[sort])
        train, count = (self._rates.get((model, precision, what)) for what in ("train", "count"))
        return work.trained / train + work.counted / count if train and count else None
