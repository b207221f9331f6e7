"""What the three shells do alike when a client is made, and how they word the system's errors."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sadik_client.actions import Broken
from sadik_client.core import ClientCore
from sadik_client.errors import InvalidRequestError
from sadik_client.results import Resolver
from sadik_client.settings import Secret, Settings

if TYPE_CHECKING:
    import ssl

__all__ = [
    "CHUNK_BYTES",
    "NO_PLACE",
    "TIMED_OUT",
    "default_ssl_context",
    "make_core",
    "not_opened",
    "reason_of",
]

CHUNK_BYTES = 2**16
"""How much a shell reads at once."""

TIMED_OUT = Broken("no answer in time", timed_out=True)
NO_PLACE = Broken("too many requests of this client are under way", timed_out=True)

_TOKEN_BYTES_MAX = 64 * 2**10


def make_core(
    urls: str | Sequence[str],
    settings: Settings | None,
    token: str | None,
    token_file: str | os.PathLike[str] | None,
    resolver: Resolver | None,
) -> ClientCore:
    """Make a client's core of what its user said.

    Raises:
        InvalidRequestError: a URL, a setting or the token is wrong, or the file cannot be read.
    """
    secret: Secret | None = None
    if token is not None and token_file is not None:
        raise InvalidRequestError("give a token or a file with one, not both")
    if token is not None:
        secret = Secret(token)
    elif token_file is not None:
        secret = Secret(_read_token(token_file))
    return ClientCore(
        [urls] if isinstance(urls, str) else urls,
        Settings() if settings is None else settings,
        secret,
        resolver,
        random.Random(),
    )


def default_ssl_context() -> ssl.SSLContext:
    """What `https` URLs use if the user gave nothing: the system's authorities, names checked."""
    import ssl  # noqa: PLC0415 - slow to import, and most programs talk to loopback

    return ssl.create_default_context()


def not_opened(error: Exception, reason: str) -> Broken:
    """What became of a connection that could not be made."""
    is_lasting = getattr(error, "verify_message", None) is not None
    return Broken(reason, nothing_sent=True, is_lasting=is_lasting)


def reason_of(error: Exception) -> str:
    """A few words on what the system said."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    verify_message = getattr(error, "verify_message", None)
    if verify_message:
        return f"its certificate is not accepted: {verify_message}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def _read_token(path: str | os.PathLike[str]) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib is slow to import
            text = file.read(_TOKEN_BYTES_MAX).decode("ascii")
    except OSError as error:
        reason = (error.strerror or "it cannot be read").lower()
        raise InvalidRequestError(f"{os.fspath(path)}: {reason}") from None
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{os.fspath(path)} holds no token") from None
    return text
