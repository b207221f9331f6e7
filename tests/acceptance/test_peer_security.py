"""Nodes that prove who they are: a cluster with certificates and a secret, and strangers at it."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real_cluster import RealCluster, RealNode, eventually
from secured_cluster import Secured, run_sadik
from write_load import WriteLoad, check_kept

from sadik_machine import Codec, NodeId, frame, node_id_from_hex
from sadik_members import (
    MAGIC,
    MESSAGES,
    ClusterSecrets,
    Established,
    Handshake,
    Hello,
    Refused,
    Role,
    StreamKind,
)
from sadik_members.messages import Delta


def reloads(node: RealNode, what: str) -> int:
    return len(re.findall(rf" reloaded what={re.escape(what)}", node.log.read_text("utf-8")))


def until_reloaded(node: RealNode, what: str, more_than: int) -> None:
    eventually(20, lambda: reloads(node, what) > more_than, f"{node.name} reads {what} again")


def refusals(node: RealNode) -> dict[str, float]:
    """``sadik_peer_refused_total`` by reason."""
    text = node.ask("GET", "/metrics").body.decode()
    found = re.findall(
        r'^sadik_peer_refused_total\{reason="([a-z_]+)"\} (\S+)$', text, re.MULTILINE
    )
    return {reason: float(count) for reason, count in found}


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    made = Secured(tmp_path)
    with made.cluster as cluster:
        cluster.start()
        yield made


def test_certificates_and_secret_are_rotated_under_load_and_no_request_fails(
    secured: Secured, tmp_path: Path
) -> None:
    cluster = secured.cluster
    *busy, other = cluster.nodes

    def comes_back() -> None:
        """A node that starts anew has to prove itself to the others with what it has now."""
        assert other.stop() == 0
        other.start()
        cluster.wait_ready()

    def all_reload(what: str, give: Any) -> None:
        before = {node.name: reloads(node, what) for node in cluster.nodes}
        for node in cluster.nodes:
            give(node)
        for node in cluster.nodes:
            until_reloaded(node, what, before[node.name])

    with WriteLoad(busy, writers=3) as load:
        eventually(20, lambda: load.count("acked") > 50, "writes go through")
        all_reload("tls.peer", secured.issue)
        comes_back()

        # Another authority: first both are accepted, then certificates are of the new one alone.
        new_pki = tmp_path / "pki2"
        run_sadik("certs", "init", str(new_pki))
        both = tmp_path / "both" / "ca.crt"
        both.parent.mkdir()
        both.write_bytes((secured.pki / "ca.crt").read_bytes() + (new_pki / "ca.crt").read_bytes())
        all_reload("tls.peer", lambda node: secured.give(both, node))
        all_reload("tls.peer", lambda node: secured.issue(node, new_pki))
        all_reload("tls.peer", lambda node: secured.give(new_pki / "ca.crt", node))

        run_sadik("secret", "rotate", str(secured.secret))
        all_reload("auth.cluster_secret_file", lambda node: secured.give(secured.secret, node))
        run_sadik("secret", "settle", str(secured.secret))
        all_reload("auth.cluster_secret_file", lambda node: secured.give(secured.secret, node))
        comes_back()
        done = load.count("acked")
        eventually(20, lambda: load.count("acked") > done + 50, "writes still go through")
    failed = [each for each in load.attempts if each.outcome != "acked"]
    print(f"{load.count('acked')} writes through seven rotations, {len(failed)} failed")
    assert not failed
    check_kept(load, cluster.nodes)


def test_files_that_cannot_be_used_leave_in_use_what_was_there(secured: Secured) -> None:
    *_, node = secured.cluster.nodes
    cert = secured.file(node, f"{node.name}.crt")
    good = cert.read_bytes()
    cert.write_bytes(b"no certificate")
    secret = secured.file(node, secured.secret.name)
    secret.chmod(0o644)
    secret.touch()

    def has_told(what: str) -> bool:
        return f"reload_failed what={what}" in node.log.read_text("utf-8")

    eventually(20, lambda: has_told("tls.peer"), "the certificate is told")
    eventually(20, lambda: has_told("auth.cluster_secret_file"), "the secret is told")
    assert node.ask("PUT", "/v1/kv/b/k", b"v").status == 204
    assert node.stop() == 0
    for refused in ("everybody", "no PEM file"):
        node.start()
        assert node.process is not None
        assert node.process.wait(20) == 2
        assert refused in secured.cluster.tail(node)
        secret.chmod(0o600)
    cert.write_bytes(good)
    node.start()
    secured.cluster.wait_ready()


class Stranger:
    """Somebody on the peer port, with any claim, secret and certificate."""

    def __init__(
        self,
        node: RealNode,
        claim: Hello | None = None,
        secret: ClusterSecrets | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.heard = b""
        raw = socket.create_connection(("127.0.0.1", node.peer_port), 20)
        self.stream: socket.socket = context.wrap_socket(raw) if context else raw
        self.stream.settimeout(20)
        self.handshake = (
            None if claim is None else Handshake(Role.DIALLER, claim, 0, secrets=secret)
        )

    def shake(self) -> Established | Refused:
        """Carry the handshake out as far as the node lets it."""
        assert self.handshake is not None
        while self.handshake.outcome is None:
            self.send(self.handshake.data_to_send())
            self.handshake.receive(self.receive())
        self.send(self.handshake.data_to_send())
        return self.handshake.outcome

    def send(self, data: bytes) -> None:
        """Say it, if the node still listens: who is refused is hung up on at once."""
        with contextlib.suppress(OSError):
            self.stream.sendall(data)

    def receive(self) -> bytes:
        try:
            data = self.stream.recv(65536)
        except (ConnectionError, ssl.SSLError):
            data = b""
        self.heard += data
        return data

    def hear_out(self) -> bytes:
        """Everything until the node closes."""
        while self.receive():
            pass
        self.stream.close()
        return self.heard


def forged_gossip(cluster_id: bytes, victim: NodeId) -> bytes:
    """A message that says that ``victim`` has left, as a member would send it."""
    entry = (victim, "n2", "h:1", "h:2", "", 1.0, 99, 5, 1, 1)
    payload = Codec(MESSAGES).encode(Delta(cluster_id, (entry,), (), ()))
    return frame((1).to_bytes(8, "big") + payload)


class Siege:
    """Strangers at the peer port of n1 who would be n2; what they heard, and what was counted."""

    def __init__(self, secured: Secured) -> None:
        self.secured = secured
        self.node, self.victim, self.third = secured.cluster.nodes
        status = self.node.ask("GET", "/v1/status").json()
        self.cluster_id = bytes.fromhex(status["cluster"]["id"])
        self.own_id = node_id_from_hex(status["id"])
        self.victim_id = node_id_from_hex(self.victim.ask("GET", "/v1/status").json()["id"])
        self.gossip = forged_gossip(self.cluster_id, self.victim_id)
        self.heard: list[bytes] = []
        self.counted = refusals(self.node)

    def claim(self, name: str, node_id: bytes) -> Hello:
        """To be a member of this cluster."""
        return Hello(
            version_min=1, version_max=1, cluster_id=self.cluster_id, cluster_name="sadik",
            node_id=node_id, boot_number=99, boot_nonce=7, kind=int(StreamKind.SMALL),
            peer="127.0.0.1:1", nonce=b"n" * 16, attempt=1, expected=b"", link=b"", name=name,
        )  # fmt: skip

    def is_refused(self, stranger: Stranger) -> str:
        """Shake hands, gossip all the same, and hear it out; why it was refused."""
        outcome = stranger.shake()
        assert isinstance(outcome, Refused)
        stranger.send(self.gossip)
        self.heard.append(stranger.hear_out())
        return outcome.reason

    def says(self, *parts: bytes) -> None:
        """Say something without a handshake of one's own."""
        stranger = Stranger(self.node)
        for part in parts:
            stranger.send(part)
        self.heard.append(stranger.hear_out())

    def counts(self, reason: str) -> None:
        """It shows in the metric."""

        def is_counted() -> bool:
            return refusals(self.node)[reason] > self.counted[reason]

        eventually(10, is_counted, f"{reason} is counted: {refusals(self.node)}")
        self.counted.update(refusals(self.node))

    def try_certificates(self) -> None:
        """A valid one of n3 that says it is n2, and its own name with n2's id; another's."""
        stolen = self.secured.stolen(self.third)
        for name in (self.victim.name, self.third.name):
            claim = self.claim(name, self.victim_id)
            assert self.is_refused(Stranger(self.node, claim, None, stolen)) == "certificate"
            self.counts("certificate")
        directory = self.secured.pki.with_name("theirs")
        run_sadik("certs", "init", str(directory))
        run_sadik("certs", "issue", str(directory), self.victim.name)
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        theirs.check_hostname = False
        theirs.verify_mode = ssl.CERT_NONE
        theirs.load_cert_chain(directory / "n2.crt", directory / "n2.key")
        self.is_refused(
            Stranger(self.node, self.claim(self.victim.name, self.victim_id), None, theirs)
        )
        self.counts("tls")

    def try_secrets(self) -> None:
        """The right cluster id, of a member, and no proof, a wrong one, or one heard earlier."""
        wrong = ClusterSecrets((b"not-the-secret-but-as-long-as-it-has-to-be",))
        for secret in (None, wrong):
            claim = self.claim(self.victim.name, self.victim_id)
            assert self.is_refused(Stranger(self.node, claim, secret)) == "proof"
            self.counts("proof")
        right = ClusterSecrets.parse(self.secured.secret.read_bytes())
        self.says(*record_dial(self.node, self.claim("n9", b"newcomer"), right))
        self.counts("proof")


@pytest.mark.parametrize("tls", [False, True], ids=["secret", "certificates"])
def test_strangers_on_the_peer_port_change_nothing_and_learn_nothing(
    tmp_path: Path, tls: bool
) -> None:
    secured = Secured(tmp_path, tls=tls, secret=not tls)
    with secured.cluster as cluster:
        cluster.start()
        siege = Siege(secured)
        before = tables(cluster)
        # Bytes that mean nothing; then gossip without a word before it.
        siege.says(bytes(range(256)) * 8)
        siege.says(MAGIC + siege.gossip)
        siege.counts("tls" if tls else "not_sadik")
        if tls:
            siege.try_certificates()
        else:
            siege.try_secrets()
        told = b"".join(siege.heard)
        node = siege.node
        port = f":{node.peer_port}".encode()
        for word in (siege.own_id, siege.cluster_id, siege.victim_id, port, b"sadik-node"):
            assert word not in told
        assert tables(cluster) == before
        assert node.ask("PUT", "/v1/kv/b/k", b"v").status == 204


def record_dial(node: RealNode, claim: Hello, secret: ClusterSecrets) -> list[bytes]:
    """What a dialler that knows the secret says: somebody on the way has written it down."""
    stranger = Stranger(node, claim, secret)
    handshake = stranger.handshake
    assert handshake is not None
    said = []
    while handshake.outcome is None:
        said.append(handshake.data_to_send())
        stranger.stream.sendall(said[-1])
        handshake.receive(stranger.receive())
    assert isinstance(handshake.outcome, Established)
    said.append(handshake.data_to_send())
    stranger.stream.close()
    return said


def tables(cluster: RealCluster) -> list[Any]:
    """Members, ring and bucket properties, as every node has them."""
    return [
        node.ask("GET", path).json()
        for node in cluster.nodes
        for path in ("/v1/members", "/v1/ring", "/v1/buckets")
    ]


def test_no_secret_shows_in_logs_metrics_views_or_process_lists(secured: Secured) -> None:
    words = [line for line in secured.secret.read_text().splitlines() if not line.startswith("#")]
    for node in secured.cluster.nodes:
        key = secured.file(node, f"{node.name}.key").read_text()
        words += [line for line in key.splitlines() if "-----" not in line]
    shown = []
    for node in secured.cluster.nodes:
        assert node.process is not None
        proc = Path(f"/proc/{node.process.pid}")
        shown += [(proc / "cmdline").read_bytes(), (proc / "environ").read_bytes()]
        for path in ("/metrics", "/v1/status", "/v1/members", "/v1/ring", "/v1/openapi.json",
                     "/v1/explain/b/k", "/readyz"):  # fmt: skip
            shown.append(node.ask("GET", path).body)
        with Stranger(node).stream as stream:
            stream.sendall(MAGIC)
        secret = secured.file(node, secured.secret.name)
        secret.write_text(words[0][:31] + "\n" + words[0] + " \0\n")
        assert node.stop() == 0
        node.start()
        assert node.process.wait(20) == 2
        shown.append(node.log.read_bytes())
    for word in words:
        assert len(word) >= 32
        for part in (word, word[:31], word[-31:]):
            assert not any(part.encode() in text for text in shown)
    for node in secured.cluster.nodes:
        assert node.directory.stat().st_mode & 0o777 == 0o700
