"""The README's tour, typed as it is printed there: what a newcomer does in the first minutes.

It runs in a network namespace of its own, where the ports that the README names are free whatever
else the machine does. Where none may be made, it runs outside, on other ports put in their place.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alone import can_be_alone, is_alone, run_alone
from console_tour import Done, Shell, Step, console_steps
from every_backend import every_backend
from real_cluster import eventually, free_base_port
from secured_cluster import Secured, is_wanted

ROOT = Path(__file__).resolve().parents[2]
START = "make run"
KILLED = "<pid of n3>"
DOCUMENTED_PORT = 7070


def base_port() -> int:
    """Where the ports of a tour begin."""
    return DOCUMENTED_PORT if is_alone() else free_base_port([0, 1, 10, 11, 20, 21])


class Dev:
    """``sadik-node dev`` on ports that are free, and what it has said so far."""

    scheme = "http"

    def __init__(self, root: Path) -> None:
        self.base = base_port()
        self.directory = root / "sadik-data"
        self._log = root / "dev.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """What `make run` does, but for the set-up and where."""
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*(sys.executable, "-m", "sadik_node", "dev", "--nodes", "3"),
                 *("--dir", str(self.directory), "--base-port", str(self.base))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        eventually(30, lambda: "all 3 nodes are ready" in self.said, f"dev is ready: {self.said}")

    @property
    def said(self) -> str:
        """All that it printed."""
        return self._log.read_text()

    def pid(self, name: str) -> int:
        """The process id that it printed for a node."""
        found = re.search(rf"^{name}\s+pid (\d+)", self.said, re.MULTILINE)
        assert found, self.said
        return int(found[1])

    def serve_line(self, name: str) -> list[str]:
        """The line that it printed to bring a node back."""
        lines = [line for line in self.said.splitlines() if f"--name {name} " in line]
        assert lines, self.said
        return shlex.split(lines[0][lines[0].index(sys.executable) :])

    def environment_of(self, _name: str) -> dict[str, str]:
        """What that line stands in the midst of, beside what is around."""
        return {}

    @property
    def client_environment(self) -> dict[str, str]:
        """For the shell in which the tour is taken."""
        return {"SADIK_NODE": f"http://127.0.0.1:{self.base}"}

    def as_its_clients(self, text: str) -> str:
        """A text of the README as clients of this cluster have to type it."""
        return text

    def stop(self) -> int:
        """Ctrl-C; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)

    def close(self) -> None:
        """Whatever happened, nothing stays: the nodes end with the process that began them."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            finally:
                self.process.kill()
                self.process.wait()


class SecuredDev(Dev):
    """Three nodes that are secured in every way, in the place of those of ``dev``."""

    scheme = "https"

    def __init__(self, root: Path) -> None:
        self.base = base_port()
        secured = Secured(root, nodes=0, clients=True)
        assert secured.credentials is not None
        self._credentials = secured.credentials
        self._cluster = secured.cluster
        self._curl = root / "curl"
        for offset in (0, 10, 20):
            ports = [self.base + offset, self.base + offset + 1]
            join = [self._cluster.nodes[0].peer] if offset else []
            self._cluster.add(f"n{len(self._cluster.nodes) + 1}", join, ports)

    def start(self) -> None:
        """Start the nodes, and let curl know whom to trust and what to show."""
        self._cluster.start()
        self._curl.mkdir()
        self._curl.joinpath(".curlrc").write_text(
            f'proto-default = https\ncacert = "{self._credentials.ca}"\n'
            f'header = "Authorization: Bearer {self._credentials.token}"\n'
        )

    def pid(self, name: str) -> int:
        """See `Dev`."""
        [node] = [node for node in self._cluster.nodes if node.name == name]
        assert node.process is not None
        return node.process.pid

    def serve_line(self, name: str) -> list[str]:
        """See `Dev`."""
        [node] = [node for node in self._cluster.nodes if node.name == name]
        assert not node.is_running
        return node.command

    def environment_of(self, name: str) -> dict[str, str]:
        """See `Dev`."""
        [node] = [node for node in self._cluster.nodes if node.name == name]
        return node.environment

    @property
    def client_environment(self) -> dict[str, str]:
        """See `Dev`."""
        return {
            **self._cluster.nodes[0].client_environment,
            "CURL_HOME": str(self._curl),
            "SSL_CERT_FILE": str(self._credentials.ca),
        }

    def as_its_clients(self, text: str) -> str:
        """See `Dev`."""
        text = text.replace("http://localhost", "https://localhost")
        shown = rf'Client("\1", token_file="{self._credentials.token_file}")'
        return re.sub(r'Client\("(https://[^"]+)"\)', shown, text)

    def stop(self) -> int:
        """SIGTERM to those that run; the greatest of their exit codes."""
        return max(node.stop() for node in self._cluster.nodes if node.is_running)

    def close(self) -> None:
        """See `Dev`."""
        self._cluster.__exit__()


@pytest.fixture
def tour_dev(tmp_path: Path) -> Iterator[Dev]:
    """The cluster of the tour, of the kind that is wanted."""
    dev = SecuredDev(tmp_path) if is_wanted() else Dev(tmp_path)
    try:
        yield dev
    finally:
        dev.close()


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    dev = Dev(tmp_path)
    try:
        yield dev
    finally:
        dev.close()


@contextmanager
def brought_back(dev: Dev, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A node started by the very line that was printed for it."""
    node = subprocess.Popen(
        dev.serve_line(name),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **dev.environment_of(name)},
    )
    try:
        yield node
    finally:
        node.kill()
        node.wait()


def on_ports_of(dev: Dev, text: str) -> str:
    """The README's ports are those of `make run`; another cluster may have them just now."""
    for offset in (0, 10, 20):
        text = re.sub(rf"\b{7070 + offset}\b", str(dev.base + offset), text)
    return dev.as_its_clients(text)


@every_backend
def test_the_tour_is_as_printed(
    backend: str, tour_dev: Dev, require_program: Callable[..., str]
) -> None:
    require_program("curl", package="curl")
    if is_alone() or not can_be_alone():
        take_the_tour(tour_dev, backend)
    else:
        run_alone(f"{__file__}::test_the_tour_is_as_printed[{backend}]")


def take_the_tour(dev: Dev, backend: str) -> None:
    """Every command of the README, in order, and what it prints."""
    steps = console_steps((ROOT / "README.md").read_text("utf-8"))
    assert steps[0] == Step(START, "")
    assert [step.command for step in steps].count(START) == 1
    assert sum(KILLED in step.command for step in steps) == 1
    dev.start()
    environment = {
        **dev.client_environment,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done: list[Done] = []
    with Shell(ROOT, environment, within_s=60) as shell:
        for step in steps[1:]:
            command = on_ports_of(dev, step.command).replace(KILLED, str(dev.pid("n3")))
            result = shell.run(Step(command, on_ports_of(dev, step.printed)))
            # What the doctor finds is of this machine, which may be slow, and of the backend.
            is_judged = step.command == "sadik-node doctor"
            assert result.code in ((0, 1) if is_judged else (0,)), result
            if step.printed:
                assert result.output == result.step.printed
            done.append(result)
        check_what_the_text_says(done)

        asked = f"curl -s localhost:{dev.base}/v1/status"
        assert json.loads(shell.run(Step(asked, "")).output)["store"]["backend"] == backend
        hints = Step("sadik-node hints --json", "")
        assert json.loads(shell.run(hints).output)["by_node"].keys() == {"n3"}
        with brought_back(dev, "n3") as node:
            eventually(
                30, lambda: json.loads(shell.run(hints).output)["total"] == 0, "nothing waits"
            )
            third = f"{dev.scheme}://localhost:{dev.base + 20}"
            alone = Step(f"sadik-node get counts 100 --node {third}", "")
            assert shell.run(alone).output == "100"
            node.send_signal(signal.SIGTERM)
            assert node.wait(10) == 0
    assert dev.stop() == 0


def check_what_the_text_says(done: list[Done]) -> None:
    """What stands around the blocks, of commands whose output is not printed there."""

    def output(words: str) -> str:
        [found] = [each.output for each in done if words in each.step.command]
        return found

    explained = output("explain files greeting")
    assert all(name in explained for name in ("n1", "n2", "n3"))
    siblings = json.loads(next(each.output for each in done if "/carts/ada" in each.step.command
                               and each.output))  # fmt: skip
    assert sorted(each["text"] for each in siblings["siblings"]) == ["bread", "milk"]
    assert siblings["context"]
    assert output("seq 100") == "", "each write was acknowledged"
    members = output("sadik-node members").splitlines()
    states = [line for line in members if line.strip().startswith("n")]
    assert sum("down" in line or "suspect" in line for line in states) == 1, members
    hints = output("sadik-node hints")
    assert re.search(r"^n3 +[1-9]\d*$", hints, re.MULTILINE), hints
    looked_at = output("sadik-node top --once")
    assert all(name in looked_at for name in ("n1", "n2", "n3"))
    doctor = output("sadik-node doctor")
    assert re.search(r"^members +WARN +n3 is (down|suspect)$", doctor, re.MULTILINE), doctor
    ring = output("sadik-node ring")
    assert all(name in ring for name in ("n1", "n2", "n3"))
    assert output("/v1/ring").startswith('{"epoch": ')


def test_make_run_is_what_the_tour_starts(require_program: Callable[..., str]) -> None:
    make = require_program("make", package="make")
    readme = (ROOT / "README.md").read_text("utf-8")
    assert 'make run ARGS="--dir sqlite-data"' in readme, "another backend beside the first"
    command = [make, "--no-print-directory", "--dry-run", "run", "ARGS=--dir sqlite-data"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1].endswith("/sadik-node dev --dir sqlite-data")


def test_dev_started_again_has_the_data_it_had(dev: Dev) -> None:
    dev.start()
    environment = {**os.environ, "SADIK_NODE": f"http://127.0.0.1:{dev.base + 10}"}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "sadik_node", *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout

    run("put", "notes", "kept", "over night")
    assert "console" in dev.said
    assert "curl" in dev.said
    assert dev.stop() == 0
    dev.start()
    assert run("get", "notes", "kept").strip() == "over night"


def test_dev_outlives_a_dead_node_and_does_not_restart_it(dev: Dev) -> None:
    dev.start()
    os.kill(dev.pid("n2"), signal.SIGKILL)
    eventually(10, lambda: "n2 was killed" in dev.said, "dev says so")
    assert dev.process is not None
    assert dev.process.poll() is None
    with brought_back(dev, "n2") as node:
        name = f"http://127.0.0.1:{dev.base + 10}"
        command = [sys.executable, "-m", "sadik_node", "status", "--node", name]
        eventually(
            20,
            lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0,
            "the printed line brings it back",
        )
        node.send_signal(signal.SIGTERM)
        assert node.wait(10) == 0
    assert dev.stop() == 0


def test_nodes_end_with_the_dev_that_started_them(dev: Dev) -> None:
    dev.start()
    pids = [dev.pid(name) for name in ("n1", "n2", "n3")]
    assert dev.process is not None
    dev.process.kill()
    dev.process.wait()
    eventually(15, lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "all ended")
