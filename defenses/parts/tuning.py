"""Tuning on a few clean images: the base class of such defenses, and helpers for their losses."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from defenses.base import Defense, Knowledge, Knows, Loss
from models.base import Counter

LR_SHARES = (1.0, 0.1)  # the learning rates that are tried, as shares of the victim's


class OnFewImages(Defense):
    """A defense that tunes the victim on a few clean training images.

    images: number of clean images.
    epochs: number of epochs.
    lr: learning rate. None tries the victim's and a tenth of it, and keeps the counter with the
        lower error on the clean validation images. A rate that was right for a whole training set
        may ruin a counter on 40 images, or be too low to move it.
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
        if self.lr is not None:
            return self.repaired(victim, knowledge, self.lr)
        rates = [share * knowledge.trainer.recipe.lr for share in LR_SHARES]
        counters = (self.repaired(victim, knowledge, lr) for lr in rates)
        return min(counters, key=knowledge.error)

    def tune(self, counter: Counter, knowledge: Knowledge, lr: float, loss: Loss | None = None,
             after_step: Callable[[], None] | None = None, epochs: int | None = None) -> None:
        """Train a counter in place on the clean images, without a warm-up: it was trained before.

        loss, after_step: see `Train` in defenses/parts/knowledge.py.
        epochs: None takes the setting.
        """
        knowledge.trainer.fit(counter, knowledge.clean, loss=loss, after_step=after_step,
                              epochs=epochs or self.epochs, lr=lr, warmup=0)


def convolutions(counter: Counter, knowledge: Knowledge) -> list[str]:
    """The names of a counter's convolutions, in the order in which a clean image runs them."""
    ran: dict[str, None] = {}  # a dict, because a set would lose the order
    hooks = []
    for name, module in counter.named_modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_pre_hook(
                lambda *_, name=name: ran.update({name: None})))
    knowledge.trainer.per_image(counter, knowledge.clean[:1],
                                lambda batch: counter.count(batch.images))
    for hook in hooks:
        hook.remove()
    return list(ran)


@contextmanager
def inputs(counter: Counter, names: list[str]) -> Iterator[dict[str, Tensor]]:
    """The inputs of modules by their names, renewed at each forward pass within the context."""
    latest: dict[str, Tensor] = {}
    hooks = [counter.get_submodule(name).register_forward_pre_hook(
        lambda _, arguments, name=name: latest.update({name: arguments[0]})) for name in names]
    try:
        yield latest
    finally:
        for hook in hooks:
            hook.remove()


def add_to_log_loss(losses: Tensor, term: Tensor) -> Tensor:
    """Losses [B] with a term that was designed to be added to a cross entropy: [B].

    term: [] or [B].

    A cross entropy is a negative log-likelihood. The negative log-likelihood of errors whose
    squares sum to L grows with log L, whatever the unit of L, so the term is added to log L. The
    gradient is L grad(log L + term) = grad(L + L term), in which the second L, the mean over the
    batch, is held constant.
    """
    return losses + losses.detach().mean() * term
