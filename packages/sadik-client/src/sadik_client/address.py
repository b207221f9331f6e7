"""Where a node listens: a URL taken apart, once."""

from __future__ import annotations

import re
from typing import NamedTuple

from sadik_client.errors import InvalidRequestError

__all__ = ["PORT", "Address"]

PORT = 7070
"""A node's port where a URL names none."""

_URL = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?"
    r"(?:\[(?P<literal>[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\]|(?P<host>[A-Za-z0-9._-]+))"
    r"(?::(?P<port>[0-9]{0,5}))?/?",
    re.ASCII,
)


class Address(NamedTuple):
    """A node's HTTP address."""

    host: str
    port: int
    is_tls: bool

    @classmethod
    def parse(cls, url: str, *, is_tls: bool = False) -> Address:
        """Take ``http://host:port`` or ``https://host:port``.

        Scheme and port may be left out: ``is_tls`` tells the scheme then, and the port is 7070.

        Raises:
            InvalidRequestError: it is not such a URL. User names in it are refused, since whatever
                shows a URL would show the password.
        """
        found = _URL.fullmatch(url)
        scheme = "" if found is None else (found["scheme"] or ("https" if is_tls else "http"))
        port = PORT if found is None or not found["port"] else int(found["port"])
        if found is None or scheme.lower() not in ("http", "https") or not 0 < port <= 0xFFFF:
            # Not the text itself: it may have a password in it.
            shown = repr(url) if "@" not in url else "the text with an @"
            raise InvalidRequestError(
                f"{shown} is not the address of a node; accepts http://host:port, "
                "https://host:port and host:port"
            )
        return cls(found["literal"] or found["host"], port, scheme.lower() == "https")

    @property
    def authority(self) -> str:
        """Host and port as they stand in a URL."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The node's base URL."""
        return f"{'https' if self.is_tls else 'http'}://{self.authority}"
