"""What a node waits for most often, waited for in one place: one epoll, one task, callbacks.

Clients' sockets, peers' streams and the outcomes of the node's threads all end in the host's inbox.
Were each waited for by a task of its own, to wake that task, and then the host's, would cost more
than most of what they bring. So the host's task waits for all of them itself: it is woken once, has
everybody take what has come, and turns. While more keeps coming it does not go to sleep at all, and
only lets other tasks run from time to time. Under load the next thing comes within a millisecond:
so long the task may linger here with its thread, which costs less than to sleep as a task.

What comes seldom, or has no descriptor (a network in memory, streams of TLS), has tasks as ever;
where peers have, nobody may linger, for they would wait that much longer.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable

import trio

__all__ = ["Reactor"]

_EVENTS_AT_ONCE = 512

_Call = Callable[[], None]


class Reactor:
    """Calls back whoever watches a descriptor that can be read from. `wait` is for one task.

    ``linger_s`` is for how long its user may keep the thread with `poll`.
    """

    def __init__(self, linger_s: float = 0.0) -> None:
        self.linger_s = linger_s
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._is_rung = False
        self._calls: deque[_Call] = deque()
        self._watched: dict[int, _Call] = {}
        self._epoll.register(self._bell, select.EPOLLIN)

    def watch(self, descriptor: int, ready: _Call) -> None:
        """Call ``ready`` in each `poll` in which there is something to read there.

        ``ready`` must not wait, and not raise: what it raises ends the node.
        """
        assert descriptor not in self._watched, "a descriptor has one watcher"
        self._watched[descriptor] = ready
        self._epoll.register(descriptor, select.EPOLLIN)

    def forget(self, descriptor: int) -> None:
        """Watch it no more. It is still open; one that nobody watches is harmless."""
        if self._watched.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def call_soon(self, call: _Call) -> None:
        """Have ``call`` called in the next `poll`; from any thread."""
        self._calls.append(call)
        self.ring()

    def ring(self) -> None:
        """End the `wait` that is under way, or else the next one; from any thread."""
        if not self._is_rung:
            self._is_rung = True
            os.eventfd_write(self._bell, 1)

    def poll(self, wait_s: float = 0.0) -> bool:
        """Have everybody take what has come; whether there was anything.

        If nothing has, the thread waits for it, for ``wait_s`` and up to a millisecond more.
        """
        ready = self._epoll.poll(wait_s, _EVENTS_AT_ONCE)
        watched = self._watched
        for descriptor, _ in ready:
            call = watched.get(descriptor)
            if call is not None:
                call()
            elif descriptor == self._bell:
                os.eventfd_read(self._bell)
                # Only now: whoever rings before this has put what they bring there already.
                self._is_rung = False
        calls = self._calls
        for _ in range(len(calls)):
            calls.popleft()()
        return bool(ready)

    async def wait(self) -> None:
        """Return when `poll` would find something; a checkpoint."""
        await trio.lowlevel.wait_readable(self._epoll.fileno())

    def close(self) -> None:
        """Watch nothing any more. The threads that call have ended; nobody is heard now."""
        if not self._epoll.closed:
            self._is_rung = True  # so that nobody rings what has another's number by then
            self._watched.clear()
            self._epoll.close()
            os.close(self._bell)
