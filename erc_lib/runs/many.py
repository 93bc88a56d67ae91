"""Many runs at once, on worker processes of this machine or of any dask scheduler.

A worker writes its result into the store and hands back the digest alone. A worker that is killed (by the system for its
memory, by a cluster at its time limit) loses its run once: it is done again, from its last checkpoint. A run that loses its
worker twice, and one that raises an error, are reported at the end; the others are finished all the same.
"""

from __future__ import annotations

import logging
import os
import signal
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from erc_lib.errors import ConfigError, TrainingError
from erc_lib.runs.execute import open_in, resolve_device, run_one
from erc_lib.runs.spec import RunSpec, check
from erc_lib.runs.store import Run, RunStore

ATTEMPTS = 2  # a run that has killed two workers would kill a third


@dataclass(frozen=True)
class Failure:
    """A run that did not finish: its specification, the reason in one line, and the worker's traceback if there is one."""

    spec: RunSpec
    reason: str
    trace: str = ""


class RunsFailed(RuntimeError):
    """Some runs failed. ``failures``: which and why; ``finished``: the runs that did finish."""

    def __init__(self, failures: list[Failure], finished: list[Run]) -> None:
        self.failures, self.finished = failures, finished
        lines = [f"{len(failures)} of {len(failures) + len(finished)} runs failed:"]
        super().__init__("\n".join(lines + [f"  {f.spec} ({f.spec.digest}): {f.reason}" for f in failures]))


class WorkerError(Exception):
    """What went wrong on a worker, as text: an exception of any library might not survive the way back."""


def run_many(
    specs: Sequence[RunSpec],
    store: RunStore | str | Path,
    *,
    workers: int = 1,
    threads: int = 1,
    scheduler: str | None = None,
    device: str = "cpu",
    report: Callable[[str], None] | None = None,
    keep_weights: bool = False,
) -> list[Run]:
    """Trains what the store lacks of ``specs``; returns all their runs in the order given.

    Args:
        workers: local worker processes; 0 does the runs one after another in this process.
        threads: CPU threads of torch in each worker.
        scheduler: address of a dask scheduler (``tcp://host:8786``) to use instead of local workers; its workers must see the
            store under the same path. With ``device="cuda"`` each run takes one unit of the worker resource ``GPU``
            (``dask worker --resources GPU=1``); local workers get theirs and one GPU each.
        report: is called with one line for each run that ends, for example ``print``.

    Raises:
        ConfigError: a specification is wrong; nothing has been started. RunsFailed: after the last run, if any failed.
    """
    store = RunStore(Path(store.root if isinstance(store, RunStore) else store).absolute())
    if workers < 0 or threads < 1:
        raise ConfigError(f"workers must be 0 or more and threads 1 or more, not {workers} and {threads}")
    for spec in specs:
        check(spec)
    if device == "auto" or scheduler is None:  # else its workers have GPUs, whether this machine has or not
        device = resolve_device(device)
    report = report or (lambda line: None)
    todo = list({s.digest: s for s in specs if not store.has(s)}.values())
    if not todo:
        failures: list[Failure] = []
    elif workers == 0 and scheduler is None:
        failures = _here(todo, store, device, keep_weights, report)
    else:
        failures = _spread(todo, store, min(workers, len(todo)), threads, scheduler, device, keep_weights, report)
    failed = {f.spec.digest for f in failures}
    finished = [store.load(s) for s in specs if s.digest not in failed]
    if failures:
        raise RunsFailed(failures, finished)
    return finished


def _here(todo: list[RunSpec], store: RunStore, device: str, keep_weights: bool, report: Callable[[str], None]) -> list[Failure]:
    failures = []
    for number, spec in enumerate(todo, 1):
        began = time.perf_counter()
        try:
            run_one(spec, store, device=device, keep_weights=keep_weights)
        except Exception as error:
            failures.append(Failure(spec, f"{type(error).__name__}: {error}", traceback.format_exc()))
            report(f"[{number}/{len(todo)}] FAILED {spec}: {failures[-1].reason}")
        else:
            report(f"[{number}/{len(todo)}] {spec}: {time.perf_counter() - began:.0f} s")
    return failures


def _task(fields: dict, root: str, device: str, threads: int, keep_weights: bool, batch: str, local: bool) -> str:
    """On the worker: one run into the store. Returns its digest."""
    from dask.distributed import get_worker

    torch.set_num_threads(threads)  # holds for the calling thread, and this is the one that trains
    spec, store = RunSpec(**fields), RunStore(root)
    if device == "cuda" and local and not torch.cuda.is_initialized():  # workers of this machine share its GPUs out by number
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
        gpus = visible.split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[int(get_worker().name) % len(gpus)]
    attempts = _attempts_file(store, spec, batch)
    with open_in(attempts.parent, attempts.name, "a") as file:  # survives this process: how the next attempt knows of this one
        file.write(f"{os.getpid()}\n")
    if _attempts(store, spec, batch) > ATTEMPTS:
        attempts.unlink()
        raise WorkerError(f"its worker was killed {ATTEMPTS} times (out of memory?)")
    try:
        run_one(spec, store, device=device, keep_weights=keep_weights)
    except Exception as error:
        raise WorkerError(f"{type(error).__name__}: {error}", traceback.format_exc()) from None
    finally:
        attempts.unlink(missing_ok=True)
    return spec.digest


def _attempts_file(store: RunStore, spec: RunSpec, batch: str) -> Path:
    return store.partial / f"{spec.digest}.{batch}.attempts"


def _attempts(store: RunStore, spec: RunSpec, batch: str) -> int:
    try:
        return len(_attempts_file(store, spec, batch).read_text().split())
    except OSError:
        return 0


def _spread(
    todo: list[RunSpec], store: RunStore, workers: int, threads: int, scheduler: str | None, device: str, keep_weights: bool,
    report: Callable[[str], None],
) -> list[Failure]:  # fmt: skip
    import dask
    from dask.distributed import Client, KilledWorker, LocalCluster

    resources = {"GPU": 1} if device == "cuda" else None
    batch = uuid.uuid4().hex[:8]
    # dask blames every run that waited at a killed worker, not only the one it was doing. So its own count is set out of the
    # way, and attempts are counted where they happen, in _task; under a foreign scheduler, whose count stands, an innocent
    # run comes back as KilledWorker and is handed in again below.
    settings = {
        "distributed.scheduler.allowed-failures": 1000,
        "distributed.scheduler.worker-saturation": 1.0,  # no run waits at a worker that another one may kill
        "distributed.deploy.lost-worker-timeout": "1 hour",  # 15 s else, and a new worker may need longer to start
        "distributed.comm.timeouts.connect": "120 s",
        # dask's own also sets MALLOC_TRIM_THRESHOLD_, by which glibc hands large blocks back to the system as soon as they are free and
        # every activation is paid for in page faults: fine-tuning a text encoder took 1.6 times as long.
        "distributed.nanny.pre-spawn-environ": {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")},
    }
    with dask.config.set(settings):
        cluster = None
        if scheduler is None:
            cluster = LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, resources=resources, memory_limit=0,
                dashboard_address=":0", silence_logs=logging.CRITICAL,
            )  # fmt: skip
        failures = []
        try:
            try:
                client = Client(cluster or scheduler, timeout=30)
            except (OSError, ValueError) as error:
                message = f"no dask scheduler answers at {scheduler!r} ({error}); start one with `dask scheduler`"
                raise ConfigError(message) from None
            with client, _terminable():

                def submit(spec: RunSpec):
                    fields = spec.model_dump(mode="json")
                    return client.submit(
                        _task, fields, str(store.root), device, threads, keep_weights, batch, cluster is not None,
                        key=f"run-{spec.digest}-{uuid.uuid4().hex[:8]}", resources=resources, pure=False,
                    )  # fmt: skip

                waiting = {submit(spec): spec for spec in todo}
                ended = 0
                while waiting:
                    future = _next_done(client, waiting, report, give_up=scheduler is None)
                    spec = waiting.pop(future)
                    error = future.exception()
                    if isinstance(error, KilledWorker) and _attempts(store, spec, batch) < ATTEMPTS:
                        waiting[submit(spec)] = spec
                        continue
                    ended += 1
                    place = f"[{ended}/{len(todo)}]"
                    if error is None:
                        report(f"{place} {spec}: {store.load(spec).environment['seconds']:.0f} s")
                        continue
                    if isinstance(error, WorkerError):
                        reason, trace = error.args[0], "".join(error.args[1:])
                    else:
                        reason, trace = f"{type(error).__name__}: {error}", ""
                    _attempts_file(store, spec, batch).unlink(missing_ok=True)
                    failures.append(Failure(spec, reason, trace))
                    report(f"{place} FAILED {spec}: {reason}")
        finally:
            if cluster is not None:
                cluster.close()
    return failures


def _next_done(client: Any, waiting: dict[Any, RunSpec], report: Callable[[str], None], *, give_up: bool) -> Any:
    """Waits for one of the futures to end. Without any worker for long, says so, or with ``give_up`` raises TrainingError."""
    from dask.distributed import wait

    idle = 0
    while True:
        try:
            return next(iter(wait(list(waiting), timeout=60, return_when="FIRST_COMPLETED").done))
        except TimeoutError:
            idle = 0 if client.scheduler_info()["workers"] else idle + 1
        if idle and idle % 10 == 0:  # ten minutes
            if give_up:
                raise TrainingError(f"no worker process could be started for 10 minutes; {len(waiting)} runs are not done")
            report(f"the scheduler has no workers; {len(waiting)} runs wait for one")


class _terminable:
    """Turns SIGTERM into an exception while workers run, so that they are closed and not left behind."""

    def __enter__(self) -> None:
        try:
            self.previous = signal.signal(signal.SIGTERM, self._stop)
        except ValueError:  # not in the main thread: nothing to set
            self.previous = None

    def __exit__(self, *_) -> None:
        if self.previous is not None:
            signal.signal(signal.SIGTERM, self.previous)

    @staticmethod
    def _stop(*_) -> None:
        raise SystemExit(143)
