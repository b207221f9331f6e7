"""Who a client is, and what it may do: bearer tokens (RFC 6750), judged before anything else is.

A request without a token, or with a wrong one, is a 401; one whose token does not reach so far a
403. Both say in WWW-Authenticate what is wanted, as RFC 9110 and RFC 6750 have it.

Guessing is slowed by address: each address has a few wrong tokens, and gets another every other
second. Beyond that its tokens are not looked at any more (429), but for those that were right there
before, so that who guesses does not shut out who shares the address. Wrong are unknown tokens; one
that has expired is no guess.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable

from attrs import Factory, define

from sadik_machine import SECOND
from sadik_node.http.answers import Answer, problem
from sadik_node.http.exchange import Exchange
from sadik_node.tokens import ALL, Action, Grant, TokenFile

__all__ = ["Access", "forbidden"]

_BEARER = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
_GUESSES = 10
_GUESS_EVERY_NS = 2 * SECOND
_ADDRESSES_MAX = 4096
_GOOD_MAX = 64
_CHALLENGE = 'WWW-Authenticate: Bearer realm="sadik"'


@define
class _Address:
    """What one address has shown."""

    free_at_ns: int = 0
    """When all its guesses are its own again."""
    good: OrderedDict[bytes, None] = Factory(OrderedDict)
    """The public part of tokens that were right here, the latest last."""


class Access:
    """Judges the tokens of one node's clients. Without ``tokens`` nobody is asked.

    ``clock_ns`` is monotonic, ``wall_s`` the wall clock that tokens expire by.
    """

    def __init__(
        self,
        tokens: TokenFile | None,
        clock_ns: Callable[[], int],
        wall_s: Callable[[], float],
    ) -> None:
        self.tokens = tokens
        """Those of now; replaced when the file has changed."""
        self._clock_ns = clock_ns
        self._wall_s = wall_s
        self._addresses: OrderedDict[str, _Address] = OrderedDict()

    def identify(self, exchange: Exchange) -> Answer | None:
        """Set what this client may do (`Exchange.grant`), or refuse it."""
        if self.tokens is None:
            exchange.grant = ALL
            return None
        field = exchange.headers.get(b"authorization")
        if field is None:
            return _unauthorized("a token is wanted: send Authorization: Bearer TOKEN")
        if field[:6].lower() != b"bearer":
            return _unauthorized("only bearer tokens are taken: send Authorization: Bearer TOKEN")
        found = _BEARER.fullmatch(field)
        if found is None:
            return problem(
                400, "Authorization: Bearer has one token behind it", reason="unauthorized",
                fields=f'{_CHALLENGE}, error="invalid_request"\r\n'.encode(),
            )  # fmt: skip
        connection = exchange.connection
        return self._check(exchange, found[1], "" if connection is None else connection.address)

    def _check(self, exchange: Exchange, shown: bytes, address: str) -> Answer | None:
        assert self.tokens is not None
        now = self._clock_ns()
        public = shown[:22]  # up to the secret
        here = self._addresses.get(address)
        if here is not None and public not in here.good:
            wait_ns = here.free_at_ns - now - (_GUESSES - 1) * _GUESS_EVERY_NS
            if wait_ns > 0:
                exchange.close = True
                return problem(
                    429, "too many wrong tokens came from this address", reason="guessing",
                    retry_after_s=-(-wait_ns // SECOND),
                )  # fmt: skip
        grant, why = self.tokens.check(shown, self._wall_s())
        if grant is not None:
            exchange.grant = grant
            self._note_good(address, public)
            return None
        if "expired" not in why:
            here = self._at(address)
            here.free_at_ns = max(here.free_at_ns, now) + _GUESS_EVERY_NS
        return _unauthorized(why, error="invalid_token")

    def _at(self, address: str) -> _Address:
        found = self._addresses.get(address)
        if found is None:
            found = self._addresses[address] = _Address()
            if len(self._addresses) > _ADDRESSES_MAX:
                self._addresses.popitem(last=False)
        else:
            self._addresses.move_to_end(address)
        return found

    def _note_good(self, address: str, public: bytes) -> None:
        good = self._at(address).good
        good[public] = None
        good.move_to_end(public)
        if len(good) > _GOOD_MAX:
            good.popitem(last=False)


def _unauthorized(detail: str, *, error: str = "") -> Answer:
    challenge = _CHALLENGE
    if error:
        challenge += f', error="{error}", error_description="{detail}"'
    return problem(401, detail, reason="unauthorized", fields=f"{challenge}\r\n".encode())


def forbidden(grant: Grant, action: Action, bucket: str) -> Answer | None:
    """None where it is allowed, else the 403. An empty bucket is the cluster itself."""
    if grant.allows(action, bucket):
        return None
    wanted = f"{action.value}:{bucket}" if bucket else action.value
    return problem(
        403,
        f"the token {grant.name} does not reach so far: this takes the scope {wanted}",
        reason="forbidden",
        fields=f'{_CHALLENGE}, error="insufficient_scope", scope="{wanted}"\r\n'.encode(),
    )
