"""Real files into the cluster and out again while a node is killed: not a byte differs."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from every_backend import every_durable_backend
from http_checks import list_keys
from real_cluster import RealCluster, RealNode, eventually

VALUE_BYTES_MAX = 4 * 2**20
COMMAND = [sys.executable, "-m", "sadik_node"]


@pytest.fixture(autouse=True)
def diff(require_program: Callable[..., str]) -> str:
    return require_program("diff", package="diffutils")


@contextmanager
def command(node: RealNode, *arguments: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A verb that asks a node and runs while the block does."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env={**os.environ, **node.client_environment},
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def check_same(source: Path, copy: Path, left_out: set[str]) -> None:
    """``diff -r`` finds nothing but that ``left_out`` is missing from the copy."""
    result = subprocess.run(
        ["diff", "-r", "--no-dereference", str(source), str(copy)],
        capture_output=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    lines = os.fsdecode(result.stdout).splitlines()
    wanted = {
        f"Only in {Path(source, name).parent!s}: {Path(name).name}" for name in left_out
    }  # fmt: skip
    assert set(lines) == wanted, lines[:20]
    assert result.stderr == b""


def check_holds_everything(node: RealNode, bucket: str, files: dict[bytes, str]) -> None:
    """The node alone has every file: no other runs to ask.

    A write whose coordinator died after its own store, and that was tried again elsewhere, comes
    back with the dead node as an equal sibling.
    """
    own = threading.local()
    connections: list[http.client.HTTPConnection] = []

    def check(item: tuple[bytes, str]) -> str:
        key, digest = item
        if not hasattr(own, "connection"):
            own.connection = node.connect(20)
            connections.append(own.connection)
        own.connection.request("GET", f"/v1/kv/{bucket}/{quote_from_bytes(key)}?r=1")
        answer = own.connection.getresponse()
        body = answer.read()
        values = [body]
        if answer.status == 300:
            values = [base64.b64decode(each["value_b64"]) for each in json.loads(body)["siblings"]]
        is_same = {hashlib.sha256(value).hexdigest() for value in values} == {digest}
        return "" if answer.status in (200, 300) and is_same else f"{key!r}: {answer.status}"

    try:
        with ThreadPoolExecutor(4) as pool:
            wrong = [each for each in pool.map(check, files.items()) if each]
    finally:
        for connection in connections:
            connection.close()
    assert not wrong, f"{len(wrong)} of {len(files)}: {wrong[:10]}"


def check_explained(node: RealNode, about: RealNode, bucket: str, keys: list[bytes]) -> None:
    """``explain`` through ``node`` tells that ``about`` holds each key and is not behind."""
    for key in keys:
        told = node.ask("GET", f"/v1/explain/{bucket}/{quote_from_bytes(key)}").json()
        assert about.name in told["owners"]
        [replica] = [each for each in told["replicas"] if each["node"] == about.name]
        assert replica["versions"], replica
        assert not replica["behind"], replica


def digests_of(root: Path) -> dict[bytes, str]:
    """SHA-256 of every file that a value can hold, by key."""
    found = {}
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= VALUE_BYTES_MAX:
            key = os.fsencode(path.relative_to(root))
            found[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def copy_through_a_kill(
    cluster: RealCluster,
    source: Path,
    tmp_path: Path,
    *,
    asked: RealNode,
    killed: RealNode,
    exporter: RealNode,
    timeout_s: float,
) -> None:
    """Import through one node, kill one meanwhile, export through another, bring it back."""
    files = digests_of(source)
    too_large = {
        str(path.relative_to(source))
        for path in source.rglob("*")
        if path.is_file() and path.stat().st_size > VALUE_BYTES_MAX
    }
    log = tmp_path / "import.log"
    watcher = next(node for node in cluster.nodes if node not in (asked, killed))
    with command(asked, "import", str(source), "files", log=log) as importing:
        eventually(
            60,
            lambda: len(list_keys(watcher, "files", "?limit=10000")[0]) > len(files) // 20,
            "a part of the files is there",
        )
        assert importing.poll() is None, "the import is over before the kill"
        killed.kill()
        code = importing.wait(timeout_s)
    said = log.read_text()
    print("\n".join(said.splitlines()[-4:]))
    assert code == (1 if too_large else 0), said[-3000:]
    assert set(re.findall(r"^skipped (\S+): .*limit", said, re.MULTILINE)) == too_large
    assert f"{len(files)} copied" in said, said[-3000:]

    copy = tmp_path / "copy"
    with command(exporter, "export", "files", str(copy), log=log) as exporting:
        assert exporting.wait(timeout_s) == 0, log.read_text()[-3000:]
    check_same(source, copy, too_large)

    killed.start()
    eventually(20, killed.is_ready, "it is back")
    took = eventually(30, lambda: cluster.hints_total() == 0, "it holds everything of its own")
    print(f"{killed.name} held everything {took:.1f} s after it was ready")
    keys = sorted(files)
    check_explained(exporter, killed, "files", keys[:: max(1, len(keys) // 500)])
    for node in cluster.nodes:
        if node is not killed:
            node.kill()
    check_holds_everything(killed, "files", files)


def make_tree(root: Path) -> None:
    """A few hundred files of every odd kind."""
    for number in range(300):
        below = root / f"d{number % 7}" / f"e{number % 3}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{number}.txt").write_text(f"file {number}\n" * number)
    (root / "empty").write_bytes(b"")
    (root / "binary").write_bytes(bytes(range(256)) * 1000)
    (root / "as large as may be").write_bytes(os.urandom(VALUE_BYTES_MAX))
    (root / "large").write_bytes(bytes(VALUE_BYTES_MAX + 1))
    (root / "name with\nnewline, %41 and ?#").write_text("odd")
    (root / "ünïcödé").write_text("odd")
    Path(os.fsdecode(bytes(root) + b"/\xff\xfe")).write_text("no UTF-8")
    deep = root.joinpath(*["deep"] * 60)
    deep.mkdir(parents=True)
    (deep / "file").write_text("deep")


@every_durable_backend
@pytest.mark.parametrize("killed", [0, 1], ids=["the node asked", "another node"])
def test_a_small_tree_survives_a_kill(
    backend: str, cluster: RealCluster, tmp_path: Path, killed: int
) -> None:
    assert all(f"store={backend}" in node.log.read_text() for node in cluster.nodes)
    source = tmp_path / "source"
    make_tree(source)
    copy_through_a_kill(
        cluster,
        source,
        tmp_path,
        asked=cluster.nodes[0],
        killed=cluster.nodes[killed],
        exporter=cluster.nodes[2],
        timeout_s=60,
    )


def test_an_import_run_again_copies_only_what_changed(shared: RealCluster, tmp_path: Path) -> None:
    source, log = tmp_path / "source", tmp_path / "log"
    source.mkdir()
    for number in range(50):
        (source / str(number)).write_text(f"{number}")
    for change, wanted in [(False, "50 copied, 0 unchanged"), (True, "1 copied, 49 unchanged")]:
        if change:
            (source / "7").write_text("changed")
        with command(shared.nodes[0], "import", str(source), "again", log=log) as importing:
            assert importing.wait(60) == 0, log.read_text()
        assert wanted in log.read_text()
    copy = str(tmp_path / "copy")
    with command(shared.nodes[2], "export", "again", copy, log=log) as exporting:
        assert exporting.wait(60) == 0, log.read_text()
    check_same(source, tmp_path / "copy", set())


def test_an_export_never_writes_outside_its_directory(shared: RealCluster, tmp_path: Path) -> None:
    keys = [b"../outside", b"/etc/outside", b"a/../../outside", b"..", b".", b"a//b", b"c/",
            b"d\0e", b"./f", b"x" * 300, b"link/outside"]  # fmt: skip
    node = shared.nodes[0]
    for key in [*keys, b"fine/file"]:
        path = f"/v1/kv/hostile/{quote_from_bytes(key, safe='')}"
        assert node.ask("PUT", path, b"hostile").status == 204
    copy, log = tmp_path / "below" / "copy", tmp_path / "log"
    copy.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (copy / "link").symlink_to(tmp_path / "elsewhere")
    with command(node, "export", "hostile", str(copy), log=log) as exporting:
        assert exporting.wait(60) == 1, log.read_text()
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert written == ["below", "below/copy", "below/copy/fine", "below/copy/fine/file",
                       "below/copy/link", "elsewhere", "log"]  # fmt: skip
    assert log.read_text().count("skipped ") >= len(keys)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_standard_library_survives_a_kill(cluster: RealCluster, tmp_path: Path) -> None:
    library = Path(sysconfig.get_path("stdlib"))
    source = tmp_path / "source"
    shutil.copytree(
        library,
        source,
        symlinks=True,
        ignore=shutil.ignore_patterns("site-packages", "dist-packages"),
    )
    for path in sorted(source.rglob("*"), reverse=True):
        if path.is_symlink():
            path.unlink()  # import leaves these out, and says so
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()  # an empty directory has no key
    count = len(digests_of(source))
    assert count > 1000
    print(f"{count} files")
    copy_through_a_kill(
        cluster,
        source,
        tmp_path,
        asked=cluster.nodes[0],
        killed=cluster.nodes[1],
        exporter=cluster.nodes[2],
        timeout_s=400,
    )


def test_a_bucket_that_refuses_blind_writes_takes_an_import(
    cluster: RealCluster, tmp_path: Path
) -> None:
    node = cluster.nodes[0]
    assert node.ask("PUT", "/v1/buckets/strict", b'{"blind_writes": "refuse"}').status == 200
    source = tmp_path / "source"
    source.mkdir()
    for text in ("one", "another"):
        (source / "file").write_text(text, "utf-8")
        ended = subprocess.run(
            [*COMMAND, "import", str(source), "strict", "--node", node.url],
            capture_output=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert node.ask("GET", "/v1/kv/strict/file").body == text.encode()
