"""Changing the members: leave, remove, and what a change would move.

The change is an operator's decision, so it is carried out without a second question; the answer is
202 with what it moves. ``GET /v1/transfers`` tells how far that is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from sadik_machine import NodeId
from sadik_members import Leave, Member, MemberState, RemovalDone, Remove
from sadik_node.http.answers import Answer, json_answer, problem
from sadik_node.http.exchange import Exchange
from sadik_node.http.service import Service, refusal_answer, unavailable_answer
from sadik_node.http.target import BadTarget, decode_percent, parse_query
from sadik_vnode.requests import (
    Plan,
    PlanResult,
    Refused,
    Result,
    Transfers,
    TransfersResult,
    Unavailable,
)

__all__ = ["PLAN_PARAMETERS", "REMOVE_PARAMETERS", "admit_member", "admit_plan", "transfers"]

PLAN_PARAMETERS = {
    "join": "a node that would join: NAME, NAME:ZONE or NAME:ZONE:WEIGHT; may stand there often",
    "leave": "a member that would leave; may stand there often",
    "remove": "a member that would be removed; may stand there often",
}
REMOVE_PARAMETERS = {"force": "true: without the word of a majority of the members"}


def admit_member(
    service: Service, exchange: Exchange, name: bytes, action: bytes, query: bytes
) -> Answer | None:
    """Judge ``POST /v1/members/{name}/leave`` and ``…/remove[?force=true]``."""
    called = decode_percent(name).decode("utf-8", "replace")
    parameters = parse_query(query)
    if action not in (b"leave", b"remove"):
        return problem(404, "a member can leave, or be removed")
    for parameter, value in parameters.items():
        if action != b"remove" or parameter != "force" or value not in (b"true", b"false"):
            raise BadTarget("remove takes force=true or force=false, and leave takes nothing")
    member = _find(service, called)
    if member is None:
        return problem(404, f"no member is called {called!r}")
    is_forced = parameters.get("force") == b"true"
    exchange.context = (member, is_forced)
    exchange.handler = _leave if action == b"leave" else _remove
    return None


def _find(service: Service, name: str) -> Member | None:
    """The member of a name; one that has left only where nobody else has the name."""
    found = [member for member in service.view.members.values() if member.name == name]
    return min(found, key=lambda member: member.state is MemberState.LEFT, default=None)


def _leave(service: Service, exchange: Exchange) -> None:
    member, _ = exchange.context
    view = service.view
    others = [
        other
        for other in view.members.values()
        if other.state is MemberState.UP and other.id != member.id
    ]
    if member.state is MemberState.LEFT:
        exchange.answer(problem(409, f"{member.name} has left already"))
    elif not others:
        exchange.answer(problem(409, f"{member.name} is the last member that is up"))
    elif member.id != view.own_id and view.state_of(member) not in ("up", "leaving", "joining"):
        exchange.answer(problem(
            503, f"{member.name} does not answer: start it, or remove it", reason="unreachable"
        ))  # fmt: skip
    else:
        service.tell(Leave(member.id))
        service.ask(exchange, Plan(going=(member.id,)), _planned(202))


def _remove(service: Service, exchange: Exchange) -> None:
    member, is_forced = exchange.context
    if member.id == service.view.own_id:
        exchange.answer(problem(409, "a node does not remove itself: have it leave"))
        return

    def done(news: RemovalDone) -> None:
        if news.refusal:
            exchange.answer(problem(409, f"{member.name} is not removed: {news.refusal}"))
        else:
            service.ask(exchange, Plan(going=(member.id,)), _planned(202))

    service.tell(Remove(service.ticket(done), member.id, is_forced))


def admit_plan(
    service: Service, exchange: Exchange, _bucket: bytes, _key: bytes, query: bytes
) -> Answer | None:
    """Judge ``GET /v1/plan?join=NAME[:zone[:weight]]&leave=NAME&remove=NAME``."""
    joining: list[tuple[str, str, float]] = []
    going: list[NodeId] = []
    for parameter, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if parameter == "join":
            joining.append(_joining(value))
            if joining[-1][0] in [name for name, _, _ in joining[:-1]]:
                raise BadTarget(f"two nodes that would join are called {joining[-1][0]!r}")
            member = _find(service, joining[-1][0])
            if member is not None and member.state is not MemberState.LEFT:
                return problem(409, f"{member.name} is a member already; names are unique")
        elif parameter in ("leave", "remove"):
            member = _find(service, value)
            if member is None or member.state is MemberState.LEFT:
                return problem(404, f"no member is called {value!r}")
            going.append(member.id)
        else:
            accepted = ", ".join(PLAN_PARAMETERS)
            raise BadTarget(f"unknown query parameter {parameter!r}; accepted: {accepted}")
    exchange.context = Plan(tuple(joining), tuple(going))
    exchange.handler = _plan
    return service.hindrance()


def _joining(text: str) -> tuple[str, str, float]:
    name, _, rest = text.partition(":")
    zone, _, weight = rest.partition(":")
    try:
        value = float(weight or "1")
    except ValueError:
        value = 0.0
    if not name or not 0 < value <= 1e6:
        raise BadTarget("join is NAME, NAME:ZONE or NAME:ZONE:WEIGHT, with a weight above 0")
    return name, zone, value


def _plan(service: Service, exchange: Exchange) -> None:
    service.ask(exchange, exchange.context, _planned(200))


def _planned(status: int) -> Callable[[Service, Exchange, Result], None]:
    def finish(service: Service, exchange: Exchange, result: Result) -> None:
        if isinstance(result, PlanResult) and not result.refusal:
            exchange.answer(json_answer(_plan_document(service, result), status))
        elif isinstance(result, PlanResult):
            exchange.answer(problem(409, result.refusal))
        else:
            exchange.answer(_not_done(result))

    return finish


def _plan_document(service: Service, result: PlanResult) -> Mapping[str, object]:
    def name(node: bytes | None) -> str | None:
        if node is None:
            return None
        known = NodeId(node) in service.view.members
        return service.view.name_of(NodeId(node)) if known else node.decode("utf-8", "replace")

    return {
        "moves": [
            {"partition": partition, "from": name(giver), "to": name(receiver)}
            for partition, giver, receiver in result.moves
        ],
        "moves_min": result.minimum,
        "nodes": [
            {"name": name(node), "partitions_now": now, "partitions_then": then}
            for node, (now, then) in result.slots.items()
        ],
    }


def transfers(service: Service, exchange: Exchange) -> None:
    """``GET /v1/transfers``: what moves or is going to in the whole cluster, and why not."""
    service.ask(exchange, Transfers(), _finish_transfers)


def _finish_transfers(service: Service, exchange: Exchange, result: Result) -> None:
    if not isinstance(result, TransfersResult):
        exchange.answer(_not_done(result))
        return
    name = service.view.name_of
    exchange.answer(json_answer({
        "transfers": [
            {
                "partition": each.partition,
                "from": None if each.giver is None else name(each.giver),
                "to": None if each.receiver is None else name(each.receiver),
                "bytes_done": each.bytes,
                "bytes_total": each.total,
                "state": each.state,
                "reason": each.reason,
            }
            for each in result.transfers
        ],
        "driver": None if result.driver is None else name(result.driver),
    }))  # fmt: skip


def _not_done(result: Result) -> Answer:
    match result:
        case Refused():
            return refusal_answer(result)
        case Unavailable():
            return unavailable_answer(result)
        case _:
            raise AssertionError(f"{type(result).__name__} answers no change of members")
