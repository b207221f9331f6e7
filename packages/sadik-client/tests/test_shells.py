"""Each shell against real sockets: that what the core decides is what happens."""

import asyncio
import inspect
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trustme

import sadik_client.asyncio
import sadik_client.blocking
import sadik_client.trio
from fake_cluster import FakeCluster, serving
from sadik_client import (
    BatchDelete,
    BatchGet,
    BatchPut,
    ForbiddenError,
    IndeterminateError,
    InvalidRequestError,
    PreconditionFailedError,
    SadikError,
    Settings,
    StoppedError,
    UnansweredError,
    UnreachableError,
)
from sadik_client.async_api import AsyncClient
from sadik_client.async_api import Session as AsyncSession
from shells import SHELLS, Face, run_shell

PLAIN = Settings(ring=False)
shell = pytest.mark.parametrize("shell", SHELLS)


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with serving() as cluster:
        yield cluster


@shell
def test_objects(shell: str, cluster: FakeCluster) -> None:
    async def test(client: Face) -> None:
        written = await client.put("b", "k/1", "größer", meta={"By": "ada"}, return_body=True)
        entry = await client.get("b", b"k/1")
        assert entry.text == "größer"
        assert entry.version.meta == {"by": "ada"}
        assert entry.version.content_type == "text/plain; charset=utf-8"
        assert written.entry.version.value == entry.value
        assert (await client.get("b", "k/1", if_none_match=entry.etag)).is_unmodified
        assert (await client.head("b", "k/1")).meta == {"by": "ada"}
        with pytest.raises(PreconditionFailedError):
            await client.put("b", "k/1", b"x", if_none_match="*")
        assert (await client.delete("b", "k/1", context=entry.context)).existed
        assert (await client.get("b", "k/1")).is_deleted
        assert not (await client.delete("b", "k/1")).existed
        big = bytes(range(256)) * 8000
        await client.put("b", "big", big)
        assert (await client.get("b", "big")).value == big

    run_shell(shell, test, cluster.nodes[0].url, settings=PLAIN)
    assert len(cluster.nodes[0].open) == 1, "one connection was enough"


@shell
def test_listing_batches_buckets_and_views(shell: str, cluster: FakeCluster) -> None:
    async def test(client: Face) -> None:
        results = await client.batch(
            [BatchPut("b", f"k{number}", b"v") for number in range(8)]
            + [BatchGet("b", "k1"), BatchDelete("b", "k7"), BatchGet("b", "k7")]
        )
        assert [each.status for each in results] == [204] * 8 + [200, 204, 404]
        assert results[8].value == b"v"
        assert await client.keys("b") == [b"k%d" % number for number in range(7)]
        assert await client.keys("b", prefix="k3") == [b"k3"]
        assert (await client.list_page("b", after=b"k4", limit=1)).keys == (b"k5",)
        assert (await client.set_bucket("b", {"w": "all"}))["w"] == "all"
        assert (await client.get_bucket("b"))["w"] == "all"
        assert await client.list_buckets() == [{"bucket": "b"}]
        await client.reset_bucket("b")
        assert (await client.get_bucket("b"))["w"] == "quorum"
        for view in ("status", "hints", "transfers"):
            assert await getattr(client, view)() == {"view": view}
        assert (await client.members())["members"][0]["name"] == "n1"
        assert (await client.ring())["partitions"] == 8
        assert (await client.explain("b", "k"))["owners"] == ["n1"]
        assert (await client.request("GET", "/v1/nothing")).status == 404

    run_shell(shell, test, cluster.nodes[0].url, settings=PLAIN)


@shell
def test_siblings_are_resolved(shell: str, cluster: FakeCluster) -> None:
    for value in (b"milk", b"bread"):
        cluster.add_sibling("carts", b"ada", value)

    async def test(client: Face) -> None:
        entry = await client.get("carts", "ada")
        assert entry.value == b"bread, milk"
        assert (await client.get("carts", "ada")).context == entry.context

    run_shell(
        shell, test, cluster.nodes[0].url, settings=PLAIN,
        resolver=lambda entry: b", ".join(sorted(entry.values)),
    )  # fmt: skip
    assert [method for method, _ in cluster.nodes[0].requests] == ["GET", "PUT", "GET"]


@shell
def test_what_a_resolver_raises_comes_out_and_harms_nothing(
    shell: str, cluster: FakeCluster
) -> None:
    for value in (b"1", b"2"):
        cluster.add_sibling("b", b"k", value)

    def refuse(entry: object) -> bytes:
        raise ZeroDivisionError

    async def test(client: Face) -> None:
        session = Face(client.real.session())
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await session.get("b", "k", resolver=refuse)
        assert len((await session.get("b", "k")).versions) == 2

    run_shell(shell, test, cluster.nodes[0].url, settings=Settings(ring=False, connections_max=1))


@shell
def test_sessions(shell: str, cluster: FakeCluster) -> None:
    async def test(client: Face) -> None:
        session = Face(client.real.session())
        await session.put("b", "k", b"1")
        seen = cluster.seen.pop(("b", b"k"))  # this node lost sight of it
        # It is asked again until the time is over, which may be in the middle of a try.
        with pytest.raises(SadikError, match=r"behind the session|no answer in time"):
            await session.get("b", "k", timeout_s=0.3)
        session.real.forget("b", "k")
        assert not (await session.get("b", "k")).context
        cluster.seen["b", b"k"] = seen
        assert (await session.get("b", "k")).value == b"1"
        await session.put("b", "k", b"2")
        assert (await session.delete("b", "k")).existed
        assert (await session.get("b", "k")).is_deleted
        assert session.real.forgotten == 0

    run_shell(shell, test, cluster.nodes[0].url, settings=PLAIN)


@shell
def test_keys_go_to_their_owners_and_past_a_dead_node(shell: str) -> None:
    with serving(3) as cluster:

        async def test(client: Face) -> None:
            keys = [f"k{number}" for number in range(12)]
            for key in keys:
                assert (await client.put("b", key, b"v")).node is not None
            asked = [sum(path.startswith("/v1/kv") for _, path in node.requests)
                     for node in cluster.nodes]  # fmt: skip
            assert all(asked), asked
            for key in keys:
                wanted = (await client.explain("b", key))["owners"][0]
                assert (await client.get("b", key)).node == wanted
            cluster.nodes[1].end()
            for key in keys:
                assert (await client.get("b", key)).value == b"v"
                await client.put("b", key, b"w")

        run_shell(shell, test, cluster.nodes[0].url)


@shell
def test_a_write_that_was_cut_off_is_told_and_sent_once(shell: str) -> None:
    with serving(2) as cluster:
        first = cluster.nodes[0]
        first.fault = lambda method, path: "drop" if method == "PUT" else None

        async def test(client: Face) -> None:
            with pytest.raises(UnansweredError) as caught:
                await client.put("b", "k", b"v")
            assert caught.value.outcome == "indeterminate"
            client.real._core.nodes.first().worked()  # or it would be passed over for a while
            first.fault = lambda method, path: "504"
            with pytest.raises(IndeterminateError):
                await client.put("b", "k", b"v")
            first.fault = lambda method, path: "503"
            assert (await client.put("b", "k", b"v")).node == "n2"

        run_shell(shell, test, [node.url for node in cluster.nodes], settings=PLAIN)
        assert [len(node.requests) for node in cluster.nodes] == [3, 1]


@shell
def test_a_silent_node_is_left_in_time(shell: str) -> None:
    with serving(2) as cluster:
        cluster.nodes[0].fault = lambda method, path: "hang"

        async def test(client: Face) -> None:
            assert (await client.get("b", "k")).node == "n2"
            cluster.nodes[1].fault = lambda method, path: "hang"
            with pytest.raises(UnansweredError, match="no answer in time"):
                await client.put("b", "k", b"v", timeout_s=0.05)

        settings = Settings(ring=False, slow_s=0.05)
        run_shell(shell, test, [node.url for node in cluster.nodes], settings=settings)


@shell
def test_connections_closed_by_the_node_are_noticed(shell: str, cluster: FakeCluster) -> None:
    node = cluster.nodes[0]

    async def test(client: Face) -> None:
        await client.put("b", "k", b"1")
        node.break_connections()
        # The end must have come in: the loop of an async shell has to have turned for that.
        with socket.create_connection(node.server_address[:2]):  # type: ignore[arg-type]
            if shell == "asyncio":
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        await client.put("b", "k", b"2")
        assert (await client.get("b", "k")).value == b"2"

    run_shell(shell, test, node.url, settings=Settings(ring=False, retries=False))


@shell
def test_nobody_there(shell: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can listen there

        async def test(client: Face) -> None:
            with pytest.raises(UnreachableError, match=r"refused|connect call failed") as caught:
                await client.put("b", "k", b"v", timeout_s=0.2)
            assert caught.value.outcome == "not_applied"

        run_shell(shell, test, f"http://127.0.0.1:{taken.getsockname()[1]}", settings=PLAIN)


@shell
def test_tls_and_tokens(shell: str, tmp_path: Any) -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    token_file = tmp_path / "token"
    token_file.write_text("s3cret\n")
    with serving(2, server) as cluster:
        cluster.token = "s3cret"

        async def test(client: Face) -> None:
            await client.put("b", "k", bytes(200_000))
            for number in range(8):
                assert len((await client.get("b", "k")).value) == 200_000, number

        run_shell(shell, test, cluster.nodes[0].url, ssl_context=trusting, token_file=token_file)

        async def refused(client: Face) -> None:
            with pytest.raises(ForbiddenError, match="401") as caught:
                await client.get("b", "k")
            assert "0ther" not in repr(caught.value)

        run_shell(shell, refused, cluster.nodes[0].url, ssl_context=trusting, token="0ther",
                  settings=PLAIN)  # fmt: skip

        async def untrusted(client: Face) -> None:
            with pytest.raises(UnreachableError, match="certificate"):
                await client.get("b", "k", timeout_s=60)

        run_shell(shell, untrusted, cluster.nodes[0].url, settings=PLAIN)


@shell
def test_a_token_is_given_once_and_well(shell: str, tmp_path: Any) -> None:
    make = SHELLS[shell]
    for options in (
        {"token": "a", "token_file": tmp_path}, {"token": ""}, {"token": "a b"}, {"token": "a\nb"},
        {"token_file": tmp_path / "none"}, {"token_file": tmp_path},
        {"settings": Settings(timeout_s=0)},
    ):  # fmt: skip
        with pytest.raises(InvalidRequestError):
            make("http://127.0.0.1:1", **options)
    with pytest.raises(InvalidRequestError):
        make([])


def test_threads_share_a_client_within_its_bounds(cluster: FakeCluster) -> None:
    settings = Settings(ring=False, connections_max=3)
    failures: list[BaseException] = []
    with sadik_client.blocking.Client(cluster.nodes[0].url, settings=settings) as client:

        def work(number: int) -> None:
            try:
                for turn in range(20):
                    client.put("b", f"{number}", f"{turn}")
                    assert client.get("b", f"{number}").text == f"{turn}"
            except BaseException as error:  # noqa: BLE001 - told below
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert len(cluster.nodes[0].open) <= 3


def test_a_resolver_may_use_its_own_client(cluster: FakeCluster) -> None:
    for value in (b"1", b"2"):
        cluster.add_sibling("b", b"k", value)
    with sadik_client.blocking.Client(cluster.nodes[0].url, settings=PLAIN) as client:

        def resolve(entry: object) -> bytes:
            client.put("b", "log", b"met siblings")
            return b"3"

        assert client.get("b", "k", resolver=resolve).value == b"3"
        assert client.get("b", "log").exists


def test_without_a_place_a_request_ends_in_time(cluster: FakeCluster) -> None:
    node = cluster.nodes[0]
    node.fault = lambda method, path: "hang"
    settings = Settings(ring=False, connections_max=1, timeout_s=60)

    async def on_trio() -> None:
        async with (
            sadik_client.trio.Client(node.url, settings=settings) as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(client.get, "b", "k")
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(UnreachableError, match="too many requests"):
                await client.get("b", "k", timeout_s=0.02)
            nursery.cancel_scope.cancel()

    trio.run(on_trio)

    async def on_asyncio() -> None:
        async with sadik_client.asyncio.Client(node.url, settings=settings) as client:
            task = asyncio.create_task(client.get("b", "k"))
            await asyncio.sleep(0)
            with pytest.raises(UnreachableError, match="too many requests"):
                await client.get("b", "k", timeout_s=0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(on_asyncio())

    with sadik_client.blocking.Client(node.url, settings=settings) as client:
        node.hanging.clear()
        thread = threading.Thread(target=client.get, args=("b", "k"))
        thread.start()
        node.hanging.wait()
        with pytest.raises(UnreachableError, match="too many requests"):
            client.get("b", "k", timeout_s=0.02)
        node.fault = lambda method, path: None
        node.released.set()
        thread.join()


def test_a_client_that_is_stopped_waits_no_more(cluster: FakeCluster) -> None:
    node = cluster.nodes[0]
    refused = threading.Event()

    def refuse(method: str, path: str) -> str:
        refused.set()
        return "503"

    node.fault = refuse
    met: list[type[BaseException]] = []
    settings = Settings(ring=False, timeout_s=600)
    with sadik_client.blocking.Client(node.url, settings=settings) as client:

        def work() -> None:
            try:
                client.put("b", "k", b"v")
            except SadikError as error:
                met.append(type(error))

        thread = threading.Thread(target=work)
        thread.start()
        refused.wait()
        client.stop()
        thread.join()
        with pytest.raises(StoppedError):
            client.get("b", "k")
    assert met == [StoppedError]


def test_a_cancelled_request_takes_its_connection_along(cluster: FakeCluster) -> None:
    node = cluster.nodes[0]

    async def on_trio() -> None:
        async with sadik_client.trio.Client(node.url, settings=PLAIN) as client:
            await client.put("b", "k", b"1")
            node.fault = lambda method, path: "hang"
            with trio.move_on_after(0.02) as scope:
                await client.get("b", "k")
            assert scope.cancelled_caught
            node.fault = lambda method, path: None
            assert (await client.get("b", "k")).value == b"1"

    trio.run(on_trio)
    assert len(node.open) == 2

    async def on_asyncio() -> None:
        async with sadik_client.asyncio.Client(node.url, settings=PLAIN) as client:
            await client.put("b", "k", b"1")
            node.fault = lambda method, path: "hang"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await client.get("b", "k")
            node.fault = lambda method, path: None
            assert (await client.get("b", "k")).value == b"1"

    asyncio.run(on_asyncio())
    assert len(node.open) == 4


@pytest.mark.parametrize(
    ("sync", "other"),
    [(sadik_client.blocking.Client, AsyncClient), (sadik_client.blocking.Session, AsyncSession)],
)
def test_shells_have_the_same_names_and_parameters(sync: type, other: type) -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        renamed = {"aclose": "close"}
        blocking_only = ("stop",)  # tasks are cancelled instead
        return {
            renamed.get(name, name): [
                str(each).replace(" ", "") for each in inspect.signature(value).parameters.values()
            ]
            for name, value in vars(kind).items()
            if not name.startswith("_") and callable(value) and name not in blocking_only
        }

    assert methods(sync) == methods(other)
