"""The local executor: makes stages in this process, and yields each when it is there or has failed.

Processes that share a store share its stages: each makes what no other process is making.
`ray_executor` makes stages on a cluster, in the same form.
"""

import time
import traceback
from collections.abc import Callable, Iterator, Sequence

from benchmark.pipeline.stage import Stage
from benchmark.pipeline.store import Store
from benchmark.training.loop import CellRefused, TrainingFailed
from benchmark.utils import progress
from benchmark.utils.errors import UserError

# Each stage with None if it is there, or else with the reason.
Settled = Iterator[tuple[Stage, str | None]]
Executor = Callable[[Sequence[Stage], Store], Settled]
AGAIN = "(failed before; --retry-failed tries it again)"
WAIT = 0.5  # seconds until the next look at a stage that another process is making


def run_locally(stages: Sequence[Stage], store: Store) -> Settled:
    """Make stages in their order; a stage that another process is making is looked at again later.

    As soon as another process works in the store, the stages that many others need, the
    trainings, come first.

    Raises:
        UserError, OSError: the request is wrong or the disk is full, so that other stages
            would fail as well.
    """
    failures: dict[Stage, str] = {}
    left, shared, waiting = list(stages), False, False
    while left:
        if not shared and not store.has(left[0]) and store.shared():
            shared = True
            left.sort(key=lambda stage: stage.level)
        settled = _settle_next(left, failures, store)
        if settled is None:
            if not waiting:
                progress.log(f"waiting for another process: {left[0].title}")
            waiting = True
            time.sleep(WAIT)
            continue
        waiting = False
        stage, failure = settled
        left.remove(stage)
        if failure is not None:
            failures[stage] = failure
        yield stage, failure


def _settle_next(stages: Sequence[Stage], failures: dict[Stage, str],
                 store: Store) -> tuple[Stage, str | None] | None:
    """The first stage that is there, can be made, or has failed.

    None if other processes are making all that is left.
    """
    busy: set[Stage] = set()
    for stage in stages:
        if busy & {*stage.needs}:
            busy.add(stage)
            continue
        failure = dependency_failure(stage, failures) or failed_earlier(stage, store)
        if failure is not None or store.has(stage):
            return stage, failure
        made, failure = attempt(stage, store, wait=False)
        if made or failure is not None:
            return stage, failure
        busy.add(stage)
    return None


def attempt(stage: Stage, store: Store, wait: bool) -> tuple[bool, str | None]:
    """Try to make a stage. Returns whether it is there, and why it failed if it did.

    It is neither there nor failed where another process is making it and `wait` is false. Raises
    as `run_locally` does.
    """
    try:
        return store.get(stage, wait) is not None, None
    except CellRefused as error:
        failure = f"{stage.title}: {error}"
    except TrainingFailed as error:
        failure = str(error)
    except (UserError, OSError, KeyboardInterrupt):
        raise
    except BaseException as error:  # of a plugin that ends the process, too
        # A mistake in a plugin, for instance: its author needs the traceback.
        traceback.print_exc()
        failure = f"{stage.title}: {type(error).__name__}: {error}"
    store.fail(stage, failure)
    return False, failure


def dependency_failure(stage: Stage, failures: dict[Stage, str]) -> str | None:
    """The reason why a stage that this one needs has failed; None if none of them has."""
    return next((failures[need] for need in stage.needs if need in failures), None)


def failed_earlier(stage: Stage, store: Store) -> str | None:
    """The reason why a stage failed in an earlier run; None if it did not."""
    failure = None if store.has(stage) else store.failure(stage)
    return failure and f"{failure} {AGAIN}"
