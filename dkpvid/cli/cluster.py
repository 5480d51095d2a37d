"""Jobs spread over a Ray cluster; the package ray is loaded here only, and only when it is asked for."""

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

from dkpvid.errors import UsageError, need_extra

Job = TypeVar("Job")
Result = TypeVar("Result")

MAX_RETRIES = 3
"""How often a job is started again whose process died: its node was switched off, or it ran out of memory."""
_DEATHS = ("WorkerCrashedError", "OutOfMemoryError", "NodeDiedError", "ObjectLostError")
"""Ray's errors for a process that is gone, alone or with its machine."""
_OBJECT_STORE_BYTES = 80 * 2**20
"""Of a local cluster. Hardly anything passes between processes; Ray would set aside a third of the memory."""


def require_ray() -> Any:
    """The package.

    Raises:
        UsageError: it is not installed.
    """
    return need_extra("--ray", "ray", "dkpvid[ray]")


def run_jobs(
    address: str,
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    on_done: Callable[[int, Result | None], None],
    should_stop: Callable[[], bool] = lambda: False,
    use_gpu: bool = True,
) -> None:
    """Run a function for every job, in other processes, each with one CPU and, where there are some, one GPU.

    A process works in the folder that this one is in, so the nodes of a cluster must see the same files.

    Args:
        address: Of a cluster, as `ray.init` takes it; `local` starts one on this machine for the time being.
        function: Pickled by name; a job may be started anew at any moment, so it must not mind that.
        jobs: Pickled too.
        on_done: Called with each job's position and result, in whatever order they end; None when its process
            died each time.
        should_stop: Asked twice a second; jobs that have not ended by then are given up.
        use_gpu: Give each job a GPU, if the cluster has any.

    Raises:
        UsageError: ray is not installed, or there is no cluster at that address.
    """
    ray = require_ray()
    _check_reachable(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        options["object_store_memory"] = _OBJECT_STORE_BYTES
        options["include_dashboard"] = False
    # Ray prints remarks to stdout, which is for results.
    with redirect_stdout(StringIO()):
        try:
            ray.init(address=address, **options)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            first_line = str(error).strip().partition("\n")[0]
            raise UsageError(
                f"no Ray cluster at {address!r} ({first_line}); give its address, or local"
            ) from None
        try:
            has_gpu = use_gpu and ray.cluster_resources().get("GPU", 0) >= 1
            task = ray.remote(max_retries=MAX_RETRIES, num_cpus=1, num_gpus=int(has_gpu))(_in_folder)
            running = {task.remote(Path.cwd(), function, job): number for number, job in enumerate(jobs)}
            while running and not should_stop():
                ended, _ = ray.wait(list(running), num_returns=1, timeout=0.5)
                for reference in ended:
                    on_done(running.pop(reference), _result(ray, reference))
            for reference in running:
                ray.cancel(reference, force=True)
        finally:
            ray.shutdown()


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except tuple(getattr(ray.exceptions, name) for name in _DEATHS):
        return None


def _check_reachable(address: str) -> None:
    # Ray itself would try for minutes.
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"nothing answers at {address} ({error}); give a Ray cluster, or local"
            ) from None


def _in_folder(folder: Path, function: Callable[[Job], Result], job: Job) -> Result:
    os.chdir(folder)
    return function(job)
