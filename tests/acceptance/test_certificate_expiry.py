"""A certificate that runs out is told before it does: by metric, status, doctor and log."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from command import sadik
from real_cluster import RealNode, eventually, free_ports
from secured_cluster import run_sadik

DAY = 86_400


def warnings(node: RealNode) -> list[str]:
    """The listeners that the log has named so far, one for each warning."""
    lines = [
        line for line in node.log.read_text("utf-8").splitlines() if " certificate_ends " in line
    ]
    return [line.split("listener=")[1].split()[0] for line in lines]


def test_every_listener_tells_when_its_certificate_ends_and_a_new_one_is_seen(
    tmp_path: Path,
) -> None:
    pki, tokens, kept = tmp_path / "pki", tmp_path / "tokens.toml", tmp_path / "op.token"
    run_sadik("certs", "init", str(pki))

    def issue(name: str, days: int) -> None:
        run_sadik("certs", "issue", str(pki), name, "--host", "127.0.0.1", "--days", str(days))

    for name, days in (("n1", 100), ("http", 10), ("admin", 1)):
        issue(name, days)
    kept.write_text(sadik("token", "add", str(tokens), "op", "--scope", "admin").stdout)
    ports = free_ports(3)
    files = {"HTTP": "http", "ADMIN": "admin", "PEER": "n1"}
    node = RealNode(
        "n1", tmp_path / "n1", ports[0], ports[1], [], tmp_path / "n1.log", admin_port=ports[2],
        environment={
            "SADIK_AUTH__TOKENS": str(tokens),
            "SADIK_TLS__PEER__CA": str(pki / "ca.crt"),
            **{f"SADIK_TLS__{w}__CERT": str(pki / f"{n}.crt") for w, n in files.items()},
            **{f"SADIK_TLS__{w}__KEY": str(pki / f"{n}.key") for w, n in files.items()},
        },
    )  # fmt: skip
    url = f"https://127.0.0.1:{ports[2]}"
    asked = ("--node", url, "--ca", str(pki / "ca.crt"), "--token-file", str(kept))

    def days_left() -> dict[str, int]:
        done = sadik("status", "--json", *asked)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)["certificates"]
        return {listener: each["days_left"] for listener, each in told.items()}

    def ends() -> dict[str, float]:
        done = subprocess.run(
            ["curl", "-fsS", "--cacert", str(pki / "ca.crt"),
             "-H", f"Authorization: Bearer {kept.read_text().strip()}", f"{url}/metrics"],
            capture_output=True, text=True, check=True, timeout=20,
        )  # fmt: skip
        start = "sadik_certificate_expiry_timestamp_seconds{listener="
        lines = [line for line in done.stdout.splitlines() if line.startswith(start)]
        return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}

    def reloads(what: str) -> int:
        return node.log.read_text("utf-8").count(f"reloaded what=tls.{what}")

    def renewed(what: str, name: str, days: int) -> None:
        before = reloads(what)
        issue(name, days)
        eventually(15, lambda: reloads(what) > before, f"tls.{what} was read anew")

    try:
        node.start()
        eventually(20, lambda: sadik("status", *asked).returncode == 0, "it is up")
        assert warnings(node) == ["http", "admin"], node.log.read_text("utf-8")
        assert days_left() == {"http": 9, "admin": 0, "peer": 99}
        now = time.time()
        for listener, days in (("http", 10), ("admin", 1), ("peer", 100)):
            assert abs(ends()[listener] - now - days * DAY) < 600
        shown = sadik("status", *asked).stdout
        assert "certificates.http.days_left" in shown
        found = json.loads(sadik("doctor", "--json", "--data-dir", str(tmp_path / "d"),
                                 *asked).stdout)["findings"]  # fmt: skip
        (told,) = [each for each in found if each["what"] == "members' certificates"]
        assert told["verdict"] == "warn"
        assert "n1 at listen.admin" in told["found"]
        assert "n1 at listen.http" in told["found"]

        renewed("http", "http", 60)
        renewed("peer", "n1", 3)
        renewed("admin", "admin", 14)
        assert warnings(node) == ["http", "admin", "peer", "admin"]
        assert days_left() == {"http": 59, "admin": 13, "peer": 2}
        assert abs(ends()["peer"] - time.time() - 3 * DAY) < 600
        assert node.stop() == 0
    finally:
        node.kill()


def test_without_certificates_there_is_nothing_to_tell(tmp_path: Path) -> None:
    ports = free_ports(2)
    node = RealNode("n1", tmp_path / "n1", ports[0], ports[1], [], tmp_path / "n1.log")
    try:
        node.start()
        eventually(20, node.is_ready, "it is up")
        assert node.ask("GET", "/v1/status").json()["certificates"] == {}
        text = node.ask("GET", "/metrics").body.decode()
        for listener in ("http", "admin", "peer"):
            series = f'sadik_certificate_expiry_timestamp_seconds{{listener="{listener}"}}'
            assert f"{series} 0.0\n" in text
        assert warnings(node) == []
        assert node.stop() == 0
    finally:
        node.kill()
