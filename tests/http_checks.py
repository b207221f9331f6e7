"""What every answer of the HTTP API must be, whatever it answers."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from real_cluster import Answer, RealNode

__all__ = ["check_problem", "list_keys", "object_path", "siblings_of"]


def check_problem(answer: Answer, *statuses: int) -> dict[str, Any]:
    """The problem document (RFC 9457) of an answer that has one of ``statuses``."""
    assert answer.status in statuses, answer
    assert answer.headers["content-type"] == "application/problem+json", answer
    document: dict[str, Any] = answer.json()
    assert document["status"] == answer.status, document
    for name in ("type", "title", "detail"):
        assert isinstance(document[name], str), document
        assert document[name], document
    if answer.status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 0, answer
    return document


def object_path(bucket: str, key: bytes) -> str:
    """The path of an object; every byte but letters, digits and ``_.-~`` encoded."""
    return f"/v1/kv/{bucket}/{quote_from_bytes(key, safe='')}"


def siblings_of(answer: Answer) -> list[bytes]:
    """The values of a GET's answer, sorted: none, one or several."""
    if answer.status == 404:
        return []
    if answer.status == 200:
        return [answer.body]
    assert answer.status == 300, answer
    return sorted(sibling["text"].encode() for sibling in answer.json()["siblings"])


def list_keys(node: RealNode, bucket: str, query: str = "") -> tuple[list[bytes], str | None]:
    """One page of a listing: the keys, and what to pass as ``after`` for the next page."""
    answer = node.ask("GET", f"/v1/kv/{bucket}{query}")
    assert answer.status == 200, answer
    *lines, last = [json.loads(line) for line in answer.body.splitlines()]
    assert all(line.keys() >= {"key"} for line in lines), lines
    assert "next" in last, last
    return [unquote_to_bytes(line["key"]) for line in lines], last["next"]
