"""One thread that runs jobs in order and reports back to the event loop.

A pool's thread per job (`trio.to_thread`) costs about 40 µs and a task that waits for it; a store
commits batch after batch, so one thread that lives as long as the store, and a callback, do.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

import trio

__all__ = ["Worker"]

T = TypeVar("T")

_Job = Callable[[], None]


class Worker:
    """Runs jobs on a thread of its own, one after another.

    Made within a trio run, on whose thread a job's outcome is reported.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._token = trio.lowlevel.current_trio_token()
        self._thread_of_jobs = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread_of_jobs.start()

    def submit(
        self,
        job: Callable[[], T],
        done: Callable[[T], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Run ``job`` after those submitted before, then call ``done`` or ``failed``."""

        def run() -> None:
            try:
                result = job()
            except BaseException as error:  # noqa: BLE001 - handed over, whatever it is
                self._report(failed, error)
            else:
                self._report(done, result)

        self._jobs.put(run)

    def close(self) -> None:
        """Let the thread end after the jobs that it has, and wait for it.

        Jobs that finish from now on report to nobody if the run is over by then.
        """
        self._jobs.put(None)
        self._thread_of_jobs.join()

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            job()

    def _report(self, to: Callable[[T], None], value: T) -> None:
        # Where the loop is gone, so is everybody who waited.
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(to, value)
