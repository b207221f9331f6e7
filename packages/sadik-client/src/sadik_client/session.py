"""What a session remembers, so that it never reads its own past.

Contexts are opaque: a client can neither join nor compare two of them. But an answer's context
covers the context that the request brought. So a session brings to each request on a key the one
context that it holds of it, and holds the answer's from then on: a chain, in which each covers all
before it. That is why a session does one thing at a time with a key, and why it takes no context
from outside.

- A read that brings a context is answered at least as new as it, or not at all (504).
- A write that brings one replaces what the session has seen, its own writes included.
- An answer without a context (the key never was, or was reaped after its delete) changes nothing.
- A read of the latest sibling alone has a context of that one alone, which would break the chain:
  there is none in a session.
- A write that failed changes nothing either: one that was indeterminate may show up later.

Memory is bounded: past the bound the key used longest ago is forgotten, and the promise with it;
``forgotten`` counts them.
"""

from __future__ import annotations

from sadik_client.errors import InvalidRequestError

__all__ = ["SessionMemory"]


class SessionMemory:
    """The latest context of each key that one session has used."""

    def __init__(self, keys_max: int, bytes_max: int) -> None:
        self._keys_max = keys_max
        self._bytes_max = bytes_max
        # In the order of use, the longest ago first.
        self._contexts: dict[tuple[str, bytes], str] = {}
        self._busy: set[tuple[str, bytes]] = set()
        self._bytes = 0
        self.forgotten = 0
        """Keys of which the session no longer knows what it has seen."""

    def __len__(self) -> int:
        return len(self._contexts)

    def begin(self, bucket: str, key: bytes) -> str | None:
        """An operation on a key begins; the context that it is to bring.

        Raises:
            InvalidRequestError: another operation of this session on that key is under way.
        """
        if (bucket, key) in self._busy:
            raise InvalidRequestError(
                f"this session is at work on a key of {bucket} already: a session does one thing "
                "at a time with a key"
            )
        self._busy.add((bucket, key))
        return self._contexts.get((bucket, key))

    def end(self, bucket: str, key: bytes, context: str | None) -> None:
        """The operation is over; ``context`` is its answer's, or None where it had none."""
        self._busy.discard((bucket, key))
        held = self._contexts.pop((bucket, key), None)
        now = held if context is None else context
        if now is None:
            return
        self._contexts[bucket, key] = now
        self._bytes += _cost(key, now) - (0 if held is None else _cost(key, held))
        while len(self._contexts) > self._keys_max or self._bytes > self._bytes_max:
            oldest = next(iter(self._contexts))
            self._bytes -= _cost(oldest[1], self._contexts.pop(oldest))
            self.forgotten += 1

    def forget(self, bucket: str, key: bytes) -> None:
        """Give up the promise for one key: its next write is blind, its next read a plain one."""
        held = self._contexts.pop((bucket, key), None)
        if held is not None:
            self._bytes -= _cost(key, held)


def _cost(key: bytes, context: str) -> int:
    return len(key) + len(context)
