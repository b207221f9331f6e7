"""The HTTP servers of a node: one for clients, and one for operators where they have their own.

Operators have another port so that a firewall can tell them from clients, and so that they get
through when clients have taken all the connections there are. So the two share what stands behind
them (service, tokens, figures), and nothing of their own that can run out: connections and held
bytes are counted for each by itself. Requests under way are not, since the engine is one; what is
told without it (status, metrics, members) is told whatever there is to do.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator

import trio
from attrs import define, frozen

from sadik_machine import SECOND
from sadik_node.address import Address
from sadik_node.client_security import ListenerTls
from sadik_node.clock import Clock
from sadik_node.http.application import HttpApplication
from sadik_node.http.elsewhere import Elsewhere
from sadik_node.http.hosts import LOOPBACK_NAMES, HostCheck
from sadik_node.http.limits import HttpLimits
from sadik_node.http.server import HttpServer
from sadik_node.reactor import Reactor

__all__ = ["Front", "Fronts", "MakeApplication"]

MakeApplication = Callable[[HostCheck, Elsewhere | None, str], HttpApplication]
"""Makes what stands behind a server: whose names are right in ``Host``, where operators are served
if not here, and what sets the ids of its requests apart."""


@frozen
class Front:
    """Where one server listens. The sockets are bound, and the server's as soon as it is made."""

    sockets: list[socket.socket]
    listen: Address
    """As it was configured."""
    advertised: Address
    """As others are told it."""
    tls: ListenerTls

    @property
    def url(self) -> str:
        """What to ask there."""
        scheme = "http" if self.tls.context is None else "https"
        return f"{scheme}://{self.advertised}"

    @property
    def host_check(self) -> HostCheck:
        """Beyond loopback anybody may name us as they like; on it, only by our own names."""
        if not self.listen.is_loopback:
            return HostCheck(None)
        return HostCheck({*LOOPBACK_NAMES, self.listen.host, self.advertised.host})

    def close(self) -> None:
        """Give the port back, where no server was made of it."""
        for sock in self.sockets:
            sock.close()


@define
class Fronts:
    """The servers of one life. ``operators`` is None where clients' serves what is theirs too."""

    clients: HttpServer
    operators: HttpServer | None
    _tls: dict[HttpServer, ListenerTls]

    @classmethod
    def make(
        cls,
        clients: Front,
        operators: Front | None,
        limits: HttpLimits,
        clock: Clock,
        reactor: Reactor,
        application: MakeApplication,
    ) -> Fronts:
        """Servers at these sockets."""

        def server(front: Front, limits: HttpLimits, behind: HttpApplication) -> HttpServer:
            return HttpServer(
                behind,
                front.sockets,
                limits,
                clock.now,
                lambda: clock.wall() / SECOND,
                reactor,
                front.tls.context,
            )

        if operators is None:
            only = server(clients, limits, application(clients.host_check, None, ""))
            return cls(only, None, {only: clients.tls})
        elsewhere = Elsewhere(operators.url, operators.advertised.is_loopback)
        first = server(clients, limits, application(clients.host_check, elsewhere, ""))
        second = server(
            operators, limits.of_operators(), application(operators.host_check, None, "o")
        )
        return cls(first, second, {first: clients.tls, second: operators.tls})

    def __iter__(self) -> Iterator[HttpServer]:
        return iter(self._tls)

    async def run(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            for server in self:
                nursery.start_soon(server.run)

    async def drain(self, deadline_ns: int) -> None:
        """See `HttpServer.drain`: all of them, at the same time."""
        async with trio.open_nursery() as nursery:
            for server in self:
                nursery.start_soon(server.drain, deadline_ns)

    def gather(self, is_gathering: bool) -> None:
        """See `HttpServer.gather`."""
        for server in self._tls:
            server.gather(is_gathering)

    def pause(self) -> None:
        """See `HttpServer.pause`."""
        for server in self:
            server.pause()

    def resume(self) -> None:
        """See `HttpServer.resume`."""
        for server in self:
            server.resume()

    def use_tls(self, tls: ListenerTls, context: ssl.SSLContext) -> None:
        """This has been loaded anew: those who show it use it from now on."""
        for server, shown in self._tls.items():
            if shown is tls:
                server.use_tls(context)

    @property
    def connections(self) -> int:
        """How many are connected."""
        return sum(server.connections for server in self)

    @property
    def received_bytes(self) -> int:
        """All that came."""
        return sum(server.traffic.received_bytes for server in self)

    @property
    def sent_bytes(self) -> int:
        """All that went."""
        return sum(server.traffic.sent_bytes for server in self)
