"""``certs`` and ``secret``: what they make is what nodes take, and nothing is overwritten."""

from __future__ import annotations

import datetime as dt
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from sadik_comms import TlsCredentials
from sadik_members import ClusterSecrets
from sadik_node import certificates
from sadik_node.certificate_expiry import expiry_of
from sadik_node.cli.root import cli
from sadik_node.private_files import read_private


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_an_authority_makes_certificates_that_nodes_take(tmp_path: Path) -> None:
    pki = tmp_path / "pki"
    assert run("certs", "init", pki).exit_code == 0
    assert run("certs", "issue", pki, "n1", "--host", "n1.example", "--host", "::1").exit_code == 0
    TlsCredentials(pki / "n1.crt", pki / "n1.key", pki / "ca.crt")
    assert (mode(pki), mode(pki / "ca.key"), mode(pki / "n1.key")) == (0o700, 0o600, 0o600)
    assert {file.name for file in pki.iterdir()} == {"ca.crt", "ca.key", "n1.crt", "n1.key"}

    first = (pki / "n1.key").read_bytes()
    assert run("certs", "issue", pki, "n1").exit_code == 0
    TlsCredentials(pki / "n1.crt", pki / "n1.key", pki / "ca.crt")
    assert (pki / "n1.key").read_bytes() != first, "a new certificate has a new key"


def test_no_certificate_outlives_its_authority(tmp_path: Path) -> None:
    assert run("certs", "init", tmp_path, "--days", "30").exit_code == 0
    short = run("certs", "issue", tmp_path, "n1", "--days", "29")
    assert "authority" not in short.output
    long = run("certs", "issue", tmp_path, "n1", "--days", "365")
    assert long.exit_code == 0
    assert "it ends in 29 days, with its authority" in long.stderr
    assert expiry_of(tmp_path / "n1.crt") == expiry_of(tmp_path / "ca.crt")


def test_an_authority_that_has_run_out_issues_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(certificates, "_BACKDATED", dt.timedelta(days=9))
        built = certificates._builder

        def of_last_week(
            subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, _days: int
        ) -> x509.CertificateBuilder:
            return built(subject, issuer, key, -2)

        patched.setattr(certificates, "_builder", of_last_week)
        assert run("certs", "init", tmp_path).exit_code == 0
    told = run("certs", "issue", tmp_path, "n1")
    assert told.exit_code == 1
    assert "has run out" in told.output
    assert not (tmp_path / "n1.crt").exists()


def test_an_authority_is_never_overwritten(tmp_path: Path) -> None:
    assert run("certs", "init", tmp_path).exit_code == 0
    before = (tmp_path / "ca.key").read_bytes()
    again = run("certs", "init", tmp_path)
    assert again.exit_code == 1
    assert "shut out every node" in again.output
    assert (tmp_path / "ca.key").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("issue", "{}", "n1"), 1, "certs init"),
        (("issue", "{}", "../n1"), 2, "no node's name"),
        (("issue", "{}", "ca"), 2, "no node's name"),
        (("init", "{}", "--days", "0"), 2, "--days"),
    ],
)
def test_what_cannot_be_issued_is_told(
    tmp_path: Path, arguments: tuple[str, ...], code: int, what: str
) -> None:
    told = run("certs", *(each.format(tmp_path) for each in arguments))
    assert told.exit_code == code
    assert what in told.output
    assert not list(tmp_path.iterdir())


def test_a_host_that_is_none_is_told(tmp_path: Path) -> None:
    assert run("certs", "init", tmp_path).exit_code == 0
    assert "neither a host name" in run("certs", "issue", tmp_path, "n1", "--host", "a b").output
    assert not (tmp_path / "n1.crt").exists()


def test_a_secret_is_made_rotated_and_settled(tmp_path: Path) -> None:
    file = tmp_path / "secret"

    def secrets() -> tuple[bytes, ...]:
        return ClusterSecrets.parse(read_private(file)).secrets

    made = run("secret", "new", file)
    assert made.exit_code == 0
    (first,) = secrets()
    assert first.decode() not in made.output
    assert run("secret", "new", file).exit_code == 1
    assert run("secret", "rotate", file).exit_code == 0
    newest, old = secrets()
    assert old == first
    assert run("secret", "rotate", file).exit_code == 0
    assert secrets()[1] == newest, "the one before last goes"
    newest = secrets()[0]
    assert run("secret", "settle", file).exit_code == 0
    assert secrets() == (newest,)
    assert mode(file) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["secret"]


def test_a_secret_of_everybody_is_not_rotated(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    assert run("secret", "new", file).exit_code == 0
    before = file.read_text()
    file.chmod(0o644)
    told = run("secret", "rotate", file)
    assert told.exit_code == 1
    assert "everybody" in told.output
    assert file.read_text() == before
