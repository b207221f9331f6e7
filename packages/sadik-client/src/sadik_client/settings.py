"""How a client behaves, as one value."""

from __future__ import annotations

from typing import NamedTuple

from sadik_client.errors import InvalidRequestError

__all__ = ["Secret", "Settings"]


class Secret:
    """A token that shows itself to nobody: not in a repr, an error or a traceback's locals."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Keep a bearer token.

        Raises:
            InvalidRequestError: it is empty, or has characters that no token has.
        """
        text = text.strip()
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise InvalidRequestError("the token must be printable ASCII without blanks")
        self._text = text

    def reveal(self) -> str:
        """The token itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('…')"


class Settings(NamedTuple):
    """Bounds of one client. Times in seconds, sizes in bytes."""

    timeout_s: float = 10.0
    """The budget of one request with all its tries; each request may name its own."""
    node_timeout_s: float = 5.0
    """How long a node is given for one try. 5 is what nodes take by themselves; another value, or
    a budget with less left, is told to them."""
    slow_s: float = 1.0
    """A read turns to another node after this long without an answer; twice as long each round."""
    connect_timeout_s: float = 2.0
    """How long making one connection may take."""
    retries: bool = True
    """Whether to try again where it is safe."""
    repeat_indeterminate: bool = False
    """Whether a write is repeated though it may have been applied: siblings may come of it."""
    connections_max: int = 64
    """Requests at once, and idle connections kept; further requests wait, within their budgets."""
    idle_s: float = 30.0
    """A connection idle for longer is not used again; nodes close theirs after 60."""
    ring: bool = True
    """Whether to learn the cluster's members and ring, and to go straight to a key's owners."""
    ring_age_s: float = 300.0
    """After this long what was learned is learned anew."""
    answer_bytes_max: int = 2**28
    """An answer larger than this is refused."""
    session_keys_max: int = 10_000
    session_bytes_max: int = 2**24
    """What one session remembers: past either bound the key used longest ago is forgotten."""

    def check(self) -> Settings:
        """Return these settings.

        Raises:
            InvalidRequestError: one of them is out of its range.
        """
        for name, value in self._asdict().items():
            if not isinstance(value, bool) and not value > 0:
                raise InvalidRequestError(f"{name} must be above 0, not {value}")
        return self
