"""The algorithm trait: blake3 keeps it, broken algorithms are found, names are looked up."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from sadik_hashing import (
    BLAKE3,
    Blake3,
    HashAlgorithm,
    UnknownAlgorithmError,
    algorithm_names,
    algorithms,
    check_algorithm,
    load_algorithm,
)


def test_blake3_keeps_the_promises() -> None:
    check_algorithm(BLAKE3)


def test_blake3_gives_its_published_digest() -> None:
    assert BLAKE3.digest(b"").hex() == (
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    )


def test_it_is_loaded_by_its_name() -> None:
    algorithm = load_algorithm("blake3")
    assert isinstance(algorithm, Blake3)
    assert algorithm.name == "blake3"
    assert "blake3" in algorithm_names()


def test_an_unknown_name_is_answered_with_the_names_that_there_are() -> None:
    with pytest.raises(UnknownAlgorithmError, match=r"'sha0'.*available: .*blake3"):
        load_algorithm("sha0")


def registered(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    points = EntryPoints(EntryPoint("mine", value, "sadik.hashing") for value in values)
    monkeypatch.setattr(algorithms, "_registered", lambda: points)


def test_one_name_for_two_algorithms_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, "sadik_hashing.algorithms:Blake3", "elsewhere:Other")
    with pytest.raises(UnknownAlgorithmError, match="more than once"):
        load_algorithm("mine")


def test_one_algorithm_found_twice_is_no_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, *["sadik_hashing.algorithms:Blake3"] * 2)
    assert isinstance(load_algorithm("mine"), Blake3)


def test_what_is_no_algorithm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, "builtins:dict")
    with pytest.raises(TypeError, match="not a HashAlgorithm"):
        load_algorithm("mine")


class Short(Blake3):
    def digest(self, data: bytes, size: int = 32) -> bytes:
        return super().digest(data, min(size, 32))


class Keyless(Blake3):
    def keyed(self, key: bytes, data: bytes, size: int = 32) -> bytes:
        return super().digest(data, size)


class Lax(Blake3):
    def keyed(self, key: bytes, data: bytes, size: int = 32) -> bytes:
        return super().keyed(key.ljust(32, b"\0")[:32], data, size)


class Unprefixed(Blake3):
    def digest(self, data: bytes, size: int = 32) -> bytes:
        return super().digest(bytes((size,)) + data, size)


class Counting(Blake3):
    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0

    def digest(self, data: bytes, size: int = 32) -> bytes:
        self.calls += 1
        return super().digest(data + bytes((self.calls % 256,)), size)


class Trimming(Blake3):
    def digest(self, data: bytes, size: int = 32) -> bytes:
        return super().digest(data.rstrip(b"\0"), size)


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (Short(), "size"),
        (Keyless(), "differ"),
        (Lax(), "ValueError"),
        (Unprefixed(), "begins"),
        (Counting(), "equal arguments"),
        (Trimming(), "differ"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Blake3) else "",
)
def test_the_check_finds_each_broken_promise(broken: HashAlgorithm, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_algorithm(broken)
