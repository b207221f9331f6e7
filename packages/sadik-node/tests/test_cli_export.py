"""``sadik-node export``: every value that can be a file is one, and nothing outside is touched."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from contract_server import Cluster, Server, serving
from sadik_node.cli.exporting import _path_problem, _placeable
from sadik_node.cli.root import cli


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Cluster()) as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The directory to write to, in one where everything else is watched."""
    (tmp_path / "outside").write_bytes(b"untouched")
    return tmp_path / "target"


def run(server: Server, target: Path, *options: str) -> Result:
    arguments = ["export", "b", str(target), "--node", server.url, "--patience", "5", *options]
    return CliRunner().invoke(cli, arguments)


def contents(root: Path) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    base = os.fsencode(root)
    for above, _, names in os.walk(base):
        for name in names:
            path = above + b"/" + name
            found[os.path.relpath(path, base)] = Path(os.fsdecode(path)).read_bytes()
    return found


def add(server: Server, key: bytes, value: bytes) -> None:
    digest = hashlib.sha256(value).hexdigest()
    server.cluster.add("b", key, value, **{"Sadik-Meta-Sha256": digest})


FILES = {
    b"a": b"1",
    b"empty": b"",
    b"sub/deep/er/b.bin": bytes(range(256)),
    b"sub/with space and %": b"2",
    "grüße".encode(): b"3",
    b"latin-\xe4": b"4",
    b"line\nend": b"5",
    b"...": b"6",
    b"-rf": b"7",
    b"x" * 255: b"8",
}


def test_every_value_is_a_file_under_its_key(server: Server, target: Path) -> None:
    for key, value in FILES.items():
        add(server, key, value)
    server.cluster.add("b", b"put/by/curl", b"no digest beside it")
    result = run(server, target)
    assert result.exit_code == 0, result.stderr
    assert contents(target) == {**FILES, b"put/by/curl": b"no digest beside it"}
    assert "11 copied" in result.stdout


def test_run_again_it_fetches_only_what_differs(server: Server, target: Path) -> None:
    for key, value in FILES.items():
        add(server, key, value)
    run(server, target)
    (target / "a").write_bytes(b"0")
    (target / "mine").write_bytes(b"stays")
    (target / ".sadik-export-0123456789abcdef").write_bytes(b"left by a killed export")
    server.requests.clear()
    again = run(server, target, "--json")
    assert json.loads(again.stdout)["unchanged"] == len(FILES) - 1
    assert [p for m, p in server.requests if m == "GET" and "/kv/b/" in p] == ["/v1/kv/b/a"]
    assert contents(target) == {**FILES, b"mine": b"stays"}


NO_PATHS = [
    b"..",
    b".",
    b"/",
    b"../outside",
    b"../../../../../../../../tmp/sadik-was-here",
    b"/etc/sadik-was-here",
    b"a/../../outside",
    b"a/..",
    b"./a",
    b"a/./b",
    b"a//b",
    b"a/",
    b"//",
    b"nul\0byte",
    b"\0",
    b"y" * 256,
    b"dir/" + b"y" * 256,
    b".sadik-export-0123456789abcdef",
]


def test_keys_that_are_no_path_are_listed_and_write_nothing(server: Server, target: Path) -> None:
    for key in (*NO_PATHS, b"fine"):
        add(server, key, b"evil")
    result = run(server, target, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["skipped"] == len(NO_PATHS)
    assert contents(target) == {b"fine": b"evil"}
    assert contents(target.parent) == {b"outside": b"untouched", b"target/fine": b"evil"}
    assert not Path("/tmp/sadik-was-here").exists()
    assert not Path("/etc/sadik-was-here").exists()


def test_a_key_that_others_need_as_a_directory_gives_way(server: Server, target: Path) -> None:
    for key in (b"a", b"a/b", b"a/b/c", b"a-b", b"a/d"):
        add(server, key, b"v:" + key)
    result = run(server, target)
    assert result.exit_code == 1
    assert contents(target) == {key: b"v:" + key for key in (b"a/b/c", b"a-b", b"a/d")}
    assert "skipped a: other keys need a directory" in result.stderr
    assert "skipped a/b: other keys need a directory" in result.stderr


def test_nothing_is_written_through_a_symbolic_link(server: Server, target: Path) -> None:
    outside = target.parent / "elsewhere"
    outside.mkdir()
    target.mkdir()
    (target / "dir").symlink_to(outside)
    (target / "up").symlink_to("..")
    (target / "file").symlink_to(target.parent / "outside")
    (target / "dangling").symlink_to(outside / "made")
    (target / "folder").mkdir()
    os.mkfifo(target / "pipe")
    keys = (b"dir/x", b"up/outside", b"file", b"dangling", b"folder", b"pipe", b"fine")
    for key in keys:
        add(server, key, b"evil")
    result = run(server, target, "--json")
    assert result.exit_code == 1
    problems = json.loads(result.stdout)["problems"]
    assert [each["key"] for each in problems] == sorted(each.decode() for each in keys[:-1])
    assert (target.parent / "outside").read_bytes() == b"untouched"
    assert list(outside.iterdir()) == []
    assert (target / "file").is_symlink()
    assert (target / "fine").read_bytes() == b"evil"


def test_siblings_that_are_equal_are_one_file_and_others_are_listed(
    server: Server, target: Path
) -> None:
    for value in (b"same", b"same"):
        add(server, b"equal", value)
    for value in (b"one", b"two"):
        add(server, b"differ", value)
    result = run(server, target)
    assert result.exit_code == 1
    assert contents(target) == {b"equal": b"same"}
    assert "skipped differ: it has 2 siblings that differ" in result.stderr


def test_a_value_that_does_not_match_its_digest_is_told(server: Server, target: Path) -> None:
    server.cluster.add("b", b"k", b"damaged", **{"Sadik-Meta-Sha256": "0" * 64})
    result = run(server, target)
    assert result.exit_code == 1
    assert "does not match its Sadik-Meta-Sha256" in result.stderr
    assert contents(target) == {b"k": b"damaged"}


def test_a_key_deleted_meanwhile_is_no_fault(server: Server, target: Path) -> None:
    add(server, b"k", b"v")

    def delete(method: str, path: str) -> str | None:
        if path == "/v1/kv/b/k":
            server.cluster.versions.clear()
        return None

    server.fault = delete
    assert run(server, target).exit_code == 0
    assert contents(target) == {}


def test_it_goes_on_when_its_node_dies(target: Path) -> None:
    cluster = Cluster()
    with serving(cluster) as other:
        first = Server(cluster)
        for key, value in FILES.items():
            add(first, key, value)
        first.fault = lambda method, path: "drop" if path == "/v1/kv/b/a" else None
        result = run(first, target)
        first.end()
        assert result.exit_code == 0, result.stderr
        assert contents(target) == FILES
        assert ("GET", "/v1/kv/b/a") in other.requests


def test_a_bucket_that_cannot_be_listed_exports_nothing(server: Server, target: Path) -> None:
    server.fault = lambda method, path: "400" if "/kv/" in path else None
    result = run(server, target)
    assert result.exit_code == 1
    assert "400" in result.stderr
    assert contents(target) == {}


def test_what_cannot_be_a_directory_is_wrong_usage(server: Server, target: Path) -> None:
    target.write_bytes(b"a file")
    result = run(server, target)
    assert result.exit_code == 2
    assert "--help" in result.stderr
    assert target.read_bytes() == b"a file"


def test_two_exports_do_not_write_to_one_directory(server: Server, target: Path) -> None:
    target.mkdir()
    held = os.open(target, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = run(server, target)
    finally:
        os.close(held)
    assert result.exit_code == 1
    assert "another export writes to" in result.stderr


KEYS = st.lists(
    st.lists(st.sampled_from([b"a", b"b", b"..", b".", b"", b"\0", b"/"]), min_size=1, max_size=4)
    .map(b"/".join)
    .filter(bool),
    max_size=8,
    unique=True,
)


@given(KEYS)
def test_what_is_placed_never_leaves_the_root_nor_collides(keys: list[bytes]) -> None:
    placed, problems = _placeable(keys)
    assert sorted([*placed, *(each.key for each in problems)]) == sorted(keys)
    for key in placed:
        assert not _path_problem(key)
        assert os.path.normpath(b"/root/" + key) == b"/root/" + key
        assert not any(other.startswith(key + b"/") for other in placed)
