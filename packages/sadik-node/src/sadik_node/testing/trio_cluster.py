"""A cluster for tests, in the trio run of its caller.

All nodes are tasks of one event loop, each with its own machines, store, HTTP port and log. They
reach each other through a `MemoryNetwork`, whose switches are the faults, and join each other as
real nodes do, with the intervals that real nodes have. What is waited for is read from the nodes
themselves, so that a test neither sleeps nor asks over HTTP again and again.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from attrs import frozen

from sadik_comms import MemoryNetwork
from sadik_machine import MILLISECOND
from sadik_members import Phase
from sadik_node.address import Address
from sadik_node.settings import Cluster as ClusterPart
from sadik_node.settings import Limits, Listen, Settings, Storage
from sadik_node.settings import Node as NodePart
from sadik_node.testing.cluster_node import ClusterNode, State, loopback
from sadik_node.testing.errors import ClusterError, ClusterTimeoutError

if TYPE_CHECKING:
    from sadik_node.running_life import RunningLife

__all__ = ["PATIENCE_S", "Plan", "TrioCluster", "open_cluster", "opened"]

PATIENCE_S = 20.0
"""How long a wait lasts unless it is told otherwise: much longer than it should, on any machine."""

_LOOK_S = 0.005
_PEER_PORT = 7071


@frozen
class Plan:
    """What a cluster is made of; see `open_cluster`."""

    nodes: int = 3
    replicas: int = 3
    partitions: int = 64
    backend: str = "memory"
    directory: Path | None = None

    def __attrs_post_init__(self) -> None:
        if self.nodes < 1:
            raise ValueError(f"nodes is {self.nodes}, must be at least 1")


class TrioCluster:
    """Switches and waits for the nodes ``n1``, ``n2`` … of one cluster; made by `open_cluster`.

    What changes at once is a plain method, what takes time is ``async``. See `Cluster`, which has
    the same for code that blocks, for what each does.
    """

    def __init__(self, plan: Plan, directory: Path, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._network = MemoryNetwork()
        self._cuts: set[tuple[str, str]] = set()
        self._nodes = {
            name: ClusterNode(_settings(plan, directory, name), self._network, _source(plan, name))
            for name in (f"n{number}" for number in range(1, plan.nodes + 1))
        }

    async def start(self) -> None:
        """Start all nodes and wait until they are one cluster; `open_cluster` does it.

        The others reach the first when all of them run, so that they join as one plan however slow
        the machine is: who owns what must not depend on it.
        """
        first = next(iter(self._nodes))
        self.isolate(first)
        for node in self._nodes.values():
            await node.start(self._nursery)
        self.heal(first)
        await self._until("the cluster has formed", self._unformed, PATIENCE_S)

    async def end(self) -> None:
        """End all nodes and let go of what is kept for them; `open_cluster` does it."""
        with trio.CancelScope(shield=True):
            for node in self._nodes.values():
                if node.is_alive:
                    await node.kill()
                node.release_port()

    @property
    def names(self) -> list[str]:
        """The names of all nodes."""
        return list(self._nodes)

    @property
    def urls(self) -> list[str]:
        """The HTTP addresses of all nodes, running or not, such as ``http://127.0.0.1:40123``."""
        return [self.url(name) for name in self._nodes]

    def url(self, name: str) -> str:
        """The HTTP address of one node."""
        return f"http://127.0.0.1:{self._node(name).http_port}"

    def states(self) -> dict[str, State]:
        """How each node is."""
        return {name: node.state for name, node in self._nodes.items()}

    def log(self, name: str | None = None) -> str:
        """All that a node has logged, or all of them one after another."""
        nodes = self._nodes.values() if name is None else [self._node(name)]
        return "".join(node.log_text for node in nodes)

    def check(self) -> None:
        """Raise `ClusterError` if a node ended by itself or met a defect."""
        for node in self._nodes.values():
            trouble = node.trouble()
            if trouble is not None:
                raise trouble

    # The network

    def cut(self, a: str, b: str, *, one_way: bool = False) -> None:
        """See `Cluster.cut`."""
        for source, to in self._directions(a, b, one_way):
            self._network.cut(source, to, one_way=True)
            self._cuts.add((source, to))

    def isolate(self, name: str) -> None:
        """See `Cluster.isolate`."""
        for other in self._others(name):
            self.cut(name, other)

    def heal(self, a: str | None = None, b: str | None = None) -> None:
        """See `Cluster.heal`."""
        self.check()
        for source, to in self._pairs(a, b):
            self._network.heal(source, to, one_way=True)
            self._cuts.discard((source, to))

    def delay(self, ms: float, a: str | None = None, b: str | None = None) -> None:
        """See `Cluster.delay`."""
        self.check()
        for source, to in self._pairs(a, b):
            self._network.delay(source, to, round(ms * MILLISECOND), one_way=True)

    # The nodes

    def pause(self, name: str) -> None:
        """See `Cluster.pause`."""
        node = self._expect(name, State.RUNNING)
        if node.changing.locked():
            raise ClusterError(f"{name} is just being started: pause it when that is done")
        node.pause()

    def resume(self, name: str) -> None:
        """See `Cluster.resume`."""
        self._expect(name, State.PAUSED).resume()

    async def kill(self, name: str) -> None:
        """See `Cluster.kill`."""
        async with self._node(name).changing:
            await self._expect(name, State.RUNNING, State.PAUSED).kill()
        self.check()

    async def stop(self, name: str) -> None:
        """See `Cluster.stop`."""
        async with self._node(name).changing:
            await self._expect(name, State.RUNNING).stop()
        self.check()

    async def restart(self, name: str) -> None:
        """See `Cluster.restart`."""
        async with self._node(name).changing:
            await self._expect(name, State.STOPPED, State.KILLED).start(self._nursery)

    # Waiting

    async def wait_until_ready(self, timeout: float = PATIENCE_S) -> None:  # noqa: ASYNC109
        """See `Cluster.wait_until_ready`."""
        await self._until("all nodes are ready", self._unready, timeout)

    async def wait_until_noticed(self, timeout: float = PATIENCE_S) -> None:  # noqa: ASYNC109
        """See `Cluster.wait_until_noticed`."""
        await self._until("all faults are noticed", self._unnoticed, timeout)

    async def wait_until_hints_drained(self, timeout: float = PATIENCE_S) -> None:  # noqa: ASYNC109
        """See `Cluster.wait_until_hints_drained`."""
        await self._until("no hint waits", self._undelivered, timeout)

    async def _until(self, what: str, obstacles: Callable[[], list[str]], timeout_s: float) -> None:
        with trio.move_on_after(timeout_s):
            while True:
                self.check()
                if not obstacles():
                    return
                await trio.sleep(_LOOK_S)
        left = "".join(f"\n  {each}" for each in obstacles())
        raise ClusterTimeoutError(f"after {timeout_s:g} s it is not so that {what}:{left}")

    # What the nodes themselves say

    def _unformed(self) -> list[str]:
        lives = [life for life in map(self._life, self._nodes) if life is not None]
        if any(not life.engine.is_ring_settled for life in lives):
            return [*self._unready(), "the ring is not yet as it will be"]
        return self._unready()

    def _unready(self) -> list[str]:
        left: list[str] = []
        running = [node.name for node in self._nodes.values() if node.is_running]
        for name in running:
            life = self._life(name)
            if life is None:
                left.append(f"{name} is starting")
                continue
            if life.view.not_ready:
                left.append(f"{name} is not ready: {life.view.not_ready}")
            if len(life.view.members) < len(self._nodes):
                left.append(f"{name} knows {len(life.view.members)} of {len(self._nodes)} members")
            for other in running:
                cut = {(name, other), (other, name)} & self._cuts
                if not cut and (belief := self._belief(name, other)) != "up":
                    left.append(f"{name} believes that {other} is {belief}")
        rings = [life.view.ring for life in map(self._life, running) if life is not None]
        if any(ring != rings[0] for ring in rings):
            left.append("the nodes know different rings")
        for ring in rings[:1]:
            named = {o: None for r in ring.registers for o in r.owners} if ring is not None else {}
            if ring is None or any(r.phase is not Phase.DONE for r in ring.registers):
                left.append("the ring is changing")
            elif len(named) < len(self._nodes):
                left.append(f"the ring names {len(named)} of {len(self._nodes)} nodes")
            elif min(len(r.owners) for r in ring.registers) < min(ring.replicas, len(named)):
                left.append("partitions lack owners")
        return left

    def _unnoticed(self) -> list[str]:
        return [
            f"{name} believes that {other} is up"
            for name, node in self._nodes.items()
            for other in self._others(name)
            if node.is_running
            and ((other, name) in self._cuts or not self._nodes[other].is_running)
            and self._belief(name, other) == "up"
        ]

    def _undelivered(self) -> list[str]:
        left: list[str] = []
        for name, node in self._nodes.items():
            life = self._life(name)
            if life is None or not node.is_running:
                continue
            engine = life.engine
            if engine.hints_pending:
                left.append(f"{engine.hints_pending} hints wait on {name}")
            elif engine.conversations_open:
                # A write that is answered may still have to find out that an owner lacks it.
                left.append(f"{engine.conversations_open} requests are under way on {name}")
        states = ", ".join(
            f"{name} is {node.state.value}"
            for name, node in self._nodes.items()
            if not node.is_running
        )
        return [*left, states] if left and states else left

    def _belief(self, name: str, other: str) -> str:
        """What ``name`` believes of ``other``: a state of ``/v1/members``."""
        life = self._life(name)
        if life is None:
            return "unknown"
        view = life.view
        if name == other:
            return "up"
        found = [member for member in view.members.values() if member.name == other]
        return view.state_of(found[0]) if found else "unknown"

    def _life(self, name: str) -> RunningLife | None:
        node = self._nodes[name].node
        return None if node is None else node.life

    # Names

    def _node(self, name: str) -> ClusterNode:
        try:
            return self._nodes[name]
        except KeyError:
            names = ", ".join(self._nodes)
            raise ClusterError(f"there is no node {name!r}: the nodes are {names}") from None

    def _expect(self, name: str, *states: State) -> ClusterNode:
        self.check()
        node = self._node(name)
        if node.state not in states:
            wanted = " or ".join(state.value for state in states)
            raise ClusterError(f"{name} is {node.state.value}: this works on one that is {wanted}")
        return node

    def _others(self, name: str) -> list[str]:
        self._node(name)
        return [other for other in self._nodes if other != name]

    def _directions(self, a: str, b: str, one_way: bool) -> list[tuple[str, str]]:
        self.check()
        self._node(a)
        self._node(b)
        if a == b:
            raise ClusterError(f"there is nothing to cut between {a} and itself")
        return [(a, b)] if one_way else [(a, b), (b, a)]

    def _pairs(self, a: str | None, b: str | None) -> list[tuple[str, str]]:
        """Both directions between ``a`` and ``b``, or of all that the one given has, or of all."""
        wanted = {name for name in (a, b) if name is not None}
        for name in wanted:
            self._node(name)
        return [
            (source, to)
            for source in self._nodes
            for to in self._nodes
            if source != to and wanted <= {source, to}
        ]


@asynccontextmanager
async def open_cluster(
    nodes: int = 3,
    *,
    replicas: int = 3,
    partitions: int = 64,
    backend: str = "memory",
    directory: Path | None = None,
) -> AsyncIterator[TrioCluster]:
    """A cluster of real nodes in this trio run, ready; at the end of the block nothing is left.

    For code that blocks, or runs on asyncio, `start_cluster` does the same beside it; the
    parameters are explained there. A test with trio's autojump clock needs that one too: here,
    time would jump while a socket is waited for.

    Raises:
        ClusterError: the cluster did not form; or, at the end of the block, a node ended by itself
            or met a defect. Where the block itself raised, the latter is a note on its error.
    """
    async with opened(Plan(nodes, replicas, partitions, backend, directory)) as cluster:
        yield cluster


@asynccontextmanager
async def opened(plan: Plan) -> AsyncIterator[TrioCluster]:
    """`open_cluster`, by its plan."""
    failure: Exception | None = None
    with _place(plan.directory) as place:
        async with trio.open_nursery() as nursery:
            cluster = TrioCluster(plan, place, nursery)
            try:
                await cluster.start()
                yield cluster
            except Exception as error:  # noqa: BLE001 - raised below, outside of the nursery's group
                failure = error
            finally:
                await cluster.end()
    if failure is None:
        cluster.check()
        return
    if not isinstance(failure, ClusterError):
        try:
            cluster.check()
        except ClusterError as trouble:
            failure.add_note(str(trouble))
    raise failure


@contextmanager
def _place(directory: Path | None) -> Iterator[Path]:
    """Where the nodes have their data directories: the one given, or one that goes at the end."""
    if directory is not None:
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="sadik-testing-") as made:
        yield Path(made)


def _source(plan: Plan, name: str) -> random.Random:
    """Where a node draws its id from, among other things, and so who owns what: the same each run.

    But a directory may be of an earlier cluster, whose ids must not be drawn again.
    """
    return random.Random(f"sadik {name}") if plan.directory is None else random.SystemRandom()


def _settings(plan: Plan, directory: Path, name: str) -> Settings:
    """The first node forms the cluster, the others join it by its name in the memory network."""
    return Settings(
        node=NodePart(name=name, data_dir=directory / name),
        # Peers are not on this machine's network at all: there is nothing to protect.
        listen=Listen(http=loopback(), peer=Address(name, _PEER_PORT), insecure=True),
        cluster=ClusterPart(
            name="testing",
            join=() if name == "n1" else (Address("n1", _PEER_PORT),),
            partitions=plan.partitions,
            replicas=plan.replicas,
        ),
        storage=Storage(backend=plan.backend),
        limits=Limits(free_bytes=0),
    )
