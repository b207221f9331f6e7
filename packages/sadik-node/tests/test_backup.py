"""``sadik-node backup`` and ``restore``: a whole cluster, to files and into another one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from backup_contents import LARGE, done, fill, run
from sadik_client import NotFoundError
from sadik_client.blocking import Client
from sadik_node.backup.layout import manifest_ids, read_manifest, write_document
from sadik_node.backup.vault import open_vault
from sadik_node.cli.root import cli
from sadik_node.testing import start_cluster
from sadik_node.testing.cluster import Cluster

pytestmark = pytest.mark.system  # each starts clusters


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with start_cluster(nodes=3) as cluster:
        fill(cluster, plain=300)
        yield cluster


def files_of(place: Path) -> dict[str, bytes]:
    return {str(f.relative_to(place)): f.read_bytes() for f in place.rglob("*") if f.is_file()}


def check_contents(client: Client) -> None:
    """All that the fixture wrote is there as it was."""
    for i in range(300):
        entry = client.get("plain", f"key {i}")
        assert (entry.value, entry.version.content_type) == (b"%d" % i, "text/x")
        assert entry.version.meta == {"n": str(i)}
    assert sorted(client.get("b", b"\x00\xff/..").values) == [b"one", b"two"]
    assert client.get("b", "large").value == LARGE
    assert 90_000 < (client.get("b", "short").version.ttl_s or 0) <= 100_000
    assert client.get_bucket("b")["blind_writes"] == "sibling"
    gone = client.get("b", "gone")
    assert not gone.exists
    assert gone.is_deleted, "a delete is remembered, as it was"


@pytest.mark.parametrize(("nodes", "partitions"), [(1, 64), (4, 16)])
def test_a_backup_makes_a_cluster_of_another_size_that_is_the_same(
    cluster: Cluster, tmp_path: Path, nodes: int, partitions: int
) -> None:
    told = done(run("backup", tmp_path, cluster, "--json"))
    assert (told["records"], told["moving"]) == (304, [])
    assert "is whole" in run("backup", tmp_path, None, "--verify").stdout
    with start_cluster(nodes=nodes, partitions=partitions) as other:
        restored = done(run("restore", tmp_path, other, "--json"))
        assert restored["records"] == 304
        for url in other.urls:
            with Client(url) as client:
                check_contents(client)
        again = done(run("restore", tmp_path, other, "--json"))
        assert again["sent"] == 0, "run again it only compares"
        second = tmp_path / "second"
        assert done(run("backup", second, other, "--json"))["records"] == 304
        first = read_manifest(open_vault(str(tmp_path)), manifest_ids(open_vault(str(tmp_path)))[0])
        copy = read_manifest(open_vault(str(second)), manifest_ids(open_vault(str(second)))[0])
        assert {n: each.sum for n, each in first.middles.items()} == {
            n: each.sum for n, each in copy.middles.items()
        }


def test_run_again_it_reads_what_changed_and_both_backups_stay(
    cluster: Cluster, tmp_path: Path
) -> None:
    done(run("backup", tmp_path, cluster, "--json"))
    unchanged = done(run("backup", tmp_path, cluster, "--json"))
    assert (unchanged["shares_read"], unchanged["new_bytes"]) == (0, 0)
    with Client(cluster.urls[0]) as client:
        client.put("extra", "k", b"new")
        cluster.wait_until_hints_drained()
        changed = done(run("backup", tmp_path, cluster, "--json"))
        assert (changed["shares_read"], changed["records"]) == (1, 305)
        client.delete("extra", "k")
    first = manifest_ids(open_vault(str(tmp_path)))[0]
    listed = done(run("backup", tmp_path, None, "--list", "--json"))["backups"]
    assert isinstance(listed, list)
    assert [each["records"] for each in listed] == [304, 304, 305]
    assert run("backup", tmp_path, None, "--verify", "--backup", first).exit_code == 0
    kept = done(run("backup", tmp_path, cluster, "--keep", "1", "--json"))
    assert kept["removed"] == 3
    assert run("backup", tmp_path, None, "--verify").exit_code == 0
    vault = open_vault(str(tmp_path))
    manifest = read_manifest(vault, manifest_ids(vault)[0])
    assert len(vault.sizes("records")) == sum(len(m.files) for m in manifest.middles.values())


def test_with_a_node_down_a_backup_is_whole_and_without_a_majority_it_is_none(
    tmp_path: Path,
) -> None:
    with start_cluster(nodes=3, partitions=8) as small:
        small.kill("n3")
        small.wait_until_noticed()
        with Client(small.urls[0]) as client:
            for i in range(20):
                client.put("b", f"{i}", b"v", w=1)
        node = ["--node", small.urls[0], "--patience", "1"]
        result = CliRunner().invoke(cli, ["backup", str(tmp_path / "two"), *node, "--json"])
        assert done(result)["records"] == 20
        small.kill("n2")
        small.wait_until_noticed()
        result = CliRunner().invoke(cli, ["backup", str(tmp_path / "one"), *node])
        assert result.exit_code == 1
        assert "a majority of" in result.stderr
        assert run("restore", tmp_path / "one", small).exit_code == 3, "it counts for nothing"


def test_every_damage_is_found_by_verify_and_refused_by_restore(
    cluster: Cluster, tmp_path: Path
) -> None:
    done(run("backup", tmp_path, cluster, "--json"))
    names = sorted(name for name in files_of(tmp_path) if name[0] in "bvr")
    chosen = [
        next(n for n in names if n.startswith(part)) for part in ("backups", "records", "val")
    ]
    for name in chosen:
        file = tmp_path / name
        good = file.read_bytes()
        file.write_bytes(good[:-5] + bytes([good[-5] ^ 1]) + good[-4:])
        result = run("backup", tmp_path, None, "--verify")
        assert (result.exit_code, "damaged" in result.stderr) == (1, True), name
        file.write_bytes(good)
    (tmp_path / chosen[-1]).unlink()
    result = run("backup", tmp_path, None, "--verify")
    assert (result.exit_code, "missing" in result.stderr) == (1, True)
    mended = done(run("backup", tmp_path, cluster, "--json"))
    assert mended["shares_read"] == 1, "the next backup reads again what the vault has lost"
    assert run("backup", tmp_path, None, "--verify").exit_code == 0


def test_a_cluster_with_other_data_is_refused_and_stays_as_it_is(
    cluster: Cluster, tmp_path: Path
) -> None:
    done(run("backup", tmp_path, cluster, "--json"))
    with start_cluster(nodes=1, partitions=8) as other, Client(other.urls[0]) as client:
        client.put("mine", "k", b"v")
        result = run("restore", tmp_path, other)
        assert (result.exit_code, "Nothing was changed" in result.stderr) == (1, True)
        with pytest.raises(NotFoundError):
            _ = client.get("plain", "key 1").value


def test_a_directory_keeps_backups_of_one_cluster(cluster: Cluster, tmp_path: Path) -> None:
    vault = open_vault(str(tmp_path))
    write_document(vault, "sadik-backup.json", {"cluster": {"name": "other", "id": "0123"}})
    result = run("backup", tmp_path, cluster)
    assert (result.exit_code, "another cluster" in result.stderr) == (1, True)
    assert not manifest_ids(vault)


def test_an_empty_place_and_an_unknown_backup_are_not_found(
    cluster: Cluster, tmp_path: Path
) -> None:
    assert run("restore", tmp_path, cluster).exit_code == 3
    assert run("backup", tmp_path, None, "--verify").exit_code == 3
    done(run("backup", tmp_path, cluster, "--json"))
    result = run("restore", tmp_path, cluster, "--backup", "x")
    assert (result.exit_code, "there are: 2" in result.stderr) == (3, True)
