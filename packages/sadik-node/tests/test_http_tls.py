"""TLS for clients: the same answers, whatever the records are cut into; and who speaks none."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trio

from node_fakes import Site, site
from sadik_machine import MILLISECOND
from sadik_node import certificates
from sadik_node.client_security import ClientSecurity
from sadik_node.errors import NodeError
from sadik_node.http.access import Access
from sadik_node.http.limits import HttpLimits
from sadik_node.log import Log
from sadik_node.private_files import FileWatch
from sadik_node.settings import Settings, Tls, TlsFiles

GET = b"GET /v1/kv/b/k HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    certificates.init(directory, "test", 1)
    certificates.issue(directory, "n1", ["localhost"], 1)
    return directory


def files(pki: Path, *, ca: bool = False) -> TlsFiles:
    return TlsFiles(pki / "n1.crt", pki / "n1.key", pki / "ca.crt" if ca else None)


def server_side(pki: Path, *, ca: bool = False) -> ssl.SSLContext:
    context = ClientSecurity(Settings(tls=Tls(http=files(pki, ca=ca)))).http.context
    assert context is not None
    return context


def client_side(pki: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=pki / "ca.crt")


async def open_stream(here: Site, context: ssl.SSLContext) -> trio.SSLStream[trio.SocketStream]:
    wire = await here.connect()
    stream = trio.SocketStream(wire.socket)
    return trio.SSLStream(stream, context, server_hostname="localhost", https_compatible=True)


async def answer(stream: trio.SSLStream[trio.SocketStream]) -> tuple[int, bytes]:
    """One answer, and not a byte of the next."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = bytes(await stream.receive_some(1))
        assert byte, head
        head += byte
    lengths = [line for line in head.split(b"\r\n") if b"Content-Length" in line]
    length = int(lengths[0].split(b":")[1]) if lengths else 0
    body = b""
    while len(body) < length:
        body += bytes(await stream.receive_some(length - len(body)))
    return int(head.split()[1]), body


async def asked(stream: trio.SSLStream[trio.SocketStream]) -> tuple[int, bytes]:
    await stream.send_all(GET)
    return await answer(stream)


async def test_large_values_go_in_and_come_out_as_they_were(pki: Path) -> None:
    value = bytes(range(256)) * 12_000
    async with site(tls=server_side(pki)) as here:
        stream = await open_stream(here, client_side(pki))
        put = b"PUT /v1/kv/b/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        await stream.send_all(put % len(value) + value)
        assert (await answer(stream))[0] == 204
        # Twice before anything is read: the server has to wait in the midst of a record.
        last = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        await stream.send_all(GET + last)
        assert await answer(stream) == (200, value)
        assert await answer(stream) == (200, value)
        assert not await stream.receive_some(), "the end is said"


async def test_a_client_without_tls_is_told_and_let_go(pki: Path) -> None:
    async with site(tls=server_side(pki)) as here:
        wire = await here.connect()
        got = await wire.ask(GET)
        assert (got.status, got.body) == (400, b"this port speaks TLS: ask for https, not http\n")
        assert await wire.ended()
        other = await here.connect()
        await other.send(b"\x00\x01 no protocol that is known here\r\n\r\n")
        with pytest.raises((EOFError, OSError)):
            await other.answer()
        assert here.metrics.rejected["tls"] == 2
        stream = await open_stream(here, client_side(pki))
        await stream.send_all(GET)
        assert (await answer(stream))[0] == 404


async def test_who_does_not_shake_hands_is_let_go_in_time(pki: Path) -> None:
    limits = HttpLimits(header_ns=50 * MILLISECOND, tick_ns=10 * MILLISECOND)
    async with site(limits, tls=server_side(pki)) as here:
        silent, slow = await here.connect(), await here.connect()
        await slow.send(b"\x16\x03\x01\x02\x00")
        with trio.fail_after(5):
            assert await silent.ended()
            assert await slow.ended()
        assert here.metrics.rejected["tls"] == 2


async def test_one_connection_too_many_is_told_so_under_tls_too(pki: Path) -> None:
    limits = HttpLimits(connections_per_address=1)
    async with site(limits, tls=server_side(pki)) as here:
        first = await open_stream(here, client_side(pki))
        await first.do_handshake()
        second = await open_stream(here, client_side(pki))
        assert (await answer(second))[0] == 429


async def test_clients_prove_themselves_by_certificate_where_they_must(pki: Path) -> None:
    async with site(tls=server_side(pki, ca=True)) as here:
        stream = await open_stream(here, client_side(pki))
        with pytest.raises(trio.BrokenResourceError):
            await asked(stream)
        context = client_side(pki)
        context.load_cert_chain(pki / "n1.crt", pki / "n1.key")
        proven = await open_stream(here, context)
        await proven.send_all(GET)
        assert (await answer(proven))[0] == 404


async def test_a_new_certificate_is_shown_to_who_comes_and_old_connections_live(
    pki: Path, tmp_path: Path
) -> None:
    for name in ("n1.crt", "n1.key", "ca.crt", "ca.key"):
        (tmp_path / name).write_bytes((pki / name).read_bytes())
        (tmp_path / name).chmod(0o600)
    security = ClientSecurity(Settings(tls=Tls(http=files(tmp_path))))
    async with site(tls=security.http.context) as here:
        watch = FileWatch(Log("n1"))
        access = Access(None, lambda: 0, lambda: 0)
        security.watch(watch, access, lambda _, context: here.server.use_tls(context))
        old = await open_stream(here, client_side(pki))
        await old.send_all(GET)
        assert (await answer(old))[0] == 404
        shown = old.getpeercert(binary_form=True)
        certificates.issue(tmp_path, "n1", ["localhost"], 1)
        watch.look()
        new = await open_stream(here, client_side(pki))
        for stream in (new, old):
            await stream.send_all(GET)
            assert (await answer(stream))[0] == 404
        assert new.getpeercert(binary_form=True) != shown
        # Half of a change leaves what was there.
        (tmp_path / "n1.crt").write_text("no certificate")
        watch.look()
        another = await open_stream(here, client_side(pki))
        await another.send_all(GET)
        assert (await answer(another))[0] == 404


def test_a_key_that_others_may_read_is_refused(pki: Path, tmp_path: Path) -> None:
    key = tmp_path / "n1.key"
    key.write_bytes((pki / "n1.key").read_bytes())
    key.chmod(0o644)
    with pytest.raises(NodeError, match=r"tls\.http: .*chmod 600"):
        ClientSecurity(Settings(tls=Tls(http=TlsFiles(pki / "n1.crt", key))))
