"""Bearer tokens: what a client shows, and the file that knows what each may do.

A token is ``sadik_<id>_<secret>``. The file has the id in the clear, so that the one entry to
compare with is found at once, and of the secret only a hash. That hash is plain SHA-256: a secret
is 256 bits that were drawn, not a password that somebody chose, so there is nothing to guess that a
slow hash would make slower.

The file is TOML, and is read as it is edited: by `sadik-node token`, or by hand::

    [[token]]
    name = "reports"
    id = "5d0c4f0f0b3c9a1e"
    sha256 = "…"
    scopes = ["read:logs-", "write:reports"]
    expires = 2027-01-31T00:00:00Z

A scope is ``read``, ``write`` or ``admin``, for all buckets, or with ``:PREFIX`` for those whose
names begin so. ``admin`` of a prefix may also change those buckets' properties; ``admin`` of all
may do whatever an operator may, and so reads and writes everything.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
import hmac
import re
import secrets
import tomllib
from collections.abc import Iterable, Iterator
from typing import Self

from attrs import frozen

__all__ = ["ALL", "NOTHING", "Action", "Grant", "Scope", "Token", "TokenFile", "draw"]

_TOKENS_MAX = 10_000
_SECRET_BYTES = 32
_ID_BYTES = 8
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TEXT = re.compile(rb"sadik_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_SCOPE = re.compile(r"(read|write|admin)(?::([A-Za-z0-9._-]{0,64}))?", re.ASCII)
_KEYS = {"name", "id", "sha256", "scopes", "expires"}
_NOBODY = "0" * 64


class Action(enum.Enum):
    """What a token may be for."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@frozen
class Scope:
    """One action on the buckets whose names begin with ``prefix``; empty: on all."""

    action: Action
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError where it is none."""
        found = _SCOPE.fullmatch(text)
        if found is None:
            raise ValueError(
                f"{text!r} is no scope; accepts read, write or admin, each alone or as read:PREFIX "
                "for the buckets whose names begin with PREFIX"
            )
        return cls(Action(found[1]), found[2] or "")

    def __str__(self) -> str:
        return f"{self.action.value}:{self.prefix}" if self.prefix else self.action.value


@frozen
class Grant:
    """What somebody may do, and by which name they came."""

    name: str
    scopes: tuple[Scope, ...] = ()

    def allows(self, action: Action, bucket: str) -> bool:
        """Whether the action is allowed on this bucket; an empty name is the cluster itself."""
        for scope in self.scopes:
            does = scope.action is action or scope.action is _ADMIN
            if does and bucket.startswith(scope.prefix):
                return True
        return False


_ADMIN = Action.ADMIN

NOTHING = Grant("")
"""Nobody, who may do nothing."""

ALL = Grant("", (Scope(Action.ADMIN),))
"""Whoever comes, where nobody is asked."""


@frozen
class Token:
    """One entry of a file."""

    name: str
    id: str
    sha256: str
    scopes: tuple[Scope, ...]
    expires: dt.datetime | None = None

    def has_ended(self, now_s: float) -> bool:
        """Whether its time is over, by a wall clock in seconds."""
        return self.expires is not None and now_s >= self.expires.timestamp()

    def lines(self) -> str:
        """The entry as the file has it."""
        scopes = ", ".join(f'"{scope}"' for scope in self.scopes)
        text = f'[[token]]\nname = "{self.name}"\nid = "{self.id}"\nsha256 = "{self.sha256}"\n'
        text += f"scopes = [{scopes}]\n"
        if self.expires is not None:
            text += f"expires = {self.expires.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}\n"
        return text


def draw(
    name: str, scopes: Iterable[Scope], expires: dt.datetime | None = None
) -> tuple[Token, str]:
    """A new token: its entry, and the text that its bearer gets and nobody keeps.

    Raises ValueError where ``name`` is none.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no token's name: 1 to 64 characters of A-Z a-z 0-9 . _ -")
    number = secrets.token_hex(_ID_BYTES)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    return Token(name, number, _hash(secret.encode()), tuple(scopes), expires), (
        f"sadik_{number}_{secret}"
    )


class TokenFile:
    """The tokens of one file, to compare with what clients show."""

    def __init__(self, tokens: Iterable[Token] = ()) -> None:
        self._tokens = {token.id: token for token in tokens}
        self._grants = {token.id: Grant(token.name, token.scopes) for token in self}

    def __iter__(self) -> Iterator[Token]:
        return iter(self._tokens.values())

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a file's content.

        Raises:
            ValueError: something in it is wrong; the message names the entry and never a hash.
        """
        try:
            document = tomllib.loads(data.decode("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"it is not TOML: {error}") from None
        entries = document.pop("token", [])
        if document or not isinstance(entries, list):
            raise ValueError("it has something beside [[token]] entries")
        if len(entries) > _TOKENS_MAX:
            raise ValueError(f"it has more than {_TOKENS_MAX} tokens")
        tokens = [_entry(entry, at) for at, entry in enumerate(entries, 1)]
        for word in ("name", "id"):
            seen: set[str] = set()
            for token in tokens:
                said = getattr(token, word)
                if said in seen:
                    raise ValueError(f"two tokens have the {word} {said}")
                seen.add(said)
        return cls(tokens)

    def text(self) -> str:
        """The file's content."""
        head = "# Hashes of bearer tokens; `sadik-node token` adds and revokes them.\n"
        return head + "".join(f"\n{token.lines()}" for token in self)

    def check(self, shown: bytes, now_s: float) -> tuple[Grant | None, str]:
        """What the bearer of ``shown`` may do; else None, and why in words for its bearer.

        How long it takes does not tell how much of a secret was right.
        """
        found = _TEXT.fullmatch(shown)
        number, secret = (found[1].decode(), found[2]) if found is not None else ("", b"")
        token = self._tokens.get(number)
        is_right = hmac.compare_digest(_hash(secret), _NOBODY if token is None else token.sha256)
        if token is None or not is_right:
            return None, "the token is unknown, or was revoked"
        if token.has_ended(now_s):
            return None, "the token has expired"
        return self._grants[number], ""


def _hash(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()


def _entry(entry: object, at: int) -> Token:
    where = f"token {at}"
    if not isinstance(entry, dict):
        raise ValueError(f"{where} is no table")  # noqa: TRY004 - the file's fault, as the rest
    name = entry.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{where} needs a name: 1 to 64 characters of A-Z a-z 0-9 . _ -")
    where = f"the token {name}"
    unknown = sorted(entry.keys() - _KEYS)
    if unknown:
        raise ValueError(f"{where} has {unknown[0]!r}, which is no key; accepts "
                         f"{', '.join(sorted(_KEYS))}")  # fmt: skip
    number, digest = entry.get("id"), entry.get("sha256")
    if not isinstance(number, str) or not _ID.fullmatch(number):
        raise ValueError(f"{where} needs an id of 16 hexadecimal digits")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise ValueError(f"{where} needs a sha256 of 64 hexadecimal digits")
    words = entry.get("scopes")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{where} needs scopes, a list of texts")
    expires = entry.get("expires")
    if expires is not None and not (
        isinstance(expires, dt.datetime) and expires.tzinfo is not None
    ):
        raise ValueError(f"{where} has an expires that is no date and time with its offset")
    try:
        scopes = tuple(map(Scope.parse, words))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return Token(name, number, digest, scopes, expires)
