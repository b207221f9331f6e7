"""A request that its client named is found in the log of every node that it touched."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from real_cluster import RealNode, eventually
from secured_cluster import any_cluster


def events(node: RealNode, name: str, request: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in node.log.read_text("utf-8").splitlines()]
    return [line for line in lines if line["event"] == name and line["request"] == request]


def is_touched(node: RealNode, request: str) -> bool:
    return bool(events(node, "request_touched", request))


def test_a_named_request_is_logged_on_every_node_and_no_other_is(tmp_path: Path) -> None:
    with any_cluster(tmp_path, environment={"SADIK_LOG__FORMAT": "json"}) as cluster:
        cluster.start()
        asked, *others = cluster.nodes
        made = asked.ask("PUT", "/v1/kv/logged/k", b"v").headers["sadik-request-id"]
        mine = {"Sadik-Request-Id": "order-4711"}
        answer = asked.ask("PUT", "/v1/kv/logged/a%20k?w=all", b"v", mine)
        assert (answer.status, answer.headers["sadik-request-id"]) == (204, "order-4711")
        for node in others:
            eventually(5, partial(is_touched, node, "order-4711"), f"{node.name} logs its part")
            for touched in events(node, "request_touched", "order-4711"):
                assert touched["bucket"] == "logged", touched
                assert touched["key"] == "a%20k", touched
                assert touched["what"] in ("write", "coordinate"), touched
                assert touched["sender"] in {"n1", "n2", "n3"} - {node.name}, touched
        (line,) = events(asked, "request", "order-4711")
        assert (line["op"], line["status"]) == ("put", 204)
        assert line["ms"] > 0
        for node in cluster.nodes:
            assert made not in node.log.read_text("utf-8"), "nobody asked for this one"
            assert " v" not in node.log.read_text("utf-8"), "values are never logged"
