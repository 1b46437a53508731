"""Compilation: functions of tensors that torch compiles while a training asks for it.

Only such functions are compiled, and not a whole loss. A loss is given lists of tensors of
different lengths, and torch would compile it again for each combination of lengths.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from typing import ParamSpec, TypeVar

import torch

from benchmark.utils.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")
VERSIONS = 64  # of a function, for other layers or sizes; torch gives up after 8 by default
_ran: ContextVar[set[str] | None] = ContextVar("compiled functions that ran", default=None)


@contextmanager
def compiling() -> Iterator[set[str]]:
    """A context in which the functions with `compilable` run compiled. Yields those that ran."""
    token = _ran.set(set())
    try:
        yield _ran.get()
    finally:
        _ran.reset(token)


def compilable(function: Callable[P, R]) -> Callable[P, R]:
    """A decorator: within `compiling` the function runs compiled, and elsewhere as it is written.

    Raises:
        UserError: torch cannot compile it, for instance because there is no C++ compiler.
    """
    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling() or _ran.get() is None:
            return function(*args, **kwargs)
        _ran.get().add(function.__qualname__)
        compiled = _compiled(function)
        try:
            return compiled(*args, **kwargs)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = " ".join(str(error).split("\n")[:2]).strip()  # the backend, and what it says
            raise UserError(f"training.compile = true: torch cannot compile "
                            f"{function.__qualname__} ({reason}); "
                            "expected training.compile=false") from error

    return call


@cache
def _compiled(function: Callable[P, R]) -> Callable[P, R]:
    from torch._dynamo import config  # takes seconds to import

    config.recompile_limit = max(config.recompile_limit, VERSIONS)
    config.skip_nnmodule_hook_guards = False  # a hook that is added later would never run
    return torch.compile(function)
