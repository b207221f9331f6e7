"""When a certificate runs out is what the library for certificates says; no file is a defect."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sadik_node.certificate_expiry import day_of, days_left, expiry_of, warning_of

DAY = 86_400
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
KEY = ec.generate_private_key(ec.SECP256R1())


def pem(not_after: dt.datetime, name: str = "n1") -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime(1960, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(not_after)
        .sign(KEY, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


WHOLE = ssl.PEM_cert_to_DER_cert(pem(dt.datetime(2030, 1, 1, tzinfo=dt.UTC)).decode())


# From 2050 on the time is written in another form (RFC 5280, section 4.1.2.5).
@given(
    st.integers(-9 * 365 * DAY, 8023 * 365 * DAY).map(lambda s: EPOCH + dt.timedelta(seconds=s)),
    st.sampled_from(["n", "n" * 64]),
)
@example(dt.datetime(2049, 12, 31, 23, 59, 59, tzinfo=dt.UTC), "n")
@example(dt.datetime(2050, 1, 1, tzinfo=dt.UTC), "n")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_is_what_the_library_says(tmp_path: Path, at: dt.datetime, name: str) -> None:
    file = tmp_path / "n1.crt"
    data = pem(at, name=name)
    file.write_bytes(data)
    said = x509.load_pem_x509_certificate(data).not_valid_after_utc
    assert expiry_of(file) == said.timestamp()


def test_of_a_chain_the_first_to_run_out_counts(tmp_path: Path) -> None:
    file = tmp_path / "chain.pem"
    first = dt.datetime(2027, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    key = KEY.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(key + b"a note\n" + pem(first + dt.timedelta(days=9)) + pem(first))
    assert expiry_of(file) == first.timestamp()
    assert day_of(first.timestamp()) == "2027-01-02T03:04:05Z"


@given(st.binary(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_that_is_no_certificate_has_no_end(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "odd.pem"
    file.write_bytes(data)
    assert expiry_of(file) is None
    file.write_text(ssl.DER_cert_to_PEM_cert(data))
    assert expiry_of(file) is None


@given(st.integers(0, 250), st.integers(0, 255), st.integers(0, 250))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nor_is_one_that_is_damaged_a_defect(
    tmp_path: Path, at: int, byte: int, length: int
) -> None:
    der = bytearray(WHOLE)
    der[at] = byte
    file = tmp_path / "damaged.pem"
    for data in (der, der[:length]):
        file.write_text(ssl.DER_cert_to_PEM_cert(bytes(data)))
        found = expiry_of(file)
        assert found is None or isinstance(found, float)


def test_a_file_that_is_gone_has_no_end(tmp_path: Path) -> None:
    assert expiry_of(tmp_path / "gone.crt") is None


@pytest.mark.parametrize(
    ("left_s", "days", "words"),
    [
        (14 * DAY, 14, ""),
        (14 * DAY - 1, 13, "in 13 days"),
        (2 * DAY - 1, 1, "in 1 day;"),
        (1, 0, "in 0 days"),
        (-1, -1, "has run out"),
    ],
)
def test_it_is_told_fourteen_days_before(left_s: float, days: int, words: str) -> None:
    now = 1_800_000_000.0
    assert days_left(now + left_s, now) == days
    told = warning_of(now + left_s, now)
    assert words in told
    assert bool(told) is bool(words)
