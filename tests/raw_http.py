"""HTTP as bytes on a socket: what an odd or hostile client sends, and `http.client` cannot.

Answers are read by their framing and nothing else, so that one byte too many is seen.
"""

from __future__ import annotations

import socket
import ssl
from typing import Self

from real_cluster import Answer, RealNode

__all__ = ["RawConnection", "ask_raw"]


_HOST = b"\r\nHost: localhost\r\n"


class RawConnection:
    """One connection to a node on loopback, under TLS where the node's clients speak it.

    ``port`` is that of the clients' listener unless another is named.
    """

    def __init__(self, node: RealNode, timeout_s: float = 15, port: int | None = None) -> None:
        self._credentials = node.credentials
        address = (node.host, port or node.http_port)
        self.socket = socket.create_connection(address, timeout=timeout_s)
        if self._credentials is not None:
            context = self._credentials.context
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close both directions."""
        self._file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are, but for `dressed`."""
        self.socket.sendall(self.dressed(data))

    def dressed(self, data: bytes) -> bytes:
        """The bytes with the client's token in each request, where the node asks for one."""
        return data.replace(_HOST, _HOST + self.token_field)

    @property
    def token_field(self) -> bytes:
        """The line of a header that shows the client's token; empty where nobody asks for one."""
        if self._credentials is None:
            return b""
        return f"Authorization: Bearer {self._credentials.token}\r\n".encode()

    def read_answer(self, *, is_head: bool = False) -> Answer:
        """The next answer, interim ones (1xx) too. EOFError where the node closed instead."""
        line = self._file.readline()
        if not line:
            raise EOFError("the node closed the connection")
        version, status, _ = line.split(b" ", 2)
        assert version == b"HTTP/1.1", line
        headers: dict[str, str] = {}
        while (line := self._file.readline()) != b"\r\n":
            assert line.endswith(b"\r\n"), line
            name, _, value = line.decode("utf-8").partition(":")
            assert name.lower() not in headers, f"{name} stands there twice"
            headers[name.lower()] = value.strip()
        answer = Answer(int(status), headers, b"")
        if not is_head and answer.status >= 200 and answer.status not in (204, 304):
            length = int(headers["content-length"])
            answer.body = self._file.read(length)
            assert len(answer.body) == length, "the answer ends early"
        return answer

    def is_ended(self) -> bool:
        """Whether the node closes the connection, with nothing more to say."""
        try:
            rest = self._file.read()
        except (ConnectionResetError, ssl.SSLEOFError):
            return True
        assert not rest, rest
        return True


def ask_raw(node: RealNode, data: bytes, *, is_head: bool = False) -> Answer:
    """The answer to ``data`` on a connection of its own."""
    with RawConnection(node) as connection:
        connection.send(data)
        return connection.read_answer(is_head=is_head)
