"""Client verbs over https, with an authority and a token of one's own."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen
from click.testing import CliRunner, Result

from sadik_node.certificates import init, issue
from sadik_node.cli.root import cli


@frozen
class Proxy:
    """Something that speaks TLS and asks for tokens, as stands before nodes."""

    url: str
    ca: Path
    tokens: list[str | None]


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    init(tmp_path / "pki", "clients", 1)
    cert, key = issue(tmp_path / "pki", "front", ["127.0.0.1"], 1)
    tokens: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            tokens.append(self.headers["Authorization"])
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", "5")
            self.send_header("Sadik-Context", "c")
            self.send_header("ETag", '"e"')
            self.end_headers()
            self.wfile.write(b"world")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Proxy(f"https://127.0.0.1:{server.server_port}", tmp_path / "pki" / "ca.crt", tokens)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def test_a_verb_trusts_the_authority_given_and_sends_the_token(
    proxy: Proxy, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("abc.def\n", "utf-8")
    found = run("get", "b", "k", "--node", proxy.url, "--ca", proxy.ca, "--token-file", token)
    assert (found.exit_code, found.stdout) == (0, "world"), found.stderr
    assert proxy.tokens == ["Bearer abc.def"]


def test_an_authority_that_nobody_trusts_gets_nothing(proxy: Proxy, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("abc.def", "utf-8")
    refused = run("get", "b", "k", "--node", proxy.url, "--token-file", token)
    assert refused.exit_code == 1
    assert "certificate" in refused.stderr
    assert "abc.def" not in refused.output
    assert proxy.tokens == []


@pytest.mark.parametrize("option", ["--ca", "--token-file"])
def test_a_file_that_is_not_there_is_wrong_usage(option: str, tmp_path: Path) -> None:
    refused = run("get", "b", "k", option, tmp_path / "nothing")
    assert refused.exit_code == 2
    assert option in refused.stderr
