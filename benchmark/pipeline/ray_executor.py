"""The Ray executor: makes stages on a cluster, one task each.

A task is placed by the processors and GPUs that it asks for. All machines see the same store, in
which a stage is locked by the task that makes it. A task whose machine is lost is started again on
another machine and goes on from its last checkpoint.
"""

import os
import socket
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmark import registry
from benchmark.pipeline.local_executor import Settled, attempt, dependency_failure, failed_earlier
from benchmark.pipeline.stage import Stage
from benchmark.pipeline.store import Store
from benchmark.utils import progress
from benchmark.utils.errors import UserError
from benchmark.utils.storage_errors import describe_error

RETRIES = 10  # times that a stage may lose its machine
# The environment variables that stages read.
PASSED_ON = ("CROWD_DATA", "CROWD_PRECISION", "CROWD_REPAIRS", "XDG_CACHE_HOME",
             "ACCELERATE_USE_CPU")


def on_ray(stages: Sequence[Stage], store: Store, address: str | None = None, cpus: float = 1,
           gpus: float | None = None, plugins: Sequence[Path] = ()) -> Settled:
    """Make stages on a cluster.

    address: the address of a running cluster, 'auto' for this machine's; None starts one
        on this machine.
    cpus, gpus: the processors and GPUs for each stage. With a fraction several stages share one;
        None asks for one GPU if the cluster has any.
    plugins: files that are imported before a stage is made.

    Raises:
        UserError: Ray is not installed, there is no cluster, or as `run_locally` does.
    """
    ray = _started(address)
    failures: dict[Stage, str] = {}
    tasks: dict[Any, Stage] = {}
    refs: dict[Stage, Any] = {}
    if gpus is None:
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
    make = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(_make)
    files = [path.resolve() for path in plugins]
    # The stages that many others need come first.
    for stage in sorted(stages, key=lambda stage: stage.level):
        failure = dependency_failure(stage, failures) or failed_earlier(stage, store)
        if failure is not None:
            failures[stage] = failure
        elif not store.has(stage):
            needs = [refs[need] for need in stage.needs if need in refs]
            refs[stage] = make.remote(stage, store, files, *needs)
            tasks[refs[stage]] = stage
            continue
        yield stage, failure
    try:
        while tasks:
            done, _ = ray.wait(list(tasks), num_returns=1)
            stage = tasks.pop(done[0])
            yield stage, _answer(ray, done[0], stage, store)
    finally:
        ray.shutdown()


def _started(address: str | None) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no statistics
    try:
        import ray
    except ImportError:
        raise UserError("--executor ray: Ray is not installed; "
                        "pip install 'crowdbackdoorbench[cluster]'") from None
    host, colon, port = (address or "").rpartition(":")
    if colon and port.isdecimal():  # Ray itself would keep trying for minutes
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise UserError(f"--address {address}: expected a running Ray cluster: "
                            f"{error.strerror or error}") from None
    environment = {"env_vars": {key: os.environ[key] for key in PASSED_ON if key in os.environ},
                   "worker_process_setup_hook": "benchmark.utils.packages.import_ours"}
    # Without 'local', Ray would join any cluster that was last started on this machine, also
    # another user's or one that is gone.
    place = {"address": address} if address else {"address": "local", "include_dashboard": False}
    try:
        ray.init(runtime_env=environment, logging_level="warning", **place)
    except (ConnectionError, ValueError, RuntimeError) as error:
        problem = (f"--address {address}: expected a running Ray cluster, and RAY_AUTH_MODE as it "
                   "was started with" if address
                   else "--executor ray: expected Ray to start on this machine")
        raise UserError(f"{problem}: {str(error).partition('. ')[0]}") from None
    return ray


def _answer(ray: Any, ref: Any, stage: Stage, store: Store) -> str | None:
    """The reason why a task's stage failed; None if it is there."""
    try:
        failure, wrong = ray.get(ref)
    except ray.exceptions.RayError as error:
        # Its machine was lost too often, or it was killed for memory.
        reason = " ".join(str(error).split())
        failure, wrong = f"{stage.title}: {type(error).__name__}: {reason}", None
        store.fail(stage, failure)
    if wrong:
        raise UserError(wrong)
    return failure


def _make(stage: Stage, store: Store, plugins: list[Path],
          *needs: tuple[str | None, str | None]) -> tuple[str | None, str | None]:
    """A task: makes a stage.

    Returns why the stage failed, and what is wrong with the whole request; None if nothing.
    """
    from ray.experimental import tqdm_ray

    progress.draw_elsewhere(tqdm_ray.tqdm)
    failure = next((failure for failure, _ in needs if failure), None)
    if failure is not None:
        return failure, None
    try:
        for plugin in plugins:
            _load_once(plugin)
        return attempt(stage, store, wait=True)[1], None
    except UserError as error:
        return None, str(error)
    except OSError as error:
        return None, describe_error(error)


@cache
def _load_once(plugin: Path) -> None:
    registry.load_plugin(plugin)
