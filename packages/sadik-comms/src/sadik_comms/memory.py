"""A network inside the process, for tests: with faults on demand and no sockets.

A `MemoryNetwork` is a set of named hosts. `MemoryNetwork.transport` gives one host's transport,
which listens and dials like any other; the network then cuts, heals, delays and breaks what runs
between two hosts, or pauses one. Time is trio's, so that with its autojump clock a test of minutes
takes milliseconds; nothing runs in the background and nothing is random.

Limits of the likeness: bytes sent and not yet received are bounded (one number for what TCP keeps
in two buffers and the wire), but acknowledgements are not modelled, so a cut of one direction does
not slow the other; and a cut never breaks a stream by its length, as TCP's timeouts would: use
`MemoryNetwork.break_streams` for that.
"""

from __future__ import annotations

from collections import deque

import attrs
import trio

from sadik_comms.address import Address
from sadik_comms.errors import (
    AddressInUse,
    DialFailed,
    ListenFailed,
)
from sadik_comms.memory_stream import Host, Link, MemoryStream, Pipe
from sadik_comms.transport import (
    Handler,
    Listener,
    Transport,
    run_handler,
)

_NS_PER_S = 1_000_000_000
_FIRST_FREE_PORT = 49152
_LAST_PORT = 65535


class MemoryListener(Listener):
    """A port of a host; made by `MemoryTransport.listen`."""

    __slots__ = ("_address", "_closed", "_host", "_lot", "_network", "_waiting")

    def __init__(self, network: MemoryNetwork, host: Host, address: Address) -> None:
        self._network = network
        self._host = host
        self._address = address
        self._closed = False
        self._lot = trio.lowlevel.ParkingLot()
        self._waiting: deque[MemoryStream] = deque()

    @property
    def address(self) -> Address:
        return self._address

    @property
    def is_full(self) -> bool:
        """Whether as many streams wait to be served as the network lets wait."""
        return len(self._waiting) >= self._network.backlog

    def arrive(self, stream: MemoryStream) -> None:
        """Take a stream that was dialled; it waits to be served."""
        self._waiting.append(stream)
        self.wake()

    def wake(self) -> None:
        """Let the task that serves look again."""
        self._lot.unpark_all()

    async def serve(self, handler: Handler, nursery: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            while self._waiting and not self._host.paused:
                nursery.start_soon(run_handler, handler, self._waiting.popleft())
                self._network.wake_diallers()
            if self._closed:
                return
            await self._lot.park()

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._network.unlisten(self._address)
            while self._waiting:
                self._waiting.popleft().abort()
            self._lot.unpark_all()
        await trio.lowlevel.checkpoint()


class MemoryTransport(Transport):
    """One host's way into a `MemoryNetwork`; made by `MemoryNetwork.transport`."""

    __slots__ = ("_dial_timeout_s", "_host", "_network")

    def __init__(self, network: MemoryNetwork, host: str, dial_timeout_ns: int) -> None:
        self._network = network
        self._host = host
        self._dial_timeout_s = dial_timeout_ns / _NS_PER_S

    async def dial(self, address: Address) -> MemoryStream:
        try:
            with trio.fail_after(self._dial_timeout_s):
                return await self._network.connect(self._host, address)
        except trio.TooSlowError:
            reason = f"no answer within {self._dial_timeout_s:g} s: is the link cut?"
            raise DialFailed(address, reason) from None

    async def listen(self, address: Address) -> MemoryListener:
        await trio.lowlevel.checkpoint()
        if address.host != self._host:
            raise ListenFailed(address, f"it is not an address of this host, {self._host!r}")
        return self._network.open_listener(address)


@attrs.define(eq=False, kw_only=True)
class MemoryNetwork:
    """Named hosts and the links between them, in this process and one trio run.

    - ``buffer_bytes``: what each direction of a stream holds, sent and not yet received; a sender
      waits beyond it.
    - ``backlog``: how many dialled streams wait at a listener; the next dial waits.

    A link has two directions. Methods that take ``one_way`` act on both unless it is set, and then
    on that from ``a`` to ``b``.
    """

    buffer_bytes: int = attrs.field(default=65536, validator=attrs.validators.ge(1))
    backlog: int = attrs.field(default=128, validator=attrs.validators.ge(1))
    _hosts: dict[str, Host] = attrs.field(init=False, factory=dict)
    _links: dict[tuple[str, str], Link] = attrs.field(init=False, factory=dict)
    _listeners: dict[Address, MemoryListener] = attrs.field(init=False, factory=dict)
    _streams: dict[MemoryStream, frozenset[str]] = attrs.field(init=False, factory=dict)
    _diallers: trio.lowlevel.ParkingLot = attrs.field(
        init=False, factory=trio.lowlevel.ParkingLot, repr=False
    )
    _next_port: int = attrs.field(init=False, default=_FIRST_FREE_PORT)

    def transport(self, host: str, *, dial_timeout_ns: int = 2 * _NS_PER_S) -> MemoryTransport:
        """Return the transport of a host, which exists from now on.

        ``host`` is a name as in `Address`; the host listens at addresses of that name only.
        """
        name = _name(host)
        self._hosts.setdefault(name, Host())
        return MemoryTransport(self, name, dial_timeout_ns)

    def cut(self, a: str, b: str, *, one_way: bool = False) -> None:
        """Let nothing through: streams fall silent without breaking, dials hang.

        What has arrived stays readable, what is under way waits for `heal`.
        """
        for link in self._settled(a, b, one_way):
            link.cut = True

    def heal(self, a: str, b: str, *, one_way: bool = False) -> None:
        """Undo `cut`: what waited arrives, in order."""
        for link in self._settled(a, b, one_way):
            link.cut = False
        for stream in self._between(a, b):
            stream.wake()
        self.wake_diallers()

    def delay(self, a: str, b: str, delay_ns: int, *, one_way: bool = False) -> None:
        """Let everything sent from now on take ``delay_ns`` each way; 0, as at first, for none."""
        if delay_ns < 0:
            raise ValueError(f"delay_ns is {delay_ns}, must not be negative")
        for link in self._settled(a, b, one_way):
            link.delay_s = delay_ns / _NS_PER_S

    def break_streams(self, a: str, b: str | None = None) -> int:
        """Break every stream between ``a`` and ``b`` (None: anybody) at both ends, at once.

        Bytes not yet received are lost. Returns how many ends broke.
        """
        ends = self._between(a, b)
        for stream in ends:
            stream.break_now()
        return len(ends)

    def pause(self, host: str) -> None:
        """Let the tasks of a host wait in all that they do here, as when its process is stopped.

        Its streams stay up, fall silent and fill; dials of it succeed while its backlog has room.
        Only what waits is held: closing, and the timeouts that its tasks set themselves, are not.
        """
        self._hosts[_name(host)].paused = True

    def resume(self, host: str) -> None:
        """Undo `pause`: it reads what came meanwhile."""
        name = _name(host)
        self._hosts[name].paused = False
        for stream in self._between(name, None):
            stream.wake()
        for address, listener in self._listeners.items():
            if address.host == name:
                listener.wake()
        self.wake_diallers()

    def _between(self, a: str, b: str | None) -> list[MemoryStream]:
        first = _name(a)
        if b is None:
            return [stream for stream, hosts in self._streams.items() if first in hosts]
        both = frozenset((first, _name(b)))
        return [stream for stream, hosts in self._streams.items() if hosts == both]

    def link(self, a: str, b: str) -> Link:
        return self._links.setdefault((a, b), Link())

    def _settled(self, a: str, b: str, one_way: bool) -> list[Link]:
        """Return the links to change, once all that is due has arrived."""
        first, second = _name(a), _name(b)
        for stream in self._streams:
            stream.settle()
        links = [self.link(first, second)]
        if not one_way and first != second:
            links.append(self.link(second, first))
        return links

    def wake_diallers(self) -> None:
        self._diallers.unpark_all()

    def unlisten(self, address: Address) -> None:
        del self._listeners[address]
        self.wake_diallers()

    def open_listener(self, address: Address) -> MemoryListener:
        """Bind ``address`` for `MemoryTransport.listen`."""
        if address.port == 0:
            address = self._free(address.host)
        if address in self._listeners:
            raise AddressInUse(address, "somebody listens there: choose another port")
        listener = self._listeners[address] = MemoryListener(
            self, self._hosts[address.host], address
        )
        return listener

    def _free(self, host: str) -> Address:
        for _ in range(_FIRST_FREE_PORT, _LAST_PORT + 1):
            address = Address(host, self._next_port)
            self._next_port += 1
            if self._next_port > _LAST_PORT:
                self._next_port = _FIRST_FREE_PORT
            if address not in self._listeners:
                return address
        raise ListenFailed(Address(host, 0), "every free port of this network is taken")

    async def connect(self, dialler: str, address: Address) -> MemoryStream:
        """Dial for `MemoryTransport.dial`, without a timeout."""
        here = self._hosts[dialler]
        there, back = self.link(dialler, address.host), self.link(address.host, dialler)
        await trio.lowlevel.checkpoint()
        if address.host not in self._hosts:
            raise DialFailed(address, "the name does not resolve: no host of this network has it")
        while True:
            await self._uncut(here, there, back)
            await trio.sleep(there.delay_s)
            if there.cut:
                continue
            listener = self._listeners.get(address)
            if listener is not None and not listener.is_full:
                break
            if listener is None:
                await self._answer(here, back)
                raise DialFailed(address, "refused: nobody listens there")
            await self._diallers.park()
        near = self._open_stream(dialler, address, listener)
        try:
            await self._answer(here, back)
        except trio.Cancelled:
            near.abort()
            raise
        return near

    def _open_stream(
        self, dialler: str, address: Address, listener: MemoryListener
    ) -> MemoryStream:
        """Make both ends, hand the listener its own, and return the dialler's."""
        there = Pipe(self.link(dialler, address.host))
        back = Pipe(self.link(address.host, dialler))
        source = str(self._free(dialler))
        near_host, far_host = self._hosts[dialler], self._hosts[address.host]
        size, forget = self.buffer_bytes, self._forget
        near = MemoryStream(str(address), near_host, back, there, size, forget)
        far = MemoryStream(source, far_host, there, back, size, forget)
        near.join(far)
        self._streams[near] = self._streams[far] = frozenset((dialler, address.host))
        listener.arrive(far)
        return near

    def _forget(self, stream: MemoryStream) -> None:
        self._streams.pop(stream, None)

    async def _answer(self, here: Host, back: Link) -> None:
        """Wait for the listening side's answer to come back to ``here``."""
        await trio.sleep(back.delay_s)
        await self._uncut(here, back)

    async def _uncut(self, here: Host, *links: Link) -> None:
        """Wait until none of ``links`` is cut, and the dialler ``here`` is not paused."""
        while here.paused or any(link.cut for link in links):
            await self._diallers.park()


def _name(host: str) -> str:
    """Return a host's one spelling, as `Address` has it; raises `AddressInvalid`."""
    return Address(host, 0).host
