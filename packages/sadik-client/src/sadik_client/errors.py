"""What can go wrong, told apart by what the caller can do about it.

The question that matters after a failed write is whether it may have been applied, so every error
has an ``outcome``: ``"not_applied"`` (it was not, try again as you like), ``"indeterminate"``
(nobody can tell; read before you write again) or None where nothing was to be applied. No error
shows a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from sadik_client.response import Response
    from sadik_client.results import Entry

__all__ = [
    "AnswerError",
    "BrokenAnswerError",
    "ConflictError",
    "ContextRequiredError",
    "ForbiddenError",
    "IndeterminateError",
    "InvalidRequestError",
    "NoAnswerError",
    "NotFoundError",
    "Outcome",
    "PreconditionFailedError",
    "SadikError",
    "SiblingsError",
    "StoppedError",
    "TooLargeError",
    "UnansweredError",
    "UnavailableError",
    "UnreachableError",
    "error_of",
]

Outcome: TypeAlias = Literal["not_applied", "indeterminate"] | None


class SadikError(Exception):
    """The base of all that this package raises."""

    outcome: Outcome = None
    """Whether a write was provably not applied, or nobody can tell."""


class InvalidRequestError(SadikError, ValueError):
    """The caller's mistake, found before anything was sent."""

    outcome = "not_applied"


class NoAnswerError(SadikError):
    """No node gave an answer in time. ``url`` is the node asked last."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"{url}: {reason}")


class UnreachableError(NoAnswerError):
    """No request was sent to any node: nothing was applied."""

    outcome = "not_applied"


class UnansweredError(NoAnswerError):
    """A request was sent, and the connection broke or no answer came in time.

    Of a write nobody can tell whether it was applied.
    """

    def __init__(self, url: str, reason: str, *, is_read: bool) -> None:
        super().__init__(url, reason)
        if not is_read:
            self.outcome = "indeterminate"
            self.args = (f"{url}: {reason}; it may or may not have been applied",)


class StoppedError(SadikError):
    """The client was stopped while the request waited. A write of it was sent before, or never."""

    outcome = "indeterminate"


class BrokenAnswerError(SadikError):
    """What answered does not speak as a node does. ``url`` says who."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"{url}: {reason}; is it a node?")


class AnswerError(SadikError):
    """A node refused. The fields are those of its problem document (RFC 9457)."""

    def __init__(self, response: Response) -> None:
        problem = response.problem
        self.status = response.status
        self.title: str = str(problem.get("title") or response.reason)
        self.detail: str | None = _text(problem, "detail")
        self.type: str | None = _text(problem, "type")
        self.needed: int | None = _count(problem, "needed")
        self.got: int | None = _count(problem, "got")
        self.durable: int | None = _count(problem, "durable")
        self.primaries: int | None = _count(problem, "primaries")
        self.hinted: int | None = _count(problem, "hinted")
        self.node: str | None = response.header("sadik-node")
        self.request_id: str | None = response.header("sadik-request-id")
        self.context: str | None = response.header("sadik-context")
        super().__init__(response.complaint)


class ForbiddenError(AnswerError):
    """401 or 403: no token, a wrong one, or one that may not do this."""


class ConflictError(AnswerError):
    """409: the key has as many siblings as it may; resolve them first."""


class PreconditionFailedError(AnswerError):
    """412: ``if_match`` or ``if_none_match`` did not hold."""


class TooLargeError(AnswerError):
    """413 or 431: a value or its metadata are above a limit."""


class ContextRequiredError(AnswerError):
    """428: the bucket refuses blind writes; read first and give the context."""


class UnavailableError(AnswerError):
    """Too few replicas answered, there is too much to do, or no room: 429, 503 or 507.

    For a read also 500, 502 and 504: no answer that is as new as it must be. ``retry_after_s`` if a
    node named a time.
    """

    def __init__(self, response: Response) -> None:
        super().__init__(response)
        self.retry_after_s = response.retry_after_s


class IndeterminateError(AnswerError):
    """500 or 504 to a write: it may or may not have been applied, now or later."""


class NotFoundError(SadikError, LookupError):
    """The value was asked of an entry that has none. ``is_deleted`` if there was one."""

    def __init__(self, bucket: str, key: bytes, *, is_deleted: bool) -> None:
        self.bucket = bucket
        self.key = key
        self.is_deleted = is_deleted
        super().__init__(
            f"{bucket}/{_shown(key)} {'was deleted' if is_deleted else 'is not there'}"
        )


class SiblingsError(SadikError):
    """One value was asked of an entry that has several. ``entry`` has them all."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        super().__init__(
            f"{entry.bucket}/{_shown(entry.key)} has {len(entry.versions)} siblings; write one "
            "value with the entry's context, or give a resolver"
        )


_BY_STATUS: Mapping[int, type[AnswerError]] = {
    401: ForbiddenError,
    403: ForbiddenError,
    409: ConflictError,
    412: PreconditionFailedError,
    413: TooLargeError,
    428: ContextRequiredError,
    429: UnavailableError,
    431: TooLargeError,
    503: UnavailableError,
    507: UnavailableError,
}


def error_of(response: Response, *, is_read: bool) -> AnswerError:
    """The error that says what this answer says."""
    kind = _BY_STATUS.get(response.status, AnswerError)
    if response.status in (500, 502, 504):
        kind = UnavailableError if is_read else IndeterminateError
    error = kind(response)
    if not is_read:
        told = response.problem.get("outcome")
        if told in ("not_applied", "indeterminate"):
            error.outcome = told
        else:
            # Whoever refuses a request outright has not applied it; of a failure nobody can tell.
            error.outcome = "not_applied" if response.status < 500 else "indeterminate"
    return error


def _text(problem: Mapping[str, Any], name: str) -> str | None:
    found = problem.get(name)
    return None if found is None else str(found)


def _count(problem: Mapping[str, Any], name: str) -> int | None:
    found = problem.get(name)
    return found if isinstance(found, int) else None


def _shown(key: bytes) -> str:
    text = key.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else repr(key)
