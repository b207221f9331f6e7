"""Hash algorithms: a small trait, blake3, and how others are plugged in.

Everything that a cluster places or compares goes through a hash, so all nodes of one cluster
must use the same algorithm. One is found by its name in the entry point group ``sadik.hashing``,
so another distribution can add its own without a change here. ``check_algorithm`` says whether
an algorithm keeps the promises below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

# The entry point names one of these here.
from sadik_hashing.blake3_hash import BLAKE3, DIGEST_BYTES, Blake3  # noqa: F401

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

KEY_BYTES: Final = 32
ENTRY_POINT_GROUP: Final = "sadik.hashing"


@runtime_checkable
class HashAlgorithm(Protocol):
    """A hash with output of any length, and a keyed form of it.

    The promises: a result depends on the arguments alone; it has exactly ``size`` bytes; a
    shorter result is the beginning of a longer one; the keyed form differs from the plain one
    and between keys; nothing is shared between calls. It should be collision resistant, since
    clients choose the keys that are hashed.
    """

    @property
    def name(self) -> str:
        """The name under which it is registered, e.g. ``"blake3"``."""
        ...

    def digest(self, data: bytes, size: int = DIGEST_BYTES) -> bytes:
        """Return ``size`` bytes of hash of ``data``."""
        ...

    def keyed(self, key: bytes, data: bytes, size: int = DIGEST_BYTES) -> bytes:
        """Return ``size`` bytes that only a holder of ``key`` (32 bytes) can make from ``data``.

        Raises ``ValueError`` for a key of another length.
        """
        ...


class UnknownAlgorithmError(LookupError):
    """No algorithm, or more than one, is registered under the name asked for."""


def algorithm_names() -> list[str]:
    """Return the names of all registered algorithms, sorted."""
    return sorted({point.name for point in _registered()})


def load_algorithm(name: str) -> HashAlgorithm:
    """Return the algorithm registered as ``name`` in the entry point group ``sadik.hashing``.

    The entry point names a class, or a function, that is called without arguments.

    Raises ``UnknownAlgorithmError``, with the names that there are, if the name is not
    registered or two distributions register different things under it, and ``TypeError`` if
    what was registered is not a ``HashAlgorithm``.
    """
    found: dict[str, EntryPoint] = {}
    for point in _registered().select(name=name):
        found.setdefault(point.value, point)
    if not found:
        available = ", ".join(algorithm_names()) or "none"
        raise UnknownAlgorithmError(
            f"no hash algorithm is registered as {name!r}; available: {available}"
        )
    if len(found) > 1:
        raise UnknownAlgorithmError(
            f"hash algorithm {name!r} is registered more than once: {', '.join(sorted(found))}"
        )
    (point,) = found.values()
    algorithm = point.load()()
    if not isinstance(algorithm, HashAlgorithm):
        raise TypeError(f"{point.value}, registered as {name!r}, is not a HashAlgorithm")
    return algorithm


def check_algorithm(algorithm: HashAlgorithm) -> None:
    """Check that an algorithm keeps the promises of ``HashAlgorithm``; for its own tests.

    Raises ``AssertionError``, naming the broken promise. It cannot judge collision resistance.
    """
    inputs = [b"", b"\0", b"\0\0", b"a", b"b", b"ab", bytes(1_000), bytes(range(256)) * 300]
    keys = [bytes(KEY_BYTES), bytes(range(KEY_BYTES)), b"\xff" * KEY_BYTES]
    _expect(algorithm.name != "", "it has a name")
    _expect(len(algorithm.digest(b"")) == DIGEST_BYTES, "digest gives 32 bytes by default")
    _expect(len(algorithm.keyed(keys[0], b"")) == DIGEST_BYTES, "keyed gives 32 bytes by default")
    seen: dict[bytes, tuple[bytes | None, bytes]] = {}
    for data in inputs:
        for key in (None, *keys):
            whole = _hash(algorithm, key, data, 100)
            _expect(whole == _hash(algorithm, key, data, 100), "equal arguments, equal results")
            _expect(len(whole) == 100, "a result has the size asked for")
            for size in (1, 8, 16, 32, 64):
                _expect(
                    _hash(algorithm, key, data, size) == whole[:size],
                    "a result has the size asked for and begins like a longer one",
                )
            _expect(
                whole[:16] not in seen, "results differ between inputs, keys, and keyed or plain"
            )
            seen[whole[:16]] = (key, data)
    for length in (0, 16, KEY_BYTES + 1):
        try:
            algorithm.keyed(bytes(length), b"")
        except ValueError:
            continue
        _expect(False, f"a key of {length} bytes is a ValueError")


def _hash(algorithm: HashAlgorithm, key: bytes | None, data: bytes, size: int) -> bytes:
    if key is None:
        return algorithm.digest(data, size)
    return algorithm.keyed(key, data, size)


def _expect(kept: bool, promise: str) -> None:
    if not kept:
        raise AssertionError(f"broken promise: {promise}")


def _registered() -> EntryPoints:
    """What is in the group; imported late, for this costs what the standard library loads for it.

    `importlib.metadata` imports ``email``, and that ``socket``, which a simulator does without.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415 - see above

    return entry_points(group=ENTRY_POINT_GROUP)
