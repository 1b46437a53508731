"""Stages made in this process, each yielded when it is settled; `cluster` makes them elsewhere in the same form.

Processes that share a store share its stages: each makes what no other has in hand.
"""

import time
import traceback
from collections.abc import Callable, Iterator, Sequence

from benchmark.pipeline.stage import Stage
from benchmark.pipeline.store import Store
from benchmark.training.loop import TrainingFailed
from benchmark.utils import progress
from benchmark.utils.errors import UserError

Settled = Iterator[tuple[Stage, str | None]]  # a stage that is there, or why it is not
Executor = Callable[[Sequence[Stage], Store], Settled]
AGAIN = "(failed before; --retry-failed tries it again)"


def run_locally(stages: Sequence[Stage], store: Store) -> Settled:
    """Make stages in this process, in their order, but for those that another process has in hand, which come later.

    As soon as another process works in the store, what much else waits for, the trainings, comes first.

    Raises:
        UserError, OSError: the request is wrong or the disk is full, so that other stages would fail alike.
    """
    failures: dict[Stage, str] = {}
    left, shared, waiting = list(stages), False, False
    while left:
        if not shared and not store.has(left[0]) and store.shared():
            shared = True
            left.sort(key=lambda stage: stage.level)
        busy: set[Stage] = set()
        for stage in left:
            if busy & {*stage.needs}:
                busy.add(stage)
                continue
            failure = dependency_failure(stage, failures) or failed_earlier(stage, store)
            if failure is None and not store.has(stage):
                made, failure = attempt(stage, store, wait=False)
                if not made and failure is None:
                    busy.add(stage)
                    continue
            break
        else:
            if not waiting:
                progress.log(f"waiting for another process: {left[0].title}")
            waiting = True
            time.sleep(0.5)
            continue
        waiting = False
        left.remove(stage)
        if failure is not None:
            failures[stage] = failure
        yield stage, failure


def attempt(stage: Stage, store: Store, wait: bool) -> tuple[bool, str | None]:
    """Try to make a stage: whether it is there, and why it failed if it did. Neither where another process has it.

    Raises as `here` does.
    """
    try:
        return store.get(stage, wait) is not None, None
    except TrainingFailed as error:
        failure = str(error)
    except (UserError, OSError):
        raise
    except Exception as error:  # a defense's own mistake, for instance: its author needs the traceback
        traceback.print_exc()
        failure = f"{stage.title}: {type(error).__name__}: {error}"
    store.fail(stage, failure)
    return False, failure


def dependency_failure(stage: Stage, failures: dict[Stage, str]) -> str | None:
    """Why a stage cannot be made: one that it needs failed."""
    return next((failures[need] for need in stage.needs if need in failures), None)


def failed_earlier(stage: Stage, store: Store) -> str | None:
    """Why a stage failed in an earlier run."""
    failure = None if store.has(stage) else store.failure(stage)
    return failure and f"{failure} {AGAIN}"
