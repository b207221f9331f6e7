"""``restore``: a backup put into a new cluster, or one bucket of it into a living one."""

from __future__ import annotations

import itertools
import sys
from collections import Counter

import click

from sadik_client import encode_key
from sadik_node.backup.bringing import Bringing, Brought
from sadik_node.backup.layout import Manifest
from sadik_node.backup.nodes import Cluster
from sadik_node.backup.restoring import Restored, Restoring
from sadik_node.backup.vault import Vault, open_vault
from sadik_node.cli.backups import chosen_manifest, reporting, work_on
from sadik_node.cli.common import (
    EXIT_FAILED,
    Session,
    check_bucket,
    client_options,
    key_label,
    print_json,
    say,
)
from sadik_node.cli.copying import copy_options, open_cluster

__all__ = ["restore"]


def _check_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return None if value is None else check_bucket(ctx, param, value)


@click.command()
@click.argument("address", metavar="DIR|URL")
@click.option("--backup", "backup_id", metavar="ID", help="Which one; default: the latest.")
@click.option(
    "--bucket",
    metavar="BUCKET",
    callback=_check_name,
    help="Only this bucket, into a cluster that lives, as new versions.",
)
@click.option(
    "--into", metavar="BUCKET", callback=_check_name, help="With --bucket: the bucket to write to."
)
@copy_options
@client_options
def restore(
    *,
    session: Session,
    address: str,
    backup_id: str | None,
    bucket: str | None,
    into: str | None,
    jobs: int,
    patience: int,
) -> None:
    """Put a backup into a new cluster, of whatever size.

    All is as it was: values, siblings, metadata, deletes, instants of expiry, properties of
    buckets. It is done when the hash trees of all owners are those of the backup. All nodes must
    be up, and the cluster empty but for what an interrupted restore of the same backup put there:
    run it again to go on.

    With --bucket a single bucket comes back into a cluster that serves, with ordinary writes: what
    a key had in the backup takes the place of what it has now. Other keys stay as they are.

    \b
    Example:
      sadik-node restore /mnt/backups/sadik
      sadik-node restore s3://backups/sadik --backup 20261126T020000.000000Z
      sadik-node restore s3://backups/sadik --bucket carts --into carts-of-yesterday
    """
    if into is not None and bucket is None:
        raise click.UsageError("--into goes with --bucket")
    with reporting("the restore"):
        vault = open_vault(address)
        manifest = chosen_manifest(vault, address, backup_id)
        if bucket is not None:
            _restore_bucket(session, vault, manifest, bucket, into or bucket, jobs, patience)
            return
        results: list[Restored] = []
        with open_cluster(session, patience, jobs) as client:
            cluster = Cluster.learn(client, patience, session.reach)
            try:
                restoring = Restoring(cluster, vault, manifest)
                restoring.refuse_strangers()
                for bucket, properties in manifest.buckets.items():
                    client.set_bucket(bucket, properties)
                partitions = list(range(cluster.ring.partitions))
                results += work_on(
                    "restore: partitions", partitions, restoring.restore, lambda each: each.bytes,
                    jobs=jobs, stop=cluster.stop,
                )  # fmt: skip
            finally:
                cluster.close()
    records, size = sum(each.records for each in results), sum(each.bytes for each in results)
    sent = sum(each.sent for each in results)
    if session.as_json:
        print_json({"backup": manifest.id, "records": records, "bytes": size, "sent": sent})
    else:
        click.echo(
            f"restored {manifest.id}: {records} records, {size} bytes of values; {sent} records "
            "sent, verified by hash at every owner"
        )


def _restore_bucket(
    session: Session,
    vault: Vault,
    manifest: Manifest,
    bucket: str,
    into: str,
    jobs: int,
    patience: int,
) -> None:
    counts: Counter[str] = Counter()
    size = 0
    problems: list[Brought] = []
    with open_cluster(session, patience, jobs) as client:
        bringing = Bringing(client, vault, manifest, bucket, into)
        results = work_on(
            "restore: shares", list(manifest.middles), bringing.bring,
            lambda each: sum(one.size for one in each), jobs=jobs, stop=client.stop,
        )  # fmt: skip
        for each in itertools.chain.from_iterable(results):
            counts[each.kind] += 1
            size += each.size
            if each.kind == "failed":
                say(f"failed {key_label(each.key)}: {each.reason}")
                problems.append(each)
    if session.as_json:
        print_json({
            "backup": manifest.id,
            "bucket": into,
            **{kind: counts[kind] for kind in ("copied", "unchanged", "skipped", "failed")},
            "bytes": size,
            "problems": [
                {"key": encode_key(each.key), "reason": each.reason}
                for each in sorted(problems, key=lambda each: each.key)
            ],
        })  # fmt: skip
    else:
        click.echo(
            f"restored bucket {bucket} of {manifest.id} into {into}: {counts['copied']} keys "
            f"written, {counts['unchanged']} were so already, {counts['skipped']} deleted or "
            f"expired, {counts['failed']} failed; {size} bytes verified by hash"
        )
    if problems:
        sys.exit(EXIT_FAILED)
