"""The rows of the benchmark: what is asked of a cluster, and what etcd is asked that is nearest."""

from __future__ import annotations

from attrs import frozen

__all__ = ["CASES", "Case"]

_EVERY = (1, 16, 64, 256)
_USUAL = (64,)
_FEW_KEYS = 500


@frozen
class Case:
    """One kind of load.

    ``reads`` is how many of a hundred requests read; ``batch`` how many objects one request is
    about, which the figures count. ``keys`` is how many there are, and ``spread`` how they are
    drawn: ``uniform``, ``hot`` (always the same one) or ``zipf`` (0.99, as YCSB draws them; Cooper
    et al., SoCC 2010). ``aim`` is the least ratio to etcd that we want with 64 connections.
    """

    name: str
    ours: str
    theirs: str
    reads: int = 0
    is_of_one: bool = False
    """Whether reads ask one replica."""
    value_bytes: int = 100
    keys: int = 10_000
    spread: str = "uniform"
    batch: int = 1
    sync: str = "commit"
    connections: tuple[int, ...] = _USUAL
    aim: float | None = None

    @property
    def title(self) -> str:
        """What is compared with what."""
        return f"{self.name}: {self.ours} | {self.theirs}"


CASES = {
    case.name: case
    for case in (
        Case("put", "put, W=2, fsync", "put", connections=_EVERY, aim=1.5),
        Case("get", "get, R=2", "linearizable range", reads=100, connections=_EVERY, aim=2.5),
        Case(
            "get-one", "get, R=1", "serializable range",
            reads=100, is_of_one=True, connections=_EVERY, aim=2.5,
        ),
        Case("put-1KiB", "put of 1 KiB", "put", value_bytes=1024),
        Case("get-1KiB", "get of 1 KiB, R=2", "linearizable range", reads=100, value_bytes=1024),
        Case("put-64KiB", "put of 64 KiB", "put", value_bytes=65536, keys=_FEW_KEYS, aim=1),
        Case(
            "get-64KiB", "get of 64 KiB, R=2", "linearizable range",
            reads=100, value_bytes=65536, keys=_FEW_KEYS, aim=1,
        ),
        Case("put-interval", 'put, sync = "interval"', "put, fsync", sync="interval", aim=2),
        Case(
            "hot", "one key, half of it gets, R=2", "one key, half linearizable ranges",
            reads=50, spread="hot",
        ),
        Case(
            "ycsb-a", "YCSB A: half gets, zipfian, 1 kB", "half linearizable ranges",
            reads=50, spread="zipf", value_bytes=1000,
        ),
        Case(
            "ycsb-b", "YCSB B: 95% gets, zipfian, 1 kB", "95% linearizable ranges",
            reads=95, spread="zipf", value_bytes=1000,
        ),
        Case(
            "ycsb-c", "YCSB C: gets, zipfian, 1 kB", "linearizable ranges",
            reads=100, spread="zipf", value_bytes=1000,
        ),
        Case("batch-put", "POST /v1/batch, 100 puts", "transaction of 100 puts", batch=100),
        Case(
            "batch-get", "POST /v1/batch, 100 gets", "transaction of 100 ranges",
            reads=100, batch=100,
        ),
    )
}  # fmt: skip
"""By name, in the order in which they are measured."""
