"""One HTTP request with the standard library, for tests that have nothing but a URL."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

__all__ = ["Said", "ask"]


@frozen
class Said:
    """What a node said. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


def ask(
    url: str, method: str, path: str, body: bytes | None = None, timeout: float = 10, **fields: str
) -> Said:
    """Ask the node at ``url``; ``fields`` are header fields with ``_`` for ``-``."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
    try:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        connection.request(method, path, body, headers)
        got = connection.getresponse()
        return Said(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
    finally:
        connection.close()
