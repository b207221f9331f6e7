"""Who may be asked for, and from where: the checks that keep web pages out.

A node on loopback has no password, but every page in the operator's browser can send requests to
loopback. Two checks stop that. *Host*: a page that reached us by DNS rebinding says its own name
there, which is not one of ours. *Origin*: a page from elsewhere that posts a form, or scripts a
request, says where it comes from; only our own origin may.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sadik_node.http.answers import Answer, problem

__all__ = ["LOOPBACK_NAMES", "HostCheck"]

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{0,5})?")
_KNOWN_MAX = 256


class HostCheck:
    """Judges ``Host`` and ``Origin``. ``names`` None: any name is ours, only syntax is judged."""

    def __init__(self, names: Iterable[str] | None) -> None:
        self._names = None if names is None else frozenset(map(_one_spelling, names))
        self._known: dict[bytes, bool] = {}

    def judge(self, host: bytes | None, origin: bytes | None) -> Answer | None:
        """None where both are fine, else a 400, 421 or 403. An HTTP/1.0 request needs no host."""
        if host is None:
            if self._names is not None and origin is not None:
                return _foreign_origin(origin)
            return None
        is_ours = self._known.get(host)
        if is_ours is None:
            found = _AUTHORITY.fullmatch(host)
            if found is None:
                return problem(400, "the Host field is no host and port", reason="malformed")
            name = _one_spelling(found[1].decode("ascii").strip("[]"))
            is_ours = self._names is None or name in self._names
            if len(self._known) < _KNOWN_MAX:
                self._known[host] = is_ours
        if not is_ours:
            return problem(
                421,
                "this node listens on loopback without authentication and answers only to "
                "loopback names and its configured addresses in the Host field",
                reason="host",
            )
        if origin is not None and self._names is not None and not _is_same(origin, host):
            return _foreign_origin(origin)
        return None


def _is_same(origin: bytes, host: bytes) -> bool:
    scheme, _, authority = origin.lower().partition(b"://")
    return scheme in (b"http", b"https") and authority == host.lower()


def _foreign_origin(origin: bytes) -> Answer:
    shown = origin.decode("latin-1")[:200]
    return problem(
        403, f"a web page of another origin ({shown}) may not drive this node", reason="origin"
    )


def _one_spelling(name: str) -> str:
    return name.lower().removesuffix(".")
