"""Storage check: a counter must give the same counts after it was stored and loaded again.

The store keeps the tensors of a counter's state dict and nothing else. A hook, or a tensor that is
a plain attribute, is lost without a trace; the counts of the stored counter would be published
under the name of a defense that is no longer in it.
"""

from collections.abc import Callable

import torch

from benchmark.utils.device import state
from benchmark.utils.errors import UserError
from models.base import Counter

SIZE = (96, 128)  # of the images of noise that are counted, in pixels
IMAGES = 2
TOLERANCE = 1e-3  # relative; the memory layout of a loaded counter may differ, and so the rounding
ADVICE = ("expected everything that changes the counts in the state dict, and modules around the "
          "victim added by wrap(counter), which is called before the stored weights are loaded")


def check_storable(counter: Counter, restore: Callable[[], Counter]) -> str | None:
    """Compare the counts of a counter with those of the same one after storing.

    restore: loads the stored counter. It raises RuntimeError or UserError where the stored tensors
        do not fit.
    Returns one line that says what is wrong and what was expected; None if the counts agree.
    """
    counts, again = _counts(counter), _counts(counter)
    if not torch.allclose(counts, again, rtol=TOLERANCE, equal_nan=True):
        return (f"it counts {_text(counts)} people in two images, and {_text(again)} when it "
                "counts them again; expected a counter that draws no random numbers")
    try:
        restored = _counts(restore())
    except (RuntimeError, UserError) as error:
        reason = " ".join(str(error).split())[:150]
        return f"its weights cannot be loaded again ({reason}); {ADVICE}"
    if not torch.allclose(counts, restored, rtol=TOLERANCE, equal_nan=True):
        return (f"it counts {_text(counts)} people in two images, and {_text(restored)} after it "
                f"was stored and loaded; {ADVICE}")
    return None


@torch.inference_mode()
def _counts(counter: Counter) -> torch.Tensor:
    """The counts of images of noise, always the same images, [IMAGES] on the CPU."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(IMAGES, 3, *SIZE, generator=generator).to(state().device)
    training = counter.training
    counts = counter.to(state().device).eval().count(images).cpu()
    counter.train(training)
    return counts


def _text(counts: torch.Tensor) -> str:
    return " and ".join(f"{count:.3f}" for count in counts.tolist())
