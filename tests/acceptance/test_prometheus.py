"""A real Prometheus that scrapes a real cluster answers every query of the dashboard."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from real_cluster import RealCluster, eventually, free_ports

import dashboard

pytestmark = pytest.mark.open_cluster

RULES = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
DASHBOARD: dict[str, Any] = json.loads(dashboard.TARGET.read_text("utf-8"))

# A cluster that is well has none of these.
MAY_BE_EMPTY = {"Failed", "Age of late copies, p99", "Siblings in an answer, p99",
                "Writes that an owner missed"}  # fmt: skip


@contextmanager
def prometheus(program: str, root: Path, targets: list[str]) -> Iterator[str]:
    """A real Prometheus with the deployed rules; its address."""
    config = yaml.safe_load((RULES / "prometheus.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = targets
    config["rule_files"] = [str(RULES / name) for name in config["rule_files"]]
    (root / "prometheus.yml").write_text(yaml.safe_dump(config))
    [port] = free_ports(1)
    with (root / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [program, f"--config.file={root / 'prometheus.yml'}",
             f"--storage.tsdb.path={root / 'data'}", f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def ask(url: str, path: str, **parameters: str) -> Any:
    query = urllib.parse.urlencode(parameters)
    try:
        with urllib.request.urlopen(f"{url}{path}?{query}", timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)
    except OSError:
        return {"status": "away", "data": {}}


@pytest.mark.slow
def test_every_query_is_answered_by_a_prometheus_that_scrapes_a_cluster(
    shared: RealCluster, require_program: Callable[..., str], tmp_path: Path
) -> None:
    program = require_program("prometheus", package="prometheus")
    targets = [f"127.0.0.1:{node.http_port}" for node in shared.nodes]
    asked = [(who, concrete(query)) for who, query in dashboard.queries(DASHBOARD)]
    with prometheus(program, tmp_path, targets) as url:

        def work() -> None:
            for number in range(10):
                path = f"/v1/kv/scraped/{number}"
                assert shared.nodes[number % 3].ask("PUT", path, b"v").status == 204
                assert shared.nodes[number % 3].ask("GET", path).status == 200

        def result_of(query: str) -> list[Any]:
            work()
            answer = ask(url, "/api/v1/query", query=query)
            assert answer["status"] in ("success", "away"), (query, answer)
            found: list[Any] = answer["data"].get("result", [])
            return found

        eventually(30, lambda: len(result_of("up == 1")) == 3, "it scrapes all nodes")
        # Rates need two scrapes, and recorded ones an evaluation after them.
        recorded = "job_op:sadik_requests:rate5m > 0"
        eventually(30, lambda: bool(result_of(recorded)), "rules are evaluated")
        for who, query in asked:
            if who in MAY_BE_EMPTY:
                result_of(query)
            else:

                def is_answered(query: str = query) -> bool:
                    return bool(result_of(query))

                eventually(20, is_answered, f"{who}: {query}")
        health = ask(url, "/api/v1/rules")["data"]["groups"]
        wrong = [rule for group in health for rule in group["rules"] if rule.get("lastError")]
        assert wrong == []
        firing = result_of('ALERTS{alertstate="firing"}')
        assert firing == [], "a cluster that is well pages nobody"
        for node in shared.nodes:
            labels = ask(url, "/api/v1/label/instance/values")["data"]
            assert f"127.0.0.1:{node.http_port}" in labels


def concrete(query: str) -> str:
    """A query with what Grafana fills in."""
    return (
        query.replace("$__rate_interval", "1m")
        .replace('"$job"', '"sadik"')
        .replace('"$instance"', '".*"')
    )
