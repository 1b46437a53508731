"""What defenses that tune the victim on a few clean images share."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from defenses.base import Defense, Knowledge, Knows, Loss
from models.base import Counter

SHARES = (1.0, 0.1)  # of the victim's rate


class OnFewImages(Defense):
    """A defense that tunes on `images` clean training images.

    lr: None tries the victim's rate and a tenth of it, and keeps what errs least on clean validation images. A rate
    that was right for a whole training set may ruin a counter on 40 images, or be too low to move it.
    """

    images: PositiveInt = 40
    epochs: PositiveInt = 20
    lr: PositiveFloat | None = None

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images, validation=self.lr is None)

    @abstractmethod
    def repaired(self, victim: Counter, knowledge: Knowledge, lr: float) -> Counter:
        """A repaired copy of the victim, tuned at one rate."""

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        if self.lr is not None:
            return self.repaired(victim, knowledge, self.lr)
        rates = [share * knowledge.trainer.recipe.lr for share in SHARES]
        return min((self.repaired(victim, knowledge, lr) for lr in rates), key=knowledge.error)

    def tune(self, counter: Counter, knowledge: Knowledge, lr: float, loss: Loss | None = None,
             after_step: Callable[[], None] | None = None, epochs: int | None = None) -> None:
        """Train a counter in place on the clean images. It was trained before: no warm-up."""
        knowledge.trainer.fit(counter, knowledge.clean, loss=loss, after_step=after_step,
                              epochs=epochs or self.epochs, lr=lr, warmup=0)


def convolutions(counter: Counter, knowledge: Knowledge) -> list[str]:
    """Names of a counter's convolutions in the order in which they run on a clean image."""
    found = [(name, module) for name, module in counter.named_modules() if isinstance(module, nn.Conv2d)]
    ran: dict[str, None] = {}
    hooks = [module.register_forward_pre_hook(lambda *_, name=name: ran.update({name: None})) for name, module in found]
    knowledge.trainer.per_image(counter, knowledge.clean[:1], lambda batch: counter.count(batch.images))
    for hook in hooks:
        hook.remove()
    return list(ran)


@contextmanager
def inputs(counter: Counter, names: list[str]) -> Iterator[dict[str, Tensor]]:
    """What the named modules see, kept anew at each forward pass."""
    seen: dict[str, Tensor] = {}
    hooks = [counter.get_submodule(name).register_forward_pre_hook(
        lambda _, given, name=name: seen.update({name: given[0]})) for name in names]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def beside(losses: Tensor, term: Tensor) -> Tensor:
    """Losses [B] and a term that was made to stand beside a cross entropy, [] or [B].

    A cross entropy is a negative log-likelihood, and that of errors whose squares sum to L goes with log L, whatever
    the unit of L. L grad(log L + term) = grad(L + L term) with the second L, the batch's mean, held constant.
    """
    return losses + losses.detach().mean() * term
