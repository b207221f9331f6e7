"""Rules and dashboard for Prometheus: their own tests pass, and they ask for what there is."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import dashboard
from sadik_metrics import FAMILIES, Kind

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus"
DASHBOARD: dict[str, Any] = json.loads(dashboard.TARGET.read_text("utf-8"))


def expressions() -> Iterator[tuple[str, str]]:
    """Everything that is asked of Prometheus, with who asks."""
    for file in ("recording.rules.yml", "alerts.rules.yml"):
        for group in yaml.safe_load((RULES / file).read_text("utf-8"))["groups"]:
            for rule in group["rules"]:
                yield rule.get("alert") or rule["record"], rule["expr"]
    yield from dashboard.queries(DASHBOARD)


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "config", "local.yml"),
        ("check", "config", "--syntax-only", "../docker/prometheus.yml"),
        ("check", "rules", "recording.rules.yml", "alerts.rules.yml"),
        ("test", "rules", "rules_test.yml"),
        ("test", "rules", "recording_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_is_content(
    arguments: tuple[str, ...], require_program: Callable[..., str]
) -> None:
    promtool = require_program("promtool", package="prometheus")
    result = subprocess.run([promtool, *arguments], cwd=RULES, capture_output=True, text=True,
                            check=False)  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_is_tested() -> None:
    text = (RULES / "rules_test.yml").read_text("utf-8")
    alerts = [name for name, _ in expressions() if name.startswith("Sadik")]
    assert alerts
    assert [name for name in alerts if name not in text] == []


def test_every_recorded_rule_is_tested() -> None:
    asked = {
        each["expr"]
        for file in ("rules_test.yml", "recording_test.yml")
        for test in yaml.safe_load((RULES / file).read_text("utf-8"))["tests"]
        for each in test.get("promql_expr_test", ())
    }
    recorded = {name for name, _ in expressions() if re.match(r"(job|instance)\w*:", name)}
    assert recorded
    assert recorded - asked == set()


def test_every_alert_leads_to_a_heading_that_says_what_to_do() -> None:
    for group in yaml.safe_load((RULES / "alerts.rules.yml").read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            file, _, anchor = rule["annotations"]["runbook"].partition("#")
            headings = re.findall(r"^##+ (.+)$", (ROOT / file).read_text("utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings]
            assert anchor in anchors, rule["alert"]


def test_only_metrics_that_nodes_have_are_asked_for() -> None:
    known = {"sadik_build_info"}
    for family in FAMILIES:
        endings = ("_bucket", "_count", "_sum") if family.kind is Kind.HISTOGRAM else ("",)
        known |= {family.name + ending for ending in endings}
    for who, expression in expressions():
        for name in re.findall(r"(?<![\w:])sadik_\w+(?![\w:])", expression):
            assert name in known, f"{who} asks for {name}"


def test_the_dashboard_is_what_its_script_makes() -> None:
    assert dashboard.dashboard() == DASHBOARD, "run `make pictures`"
