"""What the command line's HTTP client promises to a caller that may want to try again."""

import socket
import threading
from collections.abc import Callable

import pytest

from contract_server import Cluster, serving
from sadik_node.client_http import (
    Answer,
    NodeBrokenError,
    NodeClient,
    NodeUnreachableError,
    UrlError,
    bucket_path,
    key_path,
    list_path,
    parse_page,
)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:7070", "http://127.0.0.1:7070"),
        ("http://127.0.0.1:7070/", "http://127.0.0.1:7070"),
        ("n1.example:80", "http://n1.example:80"),
        ("n1.example", "http://n1.example:7070"),
        ("http://[::1]:7080", "http://[::1]:7080"),
    ],
)
def test_a_node_is_named_by_its_url(text: str, url: str) -> None:
    assert NodeClient(text).url == url


@pytest.mark.parametrize(
    "text", ["", "http://", "ftp://n1", "http://n1:x", "http://n1:0", "http://n1:70700",
             "http://n1/v1", "http://n1?x=1", "http://user@n1:1", "https://n1:7070"],
)  # fmt: skip
def test_what_is_no_node_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(UrlError, match="http://host:port"):
        NodeClient(text)


def test_keys_are_never_normalised() -> None:
    assert key_path("b", b"../a//./b c%\xff\n?") == "/v1/kv/b/../a//./b%20c%25%FF%0A%3F"
    assert key_path("b", b"/", view="explain") == "/v1/explain/b//"
    assert bucket_path("b") == "/v1/buckets/b"
    assert list_path("b", "a%20b") == "/v1/kv/b?after=a%20b"
    assert list_path("b", "a b&c") == "/v1/kv/b?after=a%20b%26c"


def test_a_connection_is_kept_and_parameters_of_none_left_out() -> None:
    with serving() as server:
        client = NodeClient(server.url)
        for _ in range(3):
            client.request("PUT", "/v1/kv/b/k", query={"w": None, "r": "a b"}, body=b"v")
        assert server.requests == [("PUT", "/v1/kv/b/k?r=a%20b")] * 3
        assert len(server.open) == 1
        client.close()


def test_nothing_listening_is_provably_not_applied() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can listen there
        client = NodeClient(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(NodeUnreachableError, match="refused"):
            client.request("PUT", "/v1/kv/b/k", body=b"v")


def test_a_write_that_broke_off_is_never_repeated() -> None:
    with serving() as server:
        client = NodeClient(server.url)
        client.request("GET", "/v1/status")
        server.fault = lambda method, path: "drop"
        with pytest.raises(NodeBrokenError):
            client.request("PUT", "/v1/kv/b/k", body=b"v")
        assert [method for method, _ in server.requests] == ["GET", "PUT"]


def test_a_read_is_repeated_once_when_a_kept_connection_was_closed() -> None:
    with serving() as server:
        client = NodeClient(server.url)
        client.request("GET", "/v1/status")
        faults = iter(("drop", None))
        server.fault = lambda method, path: next(faults)
        assert client.request("GET", "/v1/status").status == 200
        client.close()


def _serve_once(exchange: Callable[[socket.socket], None]) -> tuple[str, threading.Thread]:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            connection, _ = listener.accept()
        with connection:
            exchange(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}", thread


def test_the_answer_to_a_body_refused_early_is_seen() -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    url, thread = _serve_once(refuse)
    client = NodeClient(url)
    answer = client.request("PUT", "/v1/kv/b/k", body=bytes(8 * 2**20))
    client.close()
    thread.join()
    assert (answer.status, answer.body) == (413, b"no")


def test_a_node_that_says_nothing_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Connects succeed, and nobody reads: as with a stopped process.
        client = NodeClient(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.05)
        with pytest.raises(NodeBrokenError, match="no answer in time"):
            client.request("GET", "/v1/status")


@pytest.mark.parametrize("head", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\n"])
def test_what_is_no_http_is_a_broken_answer(head: bytes) -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(head)

    url, thread = _serve_once(answer)
    with pytest.raises(NodeBrokenError):
        NodeClient(url).request("PUT", "/v1/kv/b/k", body=b"v")
    thread.join()


def test_a_complaint_is_one_line_with_the_outcome() -> None:
    body = (
        b'{"title": "quorum not reachable", "detail": "1 of 3 owners answers", "needed": 2,'
        b' "got": 1, "outcome": "not_applied"}'
    )
    answer = Answer(503, {"content-type": "application/problem+json"}, body)
    assert answer.complaint == (
        "503 quorum not reachable: 1 of 3 owners answers (needed 2, got 1); nothing was applied"
    )
    assert Answer(502, {"content-type": "text/html"}, b"<h1>").complaint == "502 Bad Gateway"
    assert Answer(500, {"content-type": "application/json"}, b"{").problem == {}


@pytest.mark.parametrize("body", [b"", b'{"key": "a"}\n', b"[]\n", b"<html>\n"])
def test_half_a_page_of_keys_is_no_page(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"last line|Expecting"):
        parse_page(Answer(200, {}, body))


def test_the_stand_in_makes_siblings_as_the_contract_says() -> None:
    # The tests of import and export rest on it.
    with serving(Cluster()) as server:
        client = NodeClient(server.url)
        one = client.request("PUT", "/v1/kv/b/k", body=b"1").context
        client.request("PUT", "/v1/kv/b/k", body=b"2", headers={"Sadik-Context": one})
        client.request("PUT", "/v1/kv/b/k", body=b"3", headers={"Sadik-Context": one})
        several = client.request("GET", "/v1/kv/b/k")
        assert (several.status, len(several.json()["siblings"])) == (300, 2)
        headers = {"Sadik-Context": several.context}
        client.request("PUT", "/v1/kv/b/k", body=b"4", headers=headers)
        assert client.request("GET", "/v1/kv/b/k").body == b"4"
        client.close()
