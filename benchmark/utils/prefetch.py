"""Prefetching: a thread prepares the next thing while the program works on the present one."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Thing, Result = TypeVar("Thing"), TypeVar("Result")


def prepared_ahead(prepare: Callable[[Thing], Result], things: Iterable[Thing]) -> Iterator[Result]:
    """Yield `prepare(thing)` of each thing, in order, each prepared while the last one is in use.

    One thread prepares one thing at a time, so that what `prepare` returns must not depend on when
    it is called, and it may draw only from generators of its own. An error of `prepare` is raised
    where its result would be yielded. The thread ends with the last thing and when this iterator is
    closed; use `contextlib.closing` where a loop may end before.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix="prepared-ahead")
    following: Future[Result] | None = None
    try:
        for thing in things:
            present, following = following, executor.submit(prepare, thing)
            if present is not None:
                yield present.result()
        if following is not None:
            yield following.result()
    finally:
        executor.shutdown(cancel_futures=True)
