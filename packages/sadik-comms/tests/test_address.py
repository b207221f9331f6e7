"""An address reads what operators write, in one spelling, and says what is wrong with the rest."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_comms import Address, AddressInvalid, CommsError

_PORTS = st.integers(0, 65535)
_LABELS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=20)
_NAMES = st.lists(_LABELS, min_size=1, max_size=4).map(".".join).map(lambda name: "n" + name + "z")
_HOSTS = st.one_of(st.ip_addresses().map(str), _NAMES)


@given(_HOSTS, _PORTS)
def test_text_and_address_are_the_same_thing(host: str, port: int) -> None:
    address = Address(host, port)
    assert Address.parse(str(address)) == address
    assert hash(Address.parse(str(address))) == hash(address)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_with_the_one_error(text: str) -> None:
    try:
        address = Address.parse(text)
    except AddressInvalid:
        return
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:7071", "127.0.0.1", 7071),
        ("[::1]:7071", "::1", 7071),
        ("[0:0:0:0:0:0:0:1]:7071", "::1", 7071),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("N1.Example:7071", "n1.example", 7071),
        ("n1.example.:7071", "n1.example.", 7071),
        ("my_service-1:65535", "my_service-1", 65535),
        ("0.0.0.0:0", "0.0.0.0", 0),
    ],
)
def test_reads_what_operators_write(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)
    assert (Address.parse(text).host, Address.parse(text).port) == (host, port)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "has no port"),
        ("n1", "has no port"),
        ("[::1]", "has no port"),
        (":7071", "host is missing"),
        ("::1:7071", "brackets"),
        ("[::1:7071", "not closed"),
        ("[n1]:7071", "only an IPv6 address"),
        ("[::g]:7071", "no IPv6 address"),
        ("n1:", "port ''"),
        ("n1:x", "port 'x'"),
        ("n1:+1", "port '+1'"),
        ("n1:-1", "port '-1'"),
        ("n1: 1", "port ' 1'"),
        ("n1:1_0", "port '1_0'"),
        ("n1:٣", "port '٣'"),
        ("n1:65536", "65535"),
        ("n1:999999999999", "65535"),
        ("999.0.0.1:1", "no IPv4 address"),
        ("1.2.3:1", "no IPv4 address"),
        ("127.0.0.01:1", "no IPv4 address"),
        ("a b:1", "part 'a b'"),
        ("a..b:1", "part ''"),
        ("-a:1", "part '-a'"),
        ("a\n:1", "part 'a\\n'"),
        ("http://n1:1", "brackets"),
        ("b\u00fccher:1", "xn--"),
        ("a" * 64 + ":1", "63 letters"),
        (".".join(["a" * 60] * 5) + ":1", "at most 253"),
    ],
)
def test_says_which_part_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(AddressInvalid) as caught:
        Address.parse(text)
    assert complaint in str(caught.value)
    assert isinstance(caught.value, CommsError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("port", [-1, 65536, True, "7071", 1.0])
def test_an_impossible_port_is_refused(port: object) -> None:
    with pytest.raises(AddressInvalid, match="port"):
        Address("n1", port)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.1", False),
        ("::ffff:192.168.0.1", False),
        ("localhost.example", False),
        ("n1", False),
    ],
)
def test_loopback_is_what_only_this_machine_can_reach(host: str, loopback: bool) -> None:
    assert Address(host, 7071).is_loopback is loopback


@pytest.mark.parametrize(
    ("host", "wildcard"),
    [
        ("0.0.0.0", True),
        ("::", True),
        ("::ffff:0.0.0.0", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("n1", False),
    ],
)
def test_a_wildcard_is_good_to_listen_at_only(host: str, wildcard: bool) -> None:
    assert Address(host, 1).is_unspecified is wildcard


def test_addresses_sort() -> None:
    assert sorted([Address("b", 1), Address("a", 2), Address("a", 1)]) == [
        Address("a", 1),
        Address("a", 2),
        Address("b", 1),
    ]
