"""``POST /v1/scrub``: read all that this node holds, and look for damage."""

from __future__ import annotations

from typing import Final

from sadik_machine import SECOND
from sadik_node.http.answers import Answer, json_answer
from sadik_node.http.exchange import Exchange
from sadik_node.http.service import Service, refusal_answer, unavailable_answer
from sadik_node.http.target import BadTarget, parse_query
from sadik_vnode.requests import Refused, Result, Scrub, ScrubResult, Unavailable

__all__ = ["admit_scrub"]

_TIMEOUT_NS: Final = 30 * SECOND
"""Then it is answered 202, and goes on."""


def admit_scrub(
    service: Service, exchange: Exchange, _bucket: bytes, _key: bytes, query: bytes
) -> Answer | None:
    """Judge ``POST /v1/scrub``."""
    for name in parse_query(query):
        raise BadTarget(f"unknown query parameter {name!r}; accepted: none")
    exchange.operation = "scrub"
    exchange.handler = _scrub
    return service.hindrance()


def _scrub(service: Service, exchange: Exchange) -> None:
    service.ask(exchange, Scrub(_TIMEOUT_NS), _finish)


def _finish(_service: Service, exchange: Exchange, result: Result) -> None:
    match result:
        case ScrubResult():
            exchange.answer(json_answer(
                {
                    "records": result.records,
                    "values": result.values,
                    "damaged": result.damaged,
                    "misplaced": result.misplaced,
                    "sums_wrong": result.sums_wrong,
                    "unlisted": result.unlisted,
                    "finished": result.is_finished,
                },
                200 if result.is_finished else 202,
            ))  # fmt: skip
        case Refused():
            exchange.answer(refusal_answer(result))
        case Unavailable():
            exchange.answer(unavailable_answer(result))
        case _:
            raise AssertionError(f"{type(result).__name__} answers no scrub")
