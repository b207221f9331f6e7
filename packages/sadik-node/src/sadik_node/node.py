"""A node: its directory, its store, its ports, and the lives that it has on them.

Several nodes may be in one process, as tests have it: nothing here is global.

A node lives in *lives*: a start of its machines on its store (`sadik_node.running_life`). Usually
there is one in a process. If peers say that the store was rolled back, the node takes a new storage
instance and starts its next life at once, on the same ports.
"""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Callable
from pathlib import Path

import trio
from attrs import define

import sadik_storage
from sadik_comms import Address as PeerAddress
from sadik_comms import Listener, ListenFailed, TcpTransport, Transport
from sadik_members import NewInstanceNeeded
from sadik_node.address import Address
from sadik_node.client_security import ClientSecurity
from sadik_node.clock import Clock, SystemClock
from sadik_node.errors import EXIT_FAILED, EXIT_REFUSED, NodeError, find_cause
from sadik_node.exposure import exposures
from sadik_node.host import StoreBrokenError
from sadik_node.http.fronts import Front
from sadik_node.http.server import listen_at
from sadik_node.identity import DataDirectory, begin_life, end_life, renew_instance
from sadik_node.log import Log
from sadik_node.peer_security import PeerSecurity
from sadik_node.removal import Removal
from sadik_node.running_life import RunningLife
from sadik_node.settings import Settings
from sadik_node.stores import close_quietly, open_store
from sadik_storage import Store
from sadik_vnode import DamagedRecord

__all__ = ["Node"]


@define
class _Ports:
    """What was bound, so that a next life gets the same."""

    http: int
    peer: int
    admin: int = 0


class Node:
    """One node. `run` it in a task; `stop` ends it in good order.

    ``transport``, ``clock``, ``log`` and ``source`` are the real ones unless a test brings its own;
    ``source`` must be the system's entropy outside of tests. ``store_opener`` is given the settings
    and the store's directory, and stands in for `open_store`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transport: Transport | None = None,
        clock: Clock | None = None,
        log: Log | None = None,
        source: random.Random | None = None,
        store_opener: Callable[[Settings, Path], Store] | None = None,
    ) -> None:
        self.settings = settings
        self.log = log or Log(settings.node.name, settings.log.format)
        self._transport = transport or TcpTransport()
        self.clock = clock or SystemClock()
        self.source = source or random.SystemRandom()
        self._open_store = store_opener or open_store
        listen = settings.listen
        self._ports = _Ports(listen.http.port, listen.peer.port)
        if listen.admin is not None:
            self._ports.admin = listen.admin.port
        self._stop = trio.Event()
        self.life: RunningLife | None = None
        """What runs now; for tests and figures."""
        self.security: PeerSecurity
        self.client_security: ClientSecurity
        self.removal: Removal
        """These three from `run` on."""

    @property
    def http_port(self) -> int:
        """The port that clients use, once `run` has said that it is started."""
        return self._ports.http

    @property
    def admin_port(self) -> int | None:
        """The port that operators use; None where it is the clients'."""
        return None if self.settings.listen.admin is None else self._ports.admin

    @property
    def peer_port(self) -> int:
        """The port that peers use."""
        return self._ports.peer

    def stop(self) -> None:
        """Drain and end: `run` returns."""
        self._stop.set()

    def pause(self) -> None:
        """Stand still, as a stopped process does, until `resume`; for tests.

        Clients' connections are taken by the kernel and get no answer, nothing that came is looked
        at, no time passes for the machines. What peers' streams do meanwhile is the transport's
        business.
        """
        if self.life is not None:
            self.life.host.pause()
            self.life.fronts.pause()

    def resume(self) -> None:
        """Go on after `pause`."""
        if self.life is not None:
            self.life.host.resume()
            self.life.fronts.resume()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stop`. ``task_status`` is told when all ports are listened at.

        Raises:
            NodeError: it cannot start, or must not go on; the message is for the operator.
        """
        settings = self.settings
        _check_exposure(settings)
        self.security = PeerSecurity(settings, self._transport, self.log)
        self.client_security = ClientSecurity(settings)
        directory = DataDirectory.take(
            settings.node.data_dir,
            name=settings.node.name,
            cluster=settings.cluster.name,
            source=self.source,
        )
        if directory.is_open_to_others:
            why = f"{directory.path} is not this user's own, and others may look into it"
            self.log.event("directory_open", why)
        self.removal = Removal(directory.node_id, self.log)
        try:
            store = self._open_store(settings, directory.store_path)
            try:
                is_started = False

                def started() -> None:
                    nonlocal is_started
                    if not is_started:  # a later life is no second start of the node
                        is_started = True
                        task_status.started()

                while True:
                    renew = await self._live(directory, store, started)
                    if renew is None:
                        break
                    renew_instance(store, renew.boot_number, self.source)
                    why = "its store was rolled back or damaged: it takes a new storage instance"
                    self.log.event("new_instance", why, boot=renew.boot_number)
                if self.life is not None and self.life.engine.is_instance_proven:
                    end_life(store)
            except sadik_storage.StoreError as error:
                raise NodeError(EXIT_FAILED, f"the store failed: {error}") from error
            finally:
                close_quietly(store, self.log)
            self.removal.end(directory)
        finally:
            directory.close()
        self.log.event("stopped")

    async def _live(
        self, directory: DataDirectory, store: Store, started: Callable[[], object]
    ) -> NewInstanceNeeded | None:
        """One life. Returns why another must follow, or None."""
        settings = self.settings
        fronts: list[Front] = []
        try:
            fronts.append(self._listen_clients())
            if settings.listen.admin is not None:
                fronts.append(self._listen_operators(settings.listen.admin))
            listener = await self._listen_peers()
        except BaseException:
            for front in fronts:
                front.close()
            raise
        life = begin_life(store, source=self.source)
        if life.is_new_instance and life.boot_number > 1:
            why = "the last stop was not clean, or came before all members were met"
            if settings.storage.sync == "interval":
                why += " and storage.sync is interval: the last writes may be lost"
            self.log.event("new_instance", why, boot=life.boot_number)
        try:
            body = RunningLife(self, directory, store, life, fronts)
        except BaseException as error:
            for front in fronts:
                front.close()
            await listener.aclose()
            if not isinstance(error, DamagedRecord):
                raise
            # Which actors were used is not known any more: an instance without a past is safe.
            self.log.event("damaged", f"the engine's saved rows: {error}")
            store.commit([(error.row, None)])
            return NewInstanceNeeded(life.boot_number)
        self.life = body
        try:
            return await body.run(listener, self._stop, started)
        except BaseExceptionGroup as group:
            broken = find_cause(group, StoreBrokenError)
            if broken is None:
                raise
            why = "the store failed and what is on disk is unknown"
            if isinstance(broken.__cause__, sadik_storage.StoreCorrupted):
                why = "the store is damaged"
            raise NodeError(EXIT_FAILED, f"{why}, so this node stops: {broken}") from broken

    def _listen_clients(self) -> Front:
        listen = self.settings.listen
        sockets = _listen_at("clients", "listen.http", listen.http, self._ports.http)
        self._ports.http = port = sockets[0].getsockname()[1]
        return Front(sockets, listen.http, listen.advertised_http(port), self.client_security.http)

    def _listen_operators(self, address: Address) -> Front:
        sockets = _listen_at("operators", "listen.admin", address, self._ports.admin)
        self._ports.admin = port = sockets[0].getsockname()[1]
        told = self.settings.listen.advertised_admin(port)
        return Front(sockets, address, told, self.client_security.admin)

    async def _listen_peers(self) -> Listener:
        address = self.settings.listen.peer
        try:
            listener = await self.security.transport.listen(
                PeerAddress(address.host, self._ports.peer)
            )
        except ListenFailed as error:
            raise NodeError(
                EXIT_FAILED, f"cannot listen for peers at {address} (listen.peer): {error.reason}"
            ) from error
        self._ports.peer = listener.address.port
        return listener


def _listen_at(whom: str, key: str, address: Address, port: int) -> list[socket.socket]:
    try:
        return listen_at(address.host, port)
    except OSError as error:
        raise NodeError(
            EXIT_FAILED, f"cannot listen for {whom} at {address} ({key}): {_why_not(error)}"
        ) from error


def _why_not(error: OSError) -> str:
    """Why an address cannot be listened at, with what to do about it."""
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is taken: stop the process that listens there, or choose another"
        case errno.EADDRNOTAVAIL:
            return "it is not an address of this machine"
        case errno.EACCES:
            return "this user may not listen there: choose a port from 1024 up"
        case _:
            return error.strerror or str(error)


def _check_exposure(settings: Settings) -> None:
    found = exposures(settings)
    if found:
        raise NodeError(EXIT_REFUSED, "; ".join(f"{key} = {why}" for key, why in found))
