"""What the tests of backups put into a cluster, and how they run the command line on it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from sadik_client.blocking import Client
from sadik_node.cli.root import cli
from sadik_node.testing.cluster import Cluster

__all__ = ["LARGE", "done", "fill", "run"]

LARGE = os.urandom(100_000)


def fill(cluster: Cluster, plain: int) -> None:
    """``plain`` keys with metadata, and four others: siblings, a large value, one that is deleted,
    and one with a time to live.
    """
    with Client(cluster.urls[0]) as client:
        client.set_bucket("b", {"blind_writes": "sibling", "value_bytes": 200_000})
        for i in range(plain):
            client.put("plain", f"key {i}", b"%d" % i, meta={"n": str(i)}, content_type="text/x")
        client.put("b", b"\x00\xff/..", b"one")
        client.put("b", b"\x00\xff/..", b"two", content_type="text/y")
        client.put("b", "large", LARGE)
        client.put("b", "gone", b"x")
        client.delete("b", "gone")
        client.put("b", "short", b"lived", ttl_s=100_000)
    cluster.wait_until_hints_drained()


def run(verb: str, place: str | Path, cluster: Cluster | None, *options: str) -> Result:
    """A verb as it is typed."""
    node = [] if cluster is None else ["--node", cluster.urls[-1], "--patience", "5"]
    return CliRunner().invoke(cli, [verb, str(place), *node, *options])


def done(result: Result) -> dict[str, Any]:
    """What a verb that succeeded has printed as JSON."""
    assert result.exit_code == 0, result.stderr
    told: dict[str, Any] = json.loads(result.stdout)
    return told
