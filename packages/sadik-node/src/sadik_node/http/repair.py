"""``POST /v1/repair``: compare partitions among their owners now, and exchange what differs."""

from __future__ import annotations

from typing import Final

from sadik_machine import SECOND
from sadik_node.http.answers import Answer, json_answer
from sadik_node.http.exchange import Exchange
from sadik_node.http.service import Service, refusal_answer, unavailable_answer
from sadik_node.http.target import BadTarget, parse_query
from sadik_vnode.requests import Refused, Repair, RepairResult, Result, Unavailable

__all__ = ["PARAMETERS", "admit_repair"]

PARAMETERS = {"partition": "only this partition; default all"}

_TIMEOUT_NS: Final = 30 * SECOND
"""Then it is answered 202, and goes on."""


def admit_repair(
    service: Service, exchange: Exchange, _bucket: bytes, _key: bytes, query: bytes
) -> Answer | None:
    """Judge ``POST /v1/repair?partition=``."""
    partition: int | None = None
    for name, value in parse_query(query).items():
        if name not in PARAMETERS:
            raise BadTarget(f"unknown query parameter {name!r}; accepted: partition")
        if not value.isdigit() or len(value) > 4:
            raise BadTarget("partition must be a number, from 0 to one less than there are")
        partition = int(value)
    exchange.operation = "repair"
    exchange.context = Repair(partition, _TIMEOUT_NS)
    exchange.handler = _repair
    return service.hindrance()


def _repair(service: Service, exchange: Exchange) -> None:
    service.ask(exchange, exchange.context, _finish)


def _finish(service: Service, exchange: Exchange, result: Result) -> None:
    match result:
        case RepairResult():
            exchange.answer(json_answer(
                {
                    "partitions": result.partitions,
                    "partitions_done": result.partitions_done,
                    "compared": result.compared,
                    "differing": result.differing,
                    "differences": result.differences,
                    "repaired": result.repaired,
                    "unreachable": [service.view.name_of(node) for node in result.unreachable],
                    "finished": result.is_finished,
                },
                200 if result.is_finished else 202,
            ))  # fmt: skip
        case Refused():
            exchange.answer(refusal_answer(result))
        case Unavailable():
            exchange.answer(unavailable_answer(result))
        case _:
            raise AssertionError(f"{type(result).__name__} answers no repair")
