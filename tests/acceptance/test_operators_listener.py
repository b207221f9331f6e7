"""``listen.admin``: operators' things are there, clients' port has none of them, and both are kept.

Real nodes with a listener of their own for operators, asked by HTTP, from the command line, and by
a browser.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from browser import open_browser
from command import sadik
from http_checks import check_problem
from raw_http import RawConnection
from real_cluster import RealCluster, RealNode, eventually, free_ports
from secured_cluster import run_sadik

CLIENTS_TOO = ("/healthz", "/readyz", "/v1/members", "/v1/ring", "/v1/openapi.json", "/v1/buckets",
               "/v1/kv/b")  # fmt: skip
OPERATORS_ALONE = ("/", "/console/app.js", "/metrics", "/v1/status", "/v1/hints", "/v1/transfers",
                   "/v1/explain/b/k", "/v1/plan?leave=n1", "/v1/backup/sums")  # fmt: skip
ACTS = ("/v1/repair", "/v1/scrub", "/v1/members/n2/leave", "/v1/members/n2/remove", "/v1/restore")


def divided(root: Path, nodes: int, environment: dict[str, str] | None = None) -> RealCluster:
    """A cluster, not started, whose nodes have a listener for operators."""
    cluster = RealCluster(root, nodes=nodes, environment=environment)
    for node in cluster.nodes:
        taken = {port for each in cluster.nodes for port in (each.http_port, each.peer_port)}
        while node.admin_port is None or node.admin_port in taken:
            (node.admin_port,) = free_ports(1)
    return cluster


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    with divided(tmp_path_factory.mktemp("two"), 2) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture
def one(tmp_path: Path) -> Iterator[RealNode]:
    """A node of a test's own, not started."""
    with divided(tmp_path, 1) as cluster:
        yield cluster.nodes[0]


def start(node: RealNode) -> None:
    node.start()
    eventually(20, node.is_ready, node.log.read_text("utf-8"))


# Who is served what


@pytest.mark.parametrize("path", CLIENTS_TOO)
def test_what_clients_need_is_served_at_both(two: RealCluster, path: str) -> None:
    node = two.nodes[0]
    assert node.ask("GET", path).status == 200
    assert node.ask_operators("GET", path).status == 200


@pytest.mark.parametrize("path", OPERATORS_ALONE)
def test_what_is_the_operators_is_served_there_alone(two: RealCluster, path: str) -> None:
    node = two.nodes[0]
    assert node.ask_operators("GET", path).status in (200, 404)
    told = check_problem(node.ask("GET", path), 421)
    assert told["type"] == "urn:sadik:problem:operators-listener"
    assert told["operators"] == node.operators_url
    assert "listen.admin" in told["detail"]
    assert node.ask("HEAD", path).status == 421


@pytest.mark.parametrize("path", ACTS)
def test_nothing_is_done_at_the_clients_listener(two: RealCluster, path: str) -> None:
    node = two.nodes[0]
    assert check_problem(node.ask("POST", path, b""), 421)["operators"] == node.operators_url
    assert [each["state"] for each in node.ask("GET", "/v1/members").json()["members"]] == [
        "up", "up",
    ]  # fmt: skip


def test_metrics_tell_of_both_and_count_who_was_sent_away(two: RealCluster) -> None:
    node = two.nodes[0]

    def sent_away() -> int:
        text = node.ask_operators("GET", "/metrics").body.decode()
        (line,) = [
            each for each in text.splitlines() if each.startswith("sadik_rejected_total{")
            and '"listener"' in each
        ]  # fmt: skip
        return int(float(line.rpartition(" ")[2]))

    before = sent_away()
    assert node.ask("GET", "/metrics").status == 421
    assert sent_away() == before + 1


def test_a_web_page_cannot_drive_the_operators_listener(two: RealCluster) -> None:
    node = two.nodes[0]
    own = f"127.0.0.1:{node.admin_port}"
    asks = node.ask_operators
    foreign = asks("GET", "/v1/status", headers={"Host": "evil.example"})
    assert "loopback" in check_problem(foreign, 421)["detail"]
    for origin in ("http://evil.example", f"http://127.0.0.1:{node.http_port}"):
        check_problem(asks("POST", "/v1/scrub", b"", headers={"Origin": origin}), 403)
    headers = {"Host": own, "Origin": f"http://{own}"}
    assert asks("POST", "/v1/scrub", b"", headers=headers).status in (200, 202)


def test_the_console_works_there(
    two: RealCluster, require_program: Callable[..., str], tmp_path: Path
) -> None:
    chromium = require_program("chromium", package="chromium")
    driver = require_program("chromedriver", package="chromium-driver")
    node = two.nodes[1]
    put = node.ask_operators("PUT", "/v1/kv/shop/ada", b"milk", {"Content-Type": "text/plain"})
    assert put.status == 204
    with open_browser(chromium, driver, tmp_path) as browser:
        browser.go(node.operators_url)
        browser.reads("h1", "Sadik n2")
        browser.reads("#health", "ready")
        browser.go(f"{node.operators_url}#keys")
        browser.fill("#list input[name=bucket]", "shop")
        browser.click("#list button")
        browser.reads("#listed", "ada")
        browser.click("#listed button")
        browser.counts("#where .state.ok", 2)
        browser.fill("#found textarea", "bread")
        browser.click_text("button", "Replace it")
        browser.reads("#found", "Stored.")
        assert node.ask("GET", "/v1/kv/shop/ada").body == b"bread"
        assert browser.complaints() == []


# Command line


@pytest.mark.parametrize(
    "verb",
    [
        ("status",), ("members",), ("ring",), ("hints",), ("transfers",), ("plan", "--leave", "n2"),
        ("repair",), ("scrub",), ("put", "b", "k", "v"), ("explain", "b", "k"), ("list", "b"),
        ("staleness",), ("version",), ("bucket", "show", "b"),
    ],
    ids=lambda verb: verb[0],
)  # fmt: skip
def test_every_verb_works_at_the_operators_listener(
    two: RealCluster, verb: tuple[str, ...]
) -> None:
    done = sadik(*verb, SADIK_NODE=two.nodes[0].operators_url)
    assert done.returncode == 0, done.stderr


def test_verbs_that_ask_every_node_find_each_ones_listener(
    two: RealCluster, tmp_path: Path
) -> None:
    for url in (two.nodes[0].operators_url, two.nodes[0].url):
        done = sadik("top", "--once", "--every", "0.2", "--json", SADIK_NODE=url)
        assert done.returncode == 0, done.stderr
        rows = json.loads(done.stdout)["nodes"]
        assert [row["name"] for row in rows] == ["n1", "n2"]
        assert all(row["rows"] is not None for row in rows), "each has told its figures"
    at = {"SADIK_NODE": two.nodes[0].operators_url}
    two.nodes[0].ask("PUT", "/v1/kv/kept/k", b"v")
    done = sadik("backup", str(tmp_path / "vault"), "--json", **at)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["records"] >= 1
    done = sadik("restore", str(tmp_path / "vault"), "--json", **at)
    assert done.returncode == 0, done.stderr
    done = sadik("doctor", "--json", "--data-dir", str(tmp_path / "d"), **at)
    told = [each for each in json.loads(done.stdout)["findings"] if each["what"] == "reachability"]
    assert [each["verdict"] for each in told] == ["ok"], told


def test_no_node_is_taken_for_another(tmp_path: Path) -> None:
    with divided(tmp_path, 2) as cluster:
        first, second = cluster.nodes
        # As through a tunnel: what the first tells is, from here, the second.
        first.options += ["--advertise-admin", f"127.0.0.1:{second.admin_port}"]
        cluster.start()
        done = sadik("top", "--once", "--every", "0.2", "--json", SADIK_NODE=first.url)
        assert done.returncode == 0, done.stderr
        rows = {row["name"]: row["rows"] for row in json.loads(done.stdout)["nodes"]}
        assert rows["n1"] is None
        assert rows["n2"] is not None
        done = sadik("backup", str(tmp_path / "vault"), "--patience", "1", SADIK_NODE=second.url)
        assert done.returncode == 1
        assert "listen.admin" in done.stderr


def test_a_verb_at_the_wrong_listener_is_told_the_right_one(two: RealCluster) -> None:
    node = two.nodes[0]
    done = sadik("status", SADIK_NODE=node.url)
    assert done.returncode == 1
    assert node.operators_url in done.stderr
    assert "--node" in done.stderr


def test_a_node_leaves_by_word_of_the_operators_listener(tmp_path: Path) -> None:
    with divided(tmp_path, 2) as cluster:
        cluster.start()
        first, second = cluster.nodes
        done = sadik("leave", SADIK_NODE=second.operators_url)
        assert done.returncode == 0, done.stderr
        assert "n2 has left" in done.stderr
        assert second.process is not None
        assert second.process.wait(15) == 0
        assert first.ask_operators("GET", "/v1/transfers").json()["transfers"] == []


# Tokens


def test_scopes_hold_at_both_listeners(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"

    def token(name: str, scope: str) -> dict[str, str]:
        drawn = sadik("token", "add", str(file), name, "--scope", scope).stdout.strip()
        return {"Authorization": f"Bearer {drawn}"}

    app, operator = token("app", "write:app-"), token("op", "admin")
    with divided(tmp_path, 1, {"SADIK_AUTH__TOKENS": str(file)}) as cluster:
        (node,) = cluster.nodes
        start(node)
        for ask in (node.ask, node.ask_operators):
            assert ask("PUT", "/v1/kv/app-1/k", b"v").status == 401
            assert ask("PUT", "/v1/kv/app-1/k", b"v", app).status == 204
            assert ask("PUT", "/v1/kv/other/k", b"v", app).status == 403
            assert ask("PUT", "/v1/kv/other/k", b"v", operator).status == 204
            # Who shows no token learns nothing of where operators are.
            for path in ("/metrics", "/v1/status", "/v1/plan?leave=n1"):
                assert ask("GET", path).status == 401
            assert ask("POST", "/v1/repair", b"").status == 401
            assert ask("POST", "/v1/repair", b"", app).status == 403
        at = node.operators_url
        page = check_problem(node.ask("GET", "/"), 421)
        assert at not in json.dumps(page)
        assert "operators" not in page
        assert node.ask_operators("GET", "/").status == 200
        for path in ("/metrics", "/v1/status"):
            assert check_problem(node.ask("GET", path, headers=app), 421)["operators"] == at
            assert node.ask_operators("GET", path, headers=app).status == 200
        assert check_problem(node.ask("POST", "/v1/repair", b"", operator), 421)["operators"] == at
        assert node.ask_operators("POST", "/v1/repair", b"", operator).status in (200, 202)
        assert node.stop() == 0


# When clients take everything


def test_operators_get_through_when_clients_have_every_connection(one: RealNode) -> None:
    one.environment["SADIK_LIMITS__CONNECTIONS"] = "10"
    start(one)
    busy: list[RawConnection] = []
    try:
        for _ in range(10):
            each = RawConnection(one)
            busy.append(each)
            # It waits for a body that it asked for: a connection that is not closed for another.
            each.send(
                b"PUT /v1/kv/b/k HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                b"Content-Length: 4\r\n\r\n"
            )
            assert each.read_answer().status == 100

        def is_full() -> bool:
            return one.ask("PUT", "/v1/kv/b/other", b"v").status == 503

        eventually(10, is_full, "clients are told that there is no room")
        # Far beyond the limit of clients, one after another and all at once.
        several = [RawConnection(one, port=one.admin_port) for _ in range(9)]
        for each in several:
            each.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for each in several:
            assert each.read_answer().status == 200
        assert one.ask_operators("PUT", "/v1/kv/b/other", b"v").status == 204
        assert one.ask_operators("GET", "/v1/status").json()["requests"]["connections"] >= 19
        assert is_full()
        for each in several:
            each.close()
        for each in busy:
            each.send(b"half")
            assert each.read_answer().status == 204
    finally:
        for each in busy:
            each.close()
    assert one.stop() == 0


def test_operators_get_through_when_clients_hold_all_the_memory(one: RealNode) -> None:
    one.environment["SADIK_LIMITS__HELD_BYTES"] = str(2**20)
    start(one)
    holding = RawConnection(one)
    try:
        holding.send(
            b"PUT /v1/kv/b/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n"
        )
        holding.send(b"x" * (2**20 - 1))

        def is_full() -> bool:
            return one.ask("PUT", "/v1/kv/b/other", b"v").status == 503

        eventually(10, is_full, "clients are told that there is no room")
        assert one.ask_operators("PUT", "/v1/kv/b/other", b"v").status == 204
        assert one.ask_operators("GET", "/v1/kv/b/other").body == b"v"
        assert one.ask_operators("GET", "/v1/hints").status == 200
        assert is_full()
    finally:
        holding.close()
    assert one.stop() == 0


# The end


def test_sigterm_drains_both(one: RealNode) -> None:
    start(one)
    ports = (one.http_port, one.admin_port or 0)
    idle = [RawConnection(one, port=port) for port in ports]
    under_way = [RawConnection(one, port=port) for port in ports]
    for each in under_way:
        each.send(b"PUT /v1/kv/b/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nha")
    eventually(
        10, lambda: one.ask_operators("GET", "/v1/status").json()["requests"]["connections"] >= 5,
        "all are taken",
    )  # fmt: skip
    one.signal(signal.SIGTERM)

    def is_closed(port: int) -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            return True
        return False

    for port in ports:
        eventually(10, partial(is_closed, port), f"{port} takes nobody any more")
    for each in idle:
        assert each.is_ended()
    for each in under_way:
        each.send(b"lf")
        answer = each.read_answer()
        assert answer.status == 204
        assert answer.headers["connection"] == "close"
        assert each.is_ended()
    assert one.process is not None
    assert one.process.wait(10) == 0
    for each in (*idle, *under_way):
        each.close()


# Configuration


def serve(root: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    http, peer = free_ports(2)
    return sadik(
        "serve", "--name", "n1", "--data-dir", str(root / "data"), "--http", f"127.0.0.1:{http}",
        "--peer", f"127.0.0.1:{peer}", *options, **environment,
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def test_beyond_loopback_it_asks_or_is_insecure_by_name(tmp_path: Path) -> None:
    said = ("listen.admin", "operators are not asked who they are", "--insecure")
    refused(serve(tmp_path, "--admin", "0.0.0.0:0"), 2, *said)
    tokens = str(tmp_path / "tokens.toml")
    run_sadik("token", "add", tokens, "op", "--scope", "admin")
    # A token in the clear is anybody's.
    refused(serve(tmp_path, "--admin", "0.0.0.0:0", SADIK_AUTH__TOKENS=tokens), 2, *said)
    refused(serve(tmp_path, SADIK_LISTEN__ADMIN="[::]:0"), 2, *said)


def test_impossible_addresses_are_refused(tmp_path: Path) -> None:
    same = f"127.0.0.1:{free_ports(1)[0]}"
    done = serve(tmp_path, "--admin", same, "--peer", same)
    refused(done, 2, "listen.admin", "the address of listen.peer too")
    done = serve(tmp_path, "--advertise-admin", "n1.example:7072")
    refused(done, 2, "listen.advertise_admin", "listen.admin is not")
    done = serve(tmp_path, SADIK_TLS__ADMIN__CERT="c.pem", SADIK_TLS__ADMIN__KEY="k.pem")
    refused(done, 2, "tls.admin.cert", "listen.admin is not")
    done = serve(tmp_path, "--admin", same, SADIK_TLS__ADMIN__CERT="c.pem")
    refused(done, 2, "tls.admin.key", "is not said, though tls.admin.cert is")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        done = serve(tmp_path, "--admin", where)
        refused(done, 1, f"cannot listen for operators at {where} (listen.admin)", "taken")


def test_it_has_a_certificate_of_its_own_or_the_clients(tmp_path: Path, one: RealNode) -> None:
    pki, file = tmp_path / "pki", tmp_path / "tokens.toml"
    run_sadik("certs", "init", str(pki))
    for name in ("n1", "operators"):
        run_sadik("certs", "issue", str(pki), name, "--host", "127.0.0.1")
    token = tmp_path / "op.token"
    token.write_text(sadik("token", "add", str(file), "op", "--scope", "admin").stdout)
    one.environment |= {
        "SADIK_AUTH__TOKENS": str(file),
        "SADIK_TLS__ADMIN__CERT": str(pki / "operators.crt"),
        "SADIK_TLS__ADMIN__KEY": str(pki / "operators.key"),
        # Beyond loopback, and asking: that is all it takes.
        "SADIK_LISTEN__ADVERTISE_ADMIN": f"127.0.0.1:{one.admin_port}",
    }
    one.options += ["--admin", f"0.0.0.0:{one.admin_port}"]
    start(one)
    at = f"https://127.0.0.1:{one.admin_port}"
    asked = ("--node", at, "--ca", str(pki / "ca.crt"), "--token-file", str(token))
    assert sadik("status", *asked).returncode == 0
    told = check_problem(
        one.ask(
            "GET", "/metrics", headers={"Authorization": f"Bearer {token.read_text().strip()}"}
        ),
        421,
    )
    assert told["operators"] == at
    run_sadik("certs", "issue", str(pki), "operators", "--host", "127.0.0.1")
    eventually(
        15, lambda: "reloaded what=tls.admin" in one.log.read_text("utf-8"), "it is read anew"
    )
    assert sadik("status", *asked).returncode == 0
    assert one.stop() == 0
    log = one.log.read_text("utf-8")
    assert "insecure" not in log
    # Without one of its own it shows what clients are shown.
    for word, name in (("CERT", "n1.crt"), ("KEY", "n1.key")):
        del one.environment[f"SADIK_TLS__ADMIN__{word}"]
        one.environment[f"SADIK_TLS__HTTP__{word}"] = str(pki / name)
    one.start()
    eventually(20, lambda: sadik("status", *asked).returncode == 0, one.log.read_text("utf-8"))
    assert one.stop() == 0
