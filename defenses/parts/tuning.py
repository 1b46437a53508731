"""Tuning on a few clean images: the base class of such defenses, and helpers for their losses."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from benchmark.data.batches import Batch
from benchmark.utils.torch_modules import watched
from defenses.base import Defense, Knowledge, Knows, Loss
from defenses.parts.filtering import annotated_counts
from defenses.parts.strength import Candidate, strongest
from models.base import Counter

# The learning rates that are tried, as shares of the victim's. BackdoorBench tunes with the rate of
# its trainings, 0.01, in every such method; a tenth of it would hardly move the victim.
LR_SHARES = (1.0, 2.0, 5.0, 10.0)


class OnFewImages(Defense):
    """A defense that tunes the victim on a few clean training images.

    The learning rate falls to 0 along a cosine, and the weights of the last epoch are kept, as in
    BackdoorBench. The epoch with the lowest validation error would be one that changes little.

    images: number of clean images.
    epochs: number of epochs.
    lr: learning rate. None tries 1, 2, 5 and 10 times the victim's, and takes the highest one
        within the budget; see defenses/parts/strength.py.
    """

    images: PositiveInt = 40
    epochs: PositiveInt = 20
    lr: PositiveFloat | None = None

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images, validation=self.lr is None)

    @abstractmethod
    def repaired(self, victim: Counter, knowledge: Knowledge, lr: float) -> Counter:
        """A repaired copy of the victim, tuned at one learning rate."""

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        return strongest(self.candidates(victim, knowledge), knowledge)

    def candidates(self, victim: Counter, knowledge: Knowledge) -> list[Candidate]:
        """Repairs of the victim at each learning rate, the lowest rate first."""
        return [Candidate({"lr": lr}, partial(self.repaired, victim, knowledge, lr))
                for lr in self.rates(knowledge)]

    def rates(self, knowledge: Knowledge) -> list[float]:
        """The learning rates that are tried, the lowest one first."""
        if self.lr is not None:
            return [self.lr]
        return [share * knowledge.trainer.recipe.lr for share in LR_SHARES]

    def tune(self, counter: Counter, knowledge: Knowledge, lr: float, loss: Loss | None = None,
             after_step: Callable[[], None] | None = None, epochs: int | None = None) -> None:
        """Train a counter in place on the clean images, without a warm-up: it was trained before.

        loss, after_step: see `Train` in defenses/parts/knowledge.py.
        epochs: None takes the setting.
        """
        knowledge.trainer.fit(counter, knowledge.clean, loss=loss, after_step=after_step,
                              epochs=epochs or self.epochs, lr=lr, schedule="cosine", warmup=0,
                              select="last")


@contextmanager
def inputs(counter: Counter, names: list[str]) -> Iterator[dict[str, Tensor]]:
    """The inputs of modules by their names, renewed at each forward pass within the context."""
    latest: dict[str, Tensor] = {}

    def keep(name: str, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        latest[name] = arguments[0]

    with watched({name: counter.get_submodule(name) for name in names}, keep):
        yield latest


def add_to_log_loss(losses: Tensor, term: Tensor) -> Tensor:
    """Losses [B] with a term that was designed to be added to a cross entropy: [B].

    term: [] or [B].

    A cross entropy is a negative log-likelihood. The negative log-likelihood of errors whose
    squares sum to L grows with log L, whatever the unit of L, so the term is added to log L. The
    gradient is L grad(log L + term) = grad(L + L term), in which the second L, the mean over the
    batch, is held constant.
    """
    return losses + losses.detach().mean() * term


def log_losses(counter: Counter, batch: Batch) -> Tensor:
    """log(1 + loss / (count + 1)) of each image, float32 [B]; the count is the annotated one.

    It grows slowly, as a cross entropy does, where a squared error has no bound.
    """
    return (counter.loss(batch).float() / (annotated_counts(batch) + 1)).log1p()
