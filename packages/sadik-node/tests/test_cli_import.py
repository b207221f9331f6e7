"""``sadik-node import``: everything is there at the end, or it is listed."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from contract_server import Cluster, Server, serving
from sadik_node.cli.root import cli


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Cluster()) as server:
        yield server


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, value in FILES.items():
        path = root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)
    return root


FILES = {
    b"a": b"1",
    b"empty": b"",
    b"sub/deep/er/b.bin": bytes(range(256)),
    b"sub/with space and %": b"2",
    "grüße".encode(): b"3",
    b"latin-\xe4": b"4",
    b"line\nend": b"5",
}


def run(tree: Path, server: Server, *options: str) -> Result:
    arguments = ["import", str(tree), "b", "--node", server.url, "--patience", "5", *options]
    return CliRunner().invoke(cli, arguments)


def test_every_file_is_a_value_under_its_path(server: Server, tree: Path) -> None:
    result = run(tree, server)
    assert result.exit_code == 0, result.stderr
    assert (
        result.stdout
        == "import: 7 copied, 0 unchanged, 0 skipped, 0 failed; 261 bytes verified by hash\n"
    )
    assert {key: server.cluster.value(*key) for key in server.cluster.versions} == {
        ("b", key): value for key, value in FILES.items()
    }


def test_run_again_it_writes_only_what_differs(server: Server, tree: Path) -> None:
    run(tree, server)
    server.requests.clear()
    (tree / "a").write_bytes(b"changed")
    again = run(tree, server, "--json")
    assert json.loads(again.stdout)["unchanged"] == 6
    assert [path for method, path in server.requests if method == "PUT"] == ["/v1/kv/b/a"]
    assert server.cluster.value("b", b"a") == b"changed", "replaced, not put beside"


def test_a_value_of_someone_else_without_a_digest_is_replaced(server: Server, tree: Path) -> None:
    server.cluster.add("b", b"a", b"older")
    server.cluster.add("b", b"empty", b"one")
    server.cluster.add("b", b"empty", b"two")
    assert run(tree, server).exit_code == 0
    assert server.cluster.value("b", b"a") == b"1"
    assert server.cluster.value("b", b"empty") == b""


def test_what_exceeds_a_limit_or_is_no_file_is_listed_and_skipped(
    server: Server, tree: Path
) -> None:
    (tree / "big").write_bytes(bytes(1001))
    long = tree / ("d" * 200) / ("k" * 200)
    long.parent.mkdir()
    long.write_bytes(b"x")
    (tree / "link").symlink_to("a")
    (tree / "dirlink").symlink_to("/etc")
    os.mkfifo(tree / "pipe")
    result = run(tree, server)
    assert result.exit_code == 1
    skipped = [line for line in result.stderr.splitlines() if line.startswith("skipped ")]
    assert len(skipped) == 5
    for name, reason in (("big", "1000 bytes are accepted"), ("ddd", "401 bytes, above 400"),
                         ("link", "symbolic link"), ("dirlink", "symbolic link"),
                         ("pipe", "special file")):  # fmt: skip
        assert any(line.startswith(f"skipped {name}") and reason in line for line in skipped)
    assert len(server.cluster.versions) == len(FILES), "all the others are there"
    problems = json.loads(run(tree, server, "--json").stdout)["problems"]
    assert [each["key"] for each in problems] == sorted(each["key"] for each in problems)


def test_the_buckets_own_limit_is_known_before_a_body_is_sent(server: Server, tree: Path) -> None:
    server.cluster.properties["b"] = {"value_bytes": 100}
    result = run(tree, server)
    assert result.exit_code == 1
    assert "skipped sub/deep/er/b.bin: it has 256 bytes, above the limit of 100" in result.stderr


def test_a_file_of_400_bytes_of_path_fits(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "t" / ("d" * 200) / ("k" * 199)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert run(tmp_path / "t", server).exit_code == 0


def test_it_goes_on_when_its_node_dies(tree: Path) -> None:
    cluster = Cluster()
    with serving(cluster) as other:
        first = Server(cluster)
        dying = threading.Event()

        def kill() -> None:
            dying.wait()
            first.end()

        killer = threading.Thread(target=kill)
        killer.start()
        fates = iter([None, None, None, "apply and drop"])

        def die_after_three(method: str, path: str) -> str | None:
            if method != "PUT":
                return None
            fate = next(fates, "drop")
            if fate == "drop":
                dying.set()
            return fate

        first.fault = die_after_three
        result = run(tree, first)
        dying.set()
        killer.join()
        assert result.exit_code == 0, result.stderr
        assert {key: cluster.value("b", key) for key in FILES} == FILES
        assert any(method == "PUT" for method, _ in other.requests)


@pytest.mark.parametrize("fault", ["apply and drop", "drop", "504", "500"])
def test_after_an_unclear_write_it_looks_before_it_writes_again(
    server: Server, tree: Path, fault: str
) -> None:
    failed: set[str] = set()

    def first_put_fails(method: str, path: str) -> str | None:
        if method != "PUT" or path in failed:
            return None
        failed.add(path)
        return fault

    server.fault = first_put_fails
    result = run(tree, server)
    assert result.exit_code == 0, result.stderr
    # One version each: what was applied unseen was found, or replaced by its context.
    assert {key: server.cluster.value("b", key) for key in FILES} == FILES
    expected = len(FILES) * (1 if fault == "apply and drop" else 2)
    assert sum(method == "PUT" for method, _ in server.requests) == expected


def test_two_equal_siblings_of_a_retried_write_end_as_one_version(
    server: Server, tree: Path
) -> None:
    done: set[str] = set()

    def late_copy(method: str, path: str) -> str | None:
        # A write that was given up for lost shows up beside the one that took its place.
        if method == "GET" and path == "/v1/kv/b/a" and path not in done:
            done.add(path)
            server.cluster.add("b", b"a", b"1")
        return None

    server.fault = late_copy
    result = run(tree, server)
    assert result.exit_code == 0, result.stderr
    assert server.cluster.value("b", b"a") == b"1"


def test_try_later_is_tried_later(server: Server, tree: Path) -> None:
    refusals = iter(["503"] * 10)
    server.fault = lambda method, path: next(refusals, None) if "/kv/" in path else None
    result = run(tree, server)
    assert result.exit_code == 0, result.stderr
    assert all(method == "HEAD" for method, _ in server.requests[2:9]), "and first only asked"


def test_what_stays_refused_is_listed_and_fails(server: Server, tree: Path) -> None:
    server.fault = lambda method, path: "409" if method == "PUT" and path.endswith("/a") else None
    result = run(tree, server)
    assert result.exit_code == 1
    assert "failed a: 409 a fault" in result.stderr
    assert "6 copied, 0 unchanged, 0 skipped, 1 failed" in result.stdout


def test_a_value_that_is_not_what_was_stored_is_found_at_the_end(
    server: Server, tree: Path
) -> None:
    def damaged(method: str, path: str) -> str | None:
        if method == "GET" and path == "/v1/kv/b/a":
            digest = hashlib.sha256(b"1").hexdigest()
            server.cluster.versions["b", b"a"] = {9: (b"7", {"Sadik-Meta-Sha256": digest})}
        return None

    server.fault = damaged
    result = run(tree, server)
    assert result.exit_code == 1
    assert "failed a: another value is there" in result.stderr


def test_a_lost_value_is_found_at_the_end(server: Server, tree: Path) -> None:
    def lost(method: str, path: str) -> str | None:
        if method == "GET" and path == "/v1/kv/b/a":
            server.cluster.versions.pop(("b", b"a"), None)
        return None

    server.fault = lost
    result = run(tree, server)
    assert result.exit_code == 1
    assert "failed a: it is not there any more" in result.stderr


def test_a_terminal_gets_a_bar_and_a_file_lines(server: Server, tree: Path) -> None:
    terminal, its_end = os.openpty()
    (tree / "link").symlink_to("a")
    command = [sys.executable, "-m", "sadik_node", "import", str(tree), "b", "--node", server.url]
    done = subprocess.run(
        command, stderr=its_end, stdout=subprocess.PIPE, timeout=60, check=False,
        env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(its_end)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that the terminal's other end is closed
        while chunk := os.read(terminal, 65536):
            shown += chunk
    os.close(terminal)
    assert done.returncode == 1
    assert done.stdout.startswith(b"import: 7 copied")
    assert b"import" in shown
    assert "━".encode() in shown
    assert b"skipped link: is a symbolic link" in shown
    piped = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert piped.stderr == b"skipped link: is a symbolic link\n"


def test_what_is_no_node_is_told(server: Server, tree: Path) -> None:
    server.views["/v1/members"] = []
    result = run(tree, server)
    assert result.exit_code == 1
    assert "does not answer as a node does" in result.stderr


def test_without_a_node_it_ends_at_once(server: Server, tree: Path) -> None:
    server.end()
    result = run(tree, server)
    assert result.exit_code == 1
    assert "nothing answers at" in result.stderr


# Tests that run in the background of a shell inherit that an interrupt is ignored.
AT_A_TERMINAL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from sadik_node.cli import main
main()
"""


def test_ctrl_c_ends_it_and_says_how_to_go_on(server: Server, tree: Path) -> None:
    reached = threading.Event()

    def hang(method: str, path: str) -> str | None:
        if method == "PUT":
            reached.set()
            return "503"
        return None

    server.fault = hang
    with subprocess.Popen(
        [sys.executable, "-c", AT_A_TERMINAL, "import", str(tree), "b", "--node", server.url],
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert reached.wait(60)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    assert b"run it again to go on" in errors
    assert b"Traceback" not in errors
