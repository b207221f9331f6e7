"""``sadik-node dev``: real processes, told about, outlived, and ended. The nodes are stand-ins."""

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import stand_in_node
from sadik_node.cli.root import cli

pytestmark = pytest.mark.system

STARTED = re.compile(r"(n\d)  pid (\d+)  (http://\S+)")


def free_base_port(nodes: int = 3) -> int:
    """A port from which on those that the nodes need are free now."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            base = int(probe.getsockname()[1])
        ports = [base + 10 * i + j for i in range(nodes) for j in (0, 1)]
        with contextlib.suppress(OSError, OverflowError), contextlib.ExitStack() as stack:
            for port in ports:
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return base


class Dev:
    """A running ``dev``, with what it has printed."""

    def __init__(self, directory: Path, base_port: int, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, stand_in_node.__file__, "dev", "--dir", str(directory),
             "--base-port", str(base_port), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        self.printed = ""

    def until(self, text: str) -> None:
        assert self.process.stdout is not None
        while text not in self.printed:
            line = self.process.stdout.readline()
            assert line, f"it ended without {text!r}:\n{self.printed}"
            self.printed += line

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        self.printed += self.process.communicate(timeout=60)[0]
        return self.process.returncode

    @property
    def pids(self) -> dict[str, int]:
        return {name: int(pid) for name, pid, _ in STARTED.findall(self.printed)}


@contextlib.contextmanager
def running(directory: Path, base_port: int, *options: str) -> Iterator[Dev]:
    dev = Dev(directory, base_port, *options)
    try:
        yield dev
    finally:
        if dev.process.poll() is None:
            dev.end(signal.SIGTERM)
        for pid in dev.pids.values():
            assert is_gone(pid), "a node outlived its dev"


def is_gone(pid: int) -> bool:
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        readable, _, _ = select.select([watched], [], [], 30)
        return bool(readable)
    finally:
        os.close(watched)


def starts(directory: Path, name: str) -> list[str]:
    return (directory / name / "starts").read_text().splitlines()


def test_it_starts_nodes_tells_about_them_and_ends_them_on_ctrl_c(tmp_path: Path) -> None:
    base = free_base_port()
    directory = tmp_path / "data"
    with running(directory, base) as dev:
        dev.until("Ctrl-C")
        assert set(dev.pids) == {"n1", "n2", "n3"}
        for i, (name, pid, url) in enumerate(STARTED.findall(dev.printed)):
            assert url == f"http://127.0.0.1:{base + 10 * i}"
            assert f"{name} is ready" in dev.printed
            os.kill(int(pid), 0)
            line = starts(directory, name)[0]
            assert line.startswith(f"serve --name {name} --data-dir {directory}/{name} --http ")
            assert f"--peer 127.0.0.1:{base + 10 * i + 1}" in line
            assert f"{sys.executable} {stand_in_node.__file__} {line}\n" in dev.printed
        assert f"console: http://127.0.0.1:{base}/" in dev.printed
        assert f"curl http://127.0.0.1:{base + 20}/v1/kv/" in dev.printed
        assert dev.end() == 0
        assert "all nodes have ended" in dev.printed


def test_it_says_that_all_are_ready_when_the_ring_is_what_it_is_going_to_be(
    tmp_path: Path,
) -> None:
    base = free_base_port()
    with running(tmp_path / "data", base) as dev:
        dev.until("all 3 nodes are ready")
        with urllib.request.urlopen(f"http://127.0.0.1:{base}/v1/transfers", timeout=30) as answer:
            assert json.load(answer) == {"transfers": []}


def test_the_first_node_founds_and_later_all_know_each_other(tmp_path: Path) -> None:
    base = free_base_port()
    for _ in range(2):
        with running(tmp_path / "data", base) as dev:
            dev.until("Ctrl-C")
            assert dev.end(signal.SIGTERM) == 0
    joins = {
        name: [re.findall(r"--join \S+:(\d+)", line) for line in starts(tmp_path / "data", name)]
        for name in ("n1", "n2", "n3")
    }
    one, two, three = (str(base + 10 * i + 1) for i in range(3))
    assert joins == {
        "n1": [[], [two, three]],
        "n2": [[one], [one, three]],
        "n3": [[one], [one, two]],
    }


def test_it_outlives_a_killed_node_and_says_how_to_bring_it_back(tmp_path: Path) -> None:
    base = free_base_port()
    with running(tmp_path / "data", base) as dev:
        dev.until("Ctrl-C")
        os.kill(dev.pids["n2"], signal.SIGKILL)
        dev.until("n2 was killed by SIGKILL; bring it back with: ")
        line = dev.printed.splitlines()[-1].partition("bring it back with: ")[2]
        assert f"--name n2 --data-dir {tmp_path}/data/n2" in line
        with urllib.request.urlopen(f"http://127.0.0.1:{base}/readyz", timeout=30) as answer:
            assert answer.status == 200
        by_hand = subprocess.Popen(line.split())
        assert dev.end() == 0
        while len(starts(tmp_path / "data", "n2")) < 2:
            assert by_hand.poll() is None, "what was started by hand is its starter's"
        by_hand.terminate()
        by_hand.wait(60)


def test_nodes_do_not_outlive_a_dev_that_is_killed(tmp_path: Path) -> None:
    with running(tmp_path / "data", free_base_port()) as dev:
        dev.until("Ctrl-C")
        dev.end(signal.SIGKILL)


def test_a_node_that_does_not_come_up_is_told_with_its_last_words(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    base = free_base_port()
    with running(directory, base) as dev:
        dev.until("Ctrl-C")
        dev.end()
    (directory / "fail-n3").touch()
    with running(directory, base) as dev:
        assert dev.ended() == 1
        assert "n3 did not come up" in dev.printed
        assert "  n3: the clock is missing" in dev.printed


def test_a_node_that_does_not_end_is_killed_and_told(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    base = free_base_port()
    with running(directory, base) as dev:
        dev.until("Ctrl-C")
        dev.end()
    (directory / "stubborn-n2").touch()
    with running(directory, base) as dev:
        dev.until("Ctrl-C")
        assert dev.end() == 1
        assert "n2 did not end within 1 s; killing it" in dev.printed


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["dev", *arguments])
    return result.exit_code, result.stderr


def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    base = free_base_port()
    with socket.create_server(("127.0.0.1", base + 11)):
        code, said = invoke("--dir", str(tmp_path / "data"), "--base-port", str(base))
    assert code == 1
    assert f"port {base + 11}, peer of n2, cannot be had" in said
    assert "--base-port" in said
    assert not list((tmp_path / "data").glob("n*"))


def test_a_directory_of_another_number_of_nodes_is_refused(tmp_path: Path) -> None:
    base = free_base_port()
    directory = tmp_path / "data"
    with running(directory, base, "--nodes", "2") as dev:
        dev.until("Ctrl-C")
        code, said = invoke("--dir", str(directory), "--nodes", "2")
        assert (code, "another `sadik-node dev` runs on" in said) == (1, True)
        dev.end()
    code, said = invoke("--dir", str(directory), "--base-port", str(base))
    assert code == 2
    assert "was made with --nodes 2" in said


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 2, "nodes": 3, "formed": true}'])
def test_a_marker_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "dev.json").write_text(text)
    code, said = invoke("--dir", str(tmp_path))
    assert code == 2
    assert "dev.json" in said


def test_a_directory_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    code, said = invoke("--dir", str(tmp_path))
    assert code == 2
    assert "thesis.tex" in said


def test_a_place_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, said = invoke("--dir", str(tmp_path / "file"))
    assert code == 2
    assert "cannot be used" in said
