"""Torch modules: what goes through them, and their mode, each changed only within a context."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

# It is given the name of a module, the positional arguments of its call, and its output.
Watcher = Callable[[str, tuple[Any, ...], Tensor], None]


@contextmanager
def watched(modules: Mapping[str, nn.Module], watcher: Watcher) -> Iterator[None]:
    """A context in which a function is told of each call of some modules.

    modules: by the names under which the watcher is told of them.
    watcher: it is called at the end of each call, and must not change the tensors. What the module
        returns to its caller may be overwritten later, for instance by a ReLU in place.

    The watcher is removed at the end of the context, also after an error.
    """
    with ExitStack() as hooks:
        for name, module in modules.items():
            hooks.enter_context(module.register_forward_hook(
                lambda _, arguments, output, name=name: watcher(name, arguments, output)))
        yield


@contextmanager
def in_evaluation_mode(module: nn.Module) -> Iterator[None]:
    """A context in which a module is in evaluation mode.

    Afterwards the module and each module within it has the mode that it had before.
    """
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, was_training in modes.items():  # the outer ones first: they also switch the inner
            part.train(was_training)
