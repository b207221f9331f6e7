"""Normal clients of one node, for tests of what others do to them: what they wait, and that they
are served.
"""

from __future__ import annotations

import http.client
import itertools
import time

from load import ClientThread, Load
from real_cluster import RealNode, eventually

__all__ = ["NormalLoad", "quiet_p99"]

_CLIENTS = 4
_RECONNECT_EVERY = 10


class _Client(ClientThread):
    """Writes and reads what it wrote, now and then on a new connection."""

    def __init__(self, number: int, load: NormalLoad) -> None:
        super().__init__(number, load.ending)
        self.node = load.nodes[0]
        self.seconds: list[float] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection(self.node.host, self.node.http_port, timeout=30)
        try:
            for turn in itertools.count():
                if self.ending.is_set():
                    return
                if not turn % _RECONNECT_EVERY:
                    connection.close()
                value = f"{self.number}-{turn}".encode()
                self.ask(connection, "PUT", value, b"", 204)
                self.ask(connection, "GET", None, value, 200)
        except (OSError, http.client.HTTPException) as error:
            self.unexpected.append(f"{self.number}: {error!r}")
        finally:
            connection.close()

    def ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        value: bytes | None,
        expected: bytes,
        status: int,
    ) -> None:
        began = time.monotonic()
        connection.request(method, f"/v1/kv/normal/{self.number}", value)
        answer = connection.getresponse()
        body = answer.read()
        self.seconds.append(time.monotonic() - began)
        if (answer.status, body) != (status, expected):
            self.unexpected.append(f"{method}: {answer.status} {body!r}")


class NormalLoad(Load[_Client]):
    """They write and read while the block runs."""

    def __init__(self, node: RealNode) -> None:
        super().__init__([node], "normal")
        self.clients = [_Client(number, self) for number in range(_CLIENTS)]

    def p99(self) -> float:
        """In seconds, of all requests so far."""
        seconds = sorted(each for client in self.clients for each in client.seconds)
        assert len(seconds) > 100, "too few for a percentile"
        return seconds[len(seconds) * 99 // 100]


def quiet_p99(node: RealNode, seconds: float) -> float:
    """The p99 of normal clients that are alone with the node for so long."""
    with NormalLoad(node) as normal:
        until = time.monotonic() + seconds
        eventually(seconds + 5, lambda: time.monotonic() > until, "some seconds")
    return normal.p99()
