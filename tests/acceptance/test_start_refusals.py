"""A node that must not start, or not serve, says why in a sentence, with the exit code for it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from http_checks import check_problem
from real_cluster import RealCluster, RealNode, eventually, free_ports

FAILED, REFUSED = 1, 2


class Serve:
    """Runs ``sadik-node serve`` with options of its own, and expects it to end by itself."""

    def __init__(self, root: Path) -> None:
        self.root = root
        http, peer = free_ports(2)
        self.options = {
            "name": "n1",
            "data-dir": str(root / "data"),
            "http": f"127.0.0.1:{http}",
            "peer": f"127.0.0.1:{peer}",
        }

    def run(
        self,
        options: Mapping[str, str],
        *,
        more: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        """It with some of its options changed, to its end."""
        line = [*before, sys.executable, "-m", "sadik_node", "serve"]
        for name, value in {**self.options, **options}.items():
            line += [f"--{name}", value]
        result = subprocess.run(
            [*line, *more],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        assert "Traceback" not in result.stderr, result.stderr
        assert result.stdout == "", "why it did not start is no output"
        return result

    def refused(
        self,
        code: int,
        *words: str,
        options: Mapping[str, str] | None = None,
        more: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> str:
        """It ends with ``code`` and a last line that has all ``words``: that line."""
        result = self.run(options or {}, more=more, environment=environment, before=before)
        assert result.returncode == code, result
        sentence = result.stderr.splitlines()[-1]
        print(sentence)
        for word in words:
            assert word in sentence, f"{word!r} is not in the last line of: {result.stderr}"
        return sentence


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    return Serve(tmp_path)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RealCluster]:
    """One node that runs."""
    with RealCluster(tmp_path / "running", nodes=1) as cluster:
        (tmp_path / "running").mkdir()
        cluster.start()
        yield cluster


# Ports


@pytest.mark.parametrize("which", ["http", "peer"])
def test_a_port_that_is_taken(serve: Serve, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        serve.refused(FAILED, address, f"listen.{which}", options={which: address})


def test_the_same_port_for_both(serve: Serve) -> None:
    serve.refused(REFUSED, serve.options["http"], options={"peer": serve.options["http"]})


@pytest.mark.parametrize("which", ["http", "peer"])
def test_an_address_that_is_not_ours(serve: Serve, which: str) -> None:
    address = "203.0.113.7:7070"  # kept for documentation: nobody has it
    said = serve.refused(FAILED, address, f"listen.{which}", more=("--insecure",),
                         options={which: address})  # fmt: skip
    assert "another node" not in said, "that is not what is wrong"


@pytest.mark.parametrize("which", ["http", "peer"])
@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_beyond_loopback_only_when_told_that_it_is_insecure(
    serve: Serve, which: str, host: str
) -> None:
    [port] = free_ports(1)
    address = f"{host}:{port}"
    serve.refused(REFUSED, f"listen.{which}", "insecure", options={which: address})


def test_insecure_is_taken_and_said(serve: Serve, tmp_path: Path) -> None:
    with RealCluster(tmp_path, nodes=1, options=["--insecure"]) as cluster:
        [node] = cluster.nodes
        node.options += ["--http", f"0.0.0.0:{node.http_port}"]
        node.start()
        eventually(20, node.is_ready, "it is ready")
        assert "insecure" in cluster.tail(node)
        assert node.stop() == 0


# The data directory


def test_a_directory_that_another_node_uses(serve: Serve, running: RealCluster) -> None:
    [node] = running.nodes
    assert node.process is not None
    said = serve.refused(
        FAILED, str(node.directory), "another node", options={"data-dir": str(node.directory)}
    )
    assert str(node.process.pid) in said
    assert node.is_ready(), "the one that runs is unharmed"


def test_a_directory_of_another_cluster(serve: Serve, running: RealCluster) -> None:
    [node] = running.nodes
    assert node.stop() == 0
    before = contents(node.directory)
    environment = {"SADIK_CLUSTER__NAME": "other"}
    directory = str(node.directory)
    serve.refused(REFUSED, directory, "'sadik'", "'other'", options={"data-dir": directory},
                  environment=environment)  # fmt: skip
    assert contents(node.directory) == before
    node.start()
    running.wait_ready()


def contents(directory: Path) -> dict[str, bytes]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files if path.name != "lock"}


@pytest.mark.parametrize(
    "place", ["a file", "a file above", "not empty", "a directory for the identity"]
)
def test_a_directory_that_cannot_be_used(serve: Serve, tmp_path: Path, place: str) -> None:
    directory = tmp_path / "data"
    if place == "a file":
        directory.write_text("mine")
    elif place == "a file above":
        directory.write_text("mine")
        directory /= "below"
    elif place == "not empty":
        directory.mkdir()
        (directory / "thesis.tex").write_text("mine")
    else:
        (directory / "identity.json").mkdir(parents=True)
    serve.refused(REFUSED, str(directory), options={"data-dir": str(directory)})
    if place != "a directory for the identity":
        [mine] = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"]
        assert mine.read_text() == "mine"


def test_a_directory_that_cannot_be_written(
    serve: Serve, tmp_path: Path, require_program: Callable[..., str]
) -> None:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o500)
    before: list[str] = []
    if os.geteuid() == 0:  # who may write anywhere, unless that right is taken away
        setpriv = require_program("setpriv", package="util-linux")
        before = [setpriv, "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
    serve.refused(REFUSED, str(directory), "Permission denied", before=before)
    assert list(directory.iterdir()) == []


def edit_identity(node: RealNode, **changes: object) -> None:
    file = node.directory / "identity.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"format": 2}, "format 2"),
        ({"format": 99}, "format 99"),
        ({"format": 0}, "identity.json"),
        ({"format": "1"}, "identity.json"),
        ({"node_id": "xyz"}, "identity.json"),
        ({"node_id": None}, "identity.json"),
    ],
)
def test_a_format_that_is_newer_or_damaged(
    serve: Serve, running: RealCluster, changes: dict[str, object], word: str
) -> None:
    [node] = running.nodes
    assert node.stop() == 0
    edit_identity(node, **changes)
    before = contents(node.directory)
    serve.refused(REFUSED, str(node.directory), word, options={"data-dir": str(node.directory)})
    assert contents(node.directory) == before, "nothing is touched"


def test_an_identity_that_is_no_json(serve: Serve, running: RealCluster) -> None:
    [node] = running.nodes
    assert node.stop() == 0
    (node.directory / "identity.json").write_bytes(b"\0" * 100)
    serve.refused(REFUSED, "identity.json", options={"data-dir": str(node.directory)})


def test_a_store_that_is_damaged(serve: Serve, running: RealCluster) -> None:
    [node] = running.nodes
    assert node.ask("PUT", "/v1/kv/b/k", b"v").status == 204
    assert node.stop() == 0
    for file in (node.directory / "store").rglob("*"):
        if file.is_file() and file.stat().st_size > 100:
            file.write_bytes(b"not a store" * 1000)
    said = serve.run({"data-dir": str(node.directory)})
    assert said.returncode in (FAILED, REFUSED), said
    assert str(node.directory) in said.stderr.splitlines()[-1], said


# The configuration


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[node]\nnam = 'x'\n", ["node.nam", "name"]),
        ("[nodes]\nname = 'x'\n", ["nodes"]),
        ("[cluster]\npartitions = 'many'\n", ["cluster.partitions"]),
        ("[cluster]\npartitions = 100\n", ["cluster.partitions", "power of two"]),
        ("[cluster]\nreplicas = 0\n", ["cluster.replicas"]),
        ("[cluster]\njoin = 'x:1'\n", ["cluster.join"]),
        ("[cluster]\nname = 'a b'\n", ["cluster.name"]),
        ("[storage]\nbackend = 'tape'\n", ["storage.backend", "lmdb", "memory"]),
        ("[storage]\nsync = 'never'\n", ["storage.sync", "commit", "interval"]),
        ("[limits]\nvalue_bytes = 67108865\n", ["limits.value_bytes"]),
        ("[limits]\nvalue_bytes = true\n", ["limits.value_bytes"]),
        ("[log]\nformat = 'xml'\n", ["log.format", "console", "json"]),
        ("[tls.http]\ncert = 'x'\n", ["tls.http"]),
        ("[auth]\ntokens = 3\n", ["auth.tokens"]),
        ("[node\n", ["line 1"]),
        ("[node]\nname = 1\n[limits]\nconnections = -1\n", ["node.name", "limits.connections"]),
    ],
)  # fmt: skip
def test_a_configuration_that_is_wrong(serve: Serve, text: str, words: list[str]) -> None:
    file = serve.root / "sadik.toml"
    file.write_text(text)
    command = [sys.executable, "-m", "sadik_node", "serve", "--config", str(file)]
    for line in (command, [sys.executable, "-m", "sadik_node", "config", "check", str(file)]):
        result = subprocess.run(line, capture_output=True, text=True, check=False, timeout=20)
        assert result.returncode == REFUSED, result
        assert "Traceback" not in result.stderr
        for word in words:
            assert word in result.stderr, result.stderr
    assert sorted(path.name for path in serve.root.iterdir()) == ["sadik.toml"]


def test_flags_and_variables_that_are_wrong(serve: Serve) -> None:
    serve.refused(REFUSED, "listen.http", options={"http": "nonsense"})
    serve.refused(REFUSED, "node.name", options={"name": "a b"})
    serve.refused(REFUSED, "SADIK_LISTEN__HTP", environment={"SADIK_LISTEN__HTP": "x"})
    serve.refused(REFUSED, "cluster.partitions", environment={"SADIK_CLUSTER__PARTITIONS": "x"})
    serve.refused(REFUSED, "--no-such-flag", more=("--no-such-flag",))
    serve.refused(REFUSED, "no-such-file", more=("--config", "no-such-file.toml"))
    assert not (serve.root / "data").exists()


# Joining


class Joiner:
    """A further node beside a cluster."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        root.mkdir()
        self._cluster = stack.enter_context(RealCluster(root, nodes=1))
        [self.node] = self._cluster.nodes

    def reason(self) -> str:
        """Why the node is not ready; empty if it is."""
        try:
            answer = self.node.ask("GET", "/readyz")
        except OSError:
            return "it does not listen"
        return "" if answer.status == 200 else str(check_problem(answer, 503)["detail"])

    def log(self) -> str:
        return self._cluster.tail(self.node)


@pytest.fixture
def joiner(tmp_path: Path) -> Iterator[Joiner]:
    with ExitStack() as stack:
        yield Joiner(tmp_path / "joiner", stack)


def check_not_taken(joiner: Joiner, *words: str) -> None:
    """It goes on asking, serves nothing, and says why, on ``/readyz`` and in its log."""
    eventually(
        15,
        lambda: all(word in joiner.reason() for word in words),
        f"/readyz says why; {joiner.log()}",
    )
    assert all(word in joiner.log() for word in words), joiner.log()
    for method, body in (("GET", None), ("PUT", b"v"), ("DELETE", None)):
        said = check_problem(joiner.node.ask(method, "/v1/kv/b/k", body), 503)
        assert said["outcome"] == "not_applied"
    assert joiner.node.ask("GET", "/healthz").status == 200
    assert joiner.node.stop() == 0


def test_a_name_that_is_taken(joiner: Joiner, running: RealCluster) -> None:
    joiner.node.name = running.nodes[0].name
    joiner.node.join = [running.nodes[0].peer]
    joiner.node.start()
    check_not_taken(joiner, "n1", "name")
    members = running.nodes[0].ask("GET", "/v1/members").json()["members"]
    assert len(members) == 1


@pytest.mark.parametrize(
    ("variable", "value"), [("SADIK_CLUSTER__PARTITIONS", "64"), ("SADIK_CLUSTER__REPLICAS", "2")]
)
def test_a_cluster_of_another_make(
    joiner: Joiner, running: RealCluster, variable: str, value: str
) -> None:
    joiner.node.name = "n2"
    joiner.node.environment = {variable: value}
    joiner.node.join = [running.nodes[0].peer]
    joiner.node.start()
    check_not_taken(joiner, variable.partition("__")[2].lower())


def test_a_cluster_of_another_name(joiner: Joiner, running: RealCluster) -> None:
    joiner.node.name = "n2"
    joiner.node.environment = {"SADIK_CLUSTER__NAME": "other"}
    joiner.node.join = [running.nodes[0].peer]
    joiner.node.start()
    eventually(10, lambda: "sadik" in joiner.log() and "other" in joiner.log(), "its log says why")
    assert joiner.reason()
    assert joiner.node.stop() == 0


def test_a_seed_where_nobody_is(joiner: Joiner) -> None:
    [port] = free_ports(1)
    joiner.node.name = "n2"
    joiner.node.join = [f"127.0.0.1:{port}"]
    joiner.node.start()
    check_not_taken(joiner, str(port))


def test_a_wiped_founder_does_not_serve(cluster: RealCluster) -> None:
    founder, *others = cluster.nodes
    for number in range(30):
        assert others[0].ask("PUT", f"/v1/kv/kept/{number}", b"v").status == 204
    founder.kill()
    shutil.rmtree(founder.directory)
    founder.start()  # an empty directory and nobody to join: it founds a cluster of its own

    def reason() -> str:
        try:
            answer = founder.ask("GET", "/readyz")
        except OSError:
            return ""
        return "" if answer.status == 200 else str(check_problem(answer, 503)["detail"])

    eventually(15, lambda: "cluster" in reason(), f"it says why; {cluster.tail(founder)}")
    print(reason())
    assert "not_ready" in cluster.tail(founder)
    for number in range(30):
        said = check_problem(founder.ask("GET", f"/v1/kv/kept/{number}"), 503)
        assert said["outcome"] == "not_applied"
        check_problem(founder.ask("PUT", f"/v1/kv/kept/{number}", b"w"), 503)
        assert others[1].ask("GET", f"/v1/kv/kept/{number}").body == b"v"
    for node in others:
        assert node.is_ready()
        assert len(node.ask("GET", "/v1/members").json()["members"]) == 3
