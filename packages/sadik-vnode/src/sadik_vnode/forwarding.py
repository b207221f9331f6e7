"""The answers of a coordinator to the node that forwarded a write, as plain fields.

A ``kind`` and positional fields, so that later versions may add both. `NOT_TAKEN` is an explicit
refusal to coordinate: nothing was done, and the write may be tried elsewhere.
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

__all__ = ["NOT_TAKEN", "answer_of", "not_taken", "result_from_answer"]

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
        fields = (
            result.context, result.etag, _tally(result.tally), result.coordinator,
            result.timestamp, result.expires_ms,
        )  # fmt: skip
        return ForwardWriteAnswer(request, _WRITTEN, fields)
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
        token, etag, tally, node = fields[:4]
        timestamp, expires_ms = fields[4:6] if len(fields) > 4 else (0, None)
        return Written(
            _text(token), _text(etag), _tally_of(tally), _node(node), _number(timestamp),
            None if expires_ms is None else _number(expires_ms),
        )  # fmt: skip
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
