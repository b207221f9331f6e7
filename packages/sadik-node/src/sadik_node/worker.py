"""One thread that runs jobs in order and reports back to the event loop.

A pool's thread per job (`trio.to_thread`) costs about 40 µs and a task that waits for it; a store
commits batch after batch, so one thread that lives as long as the store, and a callback, do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

__all__ = ["Worker"]

T = TypeVar("T")

_Job = Callable[[], None]


class Worker:
    """Runs jobs on a thread of its own, one after another.

    ``call_soon`` has a job's outcome reported on the loop's thread (`Reactor.call_soon`).
    """

    def __init__(self, name: str, call_soon: Callable[[Callable[[], None]], None]) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._call_soon = call_soon
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
                self._call_soon(partial(failed, error))
            else:
                self._call_soon(partial(done, result))

        self._jobs.put(run)

    def close(self) -> None:
        """Let the thread end after the jobs that it has, and wait for it."""
        self._jobs.put(None)
        self._thread_of_jobs.join()

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            job()
