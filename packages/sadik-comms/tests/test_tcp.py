"""What is TCP's own: its options, its failures in words, and a listener that nothing ends."""

import errno
import os
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from sadik_comms import (
    AcceptFailed,
    Address,
    AddressInUse,
    DialFailed,
    ListenFailed,
    Stream,
    StreamBroken,
    TcpListener,
    TcpStream,
    TcpTransport,
)
from sadik_comms.conformance import hold, raises, receive_all, receive_exactly

_ANY = Address("127.0.0.1", 0)
_LINUX = sys.platform == "linux"


async def test_small_writes_go_at_once_and_dead_peers_are_noticed() -> None:
    transport = TcpTransport(user_timeout_ns=12_000_000_000)
    streams: list[Stream] = []

    async def keep(stream: Stream) -> None:
        streams.append(stream)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery, await transport.listen(_ANY) as listener:
        nursery.start_soon(listener.serve, keep, nursery)
        async with await transport.dial(listener.address) as near:
            await near.send_all(b"x")
            while not streams:
                await trio.lowlevel.checkpoint()
            for stream in (near, streams[0]):
                assert isinstance(stream, TcpStream)
                sock = stream._socket
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                if _LINUX:
                    for option, value in (
                        (socket.TCP_USER_TIMEOUT, 12_000),
                        (socket.TCP_KEEPIDLE, 3),
                        (socket.TCP_KEEPINTVL, 3),
                        (socket.TCP_KEEPCNT, 4),
                    ):
                        assert sock.getsockopt(socket.IPPROTO_TCP, option) == value
        nursery.cancel_scope.cancel()


async def test_peers_are_named_by_their_address() -> None:
    names: list[str] = []

    async def note(stream: Stream) -> None:
        names.append(stream.peer)

    transport = TcpTransport()
    async with trio.open_nursery() as nursery, await transport.listen(_ANY) as listener:
        nursery.start_soon(listener.serve, note, nursery)
        async with await transport.dial(listener.address) as stream:
            assert stream.peer == str(listener.address)
            assert await receive_all(stream) == b""
        nursery.cancel_scope.cancel()
    assert names[0].startswith("127.0.0.1:")
    assert Address.parse(names[0]).port != listener.address.port


async def test_a_refused_dial_says_what_to_check() -> None:
    async with await TcpTransport().listen(_ANY) as listener:
        pass
    with pytest.raises(DialFailed) as caught:
        await TcpTransport().dial(listener.address)
    assert "nobody listens there" in caught.value.reason
    assert "is that node running" in caught.value.reason
    assert str(listener.address) in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)


async def test_a_name_that_does_not_resolve_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolve_as(monkeypatch, socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    with pytest.raises(DialFailed, match=r"name 'n1\.example' does not resolve .*spelling"):
        await TcpTransport().dial(Address("n1.example", 7071))
    with pytest.raises(ListenFailed, match="does not resolve"):
        await TcpTransport().listen(Address("n1.example", 7071))


async def test_a_dial_gives_up_at_its_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*args: object, **kwargs: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(trio, "open_tcp_stream", never)
    with pytest.raises(DialFailed, match=r"no answer within 0\.01 s: is the host up"):
        await TcpTransport(dial_timeout_ns=10_000_000).dial(Address("127.0.0.1", 1))


async def test_several_failed_addresses_of_a_name_are_told_once_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*args: object, **kwargs: object) -> None:
        parts = [
            OSError(errno.ECONNREFUSED, "Connection refused"),
            OSError(errno.ECONNREFUSED, "Connection refused"),
            OSError(errno.ENETUNREACH, "Network is unreachable"),
        ]
        raise OSError("all failed") from ExceptionGroup("all failed", parts)

    monkeypatch.setattr(trio, "open_tcp_stream", fail)
    with pytest.raises(DialFailed) as caught:
        await TcpTransport().dial(Address("n1", 1))
    assert caught.value.reason.count("nobody listens there") == 1
    assert "no route to that network" in caught.value.reason


@pytest.mark.skipif(not _LINUX, reason="other systems may refuse it themselves")
async def test_a_dial_that_met_itself_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    async def open_to_itself(host: str, port: int) -> trio.SocketStream:
        sock = trio.socket.socket()
        await sock.bind((host, port))
        await sock.connect((host, port))
        return trio.SocketStream(sock)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = Address("127.0.0.1", probe.getsockname()[1])
    monkeypatch.setattr(trio, "open_tcp_stream", open_to_itself)
    with pytest.raises(DialFailed, match="nobody listens there"):
        await TcpTransport().dial(free)
    async with await TcpTransport().listen(free):
        pass


async def test_a_taken_port_is_told_apart_from_a_foreign_address() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = Address("127.0.0.1", other.getsockname()[1])
        with pytest.raises(AddressInUse, match="stop that process, or choose another port"):
            await TcpTransport().listen(taken)
    with pytest.raises(ListenFailed, match="not an address of this machine") as caught:
        await TcpTransport().listen(Address("192.0.2.1", 0))
    assert not isinstance(caught.value, AddressInUse)


async def test_a_name_is_listened_at_on_all_its_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [("127.0.0.1", 0), ("127.0.0.2", 0), ("192.0.2.1", 0), ("127.0.0.1", 0)]
    kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
    _resolve_as(monkeypatch, [(*kind, name) for name in names])
    served: list[str] = []

    async def note(stream: Stream) -> None:
        served.append(stream.peer)

    async with (
        trio.open_nursery() as nursery,
        await TcpTransport().listen(Address("n1", 0)) as listener,
    ):
        assert listener.address.host == "n1"
        nursery.start_soon(listener.serve, note, nursery)
        monkeypatch.undo()
        for host in ("127.0.0.1", "127.0.0.2"):
            async with await TcpTransport().dial(Address(host, listener.address.port)) as stream:
                assert await receive_all(stream) == b""
        assert len(served) == 2
        nursery.cancel_scope.cancel()


async def test_a_failed_listen_leaves_no_socket_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.2", 0))
        other.listen()
        port = other.getsockname()[1]
        kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
        found = [(*kind, ("127.0.0.1", port)), (*kind, ("127.0.0.2", port))]
        _resolve_as(monkeypatch, found)
        with pytest.raises(AddressInUse):
            await TcpTransport().listen(Address("n1", port))
        monkeypatch.undo()
        async with await TcpTransport().listen(Address("127.0.0.1", port)):
            pass


async def test_a_port_with_lingering_connections_is_bound_again_at_once() -> None:
    transport = TcpTransport()

    async def close_first(stream: Stream) -> None:
        await stream.send_all(b"bye")

    first = await transport.listen(_ANY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.serve, close_first, nursery)
        for _ in range(5):
            async with await transport.dial(first.address) as stream:
                assert await receive_all(stream) == b"bye"
        nursery.cancel_scope.cancel()
    await first.aclose()
    # The side that closed first keeps its port in TIME-WAIT for a minute.
    async with await transport.listen(first.address) as second:
        assert second.address == first.address


@pytest.mark.skipif(not _LINUX, reason="other systems keep apart what Linux shares")
async def test_the_dialling_ends_port_is_not_barred_to_a_later_listener() -> None:
    transport = TcpTransport()
    names: list[str] = []

    async def read(stream: Stream) -> None:
        names.append(stream.peer)
        assert await receive_all(stream) == b""

    async def listen_beside(listener: TcpListener) -> None:
        async with await transport.dial(listener.address) as stream:
            await stream.send_eof()
            assert await receive_all(stream) == b""
            async with await transport.listen(Address.parse(names[-1])):
                pass
        async with await transport.listen(Address.parse(names[-1])):
            pass

    async with trio.open_nursery() as nursery, await transport.listen(_ANY) as listener:
        nursery.start_soon(listener.serve, read, nursery)
        # The port drawn may be shared with a connection of some other program that bars it, so a
        # few tries are granted; were it ours that bars it, all of them would fail.
        barred = 0
        for _ in range(20):
            try:
                await listen_beside(listener)
            except AddressInUse:
                barred += 1
        assert barred < 20
        nursery.cancel_scope.cancel()


@contextmanager
def _no_file_descriptors() -> Iterator[None]:
    """Let nothing be opened any more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_running_out_of_file_descriptors_delays_and_never_ends_the_listener() -> None:
    failures: list[AcceptFailed] = []
    failed = trio.Event()

    def note(error: AcceptFailed) -> None:
        failures.append(error)
        if len(failures) == 2:
            failed.set()

    async def echo(stream: Stream) -> None:
        await stream.send_all(await stream.receive_some())

    transport = TcpTransport(on_accept_error=note)
    with trio.fail_after(30), socket.socket() as client:
        async with trio.open_nursery() as nursery, await transport.listen(_ANY) as listener:
            nursery.start_soon(listener.serve, echo, nursery)
            client.setblocking(False)
            stream = trio.socket.from_stdlib_socket(client)
            await wait_all_tasks_blocked()
            with _no_file_descriptors():
                await stream.connect((listener.address.host, listener.address.port))
                await failed.wait()
            assert "out of file descriptors" in failures[0].reason
            assert isinstance(failures[0].__cause__, OSError)
            await stream.send(b"served after all")
            assert await stream.recv(100) == b"served after all"
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPERM, errno.ENOBUFS])
async def test_no_accept_error_ends_the_listener(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[AcceptFailed] = []
    transport = TcpTransport(on_accept_error=failures.append)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery, await transport.listen(_ANY) as listener:
            real, calls = socket.socket.accept, 0

            def accept(sock: socket.socket) -> tuple[socket.socket, object]:
                nonlocal calls
                calls += 1
                if calls == 1:
                    raise OSError(code, os.strerror(code))
                return real(sock)

            monkeypatch.setattr(socket.socket, "accept", accept)
            nursery.start_soon(listener.serve, hold, nursery)
            async with await transport.dial(listener.address) as stream:
                await stream.send_all(b"x")
                while calls < 2:
                    await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert len(failures) == (0 if code == errno.ECONNABORTED else 1)


async def test_an_error_the_sender_met_does_not_look_like_an_end_to_the_receiver() -> None:
    transport = TcpTransport()
    ends: list[Stream] = []
    arrived = trio.Event()

    async def keep(stream: Stream) -> None:
        ends.append(stream)
        arrived.set()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery, await transport.listen(_ANY) as listener:
        nursery.start_soon(listener.serve, keep, nursery)
        async with await transport.dial(listener.address) as near:

            async def send() -> NoReturn:
                while True:
                    await near.send_all(b"x")

            await arrived.wait()
            ends[0].abort()
            await raises(StreamBroken, send)
            with pytest.raises(StreamBroken):
                await near.receive_some()
        nursery.cancel_scope.cancel()


async def test_a_wildcard_of_ipv6_takes_ipv4_too_and_names_such_peers_plainly() -> None:
    try:
        listener = await TcpTransport().listen(Address("::", 0))
    except ListenFailed:
        pytest.skip("this machine has no IPv6")
    names: list[str] = []

    async def note(stream: Stream) -> None:
        names.append(stream.peer)
        await stream.send_all(b"hello")

    async with trio.open_nursery() as nursery, listener:
        nursery.start_soon(listener.serve, note, nursery)
        four = Address("127.0.0.1", listener.address.port)
        async with await TcpTransport().dial(four) as stream:
            assert await receive_exactly(stream, 5) == b"hello"
        nursery.cancel_scope.cancel()
    assert names[0].startswith("127.0.0.1:")


def _resolve_as(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    """Let every name resolve to ``answer``, or raise it."""

    async def getaddrinfo(*args: object, **kwargs: object) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)
