"""A cluster whose clients speak TLS and have tokens: certificates change while they are served."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

from real_cluster import RealNode, eventually, free_ports
from secured_cluster import run_sadik

from sadik_client.blocking import Client


def test_a_certificate_is_replaced_under_load_and_no_request_fails(tmp_path: Path) -> None:
    pki, tokens = tmp_path / "pki", tmp_path / "tokens.toml"
    run_sadik("certs", "init", str(pki))
    issue = ("certs", "issue", str(pki), "n1", "--host", "127.0.0.1")
    run_sadik(*issue)
    token = subprocess.run(
        [sys.executable, "-m", "sadik_node", "token", "add", str(tokens), "a", "--scope", "admin"],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout.strip()  # fmt: skip
    ports = free_ports(2)
    node = RealNode(
        "n1", tmp_path / "n1", ports[0], ports[1], [], tmp_path / "n1.log",
        environment={
            "SADIK_TLS__HTTP__CERT": str(pki / "n1.crt"),
            "SADIK_TLS__HTTP__KEY": str(pki / "n1.key"),
            "SADIK_AUTH__TOKENS": str(tokens),
            "SADIK_LISTEN__HTTP": f"0.0.0.0:{ports[0]}",
        },
    )  # fmt: skip
    url = f"https://127.0.0.1:{ports[0]}"
    trust = ssl.create_default_context(cafile=pki / "ca.crt")
    stop = threading.Event()
    wrong: list[str] = []
    done = [0]

    def load() -> None:
        """New connections all the time, each good for a few requests."""
        at = 0
        while not stop.is_set():
            try:
                with Client(url, token=token, ssl_context=trust) as client:
                    for _ in range(5):
                        at += 1
                        client.put("b", f"k{at % 50}", b"x" * 20_000)
                        client.get("b", f"k{at % 50}")
                        done[0] += 2
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed request
                wrong.append(repr(error))

    try:
        node.start()
        # Beyond loopback without `insecure`: clients are asked, and nobody can listen.
        eventually(20, lambda: _is_ready(url, pki), node.log.read_text("utf-8"))
        thread = threading.Thread(target=load)
        thread.start()
        try:
            for replaced in range(1, 4):
                run_sadik(*issue)
                reloaded = partial(_says, node, "reloaded what=tls.http", replaced)
                eventually(15, reloaded, "it was read anew")
            eventually(20, lambda: done[0] > 100, "clients are served")
        finally:
            stop.set()
            thread.join()
        assert wrong == []
        assert node.stop() == 0
        log = node.log.read_text("utf-8")
        assert token not in log
        assert "insecure" not in log
        assert "defect" not in log
    finally:
        node.kill()


def _says(node: RealNode, line: str, times: int) -> bool:
    return node.log.read_text("utf-8").count(line) >= times


def _is_ready(url: str, pki: Path) -> bool:
    done = subprocess.run(
        ["curl", "-fsS", "--cacert", str(pki / "ca.crt"), f"{url}/readyz"],
        capture_output=True, check=False, timeout=10, env=dict(os.environ),
    )  # fmt: skip
    return done.returncode == 0
