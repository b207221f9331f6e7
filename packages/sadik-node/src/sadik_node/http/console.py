"""The web console: a page and its scripts, served by every node as they lie in the package.

No build step and nothing from elsewhere: `sadik_node/console/` is what the browser gets, and its
policy lets it load from and talk to this node alone. The page asks the same API as everybody.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Final

from sadik_node.http.answers import Answer
from sadik_node.http.exchange import Exchange
from sadik_node.http.service import Service

__all__ = ["ASSETS", "asset", "page"]

_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}

ASSETS: Final = (
    "activity.js",
    "api.js",
    "app.js",
    "dialog.js",
    "history.js",
    "icon.svg",
    "keys.js",
    "members.js",
    "metrics.js",
    "movement.js",
    "repair.js",
    "ring.js",
    "style.css",
    "vendor/LICENSES.txt",
    "vendor/htm-preact.js",
    "vendor/uplot.css",
    "vendor/uplot.js",
)
"""Everything beside the page itself, by its path under ``/console/``."""

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page(_service: Service, exchange: Exchange) -> None:
    """``GET /``."""
    exchange.answer(_answer("index.html", exchange))


def asset(_service: Service, exchange: Exchange) -> None:
    """``GET /console/...`` of one of `ASSETS`."""
    path = exchange.target.partition(b"?")[0].decode("ascii")
    exchange.answer(_answer(path.partition("/console/")[2], exchange))


def _answer(name: str, exchange: Exchange) -> Answer:
    fields, etag, body = _file(name)
    if etag in exchange.headers.get(b"if-none-match", b""):
        return Answer(304, fields)
    return Answer(200, fields, body)


@cache
def _file(name: str) -> tuple[bytes, bytes, bytes]:
    """The header fields, the entity tag and the bytes of a file of the console."""
    body = files("sadik_node").joinpath("console", *name.split("/")).read_bytes()
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    # Asked for anew each time, and answered 304: a page and its scripts are of one version.
    fields = (
        f"Content-Type: {_TYPES[name.rpartition('.')[2]]}\r\n"
        f"ETag: {etag}\r\n"
        "Cache-Control: no-cache\r\n"
        f"Content-Security-Policy: {_POLICY}\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Referrer-Policy: no-referrer\r\n"
    )
    return fields.encode(), etag.encode(), body
