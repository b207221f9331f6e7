"""A small blocking HTTP client for the command line: one node, one connection, kept alive.

What matters to a caller that wants to try again is whether a request may have been applied, so
every failure says so: `NodeUnreachableError` left nothing behind, `NodeBrokenError` came after
bytes were sent. Only requests that change nothing are repeated here, once, when a kept-alive
connection turns out to have been closed. It stands on the standard library and imports nothing
slow, because it is on the way of every verb.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

__all__ = [
    "Answer",
    "NodeBrokenError",
    "NodeClient",
    "NodeError",
    "NodeUnreachableError",
    "UrlError",
    "bucket_path",
    "key_path",
    "list_path",
    "parse_page",
]

_SAFE_METHODS = ("GET", "HEAD")
_TIMEOUT_S = 65.0  # the longest `timeout` that a request may ask of a node, and then some
_CONNECT_TIMEOUT_S = 5.0
_VERBATIM = re.compile(r"[A-Za-z0-9._~%/-]*", re.ASCII)


class UrlError(ValueError):
    """The text is not the address of a node."""


class NodeError(Exception):
    """A request got no answer. ``url`` is the node's."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"{url}: {reason}")


class NodeUnreachableError(NodeError):
    """No connection was made: nothing was sent, so nothing was applied."""


class NodeBrokenError(NodeError):
    """The connection broke, or no answer came in time: a write may have been applied."""


class Answer(NamedTuple):
    """What a node answered. Names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: it is not JSON.
        """
        return json.loads(self.body)

    @property
    def context(self) -> str | None:
        """The causal context that came with it."""
        return self.headers.get("sadik-context")

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document, or an empty one where the body is none."""
        if "json" not in self.headers.get("content-type", ""):
            return {}
        try:
            found = self.json()
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def complaint(self) -> str:
        """What was wrong, in one line for a person."""
        problem = self.problem
        title = problem.get("title") or http.client.responses.get(self.status, "unknown status")
        detail = problem.get("detail")
        line = f"{self.status} {title}{f': {detail}' if detail and detail != title else ''}"
        if "needed" in problem and "got" in problem:
            line += f" (needed {problem['needed']}, got {problem['got']})"
        outcome = problem.get("outcome")
        if outcome == "not_applied":
            line += "; nothing was applied"
        elif outcome == "indeterminate":
            line += "; it may or may not have been applied"
        return line


class NodeClient:
    """Talks to one node. Not thread-safe: each thread has its own."""

    def __init__(self, url: str, timeout_s: float = _TIMEOUT_S) -> None:
        """Remember where the node is; nothing is connected yet.

        Raises:
            UrlError: `url` is not ``http://host:port``; the scheme may be left out.
        """
        host, port = _host_and_port(url)
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | bytes | None] | None = None,
        headers: Mapping[str, str | None] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Send one request and read the whole answer. Parameters and headers of None are left out.

        Raises:
            NodeUnreachableError: no connection could be made.
            NodeBrokenError: the connection broke or no answer came in time.
        """
        pairs = [(name, value) for name, value in (query or {}).items() if value is not None]
        if pairs:
            path += ("&" if "?" in path else "?") + urlencode(pairs, quote_via=quote)
        fields = {name: value for name, value in (headers or {}).items() if value is not None}
        kept_alive = self._connection is not None
        try:
            return self._exchange(method, path, fields, body)
        except NodeBrokenError:
            if not (kept_alive and method in _SAFE_METHODS):
                raise
            return self._exchange(method, path, fields, body)

    def close(self) -> None:
        """Close the connection; the next request makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(
            self._host, self._port, timeout=min(_CONNECT_TIMEOUT_S, self._timeout_s)
        )
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise NodeUnreachableError(self.url, _reason(error)) from error
        connection.sock.settimeout(self._timeout_s)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        if self._connection is None:
            self._connection = self._connect()
        try:
            try:
                self._connection.request(method, path, body, dict(headers))
            except (BrokenPipeError, ConnectionResetError):
                # A node that refuses a body early answers before it has read all of it.
                response = http.client.HTTPResponse(self._connection.sock, method=method)
                response.begin()
                answer = _read(response)
                self.close()
                return answer
            answer = _read(self._connection.getresponse())
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise NodeBrokenError(self.url, _reason(error)) from error
        except BaseException:  # an interrupt leaves half an answer on the connection
            self.close()
            raise
        return answer


def bucket_path(bucket: str) -> str:
    """The path of a bucket's properties."""
    return f"/v1/buckets/{quote(bucket, safe='')}"


def key_path(bucket: str, key: bytes, *, view: str = "kv") -> str:
    """The path of an object; slashes stand bare and nothing is normalised."""
    return f"/v1/{view}/{quote(bucket, safe='')}/{quote(key, safe='/')}"


def list_path(bucket: str, after: str | None) -> str:
    """The path of a page of keys, after what the page before gave as ``next``."""
    path = f"/v1/kv/{quote(bucket, safe='')}"
    if after is None:
        return path
    # `next` is to be passed on as it came; what could not stand in a query is encoded.
    return f"{path}?after={after if _VERBATIM.fullmatch(after) else quote(after, safe='')}"


def parse_page(answer: Answer) -> tuple[list[str], str | None]:
    """A page of keys, percent-encoded, and what to pass as ``after`` for the next, or None.

    Raises:
        ValueError: it is not a whole page.
    """
    keys: list[str] = []
    for line in answer.body.splitlines():
        entry = json.loads(line)
        if not isinstance(entry, dict):
            break
        if "next" in entry:
            following = entry["next"]
            return keys, None if following is None else str(following)
        keys.append(str(entry["key"]))
    raise ValueError("the page has no last line")


def _read(response: http.client.HTTPResponse) -> Answer:
    if response.length is None and not response.chunked:
        # Its end would be the end of the connection, and so would half of it.
        raise http.client.HTTPException("the answer has no length")
    body = response.read()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, body)


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme == "https":
        raise UrlError(f"{url}: TLS is not in this version; accepts http://host:port")
    try:
        port = 7070 if parts.port is None else parts.port
    except ValueError:
        port = -1
    rest = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if parts.scheme != "http" or not parts.hostname or rest or not 0 < port <= 0xFFFF:
        raise UrlError(f"{url!r} is not the address of a node; accepts http://host:port")
    return parts.hostname, port


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
