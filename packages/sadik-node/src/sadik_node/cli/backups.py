"""``backup``: make, list and verify backups of the whole cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, TypeVar

import click

from sadik_client import SadikError, StoppedError
from sadik_node.backup.layout import (
    MIDDLES,
    BackupError,
    Manifest,
    Middle,
    manifest_ids,
    read_document,
    read_manifest,
    read_middle,
    read_value,
    records_name,
    value_name,
    write_document,
)
from sadik_node.backup.nodes import Cluster
from sadik_node.backup.taking import Taking
from sadik_node.backup.vault import Vault, VaultError, open_vault
from sadik_node.cli.common import (
    EXIT_NOT_FOUND,
    Session,
    client_options,
    fail,
    print_json,
    print_table,
    say,
)
from sadik_node.cli.copying import copy_options, open_cluster
from sadik_node.cli.progress import Progress
from sadik_node.cli.workers import work_through

__all__ = ["backup", "chosen_manifest", "latest_manifest", "reporting", "work_on"]

_ABOUT = "sadik-backup.json"

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@click.command()
@click.argument("address", metavar="DIR|URL")
@click.option("--list", "only_list", is_flag=True, help="Only list the whole backups there.")
@click.option(
    "--verify", "only_verify", is_flag=True, help="Only read a backup and check all of it."
)
@click.option(
    "--backup", "backup_id", metavar="ID", help="With --verify: which; default the latest."
)
@click.option(
    "--keep", type=click.IntRange(1), metavar="N", help="Remove all but the N latest then."
)
@copy_options
@client_options
def backup(
    *,
    session: Session,
    address: str,
    only_list: bool,
    only_verify: bool,
    backup_id: str | None,
    keep: int | None,
    jobs: int,
    patience: int,
) -> None:
    """Back the whole cluster up into a directory or an object store, while it serves.

    Run again on the same address it reads only what has changed, and every backup stays whole by
    itself. Each partition is of one instant. Interrupted, it is run again to go on; until then it
    counts for nothing. --verify checks a backup without a cluster.

    \b
    Example:
      sadik-node backup /mnt/backups/sadik --keep 7
      sadik-node backup /mnt/backups/sadik --list
      sadik-node backup /mnt/backups/sadik --verify
      sadik-node backup s3://backups/sadik
    """
    with reporting("the backup"):
        vault = open_vault(address, writing=not (only_list or only_verify))
        try:
            if only_list:
                _list(session, vault)
            elif only_verify:
                _verify(session, vault, address, backup_id)
            else:
                _make(session, vault, address, keep, jobs, patience)
        finally:
            vault.close()


@contextlib.contextmanager
def reporting(what: str) -> Iterator[None]:
    """End the verb with a sentence where it cannot go on."""
    try:
        yield
    except (BackupError, VaultError) as error:
        fail(str(error))
    except (KeyboardInterrupt, StoppedError):
        fail(f"{what} was interrupted; run it again to go on where it was")
    except SadikError as error:
        fail(f"{what} failed: {error}; run it again to go on where it was")


def work_on(
    what: str,
    items: list[_Item],
    step: Callable[[_Item], _Result],
    size_of: Callable[[_Result], int],
    *,
    jobs: int,
    stop: Callable[[], None],
) -> Iterator[_Result]:
    """The results of a step for every item, several at a time, with progress."""
    results = work_through(items, step, jobs=jobs, stop=stop)
    with Progress(what, len(items)) as progress, contextlib.closing(results):
        for result in results:
            progress.advance(size_of(result))
            yield result


def chosen_manifest(vault: Vault, address: str, backup_id: str | None) -> Manifest:
    """The backup that was named, or the latest; the verb ends where there is none."""
    ids = manifest_ids(vault)
    if not ids or (backup_id is not None and backup_id not in ids):
        named = "whole backup" if backup_id is None else f"backup {backup_id}"
        fail(
            f"there is no {named} in {address}; there are: {', '.join(ids) or 'none'}",
            EXIT_NOT_FOUND,
        )
    return read_manifest(vault, backup_id or ids[-1])


def latest_manifest(vault: Vault) -> Manifest | None:
    """The latest backup that can be read: a damaged one is of no use to the next."""
    for backup_id in reversed(manifest_ids(vault)):
        try:
            return read_manifest(vault, backup_id)
        except BackupError as error:
            say(f"{error}; it is left alone")
    return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _make(
    session: Session,
    vault: Vault,
    address: str,
    keep: int | None,
    jobs: int,
    patience: int,
) -> None:
    with open_cluster(session, patience, jobs) as client:
        cluster = Cluster.learn(client, patience, session.reach)
        try:
            manifest, read, new_bytes = _take(cluster, vault, address, jobs)
        finally:
            cluster.close()
    removed = 0 if keep is None else _prune(vault, keep)
    if session.as_json:
        print_json({
            "backup": manifest.id,
            "records": manifest.records,
            "bytes": manifest.bytes,
            "shares_read": read,
            "new_bytes": new_bytes,
            "moving": manifest.moving,
            "removed": removed,
        })  # fmt: skip
    else:
        click.echo(
            f"backup {manifest.id}: {manifest.records} records, {manifest.bytes} bytes of values; "
            f"{read} of {MIDDLES} shares had changed, {new_bytes} bytes of records written"
        )
        if manifest.moving:
            say(f"written to all the time, so of no single instant: partitions {manifest.moving}")
        if removed:
            say(f"{removed} older backups removed")


def _take(cluster: Cluster, vault: Vault, address: str, jobs: int) -> tuple[Manifest, int, int]:
    _check_cluster(cluster, vault, address)
    began = _now()
    known = _known(vault)
    taking = Taking(cluster, vault, known)
    middles: dict[int, Middle] = {}
    moving: list[int] = []
    read = new_bytes = 0
    partitions = list(range(cluster.ring.partitions))
    results = work_on(
        "backup: partitions", partitions, taking.take, lambda each: each.new_bytes,
        jobs=jobs, stop=cluster.stop,
    )  # fmt: skip
    for each in results:
        middles.update(each.middles)
        read += each.read
        new_bytes += each.new_bytes
        if each.is_moving:
            moving.append(each.number)
        if each.read:
            plain = {str(n): middle.to_json() for n, middle in each.middles.items()}
            write_document(vault, f"unfinished/{each.number}.json", {"middles": plain})
    told = cluster.client.list_buckets()
    buckets = {each["bucket"]: {k: v for k, v in each.items() if k not in ("bucket", "n")}
               for each in told}  # fmt: skip
    manifest = Manifest(
        _new_id(vault), cluster.about, began, _now(), version("sadik-node"), buckets,
        sorted(moving), middles,
    )  # fmt: skip
    if len(_there(vault, middles)) < len(middles):
        raise BackupError("files went while the backup was made: run it again")
    manifest.write(vault)
    for name in vault.sizes("unfinished"):
        vault.remove(name)
    return manifest, read, new_bytes


def _check_cluster(cluster: Cluster, vault: Vault, address: str) -> None:
    """One vault is of one cluster: mark it, or see that it is this one's."""
    about = read_document(vault, _ABOUT)
    if about is None:
        write_document(vault, _ABOUT, {
            "format": 1, "what": "backups of a Sadik cluster", "cluster": cluster.about,
        })  # fmt: skip
    elif about["cluster"]["id"] != cluster.about["id"]:
        raise BackupError(
            f"{address} has backups of another cluster, {about['cluster']['name']!r} with the id "
            f"{about['cluster']['id']}: give a directory of its own"
        )


def _new_id(vault: Vault) -> str:
    stem = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    assert stem not in manifest_ids(vault), "one backup at a time is made in a vault"
    return stem


def _known(vault: Vault) -> dict[int, Middle]:
    """What need not be read again: of the latest backup, and of one that was interrupted since."""
    latest = latest_manifest(vault)
    known = {} if latest is None else dict(latest.middles)
    for name in vault.sizes("unfinished"):
        try:
            document = read_document(vault, name) or {"middles": {}}
        except BackupError:
            continue
        for number, plain in document["middles"].items():
            known[int(number)] = Middle.from_json(plain)
    return _there(vault, known)


def _there(vault: Vault, middles: Mapping[int, Middle]) -> dict[int, Middle]:
    """Those of which all files are there."""
    sizes = vault.sizes("records") | vault.sizes("values")
    return {n: middle for n, middle in middles.items() if _is_there(middle, sizes)}


def _is_there(middle: Middle, sizes: Mapping[str, int]) -> bool:
    return all(
        sizes.get(records_name(name)) == size for name, size in middle.files.items()
    ) and all(sizes.get(value_name(name)) == size for name, size in middle.values.items())


def _prune(vault: Vault, keep: int) -> int:
    """Remove all but the latest backups, and every file that none of those names."""
    other = vault.other_writer()
    if other is not None:
        say(f"another backup seems to be under way ({other}): older ones are left for now")
        return 0
    ids = manifest_ids(vault)
    kept = [read_manifest(vault, each) for each in ids[-keep:]]
    needed = {
        name
        for manifest in kept
        for middle in manifest.middles.values()
        for name in (*map(records_name, middle.files), *map(value_name, middle.values))
    }
    for each in ids[:-keep]:
        vault.remove(f"backups/{each}.json")
    for name in (*vault.sizes("records"), *vault.sizes("values")):
        if name not in needed:
            vault.remove(name)
    return len(ids) - len(kept)


def _list(session: Session, vault: Vault) -> None:
    manifests = [read_manifest(vault, each) for each in manifest_ids(vault)]
    shown: list[dict[str, Any]] = [
        {"backup": each.id, "began": each.began, "ended": each.ended, "records": each.records,
         "bytes": each.bytes, "moving": each.moving}
        for each in manifests
    ]  # fmt: skip
    if session.as_json:
        print_json({"backups": shown})
    else:
        rows = [[each[name] for name in ("backup", "ended", "records", "bytes")] for each in shown]
        print_table(["BACKUP", "ENDED", "RECORDS", "BYTES"], rows)


def _verify(session: Session, vault: Vault, address: str, backup_id: str | None) -> None:
    manifest = chosen_manifest(vault, address, backup_id)
    problems: list[str] = []
    with Progress("verify: shares", len(manifest.middles)) as progress:
        for number, middle in manifest.middles.items():
            problems += _problems_of(vault, number, middle)
            progress.advance(middle.bytes)
    if session.as_json:
        print_json({
            "backup": manifest.id, "records": manifest.records, "bytes": manifest.bytes,
            "problems": problems,
        })  # fmt: skip
    elif not problems:
        click.echo(
            f"backup {manifest.id} is whole: {manifest.records} records, {manifest.bytes} bytes of "
            "values, all verified by hash"
        )
    if problems:
        for problem in problems:
            say(problem)
        fail(f"backup {manifest.id} is not whole: {len(problems)} problems")


def _problems_of(vault: Vault, number: int, middle: Middle) -> list[str]:
    problems: list[str] = []
    try:
        read_middle(vault, number, middle)
    except BackupError as error:
        problems.append(str(error))
    for name in middle.values:
        try:
            read_value(vault, name)
        except BackupError as error:
            problems.append(str(error))
    return problems
