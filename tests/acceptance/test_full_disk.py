"""A node on a disk of 20 MB that is filled by writes: refused, nothing lost, usable again.

The disk is mounted in a namespace of the node's own, so nothing is left of it when the node ends.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import define
from real_cluster import RealNode, eventually, free_ports

from sadik_storage.conformance.tools import namespace_prefix

DISK_BYTES = 20 * 10**6
RESERVE_BYTES = 2 * 10**6
VALUE_BYTES = 100_000


@define
class NodeOnSmallDisk(RealNode):
    """A node whose data directory lies on a small disk of its own."""

    prefix: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        mount = f'mount -t tmpfs -o size={DISK_BYTES} tmpfs "$0" && exec "$@"'
        plain = super().command
        return [*self.prefix, "sh", "-c", mount, str(self.directory), *plain]

    def grow(self) -> None:
        """Make the disk twice as large, under the running node."""
        assert self.process is not None
        enter = ["nsenter", "--target", str(self.process.pid), "--mount", "--preserve-credentials"]
        if "--user" in self.prefix:
            enter.append("--user")
        size = f"remount,size={2 * DISK_BYTES}"
        subprocess.run(
            [*enter, "mount", "-o", size, "tmpfs", str(self.directory)],
            check=True,
            capture_output=True,
        )


def value_of(number: int) -> bytes:
    return random.Random(number).randbytes(VALUE_BYTES)


def put(node: RealNode, number: int) -> int:
    return node.ask("PUT", f"/v1/kv/b/{number}", value_of(number)).status


def fill(node: RealNode, first: int) -> int:
    """Write until it is refused; the number of the first value that was."""
    for number in range(first, first + 1000):
        status = put(node, number)
        if status == 507:
            return number
        assert status == 204
    raise AssertionError("the disk was never full")


def assert_there(node: RealNode, numbers: list[int]) -> None:
    for number in numbers:
        answer = node.ask("GET", f"/v1/kv/b/{number}")
        assert (answer.status, answer.body) == (200, value_of(number))


@pytest.mark.parametrize("backend", ["lmdb", "sqlite", "rocksdb"])
def test_a_full_disk_refuses_writes_loses_nothing_and_takes_writes_again(
    backend: str, tmp_path: Path, skip_or_fail: Callable[[str], None]
) -> None:
    prefix = namespace_prefix()
    if prefix is None:
        skip_or_fail("needs unshare, and root or user namespaces, to mount a small disk")
        raise AssertionError("not reached: the test was skipped or failed")
    if backend == "rocksdb":
        pytest.importorskip("rocksdict", reason="needs the extra sadik-storage[rocksdb]")
    (tmp_path / "n1").mkdir()
    http_port, peer_port = free_ports(2)
    node = NodeOnSmallDisk(
        name="n1",
        directory=tmp_path / "n1",
        http_port=http_port,
        peer_port=peer_port,
        join=[],
        log=tmp_path / "n1.log",
        environment={
            "SADIK_STORAGE__BACKEND": backend,
            "SADIK_LIMITS__FREE_BYTES": str(RESERVE_BYTES),
            "SADIK_CLUSTER__PARTITIONS": "8",
        },
        python=sys.executable,
        prefix=tuple(prefix),
    )
    try:
        node.start()
        eventually(30, node.is_ready, "the node is ready")
        full = fill(node, 0)
        assert full >= 20
        refused = node.ask("PUT", f"/v1/kv/b/{full}", value_of(full))
        assert refused.status == 507
        assert refused.json()["outcome"] == "not_applied"
        assert node.ask("GET", f"/v1/kv/b/{full}").status == 404
        assert_there(node, list(range(full)))
        if backend != "rocksdb":  # which refuses earlier, by itself
            assert node.ask("GET", "/v1/status").json()["store"]["short_of_space"]
            assert node.ask("PUT", "/v1/kv/b/small", b"v").status == 507

        kept = list(range(full // 2, full))
        for number in range(full // 2):
            assert node.ask("DELETE", f"/v1/kv/b/{number}").status == 204
        if backend != "rocksdb":  # which frees what was deleted when it merges its files
            eventually(10, lambda: put(node, full) == 204, "after deletes there is room")
            again = fill(node, full + 1)
            assert again - full >= full // 4
            kept += range(full, again)

        node.grow()
        eventually(10, lambda: put(node, 5000) == 204, "on the grown disk there is room")
        more = fill(node, 5001)
        assert more - 5001 >= 20
        assert_there(node, [*kept, *range(5000, more)])
        assert node.ask("GET", "/v1/kv/b/0").status == 404
        assert node.stop() == 0
    finally:
        node.kill()
