"""One life of a node, put together: machines, messenger, host, HTTP, on a store that is open.

This is the one place that knows all the parts. What outlives it (directory, store, credentials, the
ports' numbers) belongs to `sadik_node.node.Node`.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import trio

import sadik_vnode
from sadik_comms import Listener, TcpTransport
from sadik_machine import MILLISECOND, SECOND, Codec, Draining, LinkState, NodeId, node_id_hex
from sadik_members import (
    MEMBERSHIP_ROWS,
    ClusterJoined,
    ClusterSettings,
    FarewellEnded,
    HandshakeRefused,
    Heard,
    Identity,
    JoinRefused,
    Left,
    Membership,
    NewInstanceNeeded,
    NothingHeld,
    Readiness,
    SavedStateError,
    SettingsError,
)
from sadik_members import MESSAGES as MEMBERS_MESSAGES
from sadik_members.farewell import FAREWELL_NS
from sadik_members.messenger import Messenger, MessengerLimits
from sadik_metrics import NodeMetrics
from sadik_node.certificate_expiry import day_of, warning_of
from sadik_node.client_security import ListenerTls
from sadik_node.cluster_view import ClusterView
from sadik_node.errors import EXIT_FAILED, EXIT_REFUSED, NodeError
from sadik_node.exposure import unprotected
from sadik_node.figures import bind_figures, status_document
from sadik_node.host import Host, HostLimits
from sadik_node.http.access import Access
from sadik_node.http.application import HttpApplication
from sadik_node.http.elsewhere import Elsewhere
from sadik_node.http.fronts import Front, Fronts
from sadik_node.http.hosts import HostCheck
from sadik_node.http.limits import HttpLimits
from sadik_node.http.names import percent_encode
from sadik_node.http.request_log import RequestLog
from sadik_node.http.service import Service
from sadik_node.identity import STORE_DIRECTORY, DataDirectory, Life
from sadik_node.private_files import FileWatch
from sadik_node.reactor import Reactor
from sadik_node.space import SpaceWatch
from sadik_node.stores import scan_all
from sadik_register import MESSAGES as REGISTER_MESSAGES
from sadik_storage import Store
from sadik_vnode import MESSAGES as ENGINE_MESSAGES
from sadik_vnode import SAVED_RANGE, Engine, EngineConfig
from sadik_vnode.news import Damage, Touched

if TYPE_CHECKING:
    from sadik_node.node import Node

__all__ = ["RunningLife"]

_DRAIN_NS = 7 * SECOND
_GOODBYE_NS = SECOND // 10
_SETTLE_NS = SECOND
_PLACE_NS = 5 * SECOND
_LINGER_S = 0.001
_FLUSH_NS = SECOND // 2


class RunningLife:
    """All parts of one life, and how they hang together. `run` it once."""

    def __init__(
        self,
        node: Node,
        directory: DataDirectory,
        store: Store,
        life: Life,
        fronts: Sequence[Front],
    ) -> None:
        settings, clock, source = node.settings, node.clock, node.source
        self._node = node
        self.settings, self.log, self.store, self.life = settings, node.log, store, life
        self.identity = Identity(
            directory.node_id,
            settings.node.name,
            str(settings.listen.advertised_peer(node.peer_port)),
            str(settings.listen.advertised_http(node.http_port)),
            settings.node.zone,
            settings.node.weight,
            life.boot_number,
            life.boot_nonce,
        )
        is_joining = life.boot_number == 1 and bool(settings.cluster.join)
        self.view = ClusterView(
            directory.node_id,
            settings.node.name,
            clock.now,
            clock.now() + _PLACE_NS if is_joining else 0,
        )
        self.metrics = NodeMetrics(version("sadik-node"))
        self.membership = self._make_membership(source)
        self.is_durable = store.durable
        self.engine = self._make_engine(directory.node_id, source)
        is_tcp = isinstance(node.security.transport, TcpTransport)
        self.reactor = Reactor(_LINGER_S if is_tcp else 0.0)
        self.messenger = Messenger(
            transport=node.security.transport,
            codec=Codec(MEMBERS_MESSAGES, REGISTER_MESSAGES, ENGINE_MESSAGES),
            identity=self.identity,
            cluster_name=settings.cluster.name,
            events=self,
            random=source,
            limits=MessengerLimits(),
            secrets=node.security.secrets,
            watcher=self.reactor,
        )
        self.security = node.security
        self.files = FileWatch(node.log)
        node.security.watch(
            self.files, self.messenger.use_secrets, partial(self._warn_of_expiry, "peer")
        )
        self.clock = clock
        self.started_ns = clock.now()
        self.host = self._make_host(source)
        self.access = Access(node.client_security.tokens, clock.now, lambda: clock.wall() / SECOND)
        self.limits = HttpLimits.of(settings.limits)
        self.service = self._make_service()
        clients, operators = fronts[0], fronts[1] if len(fronts) > 1 else None
        self.fronts = Fronts.make(
            clients, operators, self.limits, clock, self.reactor, self._make_application
        )
        self.host.gather = self._gather
        node.client_security.watch(self.files, self.access, self._use_tls)
        self.space = SpaceWatch(
            store, directory.path, settings.limits.free_bytes, self.host.tell, node.log
        )
        self.host.committer.grown = self.space.grown
        bind_figures(self)
        self.is_leaving = False
        self._farewell: FarewellEnded | None = None
        self._farewell_ended = trio.Event()
        self._renew: NewInstanceNeeded | None = None
        self._renewed = trio.Event()

    def _make_host(self, source: random.Random) -> Host:
        """The host, with both machines, and everybody told what they announce."""
        settings = self.settings
        interval_ns = settings.storage.interval_ms * MILLISECOND
        host = Host(
            self.store,
            self.clock,
            source=source,
            send=self.messenger.send,
            hold=self._hold,
            limits=HostLimits(requests=settings.limits.requests),
            sync_interval_ns=interval_ns if settings.storage.sync == "interval" else None,
            reactor=self.reactor,
        )
        host.add(self.membership, list(MEMBERS_MESSAGES.classes.values()))
        engine_number = host.add(
            self.engine,
            [*ENGINE_MESSAGES.classes.values(), *REGISTER_MESSAGES.classes.values()],
        )
        host.take_requests(engine_number)
        host.join = self.engine.join
        removal = self._node.removal
        for observer in (
            self.view.observe, self.messenger.observe, removal.observe, self._observe
        ):  # fmt: skip
            host.observe(observer)
        return host

    def _make_service(self) -> Service:
        """What answers clients."""
        service = Service(
            self.host,
            self.view,
            self.limits,
            self.metrics.exposition,
            partial(status_document, self),
            self.log.defect,
            self.clock.now,
            tell=self.host.tell,
        )
        self.host.observe(service.observe)
        return service

    def _make_application(
        self, hosts: HostCheck, elsewhere: Elsewhere | None, id_suffix: str
    ) -> HttpApplication:
        """What stands behind one of the HTTP servers."""
        settings = self.settings
        return HttpApplication(
            self.service,
            hosts,
            self.access,
            self.metrics,
            RequestLog(self.log, settings.log.requests, settings.log.slow_ms),
            id_prefix=f"{self.life.boot_nonce & 0xFFFFFFFF:08x}{id_suffix}",
            clock_ns=self.clock.now,
            elsewhere=elsewhere,
        )

    def _make_engine(self, node_id: NodeId, source: random.Random) -> Engine:
        settings = self.settings
        return Engine(
            node_id,
            self.life.instance,
            EngineConfig(
                durable=self.is_durable,
                value_bytes_max=settings.limits.value_bytes,
                hint_bytes_max=settings.limits.hint_bytes,
                tombstone_ns=settings.repair.tombstone_seconds * SECOND,
            ),
            random.Random(source.getrandbits(128)),
            scan_all(self.store, *SAVED_RANGE),
            self.life.spare_instance,
        )

    def _make_membership(self, source: random.Random) -> Membership:
        cluster = self.settings.cluster
        try:
            return Membership(
                self.identity,
                ClusterSettings(
                    cluster.name,
                    cluster.partitions,
                    cluster.replicas,
                    tuple(map(str, cluster.join)),
                ),
                scan_all(self.store, *MEMBERSHIP_ROWS),
                source,
            )
        except SettingsError as error:
            raise NodeError(EXIT_REFUSED, str(error)) from error
        except SavedStateError as error:
            raise NodeError(
                EXIT_FAILED,
                f"the saved membership is not usable: {error}; unless a newer program wrote it, "
                f"keep a copy of {self.settings.node.data_dir / STORE_DIRECTORY} and let the node "
                "start with that directory empty: its peers have the data",
            ) from error

    async def run(
        self, listener: Listener, stop: trio.Event, started: Callable[[], object]
    ) -> NewInstanceNeeded | None:
        """Run until the node stops or a new life is needed."""
        self._log_start()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.fronts.run)
                nursery.start_soon(self.host.run)
                # Peers may send as soon as there is a link, and what they send to a node that has
                # not said yet which cluster it is of would be dropped as a stranger's.
                await self.host.settle()
                await nursery.start(self.messenger.run, listener)
                nursery.start_soon(self.space.run)
                nursery.start_soon(self.files.run)
                started()
                nursery.start_soon(self._end_when, stop, nursery.cancel_scope)
        finally:
            self.host.close()
        return self._renew

    async def _end_when(self, stop: trio.Event, scope: trio.CancelScope) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_at, stop, nursery.cancel_scope)
            nursery.start_soon(self._cancel_at, self._renewed, nursery.cancel_scope)
        if stop.is_set():
            self.log.event("draining", requests=self.host.requests_open)
        self.service.is_draining = True
        self.host.tell(Draining())
        # Peers hear of it, and what they had sent before that is taken or refused, not cut off.
        await trio.sleep(_GOODBYE_NS / SECOND)
        await self.fronts.drain(self.clock.now() + (_DRAIN_NS if stop.is_set() else 0))
        with trio.move_on_after(_SETTLE_NS / SECOND):
            await self.host.settle(lambda: not self.engine.requests_open)
        if self.is_leaving:
            # Only now: who has left is asked nothing, and answers nothing, any more.
            await self._say_farewell()
        with trio.move_on_after(2 * _FLUSH_NS / SECOND):
            await self.messenger.shutdown(_FLUSH_NS)
        scope.cancel()

    async def _say_farewell(self) -> None:
        """Have the others know that this node has left, and have it on their disks."""
        self.host.tell(Left())
        with trio.move_on_after((FAREWELL_NS + _SETTLE_NS) / SECOND):
            await self._farewell_ended.wait()
        with trio.move_on_after(_SETTLE_NS / SECOND):
            await self.host.settle()
        ended = self._farewell
        if ended is None or not ended.is_enough:
            name = self.settings.node.name
            self.log.event(
                "farewell_unheard",
                f"too few of the others have told that they know of it: should they show {name} as "
                f"leaving for more than a minute, remove it (sadik-node remove {name})",
                heard=0 if ended is None else ended.heard,
                others=None if ended is None else ended.others,
            )

    @staticmethod
    async def _cancel_at(event: trio.Event, scope: trio.CancelScope) -> None:
        await event.wait()
        scope.cancel()

    def _log_start(self) -> None:
        settings = self.settings
        port = self._node.admin_port
        admin = {} if port is None else {"admin": str(settings.listen.advertised_admin(port))}
        self.log.event(
            "started",
            id=node_id_hex(self.identity.node_id),
            http=self.identity.http,
            peer=self.identity.peer,
            **admin,
            cluster=settings.cluster.name,
            boot=self.life.boot_number,
            store=settings.storage.backend,
            engine="interpreted" if str(sadik_vnode.__file__).endswith(".py") else "compiled",
        )
        if not self.is_durable:
            why = (
                f"storage.sync is interval: up to {settings.storage.interval_ms} ms of "
                "acknowledged writes may be lost in a power cut"
                if settings.storage.sync == "interval" and settings.storage.backend != "memory"
                else f"the storage backend {settings.storage.backend!r} keeps nothing on disk: "
                "all data of this node is gone when it stops"
            )
            self.log.event("not_durable", why)
        why = unprotected(settings)
        if why:
            self.log.event("insecure", why)

        for listener in self.certificates:
            self._warn_of_expiry(listener)

    # Certificates

    @property
    def certificates(self) -> dict[str, float]:
        """When those that are shown run out, in Unix time, by listener: http, admin, peer."""
        of_clients = self._node.client_security
        found = {
            "http": of_clients.http.expires_s,
            "admin": None if self.fronts.operators is None else of_clients.admin.expires_s,
            "peer": self.security.expires_s,
        }
        return {listener: at for listener, at in found.items() if at is not None}

    def _use_tls(self, tls: ListenerTls, context: ssl.SSLContext) -> None:
        """Clients and operators are shown another certificate from now on."""
        self.fronts.use_tls(tls, context)
        of_clients = self._node.client_security
        for listener, shown in (("http", of_clients.http), ("admin", of_clients.admin)):
            if shown is tls:
                self._warn_of_expiry(listener)

    def _warn_of_expiry(self, listener: str) -> None:
        at = self.certificates.get(listener)
        warning = "" if at is None else warning_of(at, self.clock.wall() / SECOND)
        if at is not None and warning:
            self.log.event("certificate_ends", warning, listener=listener, at=day_of(at))

    # News

    def _observe(self, news: object) -> None:
        match news:
            case NewInstanceNeeded():
                self._renew = news
                self._renewed.set()
            case Readiness():
                self.metrics.ready = int(news.ready)
                self.log.event("ready" if news.ready else "not_ready", news.reason)
            case NothingHeld() if not self.is_leaving:
                self.is_leaving = True
                self.log.event("draining", "its last partition is safe: it leaves the cluster")
                self._node.stop()
            case FarewellEnded():
                self._farewell = news
                self._farewell_ended.set()
            case JoinRefused():
                self.log.event("join_refused", news.reason)
            case ClusterJoined():
                self.log.event("cluster_joined", cluster_id=news.cluster_id.hex())
            case Damage():
                self.log.event("damage", bucket=news.bucket, key=percent_encode(news.key))
            case Touched() if self.settings.log.requests != "none":
                self.log.event(
                    "request_touched",
                    request=news.trace,
                    what=news.what,
                    bucket=news.bucket,
                    key=percent_encode(news.key),
                    sender=self.view.name_of(news.sender),
                )
            case _:
                pass

    # What the messenger tells (`MessengerEvents`)

    def deliver(self, peer: NodeId, messages: list[object]) -> None:
        """See `MessengerEvents.deliver`."""
        self.host.deliver(peer, messages)

    def on_link(self, peer: NodeId, state: LinkState) -> None:
        """See `MessengerEvents.on_link`."""
        self.host.link(peer, state)

    def on_unsent(self, peer: NodeId, messages: list[object]) -> None:
        """See `MessengerEvents.on_unsent`."""
        self.host.give_back(peer, messages)

    def on_refused(self, refused: HandshakeRefused) -> None:
        """See `MessengerEvents.on_refused`."""
        self.log.event(
            "handshake_refused", refused.detail, reason=refused.reason, address=refused.address
        )
        self._node.removal.refused(refused)
        self.host.tell(refused)

    def on_heard(self, peers: tuple[NodeId, ...]) -> None:
        """See `MessengerEvents.on_heard`."""
        self.host.tell(Heard(peers))

    def on_log(self, event: str, fields: Mapping[str, object]) -> None:
        """See `MessengerEvents.on_log`."""
        self.log.event(event, **dict(fields))

    def _gather(self, is_gathering: bool) -> None:
        # Peers first: others wait for what they have to do.
        self.messenger.gather(is_gathering)
        self.fronts.gather(is_gathering)

    def _hold(self, is_full: bool) -> None:
        if is_full:
            self.messenger.hold()
        else:
            self.messenger.release()
