"""One node of a test's cluster: started, stopped, killed and started again at one address.

A node here is the real `Node` with real HTTP on loopback; its peers are reached through the
cluster's memory network, and its log is kept for whoever has to find out why a test failed.
"""

from __future__ import annotations

import io
import random
import socket
from enum import Enum
from pathlib import Path

import attrs
import trio

from sadik_comms import MemoryNetwork
from sadik_node.address import Address
from sadik_node.log import Log
from sadik_node.node import Node
from sadik_node.settings import Settings
from sadik_node.stores import open_store
from sadik_node.testing.disk import MemoryDisk
from sadik_node.testing.errors import ClusterError, ClusterTimeoutError
from sadik_storage import Store

__all__ = ["ClusterNode", "State", "loopback"]

_LOG_LINES_SHOWN = 15
_START_S = 20.0
_STOP_S = 15.0
_CLIENTS = "127.0.0.1"


class State(Enum):
    """How a node is, as the test has made it."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    KILLED = "killed"
    FAILED = "failed"


class _DefectLog(Log):
    """A log that also keeps what should never have happened, for the test to fail on."""

    def __init__(self, node: str, stream: io.StringIO) -> None:
        super().__init__(node, stream=stream)
        self.first_defect: BaseException | None = None

    def defect(self, error: BaseException) -> None:
        self.first_defect = self.first_defect or error
        super().defect(error)


class _Started:
    """Told by a node that it listens."""

    def __init__(self) -> None:
        self.changed = trio.Event()

    def started(self, value: None = None) -> None:
        self.changed.set()


class ClusterNode:
    """A node, whether it runs or not. Made stopped; `start` it in a nursery."""

    def __init__(self, settings: Settings, network: MemoryNetwork, source: random.Random) -> None:
        self.settings = settings
        self.name = settings.node.name
        self.state = State.STOPPED
        self.node: Node | None = None
        """What runs now, or ran last."""
        self.changing = trio.Lock()
        """Held by whoever starts or ends it."""
        self.failure: BaseException | None = None
        self._network = network
        self._source = source
        self._transport = network.transport(self.name)
        self._disk = MemoryDisk()
        self._stream = io.StringIO()
        self._log = _DefectLog(self.name, self._stream)
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._reserved: socket.socket | None = None

    @property
    def is_running(self) -> bool:
        """Whether it takes part now."""
        return self.state is State.RUNNING

    @property
    def is_alive(self) -> bool:
        """Whether any of its tasks is there, whatever the test has made of it."""
        return self.node is not None and not self._ended.is_set()

    @property
    def log_text(self) -> str:
        """All that it has logged, through all its starts."""
        return self._stream.getvalue()

    @property
    def http_port(self) -> int:
        """Where its clients find it, from the first start to the end of the cluster."""
        return self.settings.listen.http.port

    def trouble(self) -> ClusterError | None:
        """What makes a test fail that has not asked for it: an end of its own, or a defect."""
        error = self.failure or self._log.first_defect
        if error is None:
            return None
        what = "ended by itself" if self.failure else "met a defect, in its log with a traceback"
        trouble = ClusterError(f"{self.name} {what}: {_sentence(error)}\n{self.tail()}")
        trouble.__cause__ = error
        return trouble

    def tail(self) -> str:
        """The end of its log."""
        lines = self.log_text.splitlines()[-_LOG_LINES_SHOWN:]
        return "\n".join([f"the end of {self.name}'s log:", *(f"  {line}" for line in lines)])

    async def start(self, nursery: trio.Nursery) -> None:
        """Run it in ``nursery``; returns when it listens.

        Raises:
            ClusterError: it does not start.
        """
        assert not self.is_alive
        self.node = node = Node(
            self.settings,
            transport=self._transport,
            log=self._log,
            source=self._source,
            store_opener=self._open,
        )
        self._scope, self._ended, started = trio.CancelScope(), trio.Event(), _Started()
        self.state = State.RUNNING
        nursery.start_soon(self._run, node, started)
        with trio.move_on_after(_START_S):
            await started.changed.wait()
        # Only now, so that nobody takes the port in between: a socket that is bound, and does not
        # listen, is in nobody's way who also says SO_REUSEADDR.
        self.release_port()
        trouble = self.trouble()
        if trouble is not None:
            raise trouble
        if not started.changed.is_set():
            raise ClusterTimeoutError(
                f"{self.name} did not start within {_START_S:g} s\n{self.tail()}"
            )
        http = attrs.evolve(self.settings.listen.http, port=node.http_port)
        self.settings = attrs.evolve(
            self.settings, listen=attrs.evolve(self.settings.listen, http=http)
        )

    async def kill(self) -> None:
        """End it at once: nothing is finished, flushed or said."""
        self.state = State.KILLED
        self._scope.cancel()
        await self._ended.wait()
        self._network.resume(self.name)

    async def stop(self) -> None:
        """End it in good order: it finishes what it has taken, and tells its peers.

        Raises:
            ClusterTimeoutError: it did not end, and was killed.
        """
        assert self.node is not None
        self.state = State.STOPPED
        self.node.stop()
        with trio.move_on_after(_STOP_S):
            await self._ended.wait()
        if self.is_alive:
            await self.kill()
            raise ClusterTimeoutError(
                f"{self.name} did not stop within {_STOP_S:g} s\n{self.tail()}"
            )

    def pause(self) -> None:
        """Let it stand still."""
        assert self.node is not None
        self.state = State.PAUSED
        self._network.pause(self.name)
        self.node.pause()

    def resume(self) -> None:
        """Let it go on."""
        assert self.node is not None
        self.state = State.RUNNING
        self._network.resume(self.name)
        self.node.resume()

    def release_port(self) -> None:
        """Let go of the port of its clients, which is kept for it while it does not run."""
        reserved, self._reserved = self._reserved, None
        if reserved is not None:
            reserved.close()

    async def _run(self, node: Node, started: _Started) -> None:
        try:
            with self._scope:
                await node.run(task_status=started)
        except Exception as error:  # noqa: BLE001 - kept, and raised where the test is
            self._failed(error)
        else:
            if self.is_running and not self._scope.cancelled_caught:
                self._failed(ClusterError("it stopped without being told to"))
        finally:
            self.release_port()
            self._reserve_port()
            self._ended.set()
            started.changed.set()

    def _failed(self, error: BaseException) -> None:
        self.state, self.failure = State.FAILED, error

    def _open(self, settings: Settings, path: Path) -> Store:
        if settings.storage.backend == "memory":
            return self._disk.open()
        return open_store(settings, path)

    def _reserve_port(self) -> None:
        """Keep others from its port: bound and not listened at, so that clients are refused."""
        port = self.http_port
        if port == 0:
            return
        held = socket.socket()
        try:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((_CLIENTS, port))
        except OSError:
            held.close()  # somebody was quicker: a start will say so, if there is one
        else:
            self._reserved = held


def loopback() -> Address:
    """Where a node listens for clients: a port of the system's choice."""
    return Address(_CLIENTS, 0)


def _sentence(error: BaseException) -> str:
    """What happened, without the groups that nurseries put around it."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_sentence, error.exceptions))
    return f"{type(error).__name__}: {error}"
