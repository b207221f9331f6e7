"""The answers of a coordinator to the node that forwarded a write, as plain fields.

A ``kind`` and positional fields, so that later versions may add both. `NOT_TAKEN` is an explicit
refusal to coordinate: nothing was done, and the write may be tried elsewhere.

Where the node that forwarded a write is an owner itself, and its copy makes the quorum, the answer
travels with the copy, as an `early_answer`, and counts once that is stored: the coordinator's own
is, or nothing would have left it. So a client need not wait for an acknowledgement to reach the
coordinator, and for the answer to come back.
"""

from __future__ import annotations

from typing import Any, Final

from sadik_machine import NODE_ID_BYTES, NodeId
from sadik_vnode.messages import ForwardWriteAnswer
from sadik_vnode.requests import (
    Missing,
    Outcome,
    Refusal,
    Refused,
    Result,
    Tally,
    Unavailable,
    Written,
)

__all__ = [
    "NOT_TAKEN",
    "answer_of",
    "early_answer",
    "not_taken",
    "result_from_answer",
    "result_from_early_answer",
]

_WRITTEN: Final = 0
_MISSING: Final = 1
_REFUSED: Final = 2
_UNAVAILABLE: Final = 3
NOT_TAKEN: Final = 4


def not_taken(request: int, register: tuple[object, ...] = ()) -> ForwardWriteAnswer:
    """This node will not coordinate the write; ``register`` is what it knows of the partition."""
    return ForwardWriteAnswer(request, NOT_TAKEN, register)


def answer_of(request: int, result: Result) -> ForwardWriteAnswer:
    """The message that carries the result of a write."""
    if isinstance(result, Written):
        return ForwardWriteAnswer(request, _WRITTEN, _written(result))
    if isinstance(result, Missing):
        return ForwardWriteAnswer(
            request, _MISSING, (result.context, _tally(result.tally), result.coordinator)
        )
    if isinstance(result, Refused):
        return ForwardWriteAnswer(request, _REFUSED, (result.refusal.value, result.detail))
    assert isinstance(result, Unavailable), "a write has four kinds of result"
    return ForwardWriteAnswer(
        request,
        _UNAVAILABLE,
        (result.outcome.value, result.detail, _tally(result.tally), result.retry_after_s),
    )


def result_from_answer(answer: ForwardWriteAnswer) -> Result:
    """The result that an answer carries; ValueError or TypeError where it carries none."""
    fields = answer.fields
    if answer.kind == _WRITTEN:
        return _written_of(fields)
    if answer.kind == _MISSING:
        token, tally, node = fields[:3]
        return Missing(None if token is None else _text(token), _tally_of(tally), _node(node))
    if answer.kind == _REFUSED:
        refusal, detail = fields[:2]
        return Refused(Refusal(refusal), _text(detail))
    if answer.kind == _UNAVAILABLE:
        outcome, detail, tally, retry_after_s = fields[:4]
        return Unavailable(
            Outcome(outcome), _text(detail), _tally_of(tally), _number(retry_after_s)
        )
    raise ValueError(f"a result of kind {answer.kind}")


def early_answer(request: int, result: Written, *, durable: bool) -> tuple[object, ...]:
    """What may be told of the forwarded write ``request``, by who has stored its copy: on disk, if
    ``durable``.
    """
    return (request, durable, *_written(result))


def result_from_early_answer(answer: tuple[object, ...]) -> tuple[int, bool, Written]:
    """The three parts of an `early_answer`; ValueError or TypeError where it is none."""
    request, durable = answer[:2]
    if type(durable) is not bool:
        raise TypeError("a truth value was expected")
    return _number(request), durable, _written_of(answer[2:])


def _written(result: Written) -> tuple[object, ...]:
    return (
        result.context, result.etag, _tally(result.tally), result.coordinator,
        result.timestamp, result.expires_ms,
    )  # fmt: skip


def _written_of(fields: tuple[object, ...]) -> Written:
    token, etag, tally, node = fields[:4]
    timestamp, expires_ms = fields[4:6] if len(fields) > 4 else (0, None)
    return Written(
        _text(token), _text(etag), _tally_of(tally), _node(node), _number(timestamp),
        None if expires_ms is None else _number(expires_ms),
    )  # fmt: skip


def _tally(tally: Tally) -> tuple[int, ...]:
    return (tally.needed, tally.got, tally.durable, tally.primaries, tally.hinted)


def _tally_of(plain: Any) -> Tally:
    needed, got, durable, primaries, hinted = tuple(map(_number, plain[:5]))
    return Tally(needed, got, durable, primaries, hinted)


def _number(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("a number was expected")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("a text was expected")
    return value


def _node(value: Any) -> NodeId:
    if type(value) is not bytes or len(value) != NODE_ID_BYTES:
        raise TypeError("a node id was expected")
    return NodeId(value)
