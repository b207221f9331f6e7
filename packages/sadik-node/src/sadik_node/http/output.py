"""What goes out on one connection: written at once where the socket takes it, kept where not.

Bytes that wait for a slow client count against the budget of the whole server (`Traffic`), so that
many slow clients together cannot hold more than that.
"""

from __future__ import annotations

from collections import deque

from sadik_node.http.client_socket import ClientSocket

__all__ = ["Output", "Traffic"]

_JOIN_BYTES_MAX = 4096
"""Up to here copying a body behind its head is cheaper than handing the kernel two pieces."""


class Traffic:
    """Totals of a server: bytes in, bytes out, and bytes of requests and answers held now."""

    __slots__ = ("held_bytes", "received_bytes", "sent_bytes")

    def __init__(self) -> None:
        self.held_bytes = 0
        self.received_bytes = 0
        self.sent_bytes = 0


class Output:
    """The sending side of one non-blocking socket."""

    __slots__ = ("_parts", "_socket", "_traffic", "pending_bytes")

    def __init__(self, sock: ClientSocket, traffic: Traffic) -> None:
        self._socket = sock
        self._traffic = traffic
        self._parts: deque[memoryview] = deque()
        self.pending_bytes = 0
        """Bytes that wait until the client has read."""

    def write(self, head: bytes, body: bytes = b"") -> None:
        """Send both, in order behind what waits. Raises OSError where the connection is gone."""
        if self._parts:
            self._keep(head)
            self._keep(body)
            return
        try:
            if len(body) <= _JOIN_BYTES_MAX:
                head += body
                body = b""
                sent = self._socket.send(head)
            else:
                sent = self._socket.sendmsg((head, body))
        except BlockingIOError:
            sent = 0
        self._traffic.sent_bytes += sent
        if sent < len(head):
            self._keep(memoryview(head)[sent:])
            self._keep(body)
        elif sent < len(head) + len(body):
            self._keep(memoryview(body)[sent - len(head) :])

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it. Raises OSError as `write`."""
        parts, traffic = self._parts, self._traffic
        while parts:
            part = parts[0]
            try:
                sent = self._socket.send(part)
            except BlockingIOError:
                return
            traffic.sent_bytes += sent
            traffic.held_bytes -= sent
            self.pending_bytes -= sent
            if sent < len(part):
                parts[0] = part[sent:]
                return
            parts.popleft()

    def clear(self) -> None:
        """Forget what waits."""
        self._parts.clear()
        self._traffic.held_bytes -= self.pending_bytes
        self.pending_bytes = 0

    def _keep(self, data: bytes | memoryview) -> None:
        if data:
            self._parts.append(memoryview(data))
            self.pending_bytes += len(data)
            self._traffic.held_bytes += len(data)
