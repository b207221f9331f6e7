"""``top``: what two scrapes say of the time between them, and the view on a real terminal."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from contract_server import Server, serving
from sadik_metrics import NodeMetrics
from sadik_node.cli.root import cli
from sadik_node.cli.scrapes import Scrape, parse_metrics
from sadik_node.cli.top_figures import Row, row_between, total_of

MEMBER = {"name": "n1", "id": "1", "state": "up", "zone": "a"}


def scrape(metrics: NodeMetrics, at_s: float) -> Scrape:
    return parse_metrics(metrics.exposition().decode(), at_s)


def test_every_sample_of_a_node_is_read() -> None:
    metrics = NodeMetrics("1.0")
    metrics.requests["get", "ok"] = 7
    metrics.members["up"] = 3
    found = scrape(metrics, 0)
    assert found.total("sadik_requests_total") == 7
    assert found.total("sadik_requests_total", op=("put",)) == 0
    assert found.total("sadik_members", state=("up", "down")) == 3
    assert found.total("sadik_build_info", version=("1.0",)) == 1


def test_rates_and_latencies_are_of_the_time_between() -> None:
    metrics = NodeMetrics("1.0")
    metrics.requests["get", "ok"] = 1000
    for _ in range(1000):
        metrics.request_duration_seconds["get"].observe(5.0)
    before = scrape(metrics, 10)
    metrics.requests["get", "ok"] += 20
    metrics.requests["put", "failed"] += 4
    metrics.loop_steps = 1
    metrics.store_keys = 12
    for _ in range(20):
        metrics.request_duration_seconds["get"].observe(0.002)
    row = row_between(MEMBER, before, scrape(metrics, 12))
    assert (row.reads, row.writes, row.errors) == (10, 2, 2)
    assert row.read_ms == 2.5, "the slow reads were before"
    assert row.write_ms is None
    assert row.keys == 12


def test_a_first_look_a_restart_and_a_node_that_is_away_have_no_rates() -> None:
    metrics = NodeMetrics("1.0")
    metrics.loop_steps = 5
    older = scrape(metrics, 1)
    newer = scrape(NodeMetrics("1.0"), 2)
    assert row_between(MEMBER, None, newer).reads is None
    assert row_between(MEMBER, older, newer).reads is None
    away = row_between({**MEMBER, "state": "down"}, older, None)
    assert (away.state, away.reads, away.keys) == ("down", None, None)


def test_the_last_line_sums_what_is_known() -> None:
    rows = [Row("a", "up", reads=1.5, read_ms=5.0, hints=2), Row("b", "up", reads=2.0, read_ms=1.0),
            Row("c", "down")]  # fmt: skip
    total = total_of(rows)
    assert (total.state, total.reads, total.read_ms, total.hints) == ("2 up", 3.5, 5.0, 2)
    assert total.writes is None


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def test_json_is_one_look(server: Server) -> None:
    result = CliRunner().invoke(
        cli, ["top", "--json", "--every", "0.2"], env={"SADIK_NODE": server.url}
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert [node["name"] for node in document["nodes"]] == ["n1"]
    assert document["all"]["name"] == "all"


def test_without_a_terminal_a_table_is_printed_once(server: Server) -> None:
    result = CliRunner().invoke(cli, ["top", "--every", "0.2"], env={"SADIK_NODE": server.url})
    assert result.exit_code == 0, result.output
    assert "n1" in result.stdout
    assert "\x1b" not in result.stdout


def test_without_a_node_it_says_so() -> None:
    result = CliRunner().invoke(cli, ["top", "--node", "http://127.0.0.1:1"])
    assert result.exit_code == 1
    assert "sadik-node dev" in result.stderr


class Terminal:
    """``top`` on a pseudo-terminal of 80 columns, for its whole life."""

    def __init__(self, url: str) -> None:
        self._fd, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(other)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sadik_node", "top", "--every", "0.2", "--node", url],
            stdin=other,
            stdout=other,
            stderr=other,
            env={**os.environ, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        self._other = other
        self.shown = ""

    def read_until(self, done: str, within_s: float = 20) -> None:
        until = time.monotonic() + within_s
        while done not in self.shown:
            ready, _, _ = select.select([self._fd], [], [], max(0.0, until - time.monotonic()))
            assert ready, self.shown
            self.shown += os.read(self._fd, 65536).decode("utf-8", "replace")

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    @property
    def mode(self) -> list[object]:
        return termios.tcgetattr(self._other)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self._fd)
        os.close(self._other)


@pytest.mark.system
@pytest.mark.parametrize("end", ["q", "interrupt"])
def test_on_a_terminal_it_goes_on_until_told_and_leaves_it_as_it_was(
    server: Server, end: str
) -> None:
    terminal = Terminal(server.url)
    try:
        terminal.read_until("q ends")
        looks = len([path for _, path in server.requests if path == "/metrics"])
        terminal.shown = ""
        terminal.read_until("n1")
        terminal.read_until("all")
        assert len([path for _, path in server.requests if path == "/metrics"]) > looks
        if end == "q":
            terminal.type("q")
        else:
            terminal.process.send_signal(signal.SIGINT)
        terminal.read_until("\x1b[?1049l")  # back to the screen that was there
        assert terminal.process.wait(10) == 0
        assert terminal.mode == terminal.before
    finally:
        terminal.close()
