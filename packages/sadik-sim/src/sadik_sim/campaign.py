"""Campaigns: many seeds on many cores, summed up.

A campaign maps seeds over any `concurrent.futures.Executor`: local processes, or the one that
a Dask client gives. Seeds travel in handfuls, results come back as values, in any order, and the
sum is the same whatever the order was.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Final

from attrs import Factory, define

from sadik_sim.plan import Options, draw_plan
from sadik_sim.run import RunResult, execute

__all__ = [
    "Campaign",
    "commit_of",
    "dask_executor",
    "local_executor",
    "run_campaign",
    "run_seeds",
    "seeds_until_found",
]

_HANDFUL: Final = 4
_AHEAD: Final = 3


@define
class Campaign:
    """What came of the seeds so far."""

    seeds: int = 0
    events: int = 0
    acked: int = 0
    failures: list[RunResult] = Factory(list)
    happened: dict[str, int] = Factory(dict)
    counts: dict[str, int] = Factory(dict)

    def add(self, result: RunResult) -> None:
        """Take in one run."""
        self.seeds += 1
        self.events += result.events
        self.acked += result.acked
        for total, part in ((self.happened, result.happened), (self.counts, result.counts)):
            for name, count in part.items():
                total[name] = total.get(name, 0) + count
        if result.invariant:
            self.failures.append(result)
            self.failures.sort(key=lambda failure: failure.seed)


def run_seeds(seeds: Sequence[int], options: Options, bug: str = "") -> list[RunResult]:
    """Run a handful of seeds in this process."""
    return [execute(draw_plan(seed, options, bug)) for seed in seeds]


def run_campaign(
    seeds: Iterable[int],
    options: Options,
    executor: Executor,
    *,
    jobs: int,
    on_result: Callable[[Campaign, RunResult], None] | None = None,
    failures_max: int = 10,
) -> Campaign:
    """Run ``seeds``; begin no more once ``failures_max`` of them have failed.

    ``on_result`` is called in this thread after each seed.
    """
    campaign = Campaign()
    handfuls = _handfuls(seeds)
    pending: set[Future[list[RunResult]]] = set()
    while True:
        while len(pending) < jobs * _AHEAD and len(campaign.failures) < failures_max:
            handful = next(handfuls, None)
            if handful is None:
                break
            pending.add(executor.submit(run_seeds, handful, options))
        if not pending:
            return campaign
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            for result in future.result():
                campaign.add(result)
                if on_result is not None:
                    on_result(campaign, result)


def seeds_until_found(bug: str, options: Options, limit: int) -> tuple[int, RunResult | None]:
    """How many seeds a planted bug takes: (seeds run, the failing run or None)."""
    for seed in range(limit):
        result = execute(draw_plan(seed, options, bug))
        if result.invariant:
            return seed + 1, result
    return limit, None


def _handfuls(seeds: Iterable[int]) -> Iterator[list[int]]:
    handful: list[int] = []
    for seed in seeds:
        handful.append(seed)
        if len(handful) == _HANDFUL:
            yield handful
            handful = []
    if handful:
        yield handful


@contextmanager
def local_executor(jobs: int) -> Iterator[Executor]:
    """So many processes of this machine, each with a fresh interpreter.

    Raises:
        ImportError: this Python has no processes, which need sockets.
    """
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415 - studies do without sockets
    from multiprocessing import get_context  # noqa: PLC0415

    executor = ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_end_with_parent
    )
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """A worker waits for work at a pipe of which it holds both ends: if the campaign is killed, it
    would wait, or run seeds, for ever.
    """
    from multiprocessing import parent_process  # noqa: PLC0415 - as above

    parent = parent_process()
    assert parent is not None, "a worker has a parent"

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


@contextmanager
def dask_executor(address: str) -> Iterator[tuple[Executor, int]]:
    """The workers of a Dask cluster, and how many threads they have together.

    Raises:
        ImportError: the extra ``[dask]`` is not installed.
        OSError: nobody answers at ``address``.
    """
    from distributed import Client  # noqa: PLC0415 - an extra

    with Client(address) as client:  # type: ignore[no-untyped-call]
        info = client.scheduler_info(n_workers=-1)["workers"]
        threads = sum(worker["nthreads"] for worker in info.values())
        yield client.get_executor(pure=False), max(threads, 1)


def default_jobs() -> int:
    """As many processes as this one may use cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def commit_of(path: Path = Path(__file__)) -> str:
    """The commit that this code is of, with a mark if it was changed since; empty if unknown."""
    command = ["git", "-C", str(path.resolve().parent), "describe", "--always", "--dirty"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)  # noqa: S603 - fixed words
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout.strip() if told.returncode == 0 else ""
