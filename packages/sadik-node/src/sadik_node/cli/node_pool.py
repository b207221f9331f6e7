"""Requests that outlive a node: ask one, and when it fails go on with another.

Long work (`import`, `export`) must not end because one node does. The pool learns the cluster's
nodes from the one it was given, prefers that one, passes over those that failed for a while, and
tries until its patience ends. It repeats what provably changed nothing; of a write that may have
been applied it says so (`UnsureError`), and the caller reads before it writes again.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from typing import Self

from sadik_node.client_http import (
    Answer,
    NodeBrokenError,
    NodeClient,
    NodeError,
    UrlError,
)

__all__ = ["GaveUpError", "NodePool", "StoppedError", "UnsureError"]

_REQUEST_TIMEOUT_S = 10.0  # a node's own is 5 s: one that says nothing for longer hangs
_PAUSE_S = 0.05
_PAUSE_MAX_S = 1.0
_SHUNNED_S = 1.0
_SHUNNED_MAX_S = 30.0
_NOT_APPLIED = (429, 503)
_UNCLEAR = (500, 504)


class GaveUpError(Exception):
    """No node gave an answer within the pool's patience; nothing was applied by this request."""


class UnsureError(Exception):
    """A write may have been applied, or may be yet."""


class StoppedError(Exception):
    """The work was called off."""


class NodePool:
    """The nodes of one cluster. Thread-safe: each thread has connections of its own."""

    def __init__(self, url: str, *, patience_s: float) -> None:
        """Start with one node; `learn` finds the others.

        Raises:
            UrlError: `url` is not the address of a node.
        """
        self._urls = [NodeClient(url).url]
        self._patience_s = patience_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._failures: dict[str, int] = {}
        self._shunned_until: dict[str, float] = {}
        self._own = threading.local()
        self._clients: list[NodeClient] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; no thread may be at work any more."""
        for client in self._clients:
            client.close()

    def stop(self) -> None:
        """Call off the work: requests that wait for another try end with `StoppedError`."""
        self._stop.set()

    def learn(self) -> None:
        """Ask for the cluster's members, so that there are others to go on with.

        Raises:
            NodeError: the node that was given does not answer, or is no node.
        """
        answer = self._client(self._urls[0]).request("GET", "/v1/members")
        if answer.status != 200:
            return
        try:
            members = answer.json()["members"]
        except (ValueError, KeyError, TypeError) as error:
            raise NodeBrokenError(self._urls[0], "its list of members is none") from error
        for member in members:
            if member.get("state") == "left" or not member.get("http"):
                continue
            try:
                url = NodeClient(member["http"]).url
            except UrlError:
                continue
            if url not in self._urls:
                self._urls.append(url)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | bytes | None] | None = None,
        headers: Mapping[str, str | None] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """One answer that is final: not "try later", and for a read not "unclear".

        Raises:
            UnsureError: a PUT or DELETE may have been applied.
            GaveUpError: the patience ended.
            StoppedError: `stop` was called.
        """
        deadline = time.monotonic() + self._patience_s
        is_read = method in ("GET", "HEAD")
        pause_s = _PAUSE_S
        while True:
            trouble = ""
            for url in self._candidates():
                if self._stop.is_set():
                    raise StoppedError
                try:
                    answer = self._client(url).request(
                        method, path, query=query, headers=headers, body=body
                    )
                except NodeError as error:
                    self._shun(url)
                    trouble = str(error)
                    if not is_read and isinstance(error, NodeBrokenError):
                        raise UnsureError(trouble) from error
                    continue
                self._failures.pop(url, None)
                if answer.status in _UNCLEAR and not is_read:
                    raise UnsureError(f"{url}: {answer.complaint}")
                if answer.status not in (*_NOT_APPLIED, *_UNCLEAR):
                    return answer
                trouble = f"{url}: {answer.complaint}"
            if time.monotonic() + pause_s > deadline:
                raise GaveUpError(f"gave up after {self._patience_s:g} s; last: {trouble}")
            if self._stop.wait(pause_s * random.uniform(0.5, 1.0)):
                raise StoppedError
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    def _client(self, url: str) -> NodeClient:
        clients: dict[str, NodeClient] = self._own.__dict__
        if url not in clients:
            clients[url] = NodeClient(url, timeout_s=_REQUEST_TIMEOUT_S)
            with self._lock:
                self._clients.append(clients[url])
        return clients[url]

    def _candidates(self) -> list[str]:
        now = time.monotonic()
        with self._lock:
            # Shunned ones last and not never: they may be all that there is.
            return sorted(self._urls, key=lambda url: self._shunned_until.get(url, 0) > now)

    def _shun(self, url: str) -> None:
        with self._lock:
            failures = self._failures.get(url, 0)
            self._failures[url] = failures + 1
            shunned_s = min(_SHUNNED_S * 2**failures, _SHUNNED_MAX_S)
            self._shunned_until[url] = time.monotonic() + shunned_s
