"""A small certificate authority for the nodes of a cluster, in one directory.

``ca.crt`` and ``ca.key``, and for each node NAME ``NAME.crt`` and ``NAME.key``. Keys are on the
curve P-256, made anew with every certificate, and readable by their owner only. A certificate names
the node as a DNS name in its subjectAltName, which is where peers look; further host names and
addresses may stand beside it, for clients.

Needs the extra ``sadik-node[certs]`` (the library ``cryptography``).
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["AuthorityError", "init", "issue"]

_BACKDATED = dt.timedelta(minutes=10)
"""Clocks of two machines differ; a certificate made just now is valid on both."""


class AuthorityError(Exception):
    """It cannot be done; the message says why and what to do."""


def init(directory: Path, name: str, days: int) -> None:
    """Make an authority called ``name`` in ``directory``, which is made if it is not there.

    Raises:
        AuthorityError: there is one already, or the directory cannot be written.
    """
    cert_file, key_file = directory / "ca.crt", directory / "ca.key"
    for file in (cert_file, key_file):
        if file.exists():
            raise AuthorityError(
                f"{file} is there: a new authority in its place would shut out every node that "
                "has a certificate of the old one; make the new one in another directory, and put "
                "both ca.crt files into the one that nodes read while both are in use"
            )
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _builder(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_key(key_file, key)
        _write(cert_file, _pem(builder.sign(key, hashes.SHA256())), 0o644)
    except OSError as error:
        raise AuthorityError(f"{directory}: {error.strerror}") from error


def issue(directory: Path, name: str, hosts: Sequence[str], days: int) -> tuple[Path, Path]:
    """A certificate for the node ``name`` with a key of its own; the two files.

    It ends with its authority at the latest: a later end would be a promise that nobody keeps.
    Those of an earlier one are replaced, the key first: who reads both in between finds that they
    do not belong together and reads again.

    Raises:
        AuthorityError: there is no authority, it has run out, a name is none, or a file cannot be
            written.
    """
    authority, authority_key = _authority(directory)
    last = authority.not_valid_after_utc
    if last <= dt.datetime.now(dt.UTC):
        raise AuthorityError(
            f"{directory}: the authority has run out on {last:%Y-%m-%d}; make another in another "
            "directory, and put both ca.crt files into the one that nodes read"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    names += [_general_name(host) for host in dict.fromkeys(hosts) if host != name]
    signer = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _builder(subject, authority.subject, key.public_key(), days, last)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer), critical=False
        )
    )
    cert_file, key_file = directory / f"{name}.crt", directory / f"{name}.key"
    try:
        _write_key(key_file, key)
        _write(cert_file, _pem(builder.sign(authority_key, hashes.SHA256())), 0o644)
    except OSError as error:
        raise AuthorityError(f"{directory}: {error.strerror}") from error
    return cert_file, key_file


def _authority(directory: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
        key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
    except FileNotFoundError as error:
        raise AuthorityError(
            f"{error.filename} is not there: `sadik-node certs init {directory}` makes an authority"
        ) from error
    except OSError as error:
        raise AuthorityError(f"{error.filename}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise AuthorityError(f"{directory}: ca.crt or ca.key is damaged or encrypted") from error
    if (
        not isinstance(key, ec.EllipticCurvePrivateKey)
        or key.public_key() != certificate.public_key()
    ):
        raise AuthorityError(f"{directory}: ca.key is not the key of ca.crt")
    return certificate, key


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass
    if not host or not host.isascii() or not host.isprintable() or " " in host:
        raise AuthorityError(f"{host!r} is neither a host name nor an address")
    return x509.DNSName(host)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    days: int,
    last: dt.datetime | None = None,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    end = now + dt.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(end if last is None else min(end, last))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write_key(file: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _write(file, pem, 0o600)


def _write(file: Path, data: bytes, mode: int) -> None:
    """Whole or not at all, and never readable by more than it is in the end."""
    new = file.with_name(file.name + ".new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)
