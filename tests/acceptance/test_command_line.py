"""The client verbs against a real cluster: what they print, and their exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from real_cluster import RealCluster, free_ports

DONE, FAILED, USAGE, NOT_FOUND, SIBLINGS = 0, 1, 2, 3, 4


class Client:
    """Runs verbs through one node after another."""

    def __init__(self, cluster: RealCluster) -> None:
        self.nodes = cluster.nodes
        self.count = 0

    def run(self, *arguments: str, given: bytes = b"", code: int = DONE) -> bytes:
        """What a verb prints, after it has ended with ``code``."""
        self.count += 1
        node = self.nodes[self.count % len(self.nodes)]
        environment = {**os.environ, **node.client_environment}
        result = subprocess.run(
            [sys.executable, "-m", "sadik_node", *arguments],
            input=given,
            env=environment,
            capture_output=True,
            check=False,
        )
        assert result.returncode == code, result
        assert b"Traceback" not in result.stderr
        if code in (FAILED, USAGE):
            assert result.stderr, "a reason is given"
        return result.stdout

    def json(self, *arguments: str) -> Any:
        """What a verb prints with ``--json``."""
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture(scope="module")
def client(shared: RealCluster) -> Client:
    return Client(shared)


def test_put_get_delete(client: Client, tmp_path: os.PathLike[str]) -> None:
    assert client.run("list", "cli") == b""
    client.run("put", "cli", "word", "hello")
    assert client.run("get", "cli", "word").rstrip(b"\n") == b"hello"
    binary = bytes(range(256)) * 10
    client.run("put", "cli", "binary", "-", given=binary)
    assert client.run("get", "cli", "binary") == binary
    file = os.path.join(tmp_path, "file")  # noqa: PTH118 - what follows @ is text
    with open(file, "wb") as stream:  # noqa: PTH123
        stream.write(binary)
    client.run("put", "cli", "file/of mine?", f"@{file}")
    assert client.run("get", "cli", "file/of mine?") == binary
    assert client.run("list", "cli").splitlines() == [b"binary", b"file/of mine?", b"word"]
    assert client.run("list", "cli", "--prefix", "w").split() == [b"word"]
    client.run("delete", "cli", "word")
    client.run("get", "cli", "word", code=NOT_FOUND)
    client.run("delete", "cli", "word", code=NOT_FOUND)
    client.run("get", "cli", "never", code=NOT_FOUND)


def test_siblings_are_all_printed_and_can_be_resolved(client: Client) -> None:
    client.run("bucket", "set", "cli-siblings", "blind_writes=sibling")
    assert client.json("bucket", "show", "cli-siblings")["blind_writes"] == "sibling"
    assert "cli-siblings" in client.run("bucket", "list").decode()
    client.run("put", "cli-siblings", "key", "milk")
    client.run("put", "cli-siblings", "key", "bread")
    printed = client.run("get", "cli-siblings", "key", code=SIBLINGS)
    assert b"milk" in printed
    assert b"bread" in printed
    shown = json.loads(client.run("get", "cli-siblings", "key", "--json", code=SIBLINGS))
    client.run("put", "cli-siblings", "key", "both", "--context", shown["context"])
    assert client.run("get", "cli-siblings", "key").rstrip(b"\n") == b"both"


def test_views(client: Client) -> None:
    names = ["n1", "n2", "n3"]
    assert [member["name"] for member in client.json("members")["members"]] == names
    assert client.json("ring")["partitions"] == 256
    assert client.json("hints")["total"] == 0
    client.run("put", "cli", "explained", "v")
    assert sorted(client.json("explain", "cli", "explained")["owners"]) == names
    for verb in (["members"], ["ring"], ["explain", "cli", "explained"]):
        text = client.run(*verb).decode()
        assert all(name in text for name in names), text
    assert client.run("status")
    assert re.search(rb"\b\d+\.\d+\.\d+", client.run("version"))


def test_what_the_cluster_refuses_and_wrong_usage(client: Client) -> None:
    client.run("put", "cli", "x" * 401, "v", code=USAGE)
    client.run("put", "no bucket", "key", "v", code=USAGE)
    client.run("put", "cli", "context", "v", "--context", "forged", code=FAILED)
    client.run("bucket", "set", "cli", "w=9", code=FAILED)
    client.run("get", "cli", code=USAGE)
    client.run("get", "cli", "key", "--no-such-option", code=USAGE)
    client.run("no-such-verb", code=USAGE)
    [port] = free_ports(1)
    client.run("get", "cli", "key", "--node", f"http://127.0.0.1:{port}", code=FAILED)
    client.run("get", "cli", "key", "--node", "nonsense://x", code=USAGE)


@pytest.mark.parametrize(
    "verb",
    ["dev", "serve", "put", "get", "delete", "list", "import", "export", "status", "members",
     "ring", "hints", "explain", "bucket", "bucket set", "config check", "version"],
)  # fmt: skip
def test_every_verb_has_help_with_an_example(client: Client, verb: str) -> None:
    text = client.run(*verb.split(), "--help").decode()
    assert "Example" in text
    assert f"sadik-node {verb}" in text
