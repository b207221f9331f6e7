"""``doctor``: each thing that can be wrong with a machine is found, with what to do about it."""

import json
import socket
import time
from collections.abc import Iterator
from email.utils import formatdate
from importlib.metadata import version
from pathlib import Path

import pytest
from attrs import evolve
from click.testing import CliRunner

from contract_server import Server, serving
from sadik_node.address import Address
from sadik_node.cli.root import cli
from sadik_node.doctor import (
    Finding,
    Told,
    Verdict,
    disk,
    examine_disk,
    examine_limits,
    examine_members,
    examine_ports,
    examine_secrets,
    examine_seeds,
    examine_versions,
    machine,
)
from sadik_node.settings import (
    Auth,
    Cluster,
    Limits,
    Listen,
    Node,
    PeerTls,
    Settings,
    Tls,
    TlsFiles,
)


@pytest.fixture(autouse=True)
def _quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_SYNCS_MAX", 3)
    monkeypatch.setattr(disk, "_STREAM_BYTES", 1 << 16)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


def verdicts(findings: Iterator[Finding]) -> dict[str, Verdict]:
    return {each.what: each.verdict for each in findings}


def settings_in(directory: Path) -> Settings:
    return Settings(node=Node(name="n1", data_dir=directory))


def test_what_is_installed_here_is_alike() -> None:
    assert set(verdicts(examine_versions()).values()) == {Verdict.OK}


def test_packages_of_another_version_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        machine,
        "_version_of",
        lambda name: "9.9" if name == "sadik-vnode" else version("sadik-node"),
    )
    [found] = [each for each in examine_versions() if each.verdict is Verdict.FAIL]
    assert "sadik-vnode 9.9" in found.found
    assert "pip install" in found.advice


def test_a_clock_that_nothing_keeps_right_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for state, verdict in ((5, Verdict.WARN), (0, Verdict.OK), (None, Verdict.SKIP)):
        monkeypatch.setattr(machine, "_clock_state", lambda state=state: state)
        assert verdicts(machine.examine_clock()) == {"clock": verdict}


def test_the_system_is_asked_for_the_clock() -> None:
    assert machine._clock_state() in (None, 0, 1, 2, 3, 4, 5)


def test_limits_are_held_against_the_configuration(tmp_path: Path) -> None:
    modest = evolve(settings_in(tmp_path), limits=Limits(connections=1))
    assert verdicts(examine_limits(modest))["open files"] is Verdict.OK
    greedy = Limits(connections=1_000_000, held_bytes=2**40)
    found = verdicts(examine_limits(evolve(modest, limits=greedy)))
    assert found["memory"] is Verdict.WARN


def test_the_disk_is_measured_and_left_as_it_was(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    mounts = tmp_path.parent / "mounts"
    mounts.write_text("/dev/a / ext4 rw 0 0\n")
    found = {each.what: each for each in examine_disk(settings_in(tmp_path), mounts)}
    assert found["sync"].verdict in (Verdict.OK, Verdict.WARN, Verdict.FAIL)
    assert "3 syncs" in found["sync"].found or "5 syncs" in found["sync"].found
    assert found["data directory"].verdict is Verdict.OK
    assert found["file system"].found == "ext4"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_is_judged_by_the_one_above(tmp_path: Path) -> None:
    found = {each.what: each for each in examine_disk(settings_in(tmp_path / "a" / "b"))}
    assert str(tmp_path) in found["data directory"].found
    assert not (tmp_path / "a").exists()


def test_a_file_system_that_forgets_or_is_far_away_is_told(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    for kind, verdict in (("tmpfs", Verdict.FAIL), ("nfs4", Verdict.WARN)):
        mounts.write_text(f"/dev/a / ext4 rw 0 0\nx {tmp_path} {kind} rw 0 0\nbroken\n")
        assert verdicts(examine_disk(settings_in(tmp_path), mounts))["file system"] is verdict


def test_an_open_directory_and_a_full_or_slow_disk_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setattr(disk, "_measure", lambda place: ([300.0] * 5, 1e6))
    full = evolve(settings_in(tmp_path), limits=Limits(free_bytes=2**50))
    found = verdicts(examine_disk(full))
    assert found["data directory"] is Verdict.WARN
    assert found["room"] is Verdict.FAIL
    assert found["sync"] is Verdict.FAIL


def test_a_port_that_is_taken_is_told_unless_the_node_itself_has_it(
    listener: socket.socket,
) -> None:
    listen = Listen(
        http=Address("127.0.0.1", listener.getsockname()[1]),
        peer=Address("127.0.0.1", 0),
        advertise=Address("no-such-host.invalid", 1),
    )
    found = {each.what: each for each in examine_ports(Settings(listen=listen), None)}
    assert found["listen.http"].verdict is Verdict.FAIL
    assert "ss -ltnp" in found["listen.http"].advice
    assert found["listen.peer"].verdict is Verdict.OK
    assert found["listen.advertise"].verdict is Verdict.FAIL
    own = verdicts(examine_ports(Settings(listen=evolve(listen, advertise=None)), "n1"))
    assert set(own.values()) == {Verdict.OK}
    elsewhere = evolve(listen, http=Address("192.0.2.1", 7070))
    foreign = next(iter(examine_ports(Settings(listen=elsewhere), None)))
    assert "ip addr" in foreign.advice


def test_seeds_are_dialled(listener: socket.socket) -> None:
    there = Address("127.0.0.1", listener.getsockname()[1])
    with socket.create_server(("127.0.0.1", 0)) as closed:
        gone = Address("127.0.0.1", closed.getsockname()[1])
    found = list(examine_seeds(Settings(cluster=Cluster(join=(there, gone)))))
    assert [each.verdict for each in found] == [Verdict.OK, Verdict.WARN]
    assert "connection refused" in found[1].found.lower()


def test_secrets_are_loaded_as_a_node_would(tmp_path: Path) -> None:
    nothing = verdicts(examine_secrets(Settings()))
    assert nothing == {"secrets": Verdict.SKIP, "exposure": Verdict.OK}
    runner = CliRunner()
    secret, pki = tmp_path / "cluster.secret", tmp_path / "pki"
    assert runner.invoke(cli, ["secret", "new", str(secret)]).exit_code == 0
    assert runner.invoke(cli, ["certs", "init", str(pki)]).exit_code == 0
    issued = ["certs", "issue", str(pki), "n1", "--days", "90"]
    assert runner.invoke(cli, issued).exit_code == 0
    files = PeerTls(cert=pki / "n1.crt", key=pki / "n1.key", ca=pki / "ca.crt")
    secured = Settings(
        node=Node(name="n1"), tls=Tls(peer=files), auth=Auth(cluster_secret_file=secret)
    )
    now_s = time.time()

    def found(after_days: int) -> dict[str, Verdict]:
        return verdicts(examine_secrets(secured, now_s + 86_400 * after_days))

    assert set(found(1).values()) == {Verdict.OK}
    assert found(70)["certificate"] is Verdict.WARN
    assert found(100)["certificate"] is Verdict.FAIL
    secret.chmod(0o644)
    assert found(1)["secrets"] is Verdict.FAIL
    secret.chmod(0o600)
    (pki / "n1.key").unlink()
    assert found(1)["secrets"] is Verdict.FAIL


def test_what_clients_are_shown_is_looked_at_too(tmp_path: Path) -> None:
    runner, pki, tokens = CliRunner(), tmp_path / "pki", tmp_path / "tokens.toml"
    assert runner.invoke(cli, ["certs", "init", str(pki)]).exit_code == 0
    for name, days in (("n1", "90"), ("operators", "40")):
        issued = ["certs", "issue", str(pki), name, "--days", days]
        assert runner.invoke(cli, issued).exit_code == 0
    added = ["token", "add", str(tokens), "op", "--scope", "admin"]
    assert runner.invoke(cli, added).exit_code == 0
    tls = Tls(
        http=TlsFiles(pki / "n1.crt", pki / "n1.key"),
        admin=TlsFiles(pki / "operators.crt", pki / "operators.key"),
    )
    secured = Settings(tls=tls, auth=Auth(tokens=tokens))

    def found(after_days: int) -> list[tuple[Verdict, str]]:
        all_of = examine_secrets(secured, time.time() + 86_400 * after_days)
        return [(each.verdict, each.found) for each in all_of if each.what == "certificate"]

    assert [verdict for verdict, _ in found(1)] == [Verdict.OK, Verdict.OK]
    (first, _), (second, text) = found(15)
    assert (first, second) == (Verdict.OK, Verdict.WARN)
    assert "operators.crt" in text
    assert [verdict for verdict, _ in found(45)] == [Verdict.OK, Verdict.FAIL]
    assert verdicts(examine_secrets(secured))["secrets"] is Verdict.OK
    tokens.write_text("no tokens")
    assert verdicts(examine_secrets(secured))["secrets"] is Verdict.FAIL


def told(who: str, date_s: float, **status: object) -> Told:
    whole = {"version": "1", "store": {"durable": True, "short_of_space": False},
             "hints": {"pending": 0}, "tombstones": {"waits_for": []}, **status}  # fmt: skip
    return Told(who, "", whole, formatdate(date_s, usegmt=True), 1000.5)


def test_a_cluster_that_is_well_needs_nothing(listener: socket.socket) -> None:
    peer = f"127.0.0.1:{listener.getsockname()[1]}"
    members = [{"name": n, "state": "up", "http": "h:1", "peer": peer} for n in ("n1", "n2")]
    answers = [told("n1", 1000), told("n2", 1000)]
    found = list(examine_members({"name": "n1", "ready": True}, members, answers))
    assert {each.verdict for each in found} == {Verdict.OK}, found


def test_everything_that_ails_a_cluster_is_told(listener: socket.socket) -> None:
    peer = f"127.0.0.1:{listener.getsockname()[1]}"
    members = [
        {"name": "n1", "state": "up", "http": "h:1", "peer": peer},
        {"name": "n2", "state": "up", "http": "h:2", "peer": peer},
        {"name": "n3", "state": "down", "http": "h:3", "peer": peer},
        {"name": "n4", "state": "left", "http": "h:4", "peer": peer},
    ]
    answers = [
        told("n1", 900, store={"durable": False, "short_of_space": True},
             tombstones={"waits_for": ["n3"]}, version="2"),
        told("n3", 1000, certificates={"peer": {"expires": "2026-12-24T00:00:00Z", "days_left": 9},
                                       "http": {"expires": "2027-12-24T00:00:00Z",
                                                "days_left": 300}}),
        Told("n2", "", None, reason="connection refused"),
    ]  # fmt: skip
    own = {"name": "n1", "ready": False, "waits_for": "its peers"}
    found = {each.what: each for each in examine_members(own, members, answers)}
    bad = {what for what, each in found.items() if each.verdict is not Verdict.OK}
    assert bad == {"node", "members", "reachability", "versions", "members' clocks",
                   "members' disks", "durability", "reaping", "members' certificates"}  # fmt: skip
    assert "100 s behind" in found["members' clocks"].found
    assert "n3 at listen.peer: 2026-12-24" in found["members' certificates"].found
    assert "http" not in found["members' certificates"].found
    assert "n2 at h:2" in found["reachability"].found
    assert all(found[what].advice for what in bad)


def test_a_member_whose_operators_are_asked_elsewhere_has_its_own_advice(
    listener: socket.socket,
) -> None:
    peer = f"127.0.0.1:{listener.getsockname()[1]}"
    members = [{"name": "n2", "state": "up", "http": "h:2", "peer": peer}]
    reason = "421 Misdirected Request: /v1/status is served at the operators' listener of this "
    answers = [Told("n2", "", None, reason=f"{reason}node (listen.admin), which is on loopback")]
    found = list(examine_members({"name": "n1", "ready": True}, members, answers))
    (missed,) = [each for each in found if each.what == "reachability"]
    assert missed.verdict is Verdict.WARN
    assert "listen.advertise_admin" in missed.advice


def run(*arguments: str) -> tuple[int, dict[str, dict[str, str]], bool]:
    environment = {"SADIK_NODE": None, "SADIK_CONFIG": None}
    result = CliRunner().invoke(cli, ["doctor", *arguments, "--json"], env=environment)
    document = json.loads(result.stdout)
    return result.exit_code, {each["what"]: each for each in document["findings"]}, document["ok"]


def config(directory: Path, server: Server) -> Path:
    file = directory / "sadik.toml"
    port = server.server_address[1]
    file.write_text(f'[listen]\nhttp = "127.0.0.1:{port}"\npeer = "127.0.0.1:0"\n'
                    f'[node]\nname = "n1"\ndata_dir = "{directory}"\n')  # fmt: skip
    return file


def test_the_verb_looks_at_configuration_and_node(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with serving() as server:
        server.views["/v1/status"] = told("n1", time.time(), name="n1", ready=True).status
        code, found, is_ok = run("--config", str(config(tmp_path, server)))
    assert found["listen.http"]["found"].endswith("n1 runs there")
    assert found["node"]["verdict"] == "ok"
    # Nothing listens where the stand-in says that its peers are.
    assert found["reachability"]["verdict"] == "fail"
    assert (code, is_ok) == (1, False)


def test_the_ports_of_one_node_are_not_judged_by_another(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with serving() as home, serving() as other:
        home.views["/v1/status"] = told("n1", time.time(), name="n1", ready=True).status
        other.views["/v1/status"] = told("n2", time.time(), name="n2", ready=True).status
        _, found, _ = run("--config", str(config(tmp_path, home)), "--node", other.url)
    assert found["listen.http"]["found"].endswith("n1 runs there")
    assert found["node"]["found"] == "n2 is ready"


def test_a_wrong_configuration_is_exit_code_2_and_the_rest_is_still_looked_at(
    tmp_path: Path,
) -> None:
    file = tmp_path / "sadik.toml"
    file.write_text('[node]\nname = "n 1"\n[storage]\nbackend = "paper"\n')
    code, found, is_ok = run("--config", str(file))
    assert (code, is_ok) == (2, False)
    assert "configuration" in found
    assert found["python"]["verdict"] == "ok"


def test_a_node_that_was_named_and_is_not_there_fails(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    code, found, _ = run("--node", url, "--data-dir", str(tmp_path))
    assert (code, found["node"]["verdict"]) == (1, "fail")


def test_a_person_reads_a_table_and_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "sadik.toml"
    file.write_text('[storage]\nbackend = "paper"\n')
    result = CliRunner().invoke(cli, ["doctor", "--config", str(file)],
                                env={"SADIK_NODE": None, "SADIK_CONFIG": None})  # fmt: skip
    assert result.exit_code == 2
    assert "FAIL" in result.stdout
    assert "to do:" in result.stderr
    assert "storage.backend" in result.stdout
