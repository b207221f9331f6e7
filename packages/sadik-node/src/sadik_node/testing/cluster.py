"""A cluster for tests beside the test: in a thread of its own, for code that blocks or for asyncio.

The thread runs trio with a `TrioCluster` in it. Every call here is carried to that loop, and its
outcome back; none waits without an end. When the loop does not answer, a node is stuck in it, and
the error shows where.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import trio

from sadik_node.testing.errors import ClusterError
from sadik_node.testing.trio_cluster import PATIENCE_S, Plan, TrioCluster, opened

__all__ = ["Cluster", "start_cluster"]

T = TypeVar("T")

_GRACE_S = 10.0
"""How much longer than a call's own time its loop may be silent before it counts as stuck."""


class Cluster:
    """Switches and waits for the nodes ``n1``, ``n2`` … of one cluster; made by `start_cluster`.

    Faults are between nodes: clients reach every node that runs. Methods may be called from any
    thread, and in any order, and return when what they do is done. Each raises `ClusterError` when
    a node has ended by itself or met a defect, and when it makes no sense for how a node is.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._cluster: TrioCluster | None = None
        self._error: BaseException | None = None
        self._begun = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._nursery: trio.Nursery | None = None
        self._end = trio.Event()
        self._thread = threading.Thread(target=self._live, name="sadik-cluster", daemon=True)

    @property
    def names(self) -> list[str]:
        """The names of all nodes: ``n1``, ``n2`` …"""
        return self._made.names

    @property
    def urls(self) -> list[str]:
        """The HTTP addresses of all nodes, such as ``http://127.0.0.1:40123``.

        They stay the same for the life of the cluster; one of a node that does not run refuses.
        """
        return self._made.urls

    def url(self, name: str) -> str:
        """The HTTP address of one node."""
        return self._made.url(name)

    def log(self, name: str | None = None) -> str:
        """All that a node has logged, or all of them one after another."""
        return self._made.log(name)

    # The network

    def cut(self, a: str, b: str, *, one_way: bool = False) -> None:
        """Let nothing through between two nodes, or ``one_way``: nothing from ``a`` to ``b``.

        Their connections fall silent without breaking, as in a real partition. The nodes find out
        by themselves, within one to two seconds: see `wait_until_noticed`. What was under way
        arrives after `heal`. A cut outlives a restart of either.
        """
        self._do(lambda cluster: cluster.cut(a, b, one_way=one_way))

    def isolate(self, name: str) -> None:
        """Cut a node off from all others."""
        self._do(lambda cluster: cluster.isolate(name))

    def heal(self, a: str | None = None, b: str | None = None) -> None:
        """Undo all cuts, or those of node ``a``, or those between ``a`` and ``b``.

        Who had lost each other find out within a moment: see `wait_until_ready`.
        """
        self._do(lambda cluster: cluster.heal(a, b))

    def delay(self, ms: float, a: str | None = None, b: str | None = None) -> None:
        """Let all messages between nodes take ``ms`` milliseconds each way from now on; 0 for none.

        Of all nodes, or of node ``a``, or between ``a`` and ``b``.
        """
        self._do(lambda cluster: cluster.delay(ms, a, b))

    # The nodes

    def pause(self, name: str) -> None:
        """Let a node stand still, as a process that got SIGSTOP.

        Connections to it are taken and get no answer; what is sent to it waits. The other nodes
        find out within one to two seconds: see `wait_until_noticed`.
        """
        self._do(lambda cluster: cluster.pause(name))

    def resume(self, name: str) -> None:
        """Let a paused node go on where it was."""
        self._do(lambda cluster: cluster.resume(name))

    def kill(self, name: str) -> None:
        """End a node at once, as ``kill -9``: connections break, nothing is finished or said.

        What it had committed it has again after `restart`, on either backend.
        """
        self._wait(lambda cluster: cluster.kill(name))

    def stop(self, name: str) -> None:
        """End a node in good order, as SIGTERM: it finishes what it has taken and tells its peers.

        That takes 0.1 s and however long its clients' requests do, 8 s at most.
        """
        self._wait(lambda cluster: cluster.stop(name))

    def restart(self, name: str) -> None:
        """Start a node again that was killed or stopped, with its data, at the same address.

        Returns when it listens, which is before it serves: see `wait_until_ready`.
        """
        self._wait(lambda cluster: cluster.restart(name))

    # Waiting

    def wait_until_ready(self, timeout: float = PATIENCE_S) -> None:
        """Wait until all nodes that run serve, and believe each other up where nothing is cut.

        Nodes that are killed, stopped or paused are left out.

        Raises:
            ClusterTimeoutError: it is not so after ``timeout`` seconds; the message says what
                is missing.
        """
        self._wait(lambda cluster: cluster.wait_until_ready(timeout), timeout)

    def wait_until_noticed(self, timeout: float = PATIENCE_S) -> None:
        """Wait until every node that runs suspects those from which nothing reaches it.

        That is, those that are killed, stopped, paused or cut off from it: it routes around them
        from then on. A broken connection is noticed at once, silence within one to two seconds.

        Raises:
            ClusterTimeoutError: it is not so after ``timeout`` seconds; the message says who
                trusts whom.
        """
        self._wait(lambda cluster: cluster.wait_until_noticed(timeout), timeout)

    def wait_until_hints_drained(self, timeout: float = PATIENCE_S) -> None:
        """Wait until every write so far is at all its owners, as far as the nodes that run know.

        That is: no hint waits on a node that runs, and no request is under way at any. It cannot
        come while an owner is unreachable that a hint waits for.

        Raises:
            ClusterTimeoutError: it is not so after ``timeout`` seconds; the message says what
                waits.
        """
        self._wait(lambda cluster: cluster.wait_until_hints_drained(timeout), timeout)

    # Beginning and end

    def begin(self) -> None:
        """Start the thread and wait until the cluster is ready; `start_cluster` does it."""
        self._thread.start()
        if not self._begun.wait(PATIENCE_S + _GRACE_S):
            raise self._stuck("start")
        if self._error is not None:
            self._thread.join(_GRACE_S)
            raise self._error

    def end(self) -> None:
        """End all nodes and the thread, and raise what became of them; `start_cluster` does it."""
        assert self._token is not None
        with contextlib.suppress(trio.RunFinishedError):  # it failed as a whole; the error says how
            self._token.run_sync_soon(self._end.set)
        self._thread.join(_GRACE_S)
        if self._thread.is_alive():
            raise self._stuck("end")
        if self._error is not None:
            raise self._error

    def _live(self) -> None:
        """The thread."""
        try:
            trio.run(self._run)
        except BaseException as error:  # noqa: BLE001 - raised where the test is
            self._error = error
        finally:
            self._begun.set()

    async def _run(self) -> None:
        async with opened(self._plan) as cluster, trio.open_nursery() as nursery:
            self._cluster, self._nursery = cluster, nursery
            self._token = trio.lowlevel.current_trio_token()
            self._begun.set()
            await self._end.wait()
            nursery.cancel_scope.cancel()

    @property
    def _made(self) -> TrioCluster:
        assert self._cluster is not None, "made by start_cluster"
        return self._cluster

    def _do(self, switch: Callable[[TrioCluster], None]) -> None:
        async def done(cluster: TrioCluster) -> None:
            switch(cluster)

        self._wait(done)

    def _wait(
        self, job: Callable[[TrioCluster], Awaitable[None]], timeout_s: float = PATIENCE_S
    ) -> None:
        """Do it in the loop, and return or raise what came of it."""
        assert self._token is not None
        outcome: concurrent.futures.Future[None] = concurrent.futures.Future()
        try:
            self._token.run_sync_soon(self._take, job, outcome)
        except trio.RunFinishedError:
            raise ClusterError("the cluster has ended") from None
        concurrent.futures.wait([outcome], timeout_s + _GRACE_S)
        if not outcome.done():
            raise self._stuck("do what it was told")
        outcome.result()

    def _take(
        self,
        job: Callable[[TrioCluster], Awaitable[None]],
        outcome: concurrent.futures.Future[None],
    ) -> None:
        if self._end.is_set():
            outcome.set_exception(ClusterError("the cluster has ended"))
        else:
            assert self._nursery is not None
            self._nursery.start_soon(self._carry_out, job, outcome)

    async def _carry_out(
        self,
        job: Callable[[TrioCluster], Awaitable[None]],
        outcome: concurrent.futures.Future[None],
    ) -> None:
        try:
            await job(self._made)
        except trio.Cancelled:
            outcome.set_exception(ClusterError("the cluster ended meanwhile"))
            raise
        except BaseException as error:  # noqa: BLE001 - raised where the test is
            outcome.set_exception(error)
        else:
            outcome.set_result(None)

    def _stuck(self, what: str) -> ClusterError:
        """The error of a loop that does not turn, with where it is."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        where = "".join(traceback.format_stack(frame)) if frame is not None else "  (it is gone)\n"
        return ClusterError(f"the cluster's thread did not {what} in time; it is here:\n{where}")


@contextmanager
def start_cluster(
    nodes: int = 3,
    *,
    replicas: int = 3,
    partitions: int = 64,
    backend: str = "memory",
    directory: Path | None = None,
) -> Iterator[Cluster]:
    """A cluster of real nodes beside this code, ready; at the end of the block nothing is left.

    - ``nodes``: how many, named ``n1``, ``n2`` …
    - ``replicas``, ``partitions``: as in a cluster's configuration. Keys of one partition share
      their owners.
    - ``backend``: ``"memory"``, where each node has its data again after it was killed, and nothing
      is left at the end; or any that is installed, such as ``"lmdb"``.
    - ``directory``: where the nodes have their data directories, and keep them. Without it they
      have temporary ones, and a key has the same owners in every run.

    It takes about half a second, most of which the nodes wait for others to join.

    Raises:
        ClusterError: the cluster did not form; or, at the end of the block, a node ended by itself
            or met a defect. Where the block itself raised, the latter is a note on its error.
    """
    cluster = Cluster(Plan(nodes, replicas, partitions, backend, directory))
    cluster.begin()
    try:
        yield cluster
    except BaseException as error:
        try:
            cluster.end()
        except ClusterError as trouble:
            error.add_note(str(trouble))
        raise
    cluster.end()
