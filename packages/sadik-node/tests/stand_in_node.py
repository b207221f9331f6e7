"""A process that takes the place of a node for the tests of ``dev``: ready at once, its ring soon.

Run with ``dev`` for its first argument it is ``sadik-node dev`` with such nodes. What a node does
there is said by files in the data directory's parent: ``fail-<name>`` (end with code 2),
``stubborn-<name>`` (do not end on SIGTERM).
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

RING = {"epoch": 1, "partitions": 1, "replicas": 3, "owners": [["n1", "n2", "n3"]]}


class _Ready(BaseHTTPRequestHandler):
    moving = 2
    """How often it still says that something moves."""

    def do_GET(self) -> None:
        body: Any = {}
        if self.path == "/v1/ring":
            body = RING
        elif self.path == "/v1/transfers":
            body = {"transfers": [{"partition": 0}] if _Ready.moving > 0 else []}
            _Ready.moving -= 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass


def node(arguments: list[str]) -> None:
    options = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    data_dir = Path(options["--data-dir"])
    data_dir.mkdir(exist_ok=True)
    with (data_dir / "starts").open("a") as file:
        file.write(" ".join(arguments) + "\n")
    name = options["--name"]
    if (data_dir.parent / f"fail-{name}").exists():
        sys.exit(f"{name}: the clock is missing")
    host, _, port = options["--http"].rpartition(":")
    server = HTTPServer((host, int(port)), _Ready)
    if (data_dir.parent / f"stubborn-{name}").exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.closing(server.socket):
        server.serve_forever()


def dev(arguments: list[str]) -> None:
    from sadik_node.cli import dev as module
    from sadik_node.cli.root import cli

    real_command = module._Plan.command

    def command(plan: Any, seeds: Any) -> list[str]:
        line = real_command(plan, seeds)
        assert line[1:4] == ["-m", "sadik_node", "serve"]
        return [line[0], __file__, *line[3:]]

    setattr(module._Plan, "command", command)  # noqa: B010 - mypy refuses the plain way
    module._DRAIN_S = 1.0
    cli(["dev", *arguments])


if __name__ == "__main__":
    if sys.argv[1] == "dev":
        dev(sys.argv[2:])
    else:
        node(sys.argv[1:])
