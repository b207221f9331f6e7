"""Some threads that work through a list, with the results in the caller's hands as they come."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

__all__ = ["work_through"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def work_through(
    items: Iterable[_Item],
    work: Callable[[_Item], _Result],
    *,
    jobs: int,
    stop: Callable[[], None],
) -> Generator[_Result, None, None]:
    """Yield the results of ``work`` in the order in which they are done.

    When the caller closes the generator early or ``work`` raises, ``stop`` is called so that the
    threads end what they are doing, and they are waited for. What ``work`` raises is raised here.
    """
    source = iter(items)
    source_lock = threading.Lock()
    ended = threading.Event()
    done: queue.SimpleQueue[tuple[_Result, None] | tuple[None, BaseException | None]] = (
        queue.SimpleQueue()
    )

    def run() -> None:
        failure: BaseException | None = None
        try:
            while not ended.is_set():
                with source_lock:
                    item = next(source, ended)
                if isinstance(item, threading.Event):
                    break
                done.put((work(item), None))
        except BaseException as error:  # noqa: BLE001 - it is raised in the caller's thread
            failure = error
        done.put((None, failure or _END))

    threads = [threading.Thread(target=run, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    running = jobs
    try:
        while running:
            result, failure = done.get()
            if failure is None:
                yield result  # type: ignore[misc]
            elif failure is _END:
                running -= 1
            else:
                raise failure
    finally:
        ended.set()
        if running:
            stop()
        for thread in threads:
            thread.join()


_END = BaseException("a thread has nothing left to do")
