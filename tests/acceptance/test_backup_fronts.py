"""Backup and restore where each node stands behind TLS that wants a token."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from real_cluster import RealCluster, RealNode, free_ports

from sadik_node.certificates import init, issue
from sadik_node.cli.root import cli

pytestmark = pytest.mark.system

TOKEN = "abc.def"


def front(node: RealNode, port: int, context: ssl.SSLContext) -> http.server.ThreadingHTTPServer:
    """What stands before a node: it speaks TLS, and hands on what comes with the token."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def hand_on(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                self.send_response(401)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            behind = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=20)
            headers = {k: v for k, v in self.headers.items() if k not in ("Host", "Connection")}
            with contextlib.closing(behind):
                behind.request(self.command, self.path, body, headers)
                answer = behind.getresponse()
                data = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = hand_on  # noqa: N815 - their names there

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


@contextlib.contextmanager
def cluster_behind_fronts(root: Path, pki: Path, nodes: int) -> Iterator[str]:
    """The URL of a cluster of which clients are told the addresses of fronts only."""
    cert, key = issue(pki, f"front-{root.name}", ["127.0.0.1"], 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    root.mkdir()
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(RealCluster(root, nodes))
        ports = free_ports(nodes)
        for node, port in zip(cluster.nodes, ports, strict=True):
            node.environment["SADIK_LISTEN__ADVERTISE_HTTP"] = f"127.0.0.1:{port}"
            server = front(node, port, context)
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(server.server_close)
            stack.callback(thread.join)
            stack.callback(server.shutdown)
        cluster.start()
        yield f"https://127.0.0.1:{ports[0]}"


def test_every_node_is_asked_over_tls_with_the_token(tmp_path: Path) -> None:
    pki, token = tmp_path / "pki", tmp_path / "token"
    init(pki, "clients", 1)
    token.write_text(TOKEN, "utf-8")

    def verb(url: str, *arguments: object, with_token: bool = True) -> tuple[int, Any]:
        command: list[object] = [*arguments, "--node", url, "--ca", pki / "ca.crt", "--json"]
        if with_token:
            command += ["--token-file", token]
        ran = CliRunner().invoke(cli, list(map(str, command)))
        return ran.exit_code, json.loads(ran.stdout) if ran.exit_code == 0 else ran.stderr

    place = tmp_path / "backups"
    with cluster_behind_fronts(tmp_path / "one", pki, 2) as url:
        for number in range(5):
            assert verb(url, "put", "b", f"k{number}", f"v{number}")[0] == 0
        code, told = verb(url, "backup", place)
        assert (code, told["records"] if code == 0 else told) == (0, 5)
        code, told = verb(url, "backup", place, with_token=False)
        assert (code, "401" in told) == (1, True), told
    with cluster_behind_fronts(tmp_path / "other", pki, 1) as url:
        code, told = verb(url, "restore", place)
        assert (code, told["sent"] if code == 0 else told) == (0, 5)
        code, told = verb(url, "restore", place, "--bucket", "b", "--into", "c")
        assert (code, told["copied"] if code == 0 else told) == (0, 5)
        code, told = verb(url, "get", "c", "k3")
        assert code == 0
